"""Runs a capacity search: trials of a load with time to recover in between, within a budget of time.

First closed trials at 1, 2, 4 … users for the scalability law; the best of them says where to start. Then
open trials as `search.Search` asks for them. What ends it early (the budget, an interrupt, a target that
lets nobody in any more) loses no trial that was made.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from smtpbench import __version__
from smtpbench.errors import SessionError, SmtpbenchError
from smtpbench.load.capacity_result import Capacity, CapacityResult, KneeResult, Trial, UslResult
from smtpbench.load.knee import find_knee
from smtpbench.load.result import LoadResult, PhaseStats
from smtpbench.load.search import Answer, Bounds, End, Search, Step, Verdict, tidy
from smtpbench.load.thresholds import Threshold, error_rate
from smtpbench.load.trial import Judgement, judge
from smtpbench.load.usl import MIN_LEVELS, fit_usl

DEFAULT_START = 10.0  # messages a second, if nothing is known of the target
OVERHEAD_S = 4.0  # of a trial: processes that start, a session that looks first, the end
_CLOSED_SHARE = 1 / 3  # of the budget is all that the closed trials may take
_CLOSED_ERRORS_MAX = 0.05  # a closed trial with more is no measurement of throughput
_START_SHARE = 0.25  # of the best closed throughput is where growing starts: below the knee, as a rule

Fields = Mapping[str, Any]
RunTrial = Callable[[Fields], LoadResult]
Recover = Callable[[], tuple[float, bool]]
Keep = Callable[[Trial, LoadResult], str | None]
Tell = Callable[[Trial], None]
Begin = Callable[[str, float | None, int | None], None]  # step, rate, users

EDGE_METHOD = (
    "psychometric fit: logistic in the logarithm of the rate, posterior median and central interval over all "
    "open trials (load/edge.py)"
)
KNEE_METHOD = "greatest rate divided by p99 latency from the intended start (Kleinrock's power)"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the search may do. Rates in messages a second, times in seconds; `start` None: see closed trials.

    `trial_s` is the measured time of an open trial, after `warm_up_s`. No closed trials with `max_users` 0.
    Each trial has a seed of its own, counted from `seed`: ten seconds of a Poisson plan at 200/s have 2 %
    more or fewer arrivals than that, and with one seed it would be the same 2 % in every trial of a search.
    """

    start: float | None = None
    maximum: float = 1_000_000.0
    trial_s: float = 10.0
    warm_up_s: float = 2.0
    precision: float = 0.1
    confidence: float = 0.95
    max_users: int = 64
    budget_s: float = 900.0
    recovery_s: float = 10.0
    seed: int = 1

    @property
    def closed_s(self) -> float:
        """The measured time of a closed trial: its throughput settles sooner than a tail of latencies."""
        return max(self.trial_s / 2, min(self.trial_s, 3.0))

    @property
    def one_trial_s(self) -> float:
        """What an open trial takes, the time to recover aside."""
        return self.trial_s + self.warm_up_s + OVERHEAD_S


