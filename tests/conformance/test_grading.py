"""The verdict of every outcome at every level, as a table."""

from __future__ import annotations

import pytest

from smtpbench.conformance.grading import grade
from smtpbench.conformance.model import Level
from smtpbench.conformance.observation import Outcome

BINDING = (Level.MUST, Level.MUST_NOT, Level.GRAMMAR)
ADVICE = (Level.SHOULD, Level.SHOULD_NOT, Level.PROSE)
OPEN = (Level.MAY, Level.INFO)

TABLE = {
    #                    binding       advice        open
    Outcome.CONFORMS: ("pass", "pass", "info"),
    Outcome.STRICTER: ("hardened", "hardened", "hardened"),
    Outcome.CHOICE: ("info", "info", "info"),
    Outcome.NEAR: ("non-strict", "non-strict", "info"),
    Outcome.VIOLATES: ("fail", "non-strict", "info"),
    Outcome.UNTESTED: ("untested", "untested", "untested"),
}
ROWS = [
    (level, outcome, verdict)
    for outcome, verdicts in TABLE.items()
    for levels, verdict in zip((BINDING, ADVICE, OPEN), verdicts, strict=True)
    for level in levels
]


@pytest.mark.parametrize(("level", "outcome", "verdict"), ROWS)
def test_grade(level: Level, outcome: Outcome, verdict: str) -> None:
    assert grade(level, outcome) == verdict


def test_the_table_is_complete() -> None:
    assert {(level, outcome) for level, outcome, _ in ROWS} == {(a, b) for a in Level for b in Outcome}
