"""The one place where an outcome becomes a verdict."""

from __future__ import annotations

from smtpbench.conformance.model import STRENGTH, Level
from smtpbench.conformance.observation import Outcome
from smtpbench.conformance.result import Verdict

BINDING = STRENGTH[Level.MUST]  # a breach is a fail
ADVICE = STRENGTH[Level.SHOULD]  # a breach is non-strict; below it, nothing is broken


def grade(level: Level, outcome: Outcome) -> Verdict:
    """The verdict for `outcome` of a case whose strongest requirement has `level`."""
    strength = STRENGTH[level]
    match outcome:
        case Outcome.UNTESTED:
            return Verdict.UNTESTED
        case Outcome.CHOICE:
            return Verdict.INFO
        case Outcome.STRICTER:
            return Verdict.HARDENED
        case Outcome.CONFORMS:
            return Verdict.PASS if strength >= ADVICE else Verdict.INFO
        case Outcome.NEAR:
            return Verdict.NON_STRICT if strength >= ADVICE else Verdict.INFO
        case Outcome.VIOLATES:
            if strength >= BINDING:
                return Verdict.FAIL
            return Verdict.NON_STRICT if strength >= ADVICE else Verdict.INFO