@dataclass
class CapacityRun:
    """One search. `run` makes a trial of the fields of a workload that it is given, `recover` waits."""

    run: RunTrial
    recover: Recover
    thresholds: Sequence[Threshold]
    settings: Settings = field(default_factory=Settings)
    keep: Keep = lambda _trial, _result: None
    begin: Begin = lambda _step, _rate, _users: None
    tell: Tell = lambda _trial: None
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._trials: list[Trial] = []
        self._notes: list[str] = []
        self._stopped = ""  # why no more trials are made
        self._unrecovered = 0
        self._begun = 0.0
        self._search: Search | None = None
        self._target: dict[str, Any] = {}
        self._workload: dict[str, Any] = {}
        self._interrupted = False

    def search(self) -> CapacityResult:
        """The whole search. KeyboardInterrupt ends it with what is known."""
        self._begun = self.clock()
        started = datetime.now(UTC).isoformat(timespec="seconds")
        try:
            self._open_trials(self._closed_trials())
        except KeyboardInterrupt:
            self._stop("interrupted")
            self._interrupted = True
        result = self._result()
        result.started, result.duration_s = started, round(self.clock() - self._begun, 1)
        return result

    def _stop(self, reason: str) -> None:
        self._stopped = self._stopped or reason

    # --- trials ---

    def _closed_trials(self) -> float:
        """Throughput at 1, 2, 4 … users, as far as it makes sense; the best of it (0 without trials)."""
        best = 0.0
        for users in _doubling(self.settings.max_users):
            spent, takes = self.clock() - self._begun, self.settings.closed_s + OVERHEAD_S
            if spent + takes > _CLOSED_SHARE * self.settings.budget_s:
                self._notes.append(f"no closed trials from {users} users on: a third of the budget was used")
                break
            trial = self._make("concurrency", users=users)
            if trial is None:
                break
            best = max(best, trial.accepted_per_s)
            if trial.verdict is not Verdict.HELD:
                self._notes.append(f"no closed trials above {users} users: {trial.why}")
                break
        return best

    def _open_trials(self, best_closed: float) -> None:
        settings = self.settings
        start = settings.start or tidy(best_closed * _START_SHARE) or DEFAULT_START
        search = self._search = Search(
            Bounds(start, settings.maximum, settings.precision, settings.confidence)
        )
        while search.next is not None and not self._stopped:
            trial = self._make(search.next.step, rate=search.next.rate)
            if trial is not None:
                search.tell(trial.verdict)

    def _make(
        self, step: Step | Literal["concurrency"], *, rate: float | None = None, users: int | None = None
    ) -> Trial | None:
        """One trial, after the target has recovered from the last; None if it could not be made."""
        measured_s = self.settings.trial_s if users is None else self.settings.closed_s
        run_time = measured_s + self.settings.warm_up_s
        if self.clock() - self._begun + run_time + OVERHEAD_S > self.settings.budget_s:
            self._stop(f"the budget of {self.settings.budget_s:g} s was used up")
            return None
        self.begin(step, rate, users)
        given = self._let_recover() if self._trials else 0.0
        load: dict[str, Any] = {"rate": rate} if users is None else {"users": users}
        load |= {"run_time": run_time, "warm_up": self.settings.warm_up_s}
        result = self._run_twice({**load, "seed": self.settings.seed + len(self._trials)})
        if result is None or result.interrupted:
            self._interrupted = result is not None
            self._stop("interrupted")
            return None
        trial = _record(result, len(self._trials) + 1, step, rate, users)
        found = judge(result, self.thresholds) if users is None else _judge_closed(result)
        trial.verdict, trial.why, trial.recovery_s = found.verdict, found.why, round(given, 1)
        trial.file = self.keep(trial, result)
        self._trials.append(trial)
        self._target, self._workload = result.target, result.workload
        self.tell(trial)
        return trial

    def _let_recover(self) -> float:
        given, recovered = self.recover()
        self._unrecovered += not recovered
        return given

    def _run_twice(self, fields: Fields) -> LoadResult | None:
        """A trial; a target that lets nobody in gets more time once. None if the search has to end."""
        for last in (False, True):
            try:
                return self.run(fields)
            except SmtpbenchError as error:
                if not self._trials:
                    raise
                if last or not isinstance(error, SessionError):
                    told = "the target let nobody in" if isinstance(error, SessionError) else "a trial failed"
                    self._stop(f"after trial {len(self._trials)} {told}: {error}")
                    return None
                self._let_recover()
        return None

    # --- the result ---

    def _result(self) -> CapacityResult:
        nothing = Answer(End.UNKNOWN, None, 0, 0, None, "")
        answer = self._search.answer() if self._search else nothing
        if self._unrecovered:
            self._notes.append(
                f"{self._unrecovered} of {len(self._trials)} trials began before the target had recovered "
                f"within {self.settings.recovery_s:g} s: their results may depend on the trials before them"
            )
        void = sum(trial.verdict is Verdict.INVALID for trial in self._trials)
        if void:
            self._notes.append(
                f"{void} of {len(self._trials)} trials say nothing: the generator may have decided them"
            )
        workload = {key: value for key, value in self._workload.items() if key not in _OF_A_TRIAL}
        workload |= {"seed": self.settings.seed} if workload else {}
        return CapacityResult(
            smtpbench=__version__, target=self._target, workload=workload,
            thresholds=[one.text for one in self.thresholds], settings=asdict(self.settings),
            end=answer.end, reason=self._stopped or answer.reason, interrupted=self._interrupted,
            capacity=_capacity(answer, self.settings.confidence),
            knee=_knee(self._trials), usl=_usl(self._trials), trials=self._trials, notes=self._notes,
        )  # fmt: skip


