"""For all tests: property tests have no deadline of their own, since CI machines are slow at times.

Tests run on two cores side by side (``pytest -n 2``), but for those marked `alone`.
"""

from __future__ import annotations

import fcntl
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("smtpbench", deadline=None)
settings.load_profile("smtpbench")

# A shell starts what runs in its background with SIGINT ignored, and the commands under test would inherit
# that: then Ctrl-C could not end them.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that need the machine for themselves come last: then as little as possible waits for them."""
    items.sort(key=lambda item: item.get_closest_marker("alone") is not None)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """A test marked `alone`, with its fixtures, runs while no other does, in whatever worker."""
    if not hasattr(item.config, "workerinput"):  # of pytest-xdist
        return (yield)
    factory: pytest.TempPathFactory = item.config._tmp_path_factory  # type: ignore[attr-defined]
    alone = item.get_closest_marker("alone") is not None
    with _turn(factory.getbasetemp().parent, alone=alone):
        return (yield)


@contextmanager
def _turn(folder: Path, *, alone: bool) -> Iterator[None]:
    """Hold the machine, or with others a share of it. Who wants all of it keeps others from coming in."""
    with (folder / "door").open("w") as door, (folder / "machine").open("w") as machine:
        fcntl.flock(door, fcntl.LOCK_EX)
        fcntl.flock(machine, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(door, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(machine, fcntl.LOCK_UN)  # for a forked child too that a test may have left
