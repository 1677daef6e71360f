"""``smtpbench catalogue``: the requirements, which of them are tested, and the proof that the cases bite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from smtpbench.conformance.coverage import coverage, rows_tested
from smtpbench.conformance.discovery import load_cases
from smtpbench.conformance.model import find_cases, load_catalogue
from smtpbench.conformance.proof import (
    EXPLANATIONS,
    Row,
    Run,
    Unjudged,
    gaps,
    idle_explanations,
    judge,
    load_explanations,
    load_unjudged,
    prove,
    subjects,
    unknown_faults,
    unproven,
    unused_faults,
)
from smtpbench.conformance.reference import MX, PROFILES
from smtpbench.errors import EXIT_FINDINGS, EXIT_OK, UsageError
from smtpbench.server.faults import FAULTS

CoverageOpt = Annotated[bool, typer.Option("--coverage", help="Rows, tested, untestable and missing by RFC.")]
ProofOpt = Annotated[
    bool, typer.Option("--proof", help="Run all cases against the reference server with each fault.")
]
FaultOpt = Annotated[
    list[str], typer.Option(metavar="NAME", help="With --proof: only this fault; repeatable.")
]
WorkersOpt = Annotated[int | None, typer.Option(min=1, help="With --proof: processes; default: the cores.")]


def catalogue(
    *,
    coverage_wanted: CoverageOpt = False,
    proof: ProofOpt = False,
    fault: FaultOpt = [],  # noqa: B006 - typer's way to say "repeatable, none by default"
    workers: WorkersOpt = None,
) -> int:
    """List the requirements that the cases test.

    Exit code of ``--proof``: 0 if every case turns red for the faults it names and no other, every fault is
    named or unjudged, every case that can accuse names a fault, and nothing is red without one; else 1.
    """
    if proof and coverage_wanted:
        raise UsageError("--coverage and --proof: one of them")
    if (fault or workers is not None) and not proof:
        raise UsageError("--fault and --workers need --proof")
    if proof:
        return _prove(tuple(fault), workers)
    if coverage_wanted:
        _print_coverage()
    else:
        _print_rows()
    return EXIT_OK


def _print_rows() -> None:
    root = find_cases()
    rows, tested = load_catalogue(root), rows_tested(load_cases(root))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in ("id", "where", "level", "state"):
        table.add_column(name, no_wrap=True)
    table.add_column("requirement", overflow="fold")
    for row in rows.values():
        state = "tested" if row.id in tested else "untestable" if row.untestable else "missing"
        where = f"RFC {row.rfc} §{row.section}" if row.rfc else row.source or ""
        table.add_row(row.id, where, row.level.value, state, Text(row.text))
    Console().print(table)


def _print_coverage() -> None:
    root = find_cases()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, show_footer=True)
    lines = coverage(load_catalogue(root), load_cases(root))
    totals = [sum(getattr(line, name) for line in lines) for name in ("rows", "tested", "untestable")]
    table.add_column("RFC", footer="all")
    for name, total in zip(("rows", "tested", "untestable"), totals, strict=True):
        table.add_column(name, justify="right", footer=str(total))
    table.add_column("missing", overflow="fold", footer=str(sum(len(line.missing) for line in lines)))
    for line in lines:
        label = str(line.rfc) if line.rfc else "other"
        table.add_row(label, str(line.rows), str(line.tested), str(line.untestable), ", ".join(line.missing))
    Console().print(table)


def _prove(only: tuple[str, ...], workers: int | None) -> int:
    root = find_cases()
    of = subjects(load_cases(root))
    wrong = unknown_faults(of)
    if wrong:
        raise UsageError("\n".join(f"{item}: no such fault" for item in wrong))
    unknown = [name for name in only if name not in FAULTS]
    if unknown:
        raise UsageError(f"no such fault: {', '.join(unknown)}")
    explanations = load_explanations(root)
    unjudged = load_unjudged(root)
    unused = unused_faults(of)
    missing = [] if only else [*gaps(of, unjudged), *unproven(of, load_catalogue(root))]
    profiles = (MX,) if only else PROFILES
    faults: list[str | None] = [None, *(only or (name for name in FAULTS if name not in unused))]
    errors = Console(stderr=True)
    with Progress(console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task("faults", total=len(faults) + len(profiles) - 1)

        def show(run: Run) -> None:
            """A proof takes minutes: what does not hold is worth seeing before its end."""
            bar.advance(task)
            row = judge(run, of, explanations)
            if not row.holds:
                _print_row(errors, row)

        runs = prove(root, faults, profiles=profiles, workers=workers, on_run=show)
    rows = [judge(run, of, explanations) for run in runs]
    idle = [f"not needed in {EXPLANATIONS}: {item}" for item in idle_explanations(runs, of, explanations)]
    _print_matrix(rows, () if only else unjudged, [*missing, *idle])
    _print_totals(rows, len(of))
    return EXIT_OK if all(row.holds for row in rows) and not idle and not missing else EXIT_FINDINGS


def _print_row(console: Console, row: Row) -> None:
    red = len(row.named) - len(row.green)
    counts = f"{len(row.named):>5} {red:>5} {len(row.related):>8} {len(row.unrelated):>10}"
    line = f"{'ok' if row.holds else 'BAD':<5}{row.fault or f'(none, {row.profile})':<{_WIDTH}} {counts}"
    console.print(line, style=None if row.holds else "red", markup=False, highlight=False, soft_wrap=True)
    for trouble in _troubles(row):
        console.print(f"       {trouble}", markup=False, highlight=False, soft_wrap=True)


def _print_matrix(rows: list[Row], unjudged: Sequence[Unjudged], faulty: list[str]) -> None:
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"{'':5}{'fault':<{_WIDTH}} named   red  related  unrelated", style="bold")
    for row in rows:
        _print_row(console, row)
    holding = sum(row.holds for row in rows)
    console.print(f"{holding} of {len(rows)} hold: each named case red, no other")
    for excuse in unjudged:
        console.print(f"unjudged: {excuse.fault}: {excuse.reason}", markup=False)
    for line in faulty:
        console.print(line, markup=False)


def _print_totals(rows: list[Row], subjects: int) -> None:
    faults = [row for row in rows if row.fault is not None]
    red = sum(len(row.named) - len(row.green) for row in faults)
    named = sum(len(row.named) for row in faults)
    console = Console(soft_wrap=True, highlight=False)
    console.print(
        f"{subjects} cases and passive rules, {len(faults)} faults: {red} of {named} named cases red, "
        f"{sum(len(row.unrelated) for row in faults)} unrelated",
        markup=False,
    )
    for row in rows:
        if row.fault is None:
            red, broken = len(row.unrelated), len(row.errors)
            untested = subjects - row.answered - red - broken
            console.print(
                f"without a fault, {row.profile}: {row.answered} green, {red} red, {broken} broken, "
                f"{untested} untested",
                markup=False,
            )


_WIDTH = max(map(len, FAULTS))
_SHOWN = 200  # characters of what was seen


def _troubles(row: Row) -> list[str]:
    parts = [row.trouble] if row.trouble else []
    for label, ids in (("stays green", row.green), ("turns red", row.unrelated), ("breaks", row.errors)):
        parts += [f"{label}: {key}: {row.why.get(key, 'it conformed')}"[:_SHOWN] for key in ids]
    return parts
