"""The `@case` decorator: a coroutine function becomes a case with a stable id."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from smtpbench.conformance.model import CATALOGUE_FOLDER
from smtpbench.conformance.needs import Need
from smtpbench.conformance.observation import Observation

if TYPE_CHECKING:
    from smtpbench.conformance.peer import Peer


DEADLINE = 30.0  # seconds a case may take, deliveries not counted; the slowest honest one needs about 12

CaseFunction = Callable[["Peer"], Awaitable[Observation]]


@dataclass(frozen=True)
class Case:
    """One case: its question (`function`), what it is about, and what it needs."""

    id: str
    title: str
    function: CaseFunction
    requirements: tuple[str, ...]
    needs: tuple[Need, ...]
    broken_by: tuple[str, ...]
    after: tuple[str, ...]
    deadline: float
    path: Path
    alone: bool = False
    about_connection: bool = False
    accuses: bool = True


def cases_root(path: Path) -> Path | None:
    """The folder above `path` that holds the catalogue, or None if `path` is not below one."""
    return next((folder for folder in path.parents if (folder / CATALOGUE_FOLDER).is_dir()), None)


def case_id(path: Path, name: str) -> str:
    """``rfc5321.data.lf-dot-crlf`` for the function ``lf_dot_crlf`` of ``rfc5321/data.py`` below the root."""
    root = cases_root(path)
    parts = path.relative_to(root).with_suffix("").parts if root else (path.stem,)
    return ".".join((*parts, name)).replace("_", "-")


def case(
    *requirements: str,
    needs: Sequence[Need] = (),
    broken_by: str | Sequence[str] = (),
    after: str | Case | Sequence[str | Case] = (),
    deadline: float = DEADLINE,
    alone: bool = False,
    about_connection: bool = False,
    accuses: bool = True,
) -> Callable[[CaseFunction], Case]:
    """Make a case of ``async def name(peer) -> Observation``. The docstring's first line is its title.

    `requirements`: ids of catalogue rows; the strongest level among them grades the case.
    `needs`: preconditions (RECIPIENT, DELIVERED, EXTENSION("SIZE"), …); an unmet one is `untested`.
    `broken_by`: the faults of the reference server that turn the case red (`smtpbench catalogue --proof`).
    `after`: cases (or their ids) that must not have failed; else this one is `untested`.
    `deadline`: seconds before the case is given up as an error, waits for deliveries not counted; a slow
    target gets more. A case that needs SLOW and waits for minutes states as many.
    `alone`: runs beside no other case: it opens many connections, exhausts a limit or scripts the next hop.
    It also sees how the server turns a connection away, which for others is no answer.
    `about_connection`: how the server keeps up a connection is the question itself. For every other case a
    close or a silence counts only against a server that keeps up a plain session.
    `accuses`: false for a case that records which of several allowed things a server does, at whatever level
    its row is. It names no fault, for it can say neither fail nor non-strict: anything else is untested.
    """
    if not requirements:
        raise TypeError("@case needs at least one requirement id")

    def make(function: CaseFunction) -> Case:
        title = inspect.getdoc(function)
        if not title:
            raise TypeError(f"case {function.__qualname__} has no docstring: its first line is the title")
        path = Path(inspect.getfile(function)).resolve()
        earlier = (after,) if isinstance(after, str | Case) else tuple(after)
        return Case(
            id=case_id(path, function.__name__),
            title=title.partition("\n")[0].strip(),
            function=function,
            requirements=requirements,
            needs=tuple(needs),
            broken_by=(broken_by,) if isinstance(broken_by, str) else tuple(broken_by),
            after=tuple(item if isinstance(item, str) else item.id for item in earlier),
            deadline=deadline,
            path=path,
            alone=alone,
            about_connection=about_connection,
            accuses=accuses,
        )

    return make
