"""The knee of latency against rate: where more load begins to cost more latency than it brings throughput.

It is the rate at which rate divided by latency is greatest: Kleinrock's *power* (1979; Jain 1991, §3.5).
For an M/M/1 queue that is half the capacity, for a server with a hard limit and flat latency the limit
itself. Unlike a knee read off a drawing, it does not depend on the range of rates that were tried, nor on
the units of the axes. Trials scatter, so latency is first made to rise with the rate (isotonic regression).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MIN_RATES = 4
_STEPS = 200  # between the lowest and the highest rate, interpolated on logarithmic axes


@dataclass(frozen=True, slots=True)
class Knee:
    """Rate in messages a second, latency there in ms.

    `at_start`: power fell from the lowest rate on, so the knee is there or below; `at_end`: it rose up to
    the highest, so there is none yet.
    """

    rate: float
    latency_ms: float
    at_start: bool
    at_end: bool


def find_knee(points: Sequence[tuple[float, float]]) -> Knee | None:
    """The knee of (rate, latency in ms) points; None if there are too few rates to see one."""
    usable = sorted((rate, latency) for rate, latency in points if rate > 0 and latency > 0)
    rates = np.unique([rate for rate, _ in usable])
    if len(rates) < MIN_RATES:
        return None
    medians = np.array([np.median([latency for at, latency in usable if at == rate]) for rate in rates])
    rising = _isotonic(np.log(medians))
    grid = np.linspace(np.log(rates[0]), np.log(rates[-1]), _STEPS)
    latencies = np.interp(grid, np.log(rates), rising)
    power = grid - latencies
    best = len(power) - 1 - int(np.argmax(power[::-1]))  # the highest of equals
    rate, latency = float(np.exp(grid[best])), float(np.exp(latencies[best]))
    return Knee(rate, latency, at_start=best == 0, at_end=best == len(power) - 1)


def _isotonic(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The nearest sequence that never falls, by least squares (pool adjacent violators)."""
    blocks: list[tuple[float, int]] = []
    for value in values.tolist():
        blocks.append((value, 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (last, n), (before, m) = blocks.pop(), blocks.pop()
            blocks.append(((last * n + before * m) / (n + m), n + m))
    return np.repeat([value for value, _ in blocks], [count for _, count in blocks])
