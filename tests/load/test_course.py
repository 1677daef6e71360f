"""Sessions led by callbacks: who may connect when, and that nothing of a session stays behind."""

from __future__ import annotations

import gc

import pytest

from smtpbench.load.flow import Flow
from tests.load.conftest import Running
from tests.load.engines import begun, ended

pytestmark = pytest.mark.usefixtures("conducts")
LIMIT_S = 30.0


async def test_sessions_that_are_over_need_no_garbage_collector(running: Running) -> None:
    async with running() as (_, target):
        engine = begun(target, users=2, messages=20, messages_per_session=1, watch_share=0)
        gc.collect()
        before = alive()
        gc.disable()
        try:
            result = await ended(engine, LIMIT_S)
            left = alive() - before
        finally:
            gc.enable()
    assert result.totals.accepted == 20
    assert result.totals.sessions in (20, 21)  # one may be opened while the last message is on its way
    assert left <= 2  # each user's last


def alive() -> int:
    """How many sessions are in memory."""
    return sum(isinstance(one, Flow) for one in gc.get_objects())