_OF_A_TRIAL = frozenset({"rate", "users", "run_time", "warm_up"})


def _doubling(most: int) -> Iterator[int]:
    users = 1
    while users <= most:
        yield users
        users *= 2


def _record(
    result: LoadResult,
    number: int,
    step: Step | Literal["concurrency"],
    rate: float | None,
    users: int | None,
) -> Trial:
    """The figures of a trial; its verdict is still to come."""
    own = result.phases.get("transaction", PhaseStats())
    intended = result.from_intended_start.get("transaction", PhaseStats())
    return Trial(
        number=number, step=step, rate=rate, users=users, verdict=Verdict.INVALID,
        offered_per_s=result.rates.offered_per_s, accepted_per_s=result.rates.accepted_per_s,
        error_rate=error_rate(result), p50_ms=own.p50_ms, p99_ms=own.p99_ms,
        intended_p50_ms=intended.p50_ms, intended_p99_ms=intended.p99_ms,
    )  # fmt: skip


def _judge_closed(result: LoadResult) -> Judgement:
    """A closed trial measures throughput, whatever the latency."""
    if not result.valid:
        return Judgement(Verdict.INVALID, "; ".join(result.invalid_reasons))
    failed = error_rate(result) or 0.0
    if failed > _CLOSED_ERRORS_MAX:
        words = f" ({result.first_refusal})" if result.first_refusal else ""
        return Judgement(Verdict.FAILED, f"{failed:.1%} of the messages failed{words}")
    return Judgement(Verdict.HELD)


def _capacity(answer: Answer, confidence: float) -> Capacity:
    edge = answer.edge
    return Capacity(
        rate_per_s=answer.rate, held=answer.held, tried=answer.tried, confidence=confidence,
        edge_per_s=edge and round(edge.rate, 2), low_per_s=edge and round(edge.low, 2),
        high_per_s=edge and round(edge.high, 2), method=EDGE_METHOD,
    )  # fmt: skip


def _knee(trials: Sequence[Trial]) -> KneeResult | None:
    found = find_knee(
        [
            (trial.rate, trial.intended_p99_ms)
            for trial in trials
            if trial.rate is not None and trial.verdict is not Verdict.INVALID
        ]
    )
    return None if found is None else KneeResult(
        rate_per_s=round(found.rate, 2), latency_ms=round(found.latency_ms, 3),
        at_start=found.at_start, at_end=found.at_end,
        method=KNEE_METHOD,
    )  # fmt: skip


def _usl(trials: Sequence[Trial]) -> UslResult | None:
    """The fit to the closed trials; None if there were none."""
    closed = [trial for trial in trials if trial.users is not None]
    points = [
        (float(trial.users or 0), trial.accepted_per_s) for trial in closed if trial.verdict is Verdict.HELD
    ]
    fit = fit_usl(points)
    if fit is None:
        problem = f"too few levels of concurrency: {len(points)}, and {MIN_LEVELS} are needed"
        return UslResult(fits=False, problem=problem) if closed else None
    return UslResult(fits=not fit.problem, **asdict(fit))
