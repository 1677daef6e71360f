"""Random quantities of a workload: sizes, recipients, messages a session, pauses.

A quantity is drawn by putting one uniform number into the inverse of its distribution function, so
that the same seed gives the same run. `quantities` reads them from text and TOML.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from bisect import bisect_right
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from random import Random
from statistics import NormalDist

_STEPS = 20_000  # of the numeric mean of a distribution with bounds
_TAIL = 4  # the steps lie as the fourth power, close together where a heavy tail has its mass
_SMALLEST = 2.0**-53  # next to 0, and to 1 from below, where quantiles may be infinite
_NORMAL = NormalDist()


class Shape(ABC):
    """A distribution without bounds. `lowest` and `highest` are what it may give."""

    lowest: float = 0.0
    highest: float = math.inf

    @property
    @abstractmethod
    def mean(self) -> float:
        """The expected value; infinite for a heavy enough tail."""

    @abstractmethod
    def quantile(self, u: float) -> float:
        """The value that a fraction `u`, from 0 to below 1, of all values does not exceed."""


@dataclass(frozen=True)
class Uniform(Shape):
    """From `low` to `high`; of whole numbers, both included."""

    low: float
    high: float
    whole: bool = False

    def __post_init__(self) -> None:
        if self.high < self.low:
            raise ValueError(f"uniform from {self.low:g} to {self.high:g}: the first must be the smaller")
        object.__setattr__(self, "lowest", self.low)
        object.__setattr__(self, "highest", self.high)

    @property
    def mean(self) -> float:
        """Halfway."""
        return (self.low + self.high) / 2

    def quantile(self, u: float) -> float:
        """See `Shape`."""
        if self.whole:
            return self.low + math.floor(u * (self.high - self.low + 1))
        return self.low + u * (self.high - self.low)


@dataclass(frozen=True)
class Exponential(Shape):
    """Memoryless, as pauses of unrelated people are."""

    expected: float

    @property
    def mean(self) -> float:
        """As given."""
        return self.expected

    def quantile(self, u: float) -> float:
        """See `Shape`."""
        return -self.expected * math.log1p(-u)


@dataclass(frozen=True)
class Lognormal(Shape):
    """As message sizes are: many small, some very large."""

    median: float
    sigma: float

    @property
    def mean(self) -> float:
        """Above the median, by the weight of the tail."""
        return self.median * math.exp(self.sigma**2 / 2)

    def quantile(self, u: float) -> float:
        """See `Shape`."""
        return self.median * math.exp(self.sigma * _NORMAL.inv_cdf(max(u, _SMALLEST)))


@dataclass(frozen=True)
class Pareto(Shape):
    """A power law: heavier in the tail than any lognormal."""

    minimum: float
    alpha: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "lowest", self.minimum)

    @property
    def mean(self) -> float:
        """Infinite if alpha is 1 or less."""
        return self.alpha * self.minimum / (self.alpha - 1) if self.alpha > 1 else math.inf

    def quantile(self, u: float) -> float:
        """See `Shape`."""
        return float(self.minimum * (1 - u) ** (-1 / self.alpha))


@dataclass(frozen=True)
class Choice(Shape):
    """One of `values`, by weight. A single value is always the same."""

    values: tuple[float, ...]
    weights: tuple[float, ...]
    _upto: tuple[float, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.values or len(self.values) != len(self.weights):
            raise ValueError("choice: as many weights as values are needed, and one at least")
        if min(self.weights) < 0 or not 0 < sum(self.weights) < math.inf:
            raise ValueError("choice: the weights must not be negative, nor all zero")
        total = math.fsum(self.weights)
        object.__setattr__(self, "_upto", tuple(weight / total for weight in accumulate(self.weights)))
        object.__setattr__(self, "lowest", min(self.values))
        object.__setattr__(self, "highest", max(self.values))

    @property
    def mean(self) -> float:
        """The weighted mean."""
        total = math.fsum(self.weights)
        return math.fsum(v * w for v, w in zip(self.values, self.weights, strict=True)) / total

    def quantile(self, u: float) -> float:
        """See `Shape`."""
        return self.values[min(bisect_right(self._upto, u), len(self.values) - 1)]


@dataclass(frozen=True)
class Distribution:
    """A quantity of a workload: a `shape` within bounds, in whole numbers or not.

    `text` is what it was read from, in a form that can be read again.
    """

    text: str = field(compare=False)
    shape: Shape
    low: float = 0.0
    high: float = math.inf
    whole: bool = False

    def quantile(self, u: float) -> float:
        """The value that a fraction `u`, from 0 to below 1, of all values does not exceed."""
        value = min(max(self.shape.quantile(u), self.low), self.high)
        return round(value) if self.whole else value

    def draw(self, random: Random) -> float:
        """The next value. What never varies takes no random number."""
        return self.quantile(0.0) if self.fixed is not None else self.quantile(random.random())

    def draw_whole(self, random: Random) -> int:
        """The next value of a quantity that is counted."""
        return int(self.draw(random))

    @cached_property
    def fixed(self) -> float | None:
        """The value if there is only one, else None."""
        return self.lowest if self.lowest == self.highest else None

    @property
    def lowest(self) -> float:
        """No value is smaller."""
        return min(max(self.shape.lowest, self.low), self.high)

    @property
    def highest(self) -> float:
        """No value is larger."""
        return min(max(self.shape.highest, self.low), self.high)

    @cached_property
    def mean(self) -> float:
        """The expected value, bounds included."""
        if self.lowest == self.shape.lowest and self.highest == self.shape.highest:
            return self.shape.mean
        return (
            math.fsum(
                self.quantile(1 - max(left**_TAIL, _SMALLEST)) * _TAIL * left ** (_TAIL - 1)
                for left in ((i + 0.5) / _STEPS for i in range(_STEPS))
            )
            / _STEPS
        )

    def strata(self, number: int) -> list[float]:
        """One value of each `number`-th part of the probability, ascending: a small fair sample."""
        return [self.quantile((i + 0.5) / number) for i in range(number)]

    def __str__(self) -> str:
        return self.text
