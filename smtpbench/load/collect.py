"""From the batches of one or many engines to one result, and whether that result means anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

import numpy as np

from smtpbench.load import audit
from smtpbench.load.abnormal import add_counts, new_counts
from smtpbench.load.findings import Findings
from smtpbench.load.recorder import (
    COUNTS_LENGTH,
    INTENDED,
    INTENDED_OF,
    LOOP_LAG,
    OF_A_KIND,
    SCHEDULE_LAG,
    Batch,
    Counts,
    Sparse,
    histogram,
    percentile,
    phase_stats,
    series_of,
)
from smtpbench.load.refusals import notes_on
from smtpbench.load.result import (
    FAILURES,
    MISSED,
    OUTCOMES,
    PHASES,
    AbnormalCounts,
    LoadResult,
    OfAKind,
    PhaseStats,
    Rates,
    TimelinePoint,
    Totals,
)

NS = 1_000_000_000
_StatsOf = Callable[[Counts], PhaseStats]
_BATCH_NS = NS  # a batch is handed over once a second
GONE_S, GONE_FAILURES = 2.0, 2
"""A target is gone that has not replied for so many seconds, in which so many messages failed: one lost
connection to a slow load is no absence."""
_LATE_S = 4  # a late batch leaves no figures of its own for the second that it was due in


@dataclass(slots=True)
class Process:
    """What one engine used so far; `warm_ns` is what passed before the measurement began.

    `carried` is how many messages were under way or waiting then, `pending` how many are now.
    """

    span_ns: int = 0
    use: audit.Use = field(default_factory=audit.Use)
    warm_ns: int = 0
    carried: int = 0
    pending: int = 0
    waiting: int = 0  # of these, the arrivals without a session
    busy: float = 0.0  # of a core, by the loop in its last second
    spent: bool = False
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def failed(self) -> int:
        """Messages with an outcome that is not acceptance."""
        return sum(self.counts[name] for name in FAILURES)


@dataclass(slots=True)
class _Second:
    spans_ns: Counter[str] = field(default_factory=Counter)  # by process
    offered: int = 0
    accepted: int = 0
    failed: int = 0
    replies: int = 0
    sessions: int = 0
    transactions: list[Sparse] = field(default_factory=list)


class Collector:
    """Adds up batches. `add` takes them from any number of processes, in any order between processes.

    What a process hands over in its first `warm_up` seconds is left out, in whole batches (one a second).
    """

    def __init__(self, warm_up: float = 0.0) -> None:
        self.target_is_local = False
        self._warm_up_ns = round(warm_up * NS)
        self._counts: dict[str, Counts] = {}
        self._totals: Counter[str] = Counter()
        self._replies: Counter[int] = Counter()
        self._traffic: dict[str, Counter[str]] = {}
        self._abnormal: dict[str, dict[str, Any]] = {}
        self._refusals: dict[str, str] = {}
        self._findings = Findings()
        self._processes: dict[str, Process] = {}
        self._seconds: dict[int, _Second] = {}

    def add(self, process: str, batch: Batch) -> None:
        """Add what the engine of `process` handed over."""
        state = self._processes.setdefault(process, Process())
        state.spent = state.spent or batch.spent
        for name, happened in batch.abnormal.items():
            add_counts(self._abnormal.setdefault(name, new_counts()), happened)
        state.pending, state.waiting = batch.under_way + batch.waiting, batch.waiting
        state.busy = batch.cpu_ns / batch.span_ns if batch.span_ns else 0.0
        self._findings.add(batch.watched)
        if state.warm_ns < self._warm_up_ns - _BATCH_NS / 2:
            state.warm_ns += batch.span_ns
            state.carried = state.pending
            self._totals["sessions"] += batch.counters["sessions"]  # they last beyond it
            state.counts["sessions"] += batch.counters["sessions"]
            for name, counters in batch.traffic.items():
                self._traffic.setdefault(name, Counter())["sessions"] += counters["sessions"]
            return
        second = self._seconds.setdefault(round(state.span_ns / NS), _Second())
        state.span_ns += batch.span_ns
        second.spans_ns[process] += batch.span_ns
        second.offered += batch.counters["offered"]
        state.use.add(batch, sum(batch.counters[name] for name in OUTCOMES))
        second.accepted += batch.counters["accepted"]
        second.failed += sum(batch.counters[name] for name in FAILURES)
        second.replies += sum(batch.replies.values())
        second.sessions += batch.sessions_open
        self._totals.update(batch.counters)
        state.counts.update(batch.counters)
        self._replies.update(batch.replies)
        for name, counters in batch.traffic.items():
            self._traffic.setdefault(name, Counter()).update(counters)
        self._refusals = batch.refusals | self._refusals
        for name, sparse in batch.series.items():
            counts = self._counts.setdefault(name, np.zeros(COUNTS_LENGTH, np.int64))
            counts[sparse.positions] += sparse.counts
            if name == "transaction":
                second.transactions.append(sparse)

    def spent(self, process: str) -> bool:
        """Whether the engine of `process` has sent all it had."""
        return self.of(process).spent

    def of(self, process: str) -> Process:
        """What one process did."""
        return self._processes.get(process, Process())

    @property
    def seconds(self) -> float:
        """How long the measurement has lasted: the longest of its processes."""
        return max((state.span_ns for state in self._processes.values()), default=0) / NS

    @property
    def elapsed(self) -> float:
        """The same, with the warm-up."""
        return max((one.span_ns + one.warm_ns for one in self._processes.values()), default=0) / NS

    @property
    def counts(self) -> Mapping[str, Counts]:
        """What each series has measured so far, as the counts of an HdrHistogram."""
        return self._counts

    @property
    def totals(self) -> Mapping[str, int]:
        """The counters so far."""
        return self._totals

    @property
    def replies(self) -> Mapping[int, int]:
        """Replies by code so far."""
        return self._replies

    def progress(self, working: Collection[str] | None = None) -> dict[str, Any]:
        """The run so far, in a few figures; those of a second are of the last that every process reported.

        `working` are the processes that still report, if not all do. `so_far` is what `glance` says.
        """
        states = [state for name, state in self._processes.items() if working is None or name in working]
        reported = min((round(state.span_ns / NS) for state in states), default=0)
        recent = range(reported - 1, reported - 1 - _LATE_S, -1)
        last = next((self._seconds[at] for at in recent if at in self._seconds), _Second())
        p50, p99 = _p50_p99(last)
        totals = self._totals
        warm_ns = min((state.warm_ns for state in states), default=0)
        return {
            "t_s": round(self.seconds, 1), "sessions": last.sessions, "accepted": totals["accepted"],
            "accepted_last_s": last.accepted, "failed": sum(totals[name] for name in FAILURES),
            "p50_ms": p50, "p99_ms": p99, "offered_last_s": last.offered,
            "answered": sum(totals[name] for name in OUTCOMES),
            "waiting": sum(state.waiting for state in states),
            "warming_up_s": 0.0 if self._seconds else max(self._warm_up_ns - warm_ns, 0) / NS,
            "replies": {str(code): self._replies[code] for code in sorted(self._replies)},
            "refusal": next(iter(self._refusals.values()), ""),
            "loop_busy": max((state.busy for state in states), default=0.0),
            "loop_lag_p99_ms": self._p99_ms(LOOP_LAG), "schedule_lag_p99_ms": self._p99_ms(SCHEDULE_LAG),
            "so_far": self.glance().model_dump(mode="json", by_alias=True, exclude_defaults=True),
        }  # fmt: skip

    def glance(self) -> LoadResult:
        """Totals, rates and percentiles so far, without what takes long to make (histograms, a timeline)."""
        return self._figures(_quick_stats)

    def result(self) -> LoadResult:
        """The whole run. `target`, `workload`, `started` and `smtpbench` are left to the caller."""
        result = self._figures(lambda counts: phase_stats(histogram(counts)))
        result.phases = {name: result.phases.get(name, PhaseStats()) for name in PHASES}
        result.replies = {str(code): self._replies[code] for code in sorted(self._replies)}
        result.refusals = list(self._refusals.values())
        result.first_refusal = next(iter(result.refusals), "")
        result.notes = notes_on(result.refusals)
        result.timeline = self._timeline()
        if gone_s := self._gone_s():
            result.target_gone_s = gone_s
            result.notes.append(
                f"the target gave no reply in the last {gone_s:.0f} s of the run, in which every session "
                "failed: the figures are of the time before and of its absence together"
            )
        uses = {name: state.use for name, state in self._processes.items()}
        result.generator = audit.measured(
            uses, loop_lag_ms=self._p99_ms(LOOP_LAG), schedule_lag_ms=self._p99_ms(SCHEDULE_LAG)
        )
        result.invariants = self._findings.result(result.answered)
        result.invalid_reasons = audit.reasons(result, uses)
        result.generator.warnings = audit.warnings(result, uses, target_is_local=self.target_is_local)
        result.valid = not result.invalid_reasons
        return result

    def _of_kind(self, kind: str, stats_of: _StatsOf) -> OfAKind:
        phases = self._named({name: name for name in PHASES}, stats_of, kind)
        return OfAKind(
            **{what: self._traffic[kind][what] for what in OF_A_KIND},
            transaction=phases.get("transaction", PhaseStats()),
            phases=phases,
            outcomes=self._named(_ACTUAL, stats_of, kind),
            from_intended_start=self._from_plan(stats_of, kind),
        )

    def _named(self, series: Mapping[str, str], stats_of: _StatsOf, kind: str) -> dict[str, PhaseStats]:
        """The figures of those of `series` (by the name they get) that anything was measured of."""
        found = {name: self._counts.get(series_of(kind, one)) for name, one in series.items()}
        return {name: stats_of(counts) for name, counts in found.items() if counts is not None}

    def _from_plan(self, stats_of: _StatsOf, kind: str = "") -> dict[str, PhaseStats]:
        """By outcome, and as transaction the accepted and the missed ones together."""
        found = self._named(_FROM_PLAN, stats_of, kind)
        served = [self._counts.get(series_of(kind, _FROM_PLAN[name])) for name in ("accepted", MISSED)]
        if known := [counts for counts in served if counts is not None]:
            found["transaction"] = stats_of(np.sum(known, axis=0))
        return found

    def _figures(self, stats_of: _StatsOf) -> LoadResult:
        """What thresholds can be about."""
        seconds, totals = self.seconds, self._totals
        return LoadResult(
            duration_s=round(seconds, 3),
            totals=self._final_totals(),
            rates=Rates(
                accepted_per_s=_per_second(totals["accepted"], seconds),
                offered_per_s=_per_second(totals["offered"], seconds),
            ),
            phases=self._named({name: name for name in PHASES}, stats_of, ""),
            outcomes=self._named(_ACTUAL, stats_of, ""),
            from_intended_start=self._from_plan(stats_of),
            traffic={name: self._of_kind(name, stats_of) for name in sorted(self._traffic)},
            abnormal={name: AbnormalCounts(**counts) for name, counts in sorted(self._abnormal.items())},
        )

    def _final_totals(self) -> Totals:
        states, totals = self._processes.values(), dict(self._totals)
        totals["offered"] = totals.get("offered", 0) + sum(state.carried for state in states)
        totals["unfinished"] = sum(state.pending for state in states)
        return Totals(**totals)

    def _timeline(self) -> list[TimelinePoint]:
        return [_point(t_s, self._seconds[t_s]) for t_s in sorted(self._seconds)]

    def _gone_s(self) -> float:
        """How long at the end the target gave no reply at all, if messages failed meanwhile; else 0."""
        silent = list(
            takewhile(
                lambda one: not one.replies, (self._seconds[at] for at in sorted(self._seconds, reverse=True))
            )
        )
        lasted = sum(max(one.spans_ns.values()) for one in silent) / NS
        failed = sum(one.failed for one in silent)
        return round(lasted, 3) if lasted >= GONE_S and failed >= GONE_FAILURES else 0.0

    def _p99_ms(self, name: str) -> float:
        counts = self._counts.get(name)
        if counts is None:
            return 0.0
        positions = np.flatnonzero(counts)
        return percentile(positions, counts[positions], 99) / 1000


_ACTUAL = {"accepted": "transaction"} | {name: name for name in FAILURES}
_FROM_PLAN = {"accepted": INTENDED} | INTENDED_OF


def _quick_stats(counts: Counts) -> PhaseStats:
    """As `phase_stats`, in a hundredth of the time, without the histogram; the same to three digits."""
    positions = np.flatnonzero(counts)
    found = counts[positions]
    p50, p90, p99, p999 = (percentile(positions, found, percent) / 1000 for percent in (50, 90, 99, 99.9))
    return PhaseStats(
        count=int(found.sum()), p50_ms=p50, p90_ms=p90, p99_ms=p99, p999_ms=p999,
        max_ms=percentile(positions, found, 100) / 1000,
    )  # fmt: skip


def _per_second(count: int, seconds: float) -> float:
    return round(count / seconds, 2) if seconds else 0.0


def _point(t_s: int, second: _Second) -> TimelinePoint:
    p50, p99 = _p50_p99(second)
    return TimelinePoint(
        t_s=t_s, span_s=round(max(second.spans_ns.values()) / NS, 3),
        offered=second.offered, accepted=second.accepted, failed=second.failed,
        sessions=second.sessions, p50_ms=p50, p99_ms=p99,
    )  # fmt: skip


def _p50_p99(second: _Second) -> tuple[float, float]:
    """Median and p99 in ms of a second's transactions, over all processes."""
    if not second.transactions:
        return 0.0, 0.0
    positions, where = np.unique(
        np.concatenate([s.positions for s in second.transactions]), return_inverse=True
    )
    counts = np.bincount(where, np.concatenate([s.counts for s in second.transactions]))
    return percentile(positions, counts, 50) / 1000, percentile(positions, counts, 99) / 1000
