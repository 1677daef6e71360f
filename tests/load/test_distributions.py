"""The laws of what is drawn, and the ways to write it."""

from __future__ import annotations

import math
from pathlib import Path
from random import Random
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpbench.load.distributions import Lognormal
from smtpbench.load.quantities import MESSAGES, PAUSE, RECIPIENTS, SIZE, Scale, plain

DRAWS = 40_000
TEXTS = [
    (SIZE, "8k"),
    (SIZE, "uniform:1k-10k"),
    (SIZE, "exponential:20k"),
    (SIZE, "lognormal:8k,1.2"),
    (SIZE, "lognormal:8k,1.2,min=1k,max=1m"),
    (SIZE, "pareto:1k,2.5"),
    (SIZE, "pareto:1k,1.1,max=10m"),
    (SIZE, "choice:1k@70,64k@25,1m@5"),
    (RECIPIENTS, "uniform:1-10"),
    (MESSAGES, "exponential:10"),
    (PAUSE, "exponential:500ms"),
    (PAUSE, "uniform:1s-1m"),
    (PAUSE, "0"),
]


@pytest.mark.parametrize(("scale", "text"), TEXTS)
def test_what_is_drawn_has_the_mean_that_is_told(scale: Scale, text: str) -> None:
    distribution, random = scale.read(text), Random(1)
    drawn = [distribution.draw(random) for _ in range(DRAWS)]
    error = float(np.std(drawn)) / math.sqrt(DRAWS)
    assert fmean(drawn) == pytest.approx(distribution.mean, abs=max(4 * error, 1e-9))
    assert distribution.lowest <= min(drawn)
    assert max(drawn) <= distribution.highest


@pytest.mark.parametrize(
    ("text", "mean"),
    [
        ("uniform:1-10", 5.5),
        ("exponential:10", 10.0),
        ("lognormal:8,0.5", 8 * math.exp(0.125)),
        ("pareto:1,3", 1.5),
        ("choice:1@3,5@1", 2.0),
        ("exponential:10,max=10", 10 * (1 - math.exp(-1))),  # of the smaller of an exponential and its mean
        ("pareto:1,1,max=100", 1 + math.log(100)),
    ],
)
def test_means_in_closed_form(text: str, mean: float) -> None:
    free = Scale("1", {"": 1.0}, 0, 1e12, whole=False)
    assert free.read(text).mean == pytest.approx(mean, rel=1e-3)


def test_whole_numbers_between_two_are_equally_likely() -> None:
    random, distribution = Random(2), RECIPIENTS.read("uniform:1-4")
    counts = np.bincount([distribution.draw_whole(random) for _ in range(DRAWS)], minlength=5)
    assert counts[0] == 0
    assert counts[1:] == pytest.approx([DRAWS / 4] * 4, rel=0.05)


@given(st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True), st.sampled_from(TEXTS))
def test_a_quantile_never_falls(one: float, other: float, which: tuple[Scale, str]) -> None:
    scale, text = which
    distribution = scale.read(text)
    low, high = sorted((one, other))
    assert distribution.quantile(low) <= distribution.quantile(high)


@pytest.mark.parametrize(("scale", "text"), TEXTS)
def test_the_same_seed_draws_the_same_and_text_can_be_read_again(scale: Scale, text: str) -> None:
    distribution = scale.read(text)
    again = scale.read(plain(distribution))
    assert again == distribution
    one, other = Random(5), Random(5)
    assert [distribution.draw(one) for _ in range(100)] == [again.draw(other) for _ in range(100)]


def test_what_never_varies_uses_up_no_chance() -> None:
    random = Random(1)
    before = random.getstate()
    assert SIZE.read("8k").draw_whole(random) == SIZE.read(8192).draw_whole(random) == 8192
    assert random.getstate() == before


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ({"kind": "fixed", "value": "8k"}, "8k"),
        ({"kind": "uniform", "low": "1k", "high": "10k"}, "uniform:1k-10k"),
        ({"kind": "lognormal", "median": "8k", "sigma": 1.2, "max": "1m"}, "lognormal:8k,1.2,max=1m"),
        ({"kind": "pareto", "minimum": 1024, "alpha": 1.5}, "pareto:1k,1.5"),
        ({"kind": "choice", "values": ["1k", "64k"], "weights": [3, 1]}, "choice:1k@3,64k@1"),
        ({"kind": "choice", "values": [1024, 2048]}, "choice:1k,2k"),
    ],
)
def test_a_table_says_the_same_as_text(table: dict[str, object], text: str) -> None:
    assert SIZE.read(table) == SIZE.read(text)


def test_measured_values_come_out_as_often_as_they_were_seen(tmp_path: Path) -> None:
    path = tmp_path / "sizes.txt"
    path.write_text("1k\n1k\n1024\n64k\n")
    assert SIZE.read(f"empirical:{path}") == SIZE.read("choice:1k@3,64k@1")
    path.write_text("\n".join(str(1000 + i) for i in range(5000)))
    many = SIZE.read(f"empirical:{path}")
    assert many.mean == pytest.approx(3499.5, rel=0.001)
    assert "empirical" not in str(plain(many))  # the file is not needed where the workload goes


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("foo", "'foo' is no number with a unit of k, m, g"),
        ("100", "512 to 1,073,741,824, not 100"),
        ("2g", "not 2,147,483,648"),
        ("gauss:1", "unknown distribution 'gauss'"),
        ("lognormal:8k", "expected lognormal:MEDIAN,SIGMA"),
        ("lognormal:8k,1.2,max=100", "not 100"),
        ("lognormal:8k,1.2,min=2k,max=1k", "min=2048 is above max=1024"),
        ("uniform:9k", "uniform:LOW-HIGH"),
        ("uniform:9k-1k", "the first must be the smaller"),
        ("choice:1k@0", "weights"),
        ("choice:", "choice:VALUE"),
        ("exponential:0", "more than 0"),
        ("empirical:/nowhere/at/all", "No such file"),
        ({"kind": "gauss"}, "kind 'gauss'"),
        ({"kind": "uniform", "low": 1, "hihg": 2}, "has the keys"),
        ("1000.5", "whole numbers"),
    ],
)
def test_what_is_no_size_is_told_in_a_line(text: object, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as caught:
        SIZE.read(text)
    assert len(str(caught.value).splitlines()) == 1


def test_a_tail_is_cut_where_the_scale_ends() -> None:
    wild = SIZE.read("lognormal:8k,5")
    assert isinstance(wild.shape, Lognormal)
    assert (wild.quantile(0), wild.quantile(1 - 2**-53)) == (512, 1 << 30)
