"""Finds the cases below their root, without pytest: for `--list`, the coverage and the proof matrix."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Protocol

from smtpbench.conformance.cases import Case
from smtpbench.errors import SmtpbenchError, UsageError

MODULE_PREFIX = "smtpbench_cases"  # a private name, so that no file of a user is shadowed


def case_files(root: Path) -> list[Path]:
    """Every Python file below `root` that may hold cases, in the order of their paths."""
    return sorted(path for path in root.rglob("*.py") if not path.name.startswith("_"))


def load_cases(root: Path) -> list[Case]:
    """All cases below `root`, each after those it names. Raises SmtpbenchError if a file does not import."""
    cases: list[Case] = []
    for path in case_files(root):
        cases += cases_of(vars(_import(root, path)).values())
    return ordered(cases)


def cases_of(values: Iterable[object]) -> list[Case]:
    """The cases among a module's values."""
    return [value for value in values if isinstance(value, Case)]


def _import(root: Path, path: Path) -> object:
    parts = path.relative_to(root).with_suffix("").parts
    name = ".".join((MODULE_PREFIX, *parts))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, "a .py file always has a spec"
    assert spec.loader is not None, "a .py file always has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise SmtpbenchError(f"{path}: {type(error).__name__}: {error}") from error
    return module


def ordered(cases: Iterable[Case]) -> list[Case]:
    """`cases` in their order, but each after those it names in `after`. Raises UsageError on trouble."""
    given = list(cases)
    by_id: dict[str, Case] = {}
    for case in given:
        if by_id.setdefault(case.id, case) is not case:
            raise UsageError(f"two cases have the id {case.id}")
    done: dict[str, Case] = {}

    def place(case: Case, path: tuple[str, ...]) -> None:
        if case.id in path:
            raise UsageError(f"cases wait for each other: {' → '.join((*path, case.id))}")
        for earlier in case.after:
            if earlier in by_id and earlier not in done:
                place(by_id[earlier], (*path, case.id))
        done.setdefault(case.id, case)

    for case in given:
        if case.id not in done:
            place(case, ())
    return list(done.values())


class Selectable(Protocol):
    """What a user may select: a case, or a passive rule."""

    @property
    def id(self) -> str:
        """Its stable id."""
        ...

    @property
    def requirements(self) -> tuple[str, ...]:
        """Ids of the requirements it is about."""
        ...


def selected(item: Selectable, select: Sequence[str] = (), exclude: Sequence[str] = ()) -> bool:
    """Whether a glob of `select` (none: all) and none of `exclude` matches the id or a requirement."""

    def any_matches(patterns: Sequence[str]) -> bool:
        return any(fnmatchcase(name, glob) for glob in patterns for name in (item.id, *item.requirements))

    return (not select or any_matches(select)) and not any_matches(exclude)
