"""What the collector of garbage is spared, and that it is no more once the run is over."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from itertools import pairwise

import pytest

from smtpbench.load.garbage import Spared
from tests.load.conftest import Running, Script, Server
from tests.load.engines import begun, ended

LIMIT_S = 20


@pytest.fixture(autouse=True)
def nothing_spared() -> Iterator[None]:
    gc.unfreeze()
    yield
    assert gc.get_freeze_count() == 0


def test_all_is_spared_again_where_many_have_come() -> None:
    spared = Spared()
    spared.begin()
    counts = [gc.get_freeze_count()]
    kept = []
    for sessions in (10, 11, 12, 100, 50, 120, 126):
        kept += [[sessions] for _ in range(1000)]  # a list is for the collector
        spared.look(sessions)
        counts.append(gc.get_freeze_count())
    spared.end()
    grown = [after - before > 900 for before, after in pairwise(counts)]
    assert grown == [True, False, False, True, False, False, True]


async def test_only_while_it_runs(running: Running) -> None:
    seen: list[int] = []

    async def look(server: Server) -> None:
        seen.append(gc.get_freeze_count())

    async with running(Script(), before_answer=look) as (_, target):
        result = await ended(begun(target, users=1, messages=3), LIMIT_S)
    assert result.totals.accepted == len(seen) == 3
    assert min(seen) > 1000  # at least what was imported
