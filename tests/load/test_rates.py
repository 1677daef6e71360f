"""A rate that changes over time promises a number of messages, and keeps it."""

from __future__ import annotations

from itertools import takewhile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpbench.load.arrivals import plan
from smtpbench.load.rates import MAX_RATE, Profile, plain_rate, profile, read_rate


def read(text: object) -> Profile:
    return profile(read_rate(text))


@pytest.mark.parametrize(
    ("text", "seconds", "messages"),
    [
        ("200", 10, 2000),
        ("ramp:10-200,60s", 60, 60 * 105),
        ("ramp:10-200,60s", 70, 60 * 105 + 2000),
        ("ramp:200-0,10s", 100, 1000),
        ("spike:50-500,30s,10s", 70, 70 * 50 + 10 * 450),
        ("spike:0-500,1s,1s", 3, 500),
        ("diurnal:20-200,10m", 600, 600 * 110),
        ("diurnal:0-200,60s", 180, 180 * 100),
        ("stages:0@0s,100@1m,100@2m,0@3m", 180, 3000 + 6000 + 3000),
        ("stages:10@10s,20@20s", 20, 100 + 150),
    ],
)
def test_a_plan_holds_as_many_messages_as_the_rate_integrates_to(
    text: str, seconds: float, messages: int
) -> None:
    rate = read(text)
    assert float(rate.promised(np.array(seconds))) == pytest.approx(messages, rel=1e-9)
    planned = list(takewhile(lambda at: at < seconds, plan("constant", rate, seed=0)))
    assert len(planned) == pytest.approx(messages, abs=1)
    assert planned == sorted(planned)


@given(
    st.lists(st.tuples(st.floats(0, 1e4), st.floats(0, 1e4)), min_size=2, max_size=6),
    st.floats(0.001, 1, exclude_min=True),
)
def test_the_time_of_a_message_is_the_inverse_of_what_is_promised(
    steps: list[tuple[float, float]], share: float
) -> None:
    times = np.cumsum([span for span, _ in steps])
    text = "stages:" + ",".join(f"{r:.6f}@{t:.6f}" for t, (_, r) in zip(times, steps, strict=True))
    try:
        rate = read(text)
    except ValueError:  # no time passes, or nothing is ever sent
        return
    whole = float(rate.promised(np.array(rate.lasts)))
    wanted = np.array([whole * share])
    if whole > 0:
        assert rate.promised(rate.when(wanted)) == pytest.approx(wanted, rel=1e-9, abs=1e-9)


@given(st.floats(0, 1000), st.floats(0.1, 1000), st.floats(1, 1e5), st.floats(0, 1e5))
def test_so_it_is_for_a_day(low: float, more: float, period: float, wanted: float) -> None:
    rate = read(f"diurnal:{low:.6f}-{low + more:.6f},{period:.6f}")
    number = np.array([wanted])
    assert rate.promised(rate.when(number)) == pytest.approx(number, rel=1e-6, abs=1e-3)


def test_a_day_is_busiest_at_noon() -> None:
    rate = read("diurnal:20-200,24m")
    by_hour = np.diff(rate.promised(np.linspace(0, 24 * 60, 25)))
    assert by_hour.argmax() in (11, 12)
    assert by_hour[0] == pytest.approx(by_hour[-1])
    assert by_hour[0] < by_hour[11] / 5


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ({"kind": "ramp", "from": 10, "to": 200, "over": "60s"}, "ramp:10-200,60s"),
        ({"kind": "spike", "base": 50, "peak": 500, "at": "30s", "for": "10s"}, "spike:50-500,30s,10s"),
        ({"kind": "diurnal", "low": 20, "high": 200, "period": "10m"}, "diurnal:20-200,10m"),
        ({"kind": "stages", "points": [["0s", 0], ["1m", 100]]}, "stages:0@0s,100@1m"),
    ],
)
def test_a_table_says_the_same_as_text(table: dict[str, object], text: str) -> None:
    assert read_rate(table) == read_rate(text)
    assert plain_rate(read_rate(table)) == text


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("0", "more than 0"),
        (MAX_RATE + 1, "at most"),
        ("fast", "'fast' is no number"),
        ("wave:1-2,3s", "unknown rate 'wave'"),
        ("ramp:10,60s", "expected ramp:FROM-TO,OVER"),
        ("ramp:10-200", "expected ramp:FROM-TO,OVER"),
        ("ramp:0-0,10s", "more than 0"),
        ("spike:1-2,3s", "expected spike"),
        ("diurnal:1-2,0s", "a time of more than 0"),
        ("stages:1@5s,2@3s", "times that grow"),
        ("stages:5", "expected stages"),
        ({"kind": "ramp", "from": 1}, "has the keys from, to, over"),
    ],
)
def test_what_is_no_rate_is_told_in_a_line(text: object, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as caught:
        read_rate(text)
    assert len(str(caught.value).splitlines()) == 1
