"""Where a target stops holding: a psychometric fit of "held" against rate, over all trials of a search.

A trial at the edge is a coin toss: the same rate holds now and fails a minute later. So a trial at rate r is
taken to hold with probability

    P(r) = γ + (1 - γ - ε) / (1 + exp((ln r - ln c) / s))

where c is the edge (the rate at which as many trials hold as fail, but for γ and ε), s how gradual it is,
ε the trials that fail for no fault of the target and γ those that hold by luck. The posterior of (c, s) is
computed on a grid, with priors uniform in ln c and in ln s; its quantiles are the interval. That is the
logistic model of threshold measurement (Watson & Pelli 1983, QUEST), with the slope unknown as well.

It assumes that trials are independent of each other (the target has recovered in between), that the target
does not change during the search, and that a higher rate is never easier. Unlike a maximum likelihood fit it
needs no overlap of held and failed rates, and the order in which the rates were chosen does not bias it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LUCK = 0.01  # γ
FLAKE = 0.02  # ε
SCALES = (0.003, 0.2)  # s, relative: from a hard limiter to a machine that others use as well
_SCALE_STEPS = 16
_EDGE_STEPS = 400
_BEYOND = 4.0  # the edge is looked for from the lowest trial divided by this to the highest multiplied

Grid = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Edge:
    """The edge in messages a second: the median of the posterior, and a central interval."""

    rate: float
    low: float
    high: float

    @property
    def width(self) -> float:
        """Half the width of the interval, relative: 0.05 is plus or minus 5 %."""
        return float(np.sqrt(self.high / self.low)) - 1


class Posterior:
    """What trials say about the edge. `trials` are (rate, held), at least one."""

    def __init__(self, trials: Sequence[tuple[float, bool]]) -> None:
        rates = np.array([rate for rate, _ in trials], float)
        held = np.array([one for _, one in trials], bool)
        low, high = rates.min() / _BEYOND, rates.max() * _BEYOND
        self._edges = np.linspace(np.log(low), np.log(high), _EDGE_STEPS)
        self._scales = np.geomspace(*SCALES, _SCALE_STEPS)
        log = np.zeros((_EDGE_STEPS, _SCALE_STEPS))
        for (rate, one), count in _counted(rates, held).items():
            chance = self._chance(rate)
            log += count * np.log(chance if one else 1 - chance)
        weights = np.exp(log - log.max())
        self._weights = weights / weights.sum()

    def _chance(self, rate: float, *, by_chance: bool = True) -> Grid:
        """P(a trial at `rate` holds) for each edge and scale, with luck and flakes or without."""
        steps = (np.log(rate) - self._edges[:, None]) / self._scales[None, :]
        inner = 1 / (1 + np.exp(np.clip(steps, -50, 50)))
        result: Grid = LUCK + (1 - LUCK - FLAKE) * inner if by_chance else inner
        return result

    def edge(self, confidence: float) -> Edge:
        """The edge with a central interval of `confidence` (a fraction)."""
        tail = (1 - confidence) / 2
        rate, low, high = (self._quantile(part) for part in (0.5, tail, 1 - tail))
        return Edge(rate, low, high)

    def _quantile(self, part: float) -> float:
        """Interpolated between grid points, each of which stands for the cell about it."""
        running = np.cumsum(self._weights.sum(axis=1))
        centred = running - self._weights.sum(axis=1) / 2
        return float(np.exp(np.interp(part, centred, self._edges)))

    def holding(self, chance: float) -> float:
        """The highest rate at which a trial holds with probability `chance`, flakes not counted."""
        low, high = self._edges[0], self._edges[-1]
        for _ in range(40):
            middle = (low + high) / 2
            expected = float((self._weights * self._chance(np.exp(middle), by_chance=False)).sum())
            low, high = (middle, high) if expected >= chance else (low, middle)
        return float(np.exp(low))


def _counted(rates: Grid, held: NDArray[np.bool_]) -> dict[tuple[float, bool], int]:
    found: dict[tuple[float, bool], int] = {}
    for rate, one in zip(rates.tolist(), held.tolist(), strict=True):
        found[rate, one] = found.get((rate, one), 0) + 1
    return found
