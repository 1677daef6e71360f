"""What we report is true: each figure held against something that is known, with its tolerance."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterable
from statistics import median

import pytest
from hdrh.histogram import HdrHistogram

from smtpbench.load.collect import Collector
from smtpbench.load.recorder import Batch, Recorder, new_histogram
from smtpbench.load.result import LoadResult
from smtpbench.load.setup import make_engine, make_plan
from smtpbench.load.workload import Workload
from smtpbench.target import Target
from tests.load.engines import begun, collected, ended
from tests.load.sinks import REFERENCE, reference_rcpt_ms, sinking

pytestmark = pytest.mark.alone  # with the tolerances of a machine that does nothing else

LIMIT_S = 60


async def measure(target: Target, **fields: object) -> LoadResult:
    """A whole workload in one engine."""
    return await ended(begun(target, **fields), LIMIT_S)


@pytest.mark.parametrize("pipelining", [False, True])
async def test_a_delay_of_20_ms_is_reported_as_20_ms(pipelining: bool) -> None:
    """Within 5 % of what the sink took by its own clock, and what the machine adds to any client.

    The latter is what a plain socket saw that asked the same sink at the same time: on a quiet machine next
    to nothing, as is what the sink takes beyond 20 ms.
    """
    async with sinking(pipelining=pipelining, rcpt_delay_s=0.020) as (sink, target):
        result, reference = await asyncio.gather(
            measure(target, users=1, messages=60, pipelining=pipelining),
            asyncio.to_thread(reference_rcpt_ms, target.main.port, 40),
        )
    machine = max(median(reference) - median(sink.took_ms[REFERENCE]), 0)
    true = median(sink.took_ms[target.client_name.encode()])
    assert true >= 19.9
    assert -0.05 * true <= result.phases["rcpt"].p50_ms - true <= 0.05 * true + machine


async def test_a_freeze_shows_from_the_intended_start_and_hardly_from_the_actual_one() -> None:
    """2 s of silence under 200/s: 400 arrivals wait, and only those on the four sessions are slow."""
    async with sinking(pipelining=False) as (sink, target):

        async def freeze() -> None:
            await sink.reached(100)
            await sink.freeze(2.0)

        async with asyncio.timeout(LIMIT_S):
            result, _ = await asyncio.gather(
                measure(target, rate=200.0, arrivals="constant", messages=800, max_sessions=4,
                        pipelining=False),
                freeze(),
            )  # fmt: skip
    actual, planned = result.outcomes["accepted"], result.from_intended_start["accepted"]
    assert actual.count == planned.count == 800
    assert planned.p99_ms >= 1_900  # of 800, the eight that waited longest came in the first 40 ms of it
    assert actual.max_ms >= 1_900  # it did happen to somebody …
    assert actual.p99_ms <= planned.p99_ms / 10  # … but to 4 of 800


@pytest.mark.parametrize("recipients", [1, 3])
async def test_without_pipelining_the_phases_add_up_to_the_transaction(recipients: int) -> None:
    """To the µs that each loses in rounding down, and the three digits of the histograms."""
    async with sinking(pipelining=False, rcpt_delay_s=0.001) as (_, target):
        result = await measure(target, users=2, messages=100, recipients=recipients, pipelining=False)
    whole = total_us(result, ["transaction"])
    parts = total_us(result, ["mail", "rcpt", "data", "body"])
    assert result.phases["rcpt"].count == 100 * recipients
    lost = 100 * (3 + recipients)
    assert -0.001 * whole <= whole - parts <= lost + 0.001 * whole


def total_us(result: LoadResult, phases: Iterable[str]) -> float:
    decoded = (HdrHistogram.decode(result.phases[name].hdr) for name in phases)
    return float(sum(one.get_mean_value() * one.get_total_count() for one in decoded))


def test_merged_histograms_of_four_workers_are_that_of_all_samples() -> None:
    """Bit for bit, over the wire between processes, in every phase and from both starts."""
    draw, collector = random.Random(4), Collector()
    names = ("mail", "transaction", "intended", "timeouts")
    direct = {name: new_histogram() for name in names}
    for second in range(3):
        for worker in range(4):
            recorder = Recorder()
            for name in names:
                for _ in range(500):
                    value = int(draw.lognormvariate(6 + worker, 1.5))
                    getattr(recorder, name)(value)
                    direct[name].record_value(value)
                recorder.fold()
            batch = recorder.take_batch()
            batch.span_ns = 1_000_000_000 * (second + 1)
            collector.add(f"worker {worker}", Batch.from_plain(json.loads(json.dumps(batch.to_plain()))))
    result = collector.result()
    merged = {
        "mail": result.phases["mail"], "transaction": result.phases["transaction"],
        "intended": result.from_intended_start["accepted"], "timeouts": result.outcomes["timeouts"],
    }  # fmt: skip
    for name, stats in merged.items():
        assert stats.count == 3 * 4 * 500
        assert stats.hdr == direct[name].encode().decode("ascii")
        assert stats.p999_ms == direct[name].get_value_at_percentile(99.9) / 1000


@pytest.mark.parametrize(
    "workload", [{"users": 5}, {"rate": 500.0, "max_sessions": 2}], ids=["closed", "open"]
)
async def test_a_run_that_is_cut_off_accounts_for_every_message(workload: dict[str, object]) -> None:
    """The server's own count is ours but for what was under way: at most a message a session."""
    async with sinking(pipelining=True, rcpt_delay_s=0.002) as (sink, target):
        engine = make_engine(target, Workload(**workload))
        if "rate" in workload:
            engine.start_arrivals(make_plan(Workload(**workload)))
        for _ in range(int(str(workload.get("users", 0)))):
            engine.add_user()
        running = asyncio.create_task(asyncio.to_thread(engine.run))
        async with asyncio.timeout(LIMIT_S):
            await sink.reached(50)
            engine.stop()
            await running
        result = collected(engine)
    totals = result.totals
    assert totals.unaccounted == totals.unfinished == 0
    assert totals.offered >= totals.accepted >= 50
    assert totals.accepted == sink.messages  # an orderly stop waits for what is under way
    if "rate" in workload:
        assert totals.missed == result.from_intended_start["missed"].count > 0


