from __future__ import annotations

import asyncio

import pytest

from smtpbench.load.abort import AbortRule, AbortWatch
from smtpbench.load.collect import Collector
from smtpbench.load.recorder import Recorder
from smtpbench.load.result import LoadResult, PhaseStats, Rates, Totals
from smtpbench.load.run import run_load
from smtpbench.load.workload import Workload
from tests.load.conftest import Running, Script


def so_far(*, accepted: int = 100, dropped: int = 0, p99_ms: float = 5.0, rate: float = 100.0) -> LoadResult:
    return LoadResult(
        totals=Totals(accepted=accepted, dropped=dropped), rates=Rates(accepted_per_s=rate),
        phases={"body": PhaseStats(count=accepted, p99_ms=p99_ms, max_ms=2 * p99_ms)},
    )  # fmt: skip


GOOD = so_far()


def ends_at(threshold: str, course: list[LoadResult], grace_s: float = 0, hold_s: float = 3) -> int | None:
    """The second in which `threshold` ends a run that looks like `course`, one look a second."""
    watch = AbortWatch(AbortRule(thresholds=(threshold,), grace_s=grace_s, hold_s=hold_s))
    return next((t_s for t_s, result in enumerate(course) if watch.see(t_s, result)), None)


@pytest.mark.parametrize(
    ("threshold", "bad"),
    [
        ("body.p99 < 10ms", so_far(p99_ms=50)),
        ("error_rate < 1%", so_far(dropped=50)),
        ("accepted_per_s > 50", so_far(rate=10)),
    ],
)
def test_what_may_recover_has_to_stay_broken(threshold: str, bad: LoadResult) -> None:
    assert ends_at(threshold, [GOOD, bad, bad, bad, bad]) == 4
    assert ends_at(threshold, [GOOD, bad, bad, bad, GOOD, bad, bad, bad]) is None


@pytest.mark.parametrize(
    ("threshold", "bad"), [("dropped < 3", so_far(dropped=3)), ("body.max < 20ms", so_far(p99_ms=50))]
)
def test_what_can_no_longer_be_met_ends_at_once(threshold: str, bad: LoadResult) -> None:
    assert ends_at(threshold, [GOOD, GOOD, bad]) == 2


@pytest.mark.parametrize("threshold", ["accepted > 1000", "body.max > 1s"])
def test_what_may_yet_be_reached_ends_nothing(threshold: str) -> None:
    assert ends_at(threshold, [GOOD] * 30) is None


def test_a_figure_without_a_value_is_not_broken_yet() -> None:
    assert ends_at("mail.p99 < 1ms", [GOOD] * 30) is None


def test_the_start_is_not_looked_at() -> None:
    bad = so_far(p99_ms=50)
    assert ends_at("body.p99 < 10ms", [bad] * 20, grace_s=10) == 13
    assert ends_at("dropped < 1", [so_far(dropped=9)] * 20, grace_s=10) == 10


def test_it_says_which_and_why() -> None:
    watch = AbortWatch(AbortRule(thresholds=("error_rate < 99%", "dropped < 3"), grace_s=0))
    assert watch.see(7.2, so_far(dropped=4)) == "dropped < 3: measured 4 after 7 s, and can no longer be met"


def test_a_glance_agrees_with_the_result() -> None:
    """To the three digits of a histogram."""
    recorder, collector = Recorder(), Collector()
    for n in range(5000):
        recorder.body(n * n)
        recorder.transaction(n)
        recorder.intended(2 * n)
        recorder.counters["accepted"] += 1
        recorder.counters["offered"] += 1
    batch = recorder.take_batch()
    batch.span_ns = 10**9
    collector.add("a", batch)
    quick, whole = collector.glance(), collector.result()
    assert quick.totals == whole.totals
    for name in ("body", "transaction"):
        ours, theirs = quick.phases[name].model_dump(), whole.phases[name].model_dump()
        assert ours["count"] == theirs["count"]
        for key in ("p50_ms", "p90_ms", "p99_ms", "p999_ms", "max_ms"):
            assert ours[key] == pytest.approx(theirs[key], rel=0.002)
    assert quick.from_intended_start["transaction"].count == 5000


@pytest.mark.parametrize("processes", [1, 2])
async def test_a_run_ends_early_and_keeps_its_results(running: Running, processes: int) -> None:
    script = Script(after_content=lambda n: b"451 later\r\n" if n % 2 else b"250 ok\r\n")
    rule = AbortRule(thresholds=("error_rate < 10%",), grace_s=1, hold_s=1)
    async with running(script) as (server, target):
        result = await asyncio.to_thread(
            run_load, target, Workload(users=2, run_time=600), abort=rule, processes=processes
        )
    assert result.aborted.startswith("error_rate < 10%: measured ")
    assert result.duration_s < 60
    assert result.totals.accepted + result.totals.rejected_4xx == len(server.contents) > 0
    assert result.valid
