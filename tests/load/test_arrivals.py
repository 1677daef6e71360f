from __future__ import annotations

import math
from itertools import islice, pairwise, takewhile
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import pytest

from smtpbench.load.arrivals import Process, plan, read_trace, shared
from smtpbench.load.rates import Profile, profile, read_rate

# Of Kolmogorov's distribution: a true sample is further off than this once in a thousand times.
KS_CRITICAL = 1.949


def kolmogorov_smirnov(values: np.ndarray) -> float:
    """sqrt(n) times the largest distance of `values` in (0, 1) from the uniform distribution."""
    ordered, n = np.sort(values), len(values)
    steps = np.arange(n + 1) / n
    distance = max(np.max(steps[1:] - ordered), np.max(ordered - steps[:-1]))
    return float(distance * math.sqrt(n))


def merged(rate: float | Profile, *, parts: int, seed: int, until: float) -> list[float]:
    """A Poisson plan as the processes that share it carry it out together."""
    shares = (plan("poisson", rate, seed=seed, part=part, parts=parts) for part in range(parts))
    return sorted(at for share in shares for at in takewhile(lambda at: at < until, share))


def test_constant_is_evenly_spaced() -> None:
    assert list(islice(plan("constant", 4, seed=0), 4)) == [0, 0.25, 0.5, 0.75]


@pytest.mark.parametrize("process", ["constant", "poisson"])
@pytest.mark.parametrize("parts", [1, 2, 3, 7])
@pytest.mark.parametrize("rate", ["10", "ramp:1-400,20s", "diurnal:0-100,10s", "stages:900@0s,0@10s"])
def test_the_parts_of_a_plan_are_the_plan(process: Process, parts: int, rate: str) -> None:
    whole = list(islice(plan(process, read_rate(rate), seed=5), 4000))
    shares = [list(islice(plan(process, read_rate(rate), seed=5, part=p, parts=parts), 4000))
              for p in range(parts)]  # fmt: skip
    together = sorted(at for share in shares for at in share)
    assert together[: len(whole)] == whole
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("parts", [1, 4])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_poisson_gaps_pass_a_kolmogorov_smirnov_test(parts: int, seed: int) -> None:
    gaps = np.diff(merged(200.0, parts=parts, seed=seed, until=100.0))
    assert len(gaps) > 19_000
    assert kolmogorov_smirnov(-np.expm1(-200.0 * gaps)) < KS_CRITICAL
    even = np.diff(list(takewhile(lambda at: at < 100, plan("constant", 200.0, seed=0))))
    assert kolmogorov_smirnov(-np.expm1(-200.0 * even)) > 10 * KS_CRITICAL  # the test can fail


@pytest.mark.parametrize("text", ["ramp:10-400,60s", "spike:50-1000,20s,10s", "diurnal:10-400,60s"])
def test_poisson_arrivals_of_a_changing_rate_are_poisson_under_it(text: str) -> None:
    rate = profile(read_rate(text))
    times = np.array(merged(rate, parts=3, seed=4, until=rate.lasts))
    promised = float(rate.promised(np.array(rate.lasts)))
    assert len(times) == pytest.approx(promised, abs=4 * math.sqrt(promised))
    assert kolmogorov_smirnov(-np.expm1(-np.diff(rate.promised(times)))) < KS_CRITICAL
    assert kolmogorov_smirnov(rate.promised(times) / promised) < KS_CRITICAL


def test_poisson_repeats_with_its_seed_only() -> None:
    assert list(islice(plan("poisson", 5, seed=1), 50)) == list(islice(plan("poisson", 5, seed=1), 50))
    assert list(islice(plan("poisson", 5, seed=1), 50)) != list(islice(plan("poisson", 5, seed=2), 50))


def test_poisson_gaps_are_as_wide_as_they_vary() -> None:
    times = list(islice(plan("poisson", 100, seed=7), 20_000))
    gaps = [after - before for before, after in pairwise(times)]
    assert mean(gaps) == pytest.approx(0.01, rel=0.03)
    assert stdev(gaps) == pytest.approx(mean(gaps), rel=0.05)  # of an exponential they are the same


def test_a_trace_begins_at_its_first_arrival_and_is_shared_out(tmp_path: Path) -> None:
    path = tmp_path / "trace.txt"
    path.write_text("# of one morning\n1700000000.5\n\n1700000000.75\n1700000002\n")
    trace = read_trace(path)
    assert trace == (0, 0.25, 1.5)
    assert [list(shared(trace, part=part, parts=2)) for part in (0, 1)] == [[0, 1.5], [0.25]]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("1\nx\n", "line 2: 'x': expected a number of seconds"),
        ("1\nnan\n", "line 2"),
        ("2\n1\n", "line 2: 1 comes before 2"),
        ("# nothing\n", "no arrival"),
    ],
)
def test_a_trace_that_is_none_is_told_in_a_line(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "trace.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=complaint):
        read_trace(path)
