"""The reference server, and folders with cases of a test's own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytest

from smtpbench.conformance import Observation, Peer, Untested, case
from smtpbench.conformance.bench import Bench
from smtpbench.conformance.model import Catalogue, Requirement
from smtpbench.conformance.reference import StoreObserver, reference
from smtpbench.conformance.survey import survey
from smtpbench.lab.recipes import recipe
from smtpbench.lab.workspace import Workspace, workspace
from smtpbench.target import Target


@case("T-1")
async def some_case(peer: Peer) -> Observation:
    """A case without needs, for what is asked outside of any."""
    raise Untested("it has no question")


T = TypeVar("T")
WAIT = 10.0  # seconds for what takes milliseconds

ROWS = {
    "T-1": "MUST",
    "T-2": "SHOULD",
    "T-3": "MAY",
    "T-4": "MUST NOT",
}


@pytest.fixture(scope="session")
def place() -> Iterator[Workspace]:
    """A certificate and a password for servers of the test session."""
    with workspace() as made:
        yield made


@pytest.fixture
async def reference_server(place: Workspace) -> AsyncIterator[tuple[Target, StoreObserver]]:
    """The reference server without a fault."""
    async with reference(place) as running:
        yield running


@pytest.fixture
def catalogue() -> Catalogue:
    """Rows of every strength."""
    return Catalogue(
        Requirement.model_validate({"id": key, "rfc": 5321, "section": "1", "level": level, "text": "…"})
        for key, level in ROWS.items()
    )


@pytest.fixture
async def bench(reference_server: tuple[Target, StoreObserver], catalogue: Catalogue) -> Bench:
    """The reference server on the bench."""
    target, observer = reference_server
    return Bench(catalogue, await survey(target, observable=True), observer, "lab:reference")


@pytest.fixture
def case_folder(tmp_path: Path) -> Callable[[str], Path]:
    """A root of cases with a catalogue of `ROWS` and one file with the given text."""

    def make(text: str) -> Path:
        root = tmp_path / "cases"
        (root / "catalogue").mkdir(parents=True)
        rows = [
            f'[[requirement]]\nid = "{key}"\nrfc = 5321\nsection = "1"\nlevel = "{level}"\ntext = "…"\n'
            for key, level in ROWS.items()
        ]
        (root / "catalogue" / "rows.toml").write_text("\n".join(rows))
        (root / "group.py").write_text(text)
        return root

    return make


class Beside(Protocol):
    """Enters an asynchronous context in a loop beside the test's own; it is left when the test ends."""

    def __call__(self, context: AbstractAsyncContextManager[T]) -> T: ...


@pytest.fixture
def beside() -> Iterator[Beside]:
    """A loop in a thread, for servers of runs that have a loop of their own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    entered: list[AbstractAsyncContextManager[Any]] = []

    def enter(context: AbstractAsyncContextManager[T]) -> T:
        value = asyncio.run_coroutine_threadsafe(context.__aenter__(), loop).result(WAIT)
        entered.append(context)
        return value

    try:
        yield enter
        for context in reversed(entered):
            asyncio.run_coroutine_threadsafe(context.__aexit__(None, None, None), loop).result(WAIT)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(WAIT)
        loop.close()


@pytest.fixture(scope="session")
def lab_reference() -> Iterator[Target]:
    """The reference server in a process of its own, for runs that have a loop of their own."""
    with recipe("reference").start() as target:
        yield target
