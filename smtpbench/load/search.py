"""The capacity search, without a clock or a socket: told the outcome of a trial, it says the next trial.

    grow      from the start rate, doubled while trials hold (or divided, until one does)
    bisect    at the median of what is known about the edge (see edge.py): where all trials agree this halves
              the bracket, and where they contradict each other it repeats trials near the edge
    confirm   at the highest rate that should hold nine times in ten, until Wald's sequential test of "holds
              nine times in ten" against "holds every other time" decides, wrong in at most one case of ten

A rejected candidate is followed by a lower one, chosen with what has been learnt. A trial in which the
generator was the bottleneck says nothing about the target: it is repeated, and if that is no better the
search goes no higher than what has held until then. Unless a higher rate has failed, that is the answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from smtpbench.load.edge import Edge, Posterior

HOLDS = 0.9  # of the trials at a rate that is said to hold
_TOSS = 0.5  # … against this
_WRONG = 0.1  # of the decisions, either way
_ACCEPT = math.log((1 - _WRONG) / _WRONG)
LOWEST_RATE = 0.1  # a target that cannot do one message in ten seconds has no capacity to speak of
MOST_TRIALS = 60
_BISECT_MAX = 12  # a machine so noisy gets a wider interval, not a longer search
_REPEATS = 2  # of a trial in which the generator was the bottleneck: a neighbour's moment is no answer


class Verdict(StrEnum):
    """What a trial showed."""

    HELD = "held"
    FAILED = "failed"
    INVALID = "invalid"  # the generator was the bottleneck


class Step(StrEnum):
    """Why a trial is made."""

    GROW = "grow"
    BISECT = "bisect"
    CONFIRM = "confirm"


class End(StrEnum):
    """What a search has found."""

    FOUND = "found"  # an edge, and a rate below it that was confirmed
    MAXIMUM = "maximum"  # the highest rate that was to be tried holds
    AT_LEAST = "at-least"  # a rate that holds, and the generator could not go above it
    BELOW = "below"  # not even the lowest rate held
    UNFINISHED = "unfinished"  # stopped before it was confirmed
    UNKNOWN = "unknown"  # no trial said anything about the target


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the search may do. Rates in messages a second; `precision` is half the width of the interval."""

    start: float
    maximum: float
    precision: float = 0.1
    confidence: float = 0.95
    growth: float = 2.0
    most_trials: int = MOST_TRIALS


