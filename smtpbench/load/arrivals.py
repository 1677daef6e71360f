"""Arrival plans: when each message of an open workload is due. Pure functions of the rate and the seed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate, count, repeat
from random import Random
from typing import Literal


def constant(rate: float, *, offset: float = 0.0) -> Iterator[float]:
    """Seconds from the start at which messages are due, evenly spaced, `rate` a second.

    `offset` shifts the plan, so that the processes that share a rate do not all fire together.
    """
    return (offset + number / rate for number in count())


def poisson(rate: float, *, seed: int) -> Iterator[float]:
    """Seconds from the start at which messages are due when they arrive independently of each other.

    The gaps are exponential with mean ``1 / rate``, as of many unrelated clients. The same seed
    gives the same plan.
    """
    random = Random(seed)
    return accumulate(random.expovariate(lambd) for lambd in repeat(rate))


def plan(
    kind: Literal["poisson", "constant"], rate: float, *, seed: int, part: int = 0, parts: int = 1
) -> Iterator[float]:
    """The share of process `part` of `parts` in an arrival plan of `rate` messages a second in all."""
    if kind == "constant":
        return constant(rate / parts, offset=part / rate)
    return poisson(rate / parts, seed=seed * 1_000_003 + part)
