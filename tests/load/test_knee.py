from __future__ import annotations

from random import Random

import pytest

from smtpbench.load.knee import find_knee

RATES = (50, 100, 200, 300, 400, 500, 600, 700, 800, 900, 950, 990)


def test_of_an_mm1_queue_it_is_half_the_capacity() -> None:
    knee = find_knee([(rate, 1000 / (1000 - rate)) for rate in RATES])
    assert knee is not None
    assert knee.rate == pytest.approx(500, rel=0.05)
    assert knee.latency_ms == pytest.approx(2, rel=0.05)
    assert not knee.at_end


@pytest.mark.parametrize("top", [10, 13])
def test_it_does_not_depend_on_how_far_above_it_was_tried(top: int) -> None:
    rates = [*RATES[:top], 999.0, 999.9]
    knee = find_knee([(rate, 1000 / (1000 - rate)) for rate in rates])
    assert knee is not None
    assert knee.rate == pytest.approx(500, rel=0.05)


def test_of_a_hard_limit_it_is_the_limit() -> None:
    points = [(rate, 2.0) for rate in (100, 200, 300, 400)] + [(500, 900.0), (600, 2000.0)]
    knee = find_knee(points)
    assert knee is not None
    assert knee.rate == pytest.approx(400, rel=0.02)


def test_noise_moves_it_little() -> None:
    random = Random(4)
    points = [
        (rate, 1000 / (1000 - rate) * random.lognormvariate(0, 0.1)) for rate in RATES for _ in range(3)
    ]
    knee = find_knee(points)
    assert knee is not None
    assert knee.rate == pytest.approx(500, rel=0.25)


def test_where_latency_does_not_rise_there_is_none_yet() -> None:
    knee = find_knee([(rate, 2.0) for rate in RATES])
    assert knee is not None
    assert knee.at_end
    assert knee.rate == pytest.approx(990)


def test_where_it_rises_from_the_first_the_knee_is_there_or_below() -> None:
    knee = find_knee([(rate, 1000 / (1000 - rate)) for rate in RATES if rate >= 600])
    assert knee is not None
    assert knee.at_start
    assert knee.rate == pytest.approx(600)


def test_too_few_rates_show_nothing() -> None:
    assert find_knee([(100, 1.0), (100, 1.1), (200, 1.0), (300, 5.0)]) is None
