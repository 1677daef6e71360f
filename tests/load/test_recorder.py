from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpbench.load.recorder import (
    HIGHEST_US,
    MUCH,
    OF_A_REPLY,
    Batch,
    Recorder,
    histogram,
    indices,
    new_histogram,
    percentile,
    phase_stats,
    values,
)

MICROSECONDS = st.lists(st.integers(0, HIGHEST_US), min_size=1, max_size=200)


@given(MICROSECONDS)
def test_indices_are_those_of_hdrhistogram(latencies: list[int]) -> None:
    hdr = new_histogram()
    expected = [hdr._counts_index_for(value) for value in latencies]
    assert indices(np.array(latencies)).tolist() == expected
    assert values(indices(np.array(latencies))).tolist() == [
        hdr.get_lowest_equivalent_value(v) for v in latencies
    ]


@given(MICROSECONDS)
def test_what_is_recorded_comes_out_as_hdrhistogram_would_have_it(latencies: list[int]) -> None:
    direct, recorder = new_histogram(), Recorder()
    for value in latencies:
        direct.record_value(value)
        recorder.mail(value)
        recorder.fold()
    sparse = recorder.take_batch().series["mail"]
    counts = np.zeros(direct.counts_len, np.int64)
    counts[sparse.positions] = sparse.counts
    folded = histogram(counts)
    assert folded.get_total_count() == len(latencies)
    percents = [0, 50, 90, 99, 99.9, 100]
    expected = direct.get_percentile_to_value_dict(percents)  # all of them in one walk over its counts
    assert folded.get_percentile_to_value_dict(percents) == expected
    assert len(expected) == len(percents)
    assert percentile(sparse.positions, sparse.counts, 100) == direct.get_lowest_equivalent_value(
        max(latencies)
    )


def test_a_batch_holds_what_came_since_the_last() -> None:
    recorder = Recorder()
    recorder.body(10)
    recorder.reply(250)
    recorder.reply(451)
    recorder.reply(250)
    recorder.counters["accepted"] += 1
    first = recorder.take_batch()
    assert first.replies == {250: 2, 451: 1}
    assert first.counters["accepted"] == 1
    second = recorder.take_batch()
    assert (second.series, second.replies, second.counters["accepted"]) == ({}, {}, 0)


def test_latencies_that_no_histogram_holds_are_put_at_its_end() -> None:
    recorder = Recorder()
    recorder.session(HIGHEST_US * 2)
    sparse = recorder.take_batch().series["session"]
    assert values(sparse.positions)[0] >= HIGHEST_US * 0.999


def test_a_batch_survives_json() -> None:
    recorder = Recorder()
    recorder.connect(5000)
    recorder.reply(220)
    batch = recorder.take_batch()
    batch.span_ns, batch.cpu_ns, batch.spent = 1, 2, True
    batch.under_way, batch.waiting, batch.ended = 3, 4, True
    again = Batch.from_plain(json.loads(json.dumps(batch.to_plain())))
    assert again.to_plain() == batch.to_plain()
    assert (again.under_way, again.waiting, again.ended) == (3, 4, True)


def test_phase_stats_are_in_ms_and_carry_the_histogram() -> None:
    hdr = new_histogram()
    for value in range(1, 1001):
        hdr.record_value(value)
    stats = phase_stats(hdr)
    assert (stats.count, stats.p50_ms, stats.p99_ms, stats.max_ms) == (1000, 0.5, 0.99, 1.0)
    assert type(hdr).decode(stats.hdr.encode()).get_value_at_percentile(90) == 900


def test_short_times_alone_have_the_same_places_as_among_long_ones() -> None:
    short = np.array([0, 1, 2046, 2047])
    assert indices(short).tolist() == indices(np.array([0, 1, 2046, 2047, 2048, HIGHEST_US])).tolist()[:4]


def test_little_waits_for_more_and_a_batch_has_all() -> None:
    recorder = Recorder()
    for value in range(MUCH - 1):
        recorder.mail(value)
        recorder.reply(250)
    recorder.fold_much()
    assert not recorder._folded
    recorder.reply(354)
    recorder.fold_much()
    assert list(recorder._folded) == ["mail"]
    recorder.mail(7)
    batch = recorder.take_batch()
    assert batch.series["mail"].counts.sum() == MUCH
    assert batch.replies == {250: MUCH - 1, 354: 1}


@given(
    st.lists(st.lists(st.integers(0, 10**10), min_size=8, max_size=10), min_size=1, max_size=20),
    st.sampled_from(["", "mx"]),
)
def test_a_visit_counts_as_if_each_of_its_replies_had_come(visits: list[list[int]], kind: str) -> None:
    """`took` is what passed before the connection and before each reply: of one recipient, or up to three."""
    whole, apart = Recorder(), Recorder()
    for number, took in enumerate(visits):
        began = 10**12 + number
        at = (began + np.cumsum(took)).tolist()
        codes = [-3, 220, 250, 250, *[251] * (len(took) - 7), 354, 250, 221]
        row = [began, *(part for reply in zip(codes, at, strict=True) for part in reply)]
        whole.of_kind(kind).take_visit(np.array(row, np.int64).tobytes())
        of = apart.of_kind(kind)
        for code in codes[1:]:
            of.reply(code)
        connect, banner, ehlo, mail, *rcpts, data, body, _ = took
        for note, ns in zip(
            (of.connect, of.banner, of.ehlo, of.mail), (connect, banner, ehlo, mail), strict=True
        ):
            note(ns // 1000)
        for ns in rcpts:
            of.rcpt(ns // 1000)
        of.data(data // 1000)
        of.body(body // 1000)
        of.transaction((mail + sum(rcpts) + data + body) // 1000)
        of.session((at[-1] - began) // 1000)
        of.counters["sessions"] += 1
        of.counters["accepted"] += 1
    assert whole.take_batch().to_plain() == apart.take_batch().to_plain()
    assert not whole.take_batch().series


@pytest.mark.parametrize("kind", ["", "mx"])
def test_many_visits_do_not_wait_for_the_end_of_the_second(kind: str) -> None:
    recorder, row = Recorder(), np.arange(17, dtype=np.int64).tobytes()  # eight replies and the beginning
    of, enough = recorder.of_kind(kind), -(-MUCH * OF_A_REPLY // len(row))
    for _ in range(enough - 1):
        of.take_visit(row)
    recorder.fold_much()
    assert not recorder._folded
    of.take_visit(row)
    recorder.fold_much()
    assert recorder._folded["body"].sum() == enough
