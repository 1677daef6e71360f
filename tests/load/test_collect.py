from __future__ import annotations

import pytest

from smtpbench.cli.load import load_exit_code
from smtpbench.load.collect import Collector
from smtpbench.load.recorder import Batch, Recorder

SECOND = 1_000_000_000


def batch(
    *, accepted: int = 0, took_us: int = 1000, cpu: float = 0.1, seconds: float = 1.0, lag_us: int = 0
) -> Batch:
    recorder = Recorder()
    for _ in range(accepted):
        recorder.transaction(took_us)
        recorder.schedule_lag(lag_us)
    recorder.counters["accepted"] = recorder.counters["offered"] = accepted
    made = recorder.take_batch()
    made.span_ns, made.cpu_ns = int(seconds * SECOND), int(cpu * seconds * SECOND)
    return made


def test_processes_add_up_second_by_second() -> None:
    collector = Collector()
    for process, accepted in (("a", 10), ("b", 30), ("b", 20), ("a", 5)):
        collector.add(process, batch(accepted=accepted, took_us=2000 if process == "a" else 500))
    collector.add("a", batch(accepted=1, seconds=0.2))
    result = collector.result()
    assert result.totals.accepted == 66
    assert result.phases["transaction"].count == 66
    assert [(point.t_s, point.accepted) for point in result.timeline] == [(0, 40), (1, 25), (2, 1)]
    assert [point.span_s for point in result.timeline] == [1.0, 1.0, 0.2]
    assert result.timeline[0].p50_ms == 0.5
    assert result.timeline[0].p99_ms == pytest.approx(2.0, rel=0.001)
    assert result.duration_s == 2.2
    assert result.rates.accepted_per_s == 30.0


def test_progress_tells_of_seconds_that_all_processes_reported() -> None:
    collector = Collector()
    collector.add("a", batch(accepted=10))
    collector.add("b", batch(accepted=20))
    collector.add("a", batch(accepted=99))
    progress = collector.progress()
    assert (progress["accepted"], progress["accepted_last_s"]) == (129, 30)


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (batch(accepted=10, cpu=0.95), "bottleneck: its loop used 95% of a core"),
        (batch(accepted=10, lag_us=80_000), "arrivals were started late"),
        (batch(), "no message was sent"),
    ],
)
def test_a_measurement_of_ourselves_is_not_valid(made: Batch, reason: str) -> None:
    collector = Collector()
    collector.add("a", made)
    result = collector.result()
    assert not result.valid
    assert [reason in line for line in result.invalid_reasons] == [True]


def test_one_busy_process_among_idle_ones_is_enough() -> None:
    collector = Collector()
    collector.add("idle", batch(accepted=10))
    collector.add("busy", batch(accepted=10, cpu=0.97))
    assert not collector.result().valid


def test_the_cost_of_a_message_counts_every_process() -> None:
    collector = Collector()
    collector.add("a", batch(accepted=1000, cpu=0.1))
    collector.add("b", batch(accepted=1000, cpu=0.3))
    assert collector.result().generator.cpu_us_per_message == 200


def test_the_warm_up_is_left_out_but_for_the_sessions_that_outlive_it() -> None:
    collector = Collector(warm_up=2)
    for accepted in (100, 50, 7, 8):
        made = batch(
            accepted=accepted, took_us=9000 if accepted > 10 else 1000, cpu=0.95 if accepted > 10 else 0.1
        )
        made.counters["sessions"] = 1
        collector.add("a", made)
    result = collector.result()
    assert (result.totals.accepted, result.totals.sessions, result.duration_s) == (15, 4, 2.0)
    assert result.phases["transaction"].max_ms < 2
    assert [point.accepted for point in result.timeline] == [7, 8]
    assert result.valid
    collector.add("b", batch(accepted=1000))
    assert collector.result().totals.accepted == 15


