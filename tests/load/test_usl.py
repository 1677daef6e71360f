from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpbench.load.usl import fit_usl

LEVELS = (1, 2, 4, 8, 16, 32, 64)


def law(users: float, lam: float, sigma: float, kappa: float) -> float:
    return lam * users / (1 + sigma * (users - 1) + kappa * users * (users - 1))


def noisy(seed: int, spread: float, *truth: float) -> list[tuple[float, float]]:
    """Two trials a level, each off by a lognormal factor."""
    random = Random(seed)
    return [(n, law(n, *truth) * random.lognormvariate(0, spread)) for n in LEVELS for _ in range(2)]


@given(st.floats(1, 1e5), st.floats(0, 0.9), st.floats(1e-5, 0.05))
def test_exact_data_gives_the_parameters_back(lam: float, sigma: float, kappa: float) -> None:
    fit = fit_usl([(n, law(n, lam, sigma, kappa)) for n in LEVELS])
    assert fit is not None
    assert fit.lambda_per_s == pytest.approx(lam, rel=1e-3)
    assert fit.sigma == pytest.approx(sigma, rel=1e-2, abs=1e-3)
    assert fit.kappa == pytest.approx(kappa, rel=1e-2, abs=1e-6)
    assert not fit.problem


def test_noisy_data_gives_them_back_within_their_standard_errors() -> None:
    """λ 500/s, σ 0.05, κ 0.002, 5 % noise: of 200 fits, 95 of 100 within 2.2 standard errors."""
    truth = (500.0, 0.05, 0.002)
    fits = [fit_usl(noisy(seed, 0.05, *truth)) for seed in range(200)]
    inside = 0
    for fit in fits:
        assert fit is not None
        assert fit.kappa == pytest.approx(truth[2], rel=0.35)
        assert fit.peak_users == pytest.approx(math.sqrt(0.95 / 0.002), rel=0.2)
        assert fit.kappa_se is not None
        assert fit.sigma_se is not None
        inside += abs(fit.kappa - truth[2]) < 2.2 * fit.kappa_se  # Student's t of 11 degrees, 95 %
    assert 0.91 <= inside / len(fits) <= 0.99
    sigmas = sorted(fit.sigma for fit in fits if fit)
    assert sigmas[100] == pytest.approx(truth[1], rel=0.1)


def test_a_parameter_that_would_be_negative_is_left_out() -> None:
    faster_than_linear = fit_usl([(n, 100.0 * n**1.1) for n in LEVELS])
    assert faster_than_linear is not None
    assert (faster_than_linear.sigma, faster_than_linear.kappa) == (0, 0)
    assert faster_than_linear.sigma_se is None
    amdahl = fit_usl(noisy(1, 0.0, 100.0, 0.2, 0.0))
    assert amdahl is not None
    assert amdahl.sigma == pytest.approx(0.2, rel=1e-3)
    assert amdahl.peak_users is None or amdahl.peak_users > 1000


def test_a_flat_line_is_contention_only_and_fits() -> None:
    fit = fit_usl(noisy(3, 0.02, 200.0, 1.0, 0.0))
    assert fit is not None
    assert fit.sigma == pytest.approx(1, abs=0.05)
    assert not fit.problem


def test_it_says_when_the_law_does_not_fit() -> None:
    zigzag = [(n, 100.0 * (1 + 2 * (i % 2))) for i, n in enumerate(LEVELS)]
    fit = fit_usl(zigzag)
    assert fit is not None
    assert "does not fit" in fit.problem


def test_too_few_levels_are_no_fit() -> None:
    assert fit_usl([(1, 10.0), (2, 19.0), (4, 30.0), (4, 31.0)]) is None
