"""A case in words: what it asks and why, what it needs, how it is judged, and what proves it.

All of it is read from the case, its requirements and its faults. What conforms stands in the case's calls
of `expect`; an expectation that does not depend on the run is shown in the words of the report, any other
as it is written in the case.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from smtpbench.conformance.cases import Case
from smtpbench.conformance.expectations import Expectation, expect
from smtpbench.conformance.grading import grade
from smtpbench.conformance.model import Catalogue, Requirement
from smtpbench.conformance.observation import Outcome
from smtpbench.conformance.passive import Rule
from smtpbench.errors import UsageError
from smtpbench.server.faults import FAULTS

Subject = Case | Rule
# What `expect` calls its expectations, and the outcome that each stands for.
_GROUPS = {
    "conforms": Outcome.CONFORMS,
    "near": Outcome.NEAR,
    "stricter": Outcome.STRICTER,
    "choice": Outcome.CHOICE,
    "untested": Outcome.UNTESTED,
}
_PARAMETERS = tuple(inspect.signature(expect).parameters)
NEAR_MATCHES = 5


@dataclass(frozen=True)
class Explanation:
    """What there is to say of a case or a passive rule. `judged` has a line for each outcome it can have."""

    id: str
    title: str
    level: str
    requirements: tuple[Requirement, ...]
    why: str  # the docstring beyond its first line
    needs: tuple[str, ...]
    after: tuple[str, ...]
    judged: tuple[str, ...]
    faults: tuple[tuple[str, str], ...]  # name, what it does
    command: str


def find(subjects: Sequence[Subject], names: Sequence[str]) -> list[Subject]:
    """Those that `names` (ids, globs, or beginnings of ids) mean. Raises UsageError, with near matches."""
    found: dict[str, Subject] = {}
    for name in names:
        matching = [item for item in subjects if item.id == name or fnmatchcase(item.id, name)]
        matching = matching or [item for item in subjects if item.id.startswith(name)]
        if not matching:
            raise UsageError(f"no case is called {name}{_instead(subjects, name)}")
        found.update({item.id: item for item in matching})
    return list(found.values())


def _instead(subjects: Sequence[Subject], name: str) -> str:
    ids = [item.id for item in subjects]
    last = {key.rpartition(".")[2]: key for key in ids}
    close = difflib.get_close_matches(name, ids, NEAR_MATCHES, 0.6)
    close += [last[key] for key in difflib.get_close_matches(name, last, NEAR_MATCHES, 0.6)]
    close += [key for key in ids if name and name in key][:NEAR_MATCHES]
    near = list(dict.fromkeys(close))[:NEAR_MATCHES]
    return f": did you mean {', '.join(near)}?" if near else ": `smtpbench conform --list` shows their ids"


def explain(subject: Subject, catalogue: Catalogue, target: str = "TARGET") -> Explanation:
    """`subject` in words. Raises UsageError for a requirement that is not in the catalogue."""
    row = catalogue.strongest(subject.requirements)
    if isinstance(subject, Case):
        doc = inspect.getdoc(subject.function) or ""
        why = doc.partition("\n")[2].strip()
        needs, after = tuple(need.name for need in subject.needs), subject.after
        expected = dict(_expectations(subject))
    else:
        why, needs, after = "", (), ()
        expected = {Outcome.CONFORMS: [subject.expected]}
    return Explanation(
        id=subject.id,
        title=subject.title,
        level=row.level.value,
        requirements=tuple(catalogue[key] for key in subject.requirements),
        why=why,
        needs=needs,
        after=after,
        judged=tuple(_judged(row, expected, accuses=not isinstance(subject, Case) or subject.accuses)),
        faults=tuple((name, FAULTS[name].summary if name in FAULTS else "") for name in subject.broken_by),
        command=f"smtpbench conform {target} --select {subject.id}",
    )


def _judged(row: Requirement, expected: Mapping[Outcome, Sequence[str]], *, accuses: bool) -> Iterator[str]:
    if not expected:  # it makes its observations itself
        yield f"{grade(row.level, Outcome.CONFORMS).value}: what the title says"
    for outcome in _GROUPS.values():
        if outcome in expected:
            yield f"{grade(row.level, outcome).value}: {' / '.join(dict.fromkeys(expected[outcome]))}"
    otherwise = grade(row.level, Outcome.VIOLATES if accuses else Outcome.UNTESTED)
    yield f"{otherwise.value}: anything else"


def _expectations(case: Case) -> dict[Outcome, list[str]]:
    """What the calls of `expect` in the case, and in the functions of its file that it calls, name."""
    found: dict[Outcome, list[str]] = {}
    names = case.function.__globals__
    for call in _calls(case.function, names, set()):
        arguments = dict(zip(_PARAMETERS, call.args, strict=False))
        arguments.update({word.arg: word.value for word in call.keywords if word.arg})
        for group, outcome in _GROUPS.items():
            if group not in arguments:
                continue
            for stands_for, text in _words(arguments[group], names, outcome):
                found.setdefault(stands_for, []).append(text)
    return found


def _calls(function: Any, names: Mapping[str, Any], seen: set[str]) -> Iterator[ast.Call]:
    """Calls of `expect`, in the order of the source."""
    seen.add(function.__name__)
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
            continue
        called = names.get(node.func.id)
        if called is expect:
            yield node
        elif (
            inspect.isfunction(called)
            and called.__module__ == function.__module__
            and called.__name__ not in seen
        ):
            yield from _calls(called, names, seen)


def _words(node: ast.expr, names: Mapping[str, Any], outcome: Outcome) -> list[tuple[Outcome, str]]:
    source = ast.unparse(node)
    try:
        value = eval(source, dict(names))  # noqa: S307 - an expression of the case itself, which is imported
    except Exception:  # noqa: BLE001 - it names a variable of the case: then its source has to do
        return [(outcome, source)]
    if not isinstance(value, Expectation):
        return [(outcome, source)]
    return [
        (item.outcome if outcome is Outcome.CONFORMS else outcome, item.text) for item in value.alternatives
    ]
