"""The target's queue from outside: how deep it was, whether it grew, and what that says about a rate.

The depth at a time is how many messages had been accepted and were not yet delivered or bounced. All
functions are pure; times are in ns of one clock.

Whether the queue grows is asked of its *net growth*: the second half of the load is cut into equal slices,
and the mean growth of a slice gets a confidence interval from how much slices differ and hang together (Newey
and West's variance, Student's t): where a queue comes and goes, what one slice adds the next takes away. A
line fitted through the depth itself would find a slope in any random walk. Growth counts only if it is more
than `MATERIAL` of what was accepted: with more load a queue is a little deeper, and that is no growth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

SLICES = 60
FEWEST_SLICES = 5
SHORTEST_SLICE_S = 0.25  # shorter ones hold too few messages to be alike
SKIPPED = 0.5  # of the loaded part at its beginning: an empty queue fills, and some servers bound theirs
MATERIAL = 0.02
STEP_S = 0.25
RATE_STEP_S = 0.5  # shorter slices hold too few messages to be a rate
NS = 1_000_000_000

Times = NDArray[np.int64]


class Growth(StrEnum):
    """What became of the depth under load."""

    SUSTAINED = "sustained"  # it did not grow
    GROWING = "growing"
    UNCLEAR = "unclear"  # the run is too short, or too uneven, to tell


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its confidence interval, a second."""

    per_s: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Trend:
    """How accepting and delivering went while the load was on."""

    growth: Growth
    slope: Interval | None  # of the depth, messages a second
    accepted: Interval | None
    closed: Interval | None  # delivered or bounced


def times(values: Sequence[int]) -> Times:
    """Sorted."""
    return np.sort(np.asarray(values, np.int64))


def depth_at(accepted: Times, closed: Times, at: Times) -> NDArray[np.int64]:
    """The depth at each of `at`. Never below zero: a copy may arrive before its reply does."""
    depth = np.searchsorted(accepted, at, "right") - np.searchsorted(closed, at, "right")
    result: NDArray[np.int64] = np.maximum(depth, 0)
    return result


def series(
    accepted: Times, closed: Times, begin: int, end: int, *, points: int = 400
) -> list[tuple[float, int]]:
    """(seconds from `begin`, depth) at even steps of `STEP_S` or more: about `points`, the last at `end` or
    later.
    """
    at = _steps(begin, end, STEP_S, points)
    depths = depth_at(accepted, closed, at)
    return [(float((one - begin) / NS), int(depth)) for one, depth in zip(at, depths, strict=True)]


def rates(
    accepted: Times, closed: Times, begin: int, end: int, *, points: int = 400
) -> list[tuple[float, float, float, float]]:
    """(seconds from `begin`, how long from there, accepted a second, closed a second) in even slices of
    `RATE_STEP_S` or more, about `points`, until `end` or later.
    """
    edges = _steps(begin, end, RATE_STEP_S, points)
    if len(edges) < 2:
        return []
    span_s = float(edges[1] - edges[0]) / NS
    counts = (np.histogram(one, edges)[0] / span_s for one in (accepted, closed))
    return [
        (float((at - begin) / NS), span_s, float(taken), float(done))
        for at, taken, done in zip(edges[:-1], *counts, strict=True)
    ]


def _steps(begin: int, end: int, least_s: float, points: int) -> Times:
    """Even steps from `begin` to `end` or later, of `least_s` or a multiple: not many more than `points`."""
    step = least_s * max(math.ceil((end - begin) / NS / points / least_s), 1)
    count = math.ceil((end - begin) / NS / step) + 1
    at: Times = begin + (np.arange(count) * step * NS).astype(np.int64)
    return at


def trend(accepted: Times, closed: Times, begin: int, end: int) -> Trend:
    """How the queue did while messages were offered, from `begin` to `end`."""
    begin += int((end - begin) * SKIPPED)
    slices = min(SLICES, int((end - begin) / NS / SHORTEST_SLICE_S))
    if slices < FEWEST_SLICES or not len(accepted):
        return Trend(Growth.UNCLEAR, None, None, None)
    edges = np.linspace(begin, end, slices + 1).astype(np.int64)
    seconds = (end - begin) / NS / slices
    taken = np.diff(np.searchsorted(accepted, edges, "right"))
    done = np.diff(np.searchsorted(closed, edges, "right"))
    rate = _interval(taken, seconds)
    slope = _interval(taken - done, seconds)
    return Trend(_judge(slope, rate.per_s), slope, rate, _interval(done, seconds))


def _judge(slope: Interval, rate: float) -> Growth:
    material = MATERIAL * rate
    if slope.low > material:
        return Growth.GROWING
    return Growth.SUSTAINED if slope.high <= material or slope.per_s <= 0 else Growth.UNCLEAR


def _interval(counts: NDArray[np.int64], seconds: float) -> Interval:
    mean = float(counts.mean()) / seconds
    error = math.sqrt(_long_run_variance(counts) / len(counts)) / seconds
    reach = _student(len(counts) - 1) * error
    return Interval(mean, mean - reach, mean + reach)


def _long_run_variance(counts: NDArray[np.int64]) -> float:
    """Newey and West's (1987), with Bartlett's weights and as many lags as is usual for so many values."""
    number = len(counts)
    around = counts - counts.mean()
    lags = int(4 * (number / 100) ** (2 / 9))
    variance = float(around @ around)
    for lag in range(1, lags + 1):
        variance += 2 * (1 - lag / (lags + 1)) * float(around[lag:] @ around[:-lag])
    return max(variance, 0.0) / (number - 1)


def _student(freedom: int) -> float:
    """The 97.5 % quantile of Student's t, to a few parts in a thousand from 4 degrees of freedom on.

    Cornish and Fisher's expansion about the normal quantile.
    """
    z = 1.959964
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3


def jain(shares: Sequence[float]) -> float | None:
    """Jain's index of fairness: 1 where all have the same, 1/n where one has it all; None of nobody."""
    total, squares = sum(shares), sum(share * share for share in shares)
    return total * total / (len(shares) * squares) if squares else None
