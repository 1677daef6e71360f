"""The search for the highest rate that a target sustains: one at which its queue does not grow.

Trials are whole queue runs of an open load, short ones, and each ends when the queue is empty again. What is
to be tried next is `load/search.py`'s to say, as in a search for the capacity: there a trial holds if
thresholds are met at the door, here if besides the depth of the queue behind it does not grow. A first run,
as the user asked for it, says where to begin.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from smtpbench.campaign.result import QueueResult, SustainableSearch, SustainableTrial
from smtpbench.delivery.depth import MATERIAL, SKIPPED
from smtpbench.errors import SessionError
from smtpbench.load.search import Ask, Bounds, End, Search, Verdict, tidy
from smtpbench.load.thresholds import parse_threshold
from smtpbench.load.trial import Judgement, judge

DEFAULT_START = 10.0  # messages a second, if the first run says nothing
START_SHARE = 0.6  # of what the first run delivered
GROWTH = 1.5
FEW = 10  # messages by which a queue may be deeper at the end of a trial: a few are always on their way
OVERHEAD_S = 8.0  # of a trial: processes that start, the queue that is emptied, the wait for duplicates
DOOR = (parse_threshold("error_rate < 0.1%"),)  # a message that is not taken does not get into the queue
CONFIDENCE = 0.95

RunTrial = Callable[[float, float, int], QueueResult]  # rate, run time in seconds, number of the trial


@dataclass(frozen=True, slots=True)
class Settings:
    """What the search may do. Rates in messages a second; `precision` is half the width of the interval."""

    maximum: float = 100_000.0
    trial_s: float = 12.0
    precision: float = 0.15
    budget_s: float = 420.0


def judge_growth(result: QueueResult) -> Judgement:
    """Whether a trial held: what was offered was accepted in time, and the queue did not grow.

    Where that is too uneven to tell, the more likely of the two counts: the search repeats what it doubts.
    """
    found = judge(result, DOOR)
    if found.verdict is not Verdict.HELD:
        return found
    slope, rate = result.depth_slope, result.accept_rate
    if slope is None or rate is None:
        return Judgement(Verdict.INVALID, "too few messages to tell whether the queue grew")
    grown = slope.per_s * result.load_s * (1 - SKIPPED)
    likely = result.growth == "growing" or (
        result.growth == "unclear" and slope.per_s > MATERIAL * rate.per_s
    )
    if likely and (grown > FEW or slope.per_s > rate.per_s / 2):
        return Judgement(Verdict.FAILED, f"the queue grew by {slope.per_s:.3g} messages/s")
    if not result.closed or (result.drain_s is None and result.ledger.pending):
        return Judgement(Verdict.FAILED, f"{result.ledger.pending} messages were left in the queue")
    return Judgement(Verdict.HELD)


@dataclass
class SustainableRun:
    """One search. `run` makes a trial, `begin` hears of it before and `tell` after."""

    run: RunTrial
    settings: Settings = field(default_factory=Settings)
    begin: Callable[[Ask], None] = lambda _: None
    tell: Callable[[SustainableTrial], None] = lambda _: None
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._trials: list[SustainableTrial] = []
        self._wrong: Counter[str] = Counter()
        self._stopped = ""

    def search(self, start: float | None) -> SustainableSearch:
        """The whole search, from `start` on. KeyboardInterrupt ends it with what is known."""
        begun = self.clock()
        maximum = self.settings.maximum
        bounds = Bounds(
            min(tidy(start or DEFAULT_START), maximum), maximum, self.settings.precision, CONFIDENCE, GROWTH
        )
        search = Search(bounds)
        try:
            self._try_all(search, begun)
        except KeyboardInterrupt:
            self._stopped = "interrupted"
        answer = search.answer()
        edge = answer.edge
        return SustainableSearch(
            end=answer.end, reason=self._stopped or answer.reason, rate_per_s=answer.rate,
            held=answer.held, tried=answer.tried, confidence=CONFIDENCE,
            edge_per_s=edge and round(edge.rate, 2), low_per_s=edge and round(edge.low, 2),
            high_per_s=edge and round(edge.high, 2), duration_s=round(self.clock() - begun, 1),
            trials=self._trials, wrong=dict(self._wrong),
        )  # fmt: skip

    def _try_all(self, search: Search, begun: float) -> None:
        takes = self.settings.trial_s + OVERHEAD_S
        while (ask := search.next) is not None:
            if self.clock() - begun + takes > self.settings.budget_s:
                self._stopped = f"the budget of {self.settings.budget_s:g} s was used up"
                return
            self.begin(ask)
            try:
                result = self.run(ask.rate, self.settings.trial_s, len(self._trials) + 1)
            except SessionError as error:
                self._stopped = f"after trial {len(self._trials)} the target let nobody in: {error}"
                return
            if result.interrupted:
                self._stopped = "interrupted"
                return
            trial = self._record(ask, result)
            self.tell(trial)
            search.tell(trial.verdict)

    def _record(self, ask: Ask, result: QueueResult) -> SustainableTrial:
        found = judge_growth(result)
        accepted, delivered = result.accept_rate, result.delivery_rate
        trial = SustainableTrial(
            number=len(self._trials) + 1, step=ask.step, rate=ask.rate, verdict=found.verdict, why=found.why,
            accepted_per_s=accepted and accepted.per_s, delivered_per_s=delivered and delivered.per_s,
            depth_slope=result.depth_slope, drain_s=result.drain_s, wrong=result.wrong,
        )  # fmt: skip
        self._trials.append(trial)
        self._wrong.update(result.wrong)
        return trial


def start_of(first: QueueResult) -> float | None:
    """Where to begin after a first run: well below what it delivered a second."""
    estimate = first.sustainable or first.delivery_rate
    rate = estimate.per_s if estimate is not None else first.rates.accepted_per_s / 2
    return rate * START_SHARE if rate > 0 else None


def put_into(result: QueueResult, found: SustainableSearch) -> None:
    """Let the answer of the search take the place of what the one run said."""
    result.search = found
    result.sustainable = None
    result.sustainable_per_s = found.rate_per_s
    result.sustainable_at_least = found.end in (End.AT_LEAST, End.MAXIMUM)
    confirmed = found.end in (End.FOUND, End.AT_LEAST, End.MAXIMUM)
    doubt = "not confirmed" if found.rate_per_s else "no rate was found that it sustains"
    doubt = "" if confirmed else doubt
    result.sustainable_reason = ": ".join(filter(None, (doubt, found.reason)))
