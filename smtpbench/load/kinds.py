"""The kinds of sessions of a workload, ready to run: which door, what to send, how much of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from smtpbench.load.distributions import Distribution
from smtpbench.load.opening import Door
from smtpbench.load.script import Script

NO_LIMIT = -1

Pick = Callable[[], "Kind"]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of session. `messages` gives how many the next session carries, or `NO_LIMIT`."""

    door: Door
    script: Script
    messages: Callable[[], int]


def drawn(distribution: Distribution | None, random: Random, none: int = NO_LIMIT) -> Callable[[], int]:
    """Whole numbers drawn one after the other; `none` for ever if there is no distribution."""
    if distribution is None:
        return lambda: none
    if distribution.fixed is not None:
        value = int(distribution.fixed)
        return lambda: value
    return lambda: distribution.draw_whole(random)
