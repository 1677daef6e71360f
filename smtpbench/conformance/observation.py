"""What a case saw, set against what conforms. Levels and verdicts are not known here: see `grading`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Outcome(IntEnum):
    """How what was seen stands to what conforms; a greater value is the worse news of two."""

    CONFORMS = 0  # one of the stated outcomes
    CHOICE = 1  # the RFC leaves it open: which branch was taken is worth recording
    STRICTER = 2  # refused on purpose where the RFC would let it pass
    UNTESTED = 3  # the question could not be put
    NEAR = 4  # the right class with the wrong code, or tolerated in the field
    VIOLATES = 5  # none of the stated outcomes


@dataclass(frozen=True, slots=True)
class Observation:
    """What a case hands back. Made by `expect`, `all_of` or `Untested`, never graded by the case."""

    expected: str
    observed: str
    outcome: Outcome
    reason: str | None = None


class Untested(Exception):
    """Raised where a case cannot put its question; the text is the reason that the report gives."""

    def __init__(self, reason: str, observed: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.observed = observed

    def observation(self) -> Observation:
        """The same as an Observation."""
        return Observation("", self.observed, Outcome.UNTESTED, self.reason)


def all_of(*observations: Observation) -> Observation:
    """The observations of several variants as one: the worst outcome, and what was seen in those with it."""
    if not observations:
        raise ValueError("all_of needs at least one observation")
    worst = max(observation.outcome for observation in observations)
    telling = [observation for observation in observations if observation.outcome is worst]
    expected = "; ".join(
        dict.fromkeys(observation.expected for observation in observations if observation.expected)
    )
    observed = "; ".join(
        dict.fromkeys(observation.observed for observation in telling if observation.observed)
    )
    reason = next((observation.reason for observation in telling if observation.reason), None)
    return Observation(expected, observed, worst, reason)