async def test_a_server_that_never_answers_again_leaves_no_message_without_an_outcome() -> None:
    async with sinking(pipelining=True) as (sink, target):
        hasty = target.model_copy(update={"timeouts": target.timeouts.model_copy(update={"reply": 0.5})})
        engine = make_engine(hasty, Workload(rate=200.0, max_sessions=8))
        engine.start_arrivals(make_plan(Workload(rate=200.0)))
        running = asyncio.create_task(asyncio.to_thread(engine.run))
        async with asyncio.timeout(LIMIT_S):
            await sink.reached(20)
            sink.open.clear()
            await asyncio.sleep(0.3)  # the arrivals of which must show, as timeouts or missed
            engine.stop()
            await running
        result = collected(engine)
        sink.open.set()
    totals = result.totals
    assert totals.unaccounted == totals.unfinished == 0
    assert totals.timeouts + totals.missed + totals.dropped >= 40
    assert 0 <= sink.messages - totals.accepted <= 8


def test_percentiles_are_those_of_the_samples_to_three_digits() -> None:
    """Against the sorted values themselves: the histogram may round, by less than one in a thousand."""
    draw = random.Random(1)
    samples = sorted(int(draw.lognormvariate(7, 1)) for _ in range(20_000))
    recorder, collector = Recorder(), Collector()
    for value in samples:
        recorder.body(value)
    batch = recorder.take_batch()
    batch.span_ns = 1_000_000_000
    collector.add("one", batch)
    stats = collector.result().phases["body"]
    for rank, reported in ((10_000, stats.p50_ms), (19_800, stats.p99_ms), (19_980, stats.p999_ms)):
        assert reported == pytest.approx(samples[rank - 1] / 1000, rel=0.001)