def in_flight(offered: int, *, accepted: int = 0, under_way: int = 0, waiting: int = 0) -> Batch:
    made = batch()
    made.counters |= {"offered": offered, "accepted": accepted}
    made.under_way, made.waiting = under_way, waiting
    return made


def test_what_a_lost_worker_had_under_way_is_unfinished() -> None:
    collector = Collector()
    collector.add("lost", in_flight(10, accepted=4, under_way=2, waiting=4))
    collector.add("kept", in_flight(10, accepted=9, under_way=1))
    collector.add("kept", in_flight(5, accepted=6))
    totals = collector.result().totals
    assert (totals.offered, totals.accepted, totals.unfinished, totals.unaccounted) == (25, 19, 6, 0)


def test_what_a_warm_up_left_under_way_is_offered() -> None:
    collector = Collector(warm_up=2.0)
    collector.add("a", in_flight(100, accepted=90, under_way=3, waiting=7))
    collector.add("a", in_flight(100, accepted=99, under_way=4, waiting=7))
    collector.add("a", in_flight(10, accepted=21))
    totals = collector.result().totals
    assert (totals.offered, totals.accepted, totals.unaccounted) == (21, 21, 0)


@pytest.mark.parametrize("offered", [9, 11])
def test_a_generator_that_has_lost_count_is_not_believed(offered: int) -> None:
    collector = Collector()
    collector.add("a", in_flight(offered, accepted=10))
    assert f"{offered - 10:+d} messages are not accounted for" in collector.result().invalid_reasons[0]


def test_arrivals_that_were_missed_stay_in_the_view_from_the_intended_start() -> None:
    recorder, collector = Recorder(), Collector()
    for _ in range(90):
        recorder.transaction(1000)
        recorder.intended(2000)
        recorder.counters["accepted"] += 1
    for _ in range(10):
        recorder.miss(5_000_000_000)
    recorder.fail("rejected_5xx", 3_000_000, 4_000_000)
    recorder.counters["offered"] = 101
    made = recorder.take_batch()
    made.span_ns = SECOND
    collector.add("a", made)
    result = collector.result()
    planned = result.from_intended_start
    assert {name: stats.count for name, stats in planned.items()} == {
        "accepted": 90, "rejected_5xx": 1, "missed": 10, "transaction": 100,
    }  # fmt: skip
    assert planned["accepted"].p99_ms == pytest.approx(2, rel=0.001)
    assert planned["transaction"].p99_ms == planned["missed"].p50_ms == pytest.approx(5000, rel=0.001)
    assert result.outcomes["rejected_5xx"].max_ms == pytest.approx(3, rel=0.001)
    assert result.outcomes["accepted"] == result.phases["transaction"]


def replied(code: int, *, dropped: int = 0) -> Batch:
    made = batch(accepted=1 if code else 0)
    made.replies = {code: 3} if code else {}
    made.counters["dropped"] = dropped
    made.counters["offered"] += dropped
    return made


@pytest.mark.parametrize(
    ("batches", "gone_s"),
    [
        ([replied(250), replied(0, dropped=4), replied(0, dropped=4), replied(0)], 3.0),
        ([replied(250), replied(0, dropped=4), replied(0, dropped=4), replied(421)], 0.0),  # it came back
        ([replied(250), replied(250), replied(0, dropped=4)], 0.0),
        ([replied(250), replied(0), replied(0), replied(0)], 0.0),  # nothing was asked
        ([replied(250), replied(0), replied(0), replied(0, dropped=1)], 0.0),
    ],
)
def test_a_target_that_is_gone_at_the_end_is_told(batches: list[Batch], gone_s: float) -> None:
    collector = Collector()
    for one in batches:
        collector.add("a", one)
    result = collector.result()
    assert result.target_gone_s == gone_s
    assert ("gave no reply in the last" in " ".join(result.notes)) is bool(gone_s)
    result.invalid_reasons, result.valid = [], True
    assert load_exit_code(result) == (3 if gone_s else 0)
