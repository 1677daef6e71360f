"""When a target counts as gone, and how a slow one changes the waits."""

from __future__ import annotations

import pytest

from smtpbench.conformance.pulse import GIVE_UP_AFTER, Pace, Pulse
from smtpbench.target import Endpoint, Role, Target, Timeouts

TARGET = Target(endpoints={Role.MX: Endpoint(port=25)}, timeouts=Timeouts(quiet=0.3, reply=10))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in seconds, to be set by the test."""
    now = [100.0]
    monkeypatch.setattr("smtpbench.conformance.pulse.time.monotonic", lambda: now[0])
    return now


def test_several_misses_over_some_time_are_the_end(clock: list[float]) -> None:
    beat = Pulse()
    for _ in range(GIVE_UP_AFTER * 2):
        beat.miss("refused")
    assert beat.stopped is None  # all in one moment: a restart, perhaps
    clock[0] += 2.0
    beat.miss("connection refused")
    assert beat.stopped == "the target stopped answering: connection refused"


def test_a_greeting_in_between_begins_the_count_anew(clock: list[float]) -> None:
    beat = Pulse()
    for _ in range(3):
        for _ in range(GIVE_UP_AFTER - 1):
            beat.miss("refused")
            clock[0] += 1.0
        beat.beat()
    assert beat.stopped is None


def test_a_prompt_target_changes_nothing() -> None:
    pace = Pace()
    assert (pace.latency, pace.stretch, pace.fit(TARGET)) == (0.0, 1.0, TARGET)
    pace.add([0.001] * 50)
    assert pace.fit(TARGET) is TARGET
    assert pace.stretch == 1.0


def test_a_slow_target_gets_longer_silences_and_deadlines() -> None:
    pace = Pace()
    pace.add([0.15] * 50)
    assert pace.fit(TARGET).timeouts.quiet == 0.45
    assert pace.stretch == 5.0
    pace.add([60.0] * 64)
    assert pace.fit(TARGET).timeouts.quiet == TARGET.timeouts.reply
    assert pace.stretch == 10.0
    pace.add([0.001] * 64)  # it has recovered
    assert pace.fit(TARGET) is TARGET


def test_one_late_reply_in_ten_is_no_slow_target() -> None:
    pace = Pace()
    pace.add([0.001] * 60 + [5.0] * 4)
    assert pace.latency == 0.001
