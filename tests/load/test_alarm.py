"""The alarm of an event loop."""

from __future__ import annotations

import math
import select
from collections.abc import Iterator
from contextlib import closing
from time import monotonic

import pytest

from smtpbench.load.alarm import Alarm

LIMIT_S = 5.0


@pytest.fixture
def alarm() -> Iterator[Alarm]:
    with closing(Alarm()) as one:
        yield one


def rings(alarm: Alarm, within_s: float) -> bool:
    return bool(select.select([alarm.number], [], [], within_s)[0])


def test_it_rings_when_it_is_set_to_and_not_before(alarm: Alarm) -> None:
    at = monotonic() + 0.03
    alarm.set(at)
    assert rings(alarm, LIMIT_S)
    assert monotonic() >= at


def test_what_is_past_rings_now(alarm: Alarm) -> None:
    for at in (monotonic() - 1, 0.0, -1.0):
        alarm.set(at)
        assert rings(alarm, LIMIT_S)


def test_the_last_word_counts(alarm: Alarm) -> None:
    assert not rings(alarm, 0)
    alarm.set(monotonic() + 0.005)
    alarm.set(math.inf)
    assert not rings(alarm, 0.02)
    alarm.set(monotonic() + LIMIT_S)
    alarm.set(monotonic())
    assert rings(alarm, LIMIT_S)
