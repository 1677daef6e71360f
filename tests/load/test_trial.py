from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest

from smtpbench.load.collect import Collector
from smtpbench.load.recorder import Recorder
from smtpbench.load.result import LoadResult, PhaseStats, Rates, TimelinePoint, Totals
from smtpbench.load.search import Verdict
from smtpbench.load.thresholds import parse_threshold
from smtpbench.load.trial import DEFAULT_THRESHOLDS, falls_behind, judge

THRESHOLDS = [parse_threshold(text) for text in DEFAULT_THRESHOLDS]


def trial(medians_ms: Sequence[float] = (5.0,) * 10, **changes: object) -> LoadResult:
    """Ten seconds at 100 a second."""
    result = LoadResult(
        duration_s=10.0,
        workload={"rate": 100.0, "run_time": 12.0, "warm_up": 2.0},
        totals=Totals(offered=1000, accepted=1000),
        rates=Rates(offered_per_s=100, accepted_per_s=100),
        from_intended_start={"transaction": PhaseStats(count=1000, p50_ms=5, p99_ms=40)},
        timeline=[
            TimelinePoint(t_s=t_s, accepted=100, sessions=5, p50_ms=ms, p99_ms=2 * ms)
            for t_s, ms in enumerate(medians_ms)
        ],
    )
    return result.model_copy(update=changes)


def test_held() -> None:
    assert judge(trial(), THRESHOLDS).verdict is Verdict.HELD


def test_a_broken_threshold_is_why_it_failed() -> None:
    found = judge(trial(totals=Totals(accepted=1000, rejected_4xx=5)), THRESHOLDS)
    assert (found.verdict, found.why) == (Verdict.FAILED, "error_rate < 0.1%: measured 0.498%")


def test_what_still_waits_for_a_session_was_too_much() -> None:
    found = judge(trial(totals=Totals(offered=1000, accepted=900, missed=100)), THRESHOLDS)
    assert (found.verdict, found.why) == (Verdict.FAILED, "100 messages still waited for a session")


def batches(*, lag_us: int = 0, cpu: float = 0.1, took_us: int = 5000) -> LoadResult:
    """Ten seconds at 100 a second, through a collector."""
    collector = Collector()
    for _ in range(10):
        recorder = Recorder()
        for _ in range(100):
            recorder.transaction(took_us)
            recorder.intended(took_us)
            recorder.schedule_lag(lag_us)
        recorder.counters["accepted"] = recorder.counters["offered"] = 100
        batch = recorder.take_batch()
        batch.span_ns, batch.cpu_ns = 10**9, int(cpu * 10**9)
        collector.add("a", batch)
    return collector.result()


@pytest.mark.parametrize(
    ("result", "verdict"),
    [
        (batches(cpu=0.95), Verdict.INVALID),
        (batches(cpu=0.95, took_us=9_000_000), Verdict.INVALID),
        (batches(lag_us=80_000), Verdict.HELD),
        (batches(lag_us=80_000, took_us=1_100_000), Verdict.INVALID),
        (batches(lag_us=80_000, took_us=1_300_000), Verdict.FAILED),
        (batches(lag_us=80_000, cpu=0.95), Verdict.INVALID),
    ],
    ids=["busy", "busy-and-slow", "late-and-fine", "late-and-slow", "late-and-much-slower", "late-and-busy"],
)
def test_a_generator_that_was_late_decides_only_what_lateness_can_decide(
    result: LoadResult, verdict: Verdict
) -> None:
    assert not result.valid
    assert judge(result, THRESHOLDS).verdict is verdict


def test_an_invalid_trial_says_why() -> None:
    why = judge(batches(cpu=0.95), THRESHOLDS).why
    assert why.startswith("the generator was the bottleneck: its loop used 95% of a core")


def test_latency_that_grows_all_the_time_is_falling_behind() -> None:
    """5 % more than it can do: 50 ms more each second, and no threshold broken within ten."""
    found = judge(trial([5 + 50 * second for second in range(10)]), THRESHOLDS)
    assert (found.verdict, found.why) == (Verdict.FAILED, "fell behind: latency grew by 50 ms a second")


@pytest.mark.parametrize("seed", range(20))
def test_latency_that_only_scatters_is_not(seed: int) -> None:
    random = Random(seed)
    assert falls_behind(trial([random.lognormvariate(3, 0.5) for _ in range(10)])) < 0.02


def test_one_slow_second_is_not() -> None:
    assert falls_behind(trial([5, 5, 6, 5, 5, 5, 5, 5, 900, 800])) < 0.02


def test_the_seconds_in_which_the_rest_is_answered_do_not_count() -> None:
    assert falls_behind(trial([5.0] * 10 + [500.0, 900.0, 1500.0])) == 0.0


def test_too_short_a_trial_has_no_trend() -> None:
    assert falls_behind(trial([5, 100, 200])) == 0.0