@dataclass(frozen=True, slots=True)
class Ask:
    """The next trial."""

    step: Step
    rate: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What the trials so far say. `held` of `tried` trials held at `rate`, which is None if none did.

    `edge` is None as long as no trial failed.
    """

    end: End
    rate: float | None
    held: int
    tried: int
    edge: Edge | None
    reason: str


class Search:
    """Ask `next` for a trial and `tell` its outcome until `next` is None; `answer` may be asked any time."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._trials: list[tuple[float, bool]] = []
        self._made = 0
        self._wall = bounds.maximum  # the highest rate that can be tried
        self._limited = ""  # by what, if it was the generator
        self._rejected = math.inf  # the lowest rate that was found not to hold
        self._end: End | None = None
        self._confirmed: float | None = None
        self._last = Verdict.HELD
        self._course = self._run()
        self.next: Ask | None = next(self._course)

    def tell(self, verdict: Verdict) -> None:
        """The outcome of the trial that `next` asked for."""
        assert self.next is not None
        self._made += 1
        self._last = verdict
        if verdict is not Verdict.INVALID:
            self._trials.append((self.next.rate, verdict is Verdict.HELD))
        self.next = next(self._course, None) if self._made < self._bounds.most_trials else None

    def answer(self) -> Answer:
        """What the trials so far say."""
        edge = self._posterior().edge(self._bounds.confidence) if self._failed else None
        rate = self._confirmed or self._highest_held(edge)
        held, tried = self._count(rate) if rate else (0, 0)
        end = self._end or (End.UNFINISHED if self._trials else End.UNKNOWN)
        return Answer(end, rate, held, tried, edge, self._reason(end))

    # --- the course, one `yield` a trial ---

    def _run(self) -> Iterator[Ask]:
        yield from self._grow()
        if self._failed and not self._end:
            yield from self._bisect()
        while self._end is None:
            yield from self._confirm()

    def _trial(self, step: Step, rate: float) -> Iterator[Ask]:
        """One trial that says something about the target, or the end of going up."""
        for _ in range(1 + _REPEATS):
            yield Ask(step, rate)
            if self._last is not Verdict.INVALID:
                return
        self._limited = f"the generator was the bottleneck at {rate:g}/s"
        held = [at for at, one in self._trials if one]
        if held:
            self._wall = max(held)
        else:
            self._end = End.UNKNOWN

    def _grow(self) -> Iterator[Ask]:
        growth, rate = self._bounds.growth, min(self._bounds.start, self._wall)
        yield from self._trial(Step.GROW, rate)
        while not (self._held or self._end):
            rate = tidy(rate / growth**2)
            if rate < LOWEST_RATE:
                self._end = End.BELOW
                return
            yield from self._trial(Step.GROW, rate)
        while not (self._failed or self._end) and rate < self._wall:
            rate = min(tidy(rate * growth), self._wall)
            yield from self._trial(Step.GROW, rate)

    def _bisect(self) -> Iterator[Ask]:
        for _ in range(_BISECT_MAX):
            edge = self._posterior().edge(self._bounds.confidence)
            if edge.width <= self._bounds.precision or edge.low > self._wall or self._limited:
                return
            yield from self._trial(Step.BISECT, min(tidy(edge.rate), self._wall))

    def _confirm(self) -> Iterator[Ask]:
        rate = self._candidate()
        while -_ACCEPT < self._score(rate) < _ACCEPT:
            yield from self._trial(Step.CONFIRM, rate)
            if self._end or rate > self._wall:
                return
        if self._score(rate) <= -_ACCEPT:
            self._rejected = rate
            return
        self._confirmed = rate
        failed_above = any(at > rate and not one for at, one in self._trials)
        self._end = End.FOUND if failed_above else End.AT_LEAST if self._limited else End.MAXIMUM

    # --- what is known ---

    @property
    def _failed(self) -> bool:
        return any(not one for _, one in self._trials)

    @property
    def _held(self) -> bool:
        return any(one for _, one in self._trials)

    def _posterior(self) -> Posterior:
        return Posterior(self._trials)

    def _count(self, rate: float) -> tuple[int, int]:
        """How many trials held at exactly `rate`, of how many."""
        tried = [one for at, one in self._trials if at == rate]
        return sum(tried), len(tried)

    def _score(self, rate: float) -> float:
        """The logarithm of the likelihood ratio of "holds" against "a toss" (Wald 1945)."""
        held, tried = self._count(rate)
        return held * math.log(HOLDS / _TOSS) + (tried - held) * math.log((1 - HOLDS) / (1 - _TOSS))

    def _candidate(self) -> float:
        """The rate to confirm; one that was tried before if there is one as good, for what it has shown."""
        precision = self._bounds.precision
        highest = max(at for at, one in self._trials if one)
        best = min(self._posterior().holding(HOLDS) if self._failed else highest, self._wall)
        best = min(best, self._rejected / (1 + precision))
        tried = [at for at, _ in self._trials if best / (1 + precision / 2) <= at <= best]
        return max(tried, default=tidy(best))

    def _highest_held(self, edge: Edge | None) -> float | None:
        """The highest rate at which most trials held, and that is not above the edge."""
        limit = edge.rate if edge else math.inf
        rates = {at for at, one in self._trials if one and at <= limit}
        return max((at for at in rates if 2 * self._count(at)[0] > self._count(at)[1]), default=None)

    def _reason(self, end: End) -> str:
        if self._limited and end is not End.FOUND:
            return self._limited
        if end is End.MAXIMUM:
            return f"no higher rate was to be tried than {self._wall:g}/s"
        if end is End.BELOW:
            return f"not even {min(at for at, _ in self._trials):g}/s held"
        if end is End.UNFINISHED and self._made >= self._bounds.most_trials:
            return f"{self._made} trials did not settle it"
        return ""


def tidy(rate: float) -> float:
    """`rate` with three significant digits."""
    return float(f"{rate:.3g}")
