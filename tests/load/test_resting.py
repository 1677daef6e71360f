"""Rests, in a loop whose time passes as the test says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpbench.load.resting import SLICES, Rests


class Timer:
    def __init__(self, when: float, call: Callable[[], object]) -> None:
        self.when, self.call, self.cancelled = when, call, False

    def cancel(self) -> None:
        self.cancelled = True


class Loop:
    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[Timer] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, call: Callable[[], object]) -> Timer:
        self.timers.append(Timer(when, call))
        return self.timers[-1]

    @property
    def pending(self) -> list[Timer]:
        return [timer for timer in self.timers if not timer.cancelled]

    def pass_until(self, end: float) -> None:
        while due := sorted((one for one in self.pending if one.when <= end), key=lambda one: one.when):
            self.timers.remove(due[0])
            self.now = max(self.now, due[0].when)
            due[0].call()
        self.now = end


class Sleeper:
    """Notes when it was woken."""

    def __init__(self, rests: Rests, loop: Loop) -> None:
        self.rests, self.loop, self.rests_until = rests, loop, 0.0
        self.woken: list[float] = []

    def wake(self) -> None:
        if self.rests.end(self):  # type: ignore[arg-type]
            self.woken.append(self.loop.now)


def bedroom(number: int) -> tuple[Rests, Loop, list[Any], set[Any]]:
    loop, awake = Loop(), set[Any]()
    rests = Rests(loop, awake)  # type: ignore[arg-type]
    sleepers = [Sleeper(rests, loop) for _ in range(number)]
    awake.update(sleepers)
    return rests, loop, sleepers, awake


STEPS = st.lists(
    st.tuples(st.integers(0, 4), st.sampled_from(["rest", "end"]), st.floats(0, 0.2), st.floats(0, 0.1)),
    max_size=60,
)


@given(STEPS)
def test_each_wakes_when_its_rest_is_over_and_not_for_one_that_was_ended(
    steps: list[tuple[int, str, float, float]],
) -> None:
    """Whoever it is rests so long, or is no longer to rest; then so much time passes."""
    rests, loop, sleepers, awake = bedroom(5)
    until: dict[int, float] = {}
    expected: list[list[float]] = [[] for _ in sleepers]
    for who, what, seconds, passes in steps:
        if what == "rest" and who not in until:
            rests.begin(sleepers[who], seconds)
            until[who] = loop.now + seconds
        elif what == "end":
            assert rests.end(sleepers[who]) is (who in until)
            until.pop(who, None)
        assert rests.asleep == {sleepers[one] for one in until}
        assert set(rests.first) <= rests.asleep
        assert awake == set(sleepers) - rests.asleep
        assert len(loop.pending) <= 1
        loop.pass_until(loop.now + passes)
        for one in [one for one, when in until.items() if when <= loop.now]:
            expected[one].append(until.pop(one))
        assert [sleeper.woken for sleeper in sleepers] == expected
    loop.pass_until(loop.now + 1)
    assert not rests.asleep
    assert not loop.pending


def test_one_who_fails_leaves_the_others_asleep_no_longer_than_they_want() -> None:
    rests, loop, (first, second), _ = bedroom(2)

    def fail() -> None:
        raise RuntimeError("a bug")

    first.wake = fail
    rests.begin(first, 0.5)
    rests.begin(second, 0.5 + 1 / SLICES / 2)
    with pytest.raises(RuntimeError, match="a bug"):
        loop.pass_until(1001)
    loop.pass_until(1001)
    assert len(second.woken) == 1
