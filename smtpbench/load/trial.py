"""What one trial of a capacity search shows: thresholds met and kept up, or why not.

A short trial above the edge can meet a threshold on latency, since a backlog takes time to grow. So a trial
must also keep up: when messages arrive at ρ times the rate at which they are handled, the latency of each is
longer than that of the one before it, by ρ - 1 seconds a second. The growth is the median slope (Theil-Sen)
of the median latencies of its seconds, which one slow second does not move.

A generator that was late made the latencies it measured longer, never shorter. So a trial that held in spite
of that held, and one that failed by far more than our lateness failed; only what lies between says nothing.
(Where the target is on the same machine and takes all of it, we are always late.) A generator whose loop was
too busy is another matter: nothing it measured is worth anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median

from smtpbench.load.result import LoadResult
from smtpbench.load.search import Verdict
from smtpbench.load.thresholds import Threshold, measured

DEFAULT_THRESHOLDS = ("error_rate < 0.1%", "intended.p99 < 1s")
BEHIND_MAX = 0.02  # of the offered rate: beyond it a queue grows without end
_RISING = 0.75  # of the pairs of seconds; less is scatter
LATE = ("the generator's loop was late", "arrivals were started late")  # as collect.py words it
_MIN_SECONDS = 4  # fewer have no trend
_WAITING_MAX = 0.01  # of the messages may still wait for a session at the end


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict on a trial and what it rests on; `why` is "" for one that held."""

    verdict: Verdict
    why: str = ""


def judge(result: LoadResult, thresholds: Sequence[Threshold]) -> Judgement:
    """What an open trial shows about the rate that was offered."""
    if not all(reason.startswith(LATE) for reason in result.invalid_reasons):
        return Judgement(Verdict.INVALID, "; ".join(result.invalid_reasons))
    late_ms = 0.0 if result.valid else own_lateness_ms(result)
    for one in thresholds:
        found = one.check(result)
        if not found.met:
            ours = one.is_latency and found.value is not None and found.value - one.limit <= 2 * late_ms
            why = f"{found.expression}: {measured(found)}"
            return _failed(why, result, ours=ours)
    if result.totals.missed > _WAITING_MAX * result.totals.offered:
        return _failed(f"{result.totals.missed} messages still waited for a session", result, ours=False)
    behind, seconds = falls_behind(result), result.duration_s
    if behind > BEHIND_MAX:
        why = f"fell behind: latency grew by {behind * 1000:.0f} ms a second"
        return _failed(why, result, ours=behind * seconds * 1000 <= 2 * late_ms)
    return Judgement(Verdict.HELD)


def _failed(why: str, result: LoadResult, *, ours: bool) -> Judgement:
    """The target failed, unless our own lateness may be the reason (`ours`)."""
    if ours:
        return Judgement(Verdict.INVALID, f"{'; '.join(result.invalid_reasons)} ({why})")
    return Judgement(Verdict.FAILED, why)


def own_lateness_ms(result: LoadResult) -> float:
    """How late the generator itself was, p99."""
    return max(result.generator.loop_lag_p99_ms, result.generator.schedule_lag_p99_ms)


def falls_behind(result: LoadResult) -> float:
    """Seconds by which latency grows a second, 0 if it does not: the part of the rate that is too much."""
    run_time, warm_up = result.workload.get("run_time"), result.workload.get("warm_up", 0.0)
    loaded = result.duration_s if run_time is None else run_time - warm_up
    points = [one for one in result.timeline if one.accepted and one.t_s + one.span_s / 2 < loaded]
    if len(points) < _MIN_SECONDS:
        return 0.0
    slopes = [
        (later.p50_ms - earlier.p50_ms) / (later.t_s - earlier.t_s) / 1000
        for earlier, later in combinations(points, 2)
    ]
    rising = sum(slope > 0 for slope in slopes) / len(slopes)
    return max(median(slopes), 0.0) if rising >= _RISING else 0.0
