"""``smtpbench explain CASE...``: what a case asks, how it is judged, and what proves that it bites."""

from __future__ import annotations

import textwrap
from typing import Annotated

import typer
from rich.console import Console

from smtpbench.conformance import passive
from smtpbench.conformance.discovery import load_cases
from smtpbench.conformance.explain import Explanation, Subject, find
from smtpbench.conformance.explain import explain as explained
from smtpbench.conformance.model import find_cases, load_catalogue

CaseArg = Annotated[list[str], typer.Argument(metavar="CASE...", help="Ids, globs, or beginnings of ids.")]
WIDTH = 100


def explain(case: CaseArg) -> int:
    """Say what a case asks and why, how it is judged, and which faults prove that it can fail.

    Exit code: 0, or 2 if there is no such case.
    """
    root = find_cases()
    catalogue = load_catalogue(root)
    subjects: list[Subject] = [*load_cases(root), *passive.RULES]
    console = Console(highlight=False, soft_wrap=True)
    for number, subject in enumerate(find(subjects, case)):
        if number:
            console.print()
        console.print("\n".join(_lines(explained(subject, catalogue))), markup=False)
    return 0


def _lines(item: Explanation) -> list[str]:
    lines = [f"{item.id}  ({item.level})", *_wrapped(item.title)]
    if item.why:
        lines += [line for part in item.why.split("\n\n") for line in _wrapped(" ".join(part.split()))]
    for row in item.requirements:
        where = f"RFC {row.rfc} §{row.section}" if row.rfc and row.section else f"RFC {row.rfc}"
        lines.append(f"requirement {row.id}: {row.level.value}, {where if row.rfc else row.source or ''}")
        lines += _wrapped(row.text, "    ")
        lines += _wrapped(f"Level or section: {row.corrected}", "    ") if row.corrected else []
    lines.append(f"needs: {', '.join(item.needs) or 'nothing'}")
    if item.after:
        lines.append(f"asked only if not broken: {', '.join(item.after)}")
    lines.append("judged:")
    lines += [line for words in item.judged for line in _wrapped(words, "    ")]
    lines.append("proven by the faults:" if item.faults else "proven by no fault")
    lines += [line for name, what in item.faults for line in _wrapped(f"{name}: {what}", "    ")]
    lines.append(f"run it: {item.command}")
    return lines


def _wrapped(text: str, indent: str = "  ") -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=indent, subsequent_indent=indent + "  " * (indent != "  ")
    )
