from __future__ import annotations

from itertools import islice, pairwise, takewhile
from statistics import mean, stdev

import pytest

from smtpbench.load.arrivals import constant, plan, poisson


def test_constant_is_evenly_spaced() -> None:
    assert list(islice(constant(4), 4)) == [0, 0.25, 0.5, 0.75]


def test_shares_of_a_constant_plan_interleave_to_the_whole() -> None:
    parts = [list(islice(plan("constant", 10, seed=1, part=part, parts=3), 10)) for part in range(3)]
    assert sorted(at for part in parts for at in part) == pytest.approx(list(islice(constant(10), 30)))


def test_poisson_repeats_with_its_seed_only() -> None:
    assert list(islice(poisson(5, seed=1), 50)) == list(islice(poisson(5, seed=1), 50))
    assert list(islice(poisson(5, seed=1), 50)) != list(islice(poisson(5, seed=2), 50))


def test_poisson_gaps_are_exponential() -> None:
    times = list(islice(poisson(100, seed=7), 20_000))
    gaps = [after - before for before, after in pairwise(times)]
    assert mean(gaps) == pytest.approx(0.01, rel=0.03)
    assert stdev(gaps) == pytest.approx(mean(gaps), rel=0.05)  # of an exponential they are the same


def test_shares_of_a_poisson_plan_have_the_rate_together_and_differ() -> None:
    shares = [
        list(takewhile(lambda at: at < 100, plan("poisson", 50, seed=3, part=p, parts=2))) for p in (0, 1)
    ]
    assert shares[0] != shares[1]
    assert sum(map(len, shares)) == pytest.approx(5000, rel=0.05)
