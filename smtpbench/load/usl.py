"""The Universal Scalability Law: how throughput depends on concurrency (Gunther 1993).

    X(N) = λ N / (1 + σ (N - 1) + κ N (N - 1))

λ is the throughput of one user, σ the share of the work that cannot be done side by side (contention),
κ what each pair of users costs to keep in agreement (coherency). With κ > 0 throughput has a peak at
N* = sqrt((1 - σ) / κ) and falls beyond it; with κ = 0 the law is Amdahl's, and X approaches λ / σ.

Fitted by least squares on ln X, because throughput scatters in proportion to itself. The start is linear
(N / X is a polynomial of the parameters); Gauss-Newton with damping does the rest. σ and κ cannot be
negative: one that would be is left out, and the others are fitted again without it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MIN_LEVELS = 4  # three parameters and one degree of freedom to see whether they are any good
MIN_R2 = 0.9
MAX_RESIDUAL = 0.15  # root mean square, relative: beyond it a prediction is worth little
_STEPS = 100
_TOLERANCE = 1e-10

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Usl:
    """A fit; rates per second, standard errors beside their parameters (None where one was left out).

    `peak_users` and `peak_per_s` are None where the fitted curve has no peak. `residual` is the relative
    root mean square. `problem` says why the law does not describe the data; "" if it does.
    """

    lambda_per_s: float
    sigma: float
    kappa: float
    lambda_se: float | None
    sigma_se: float | None
    kappa_se: float | None
    r2: float
    residual: float
    peak_users: float | None
    peak_per_s: float | None
    problem: str = ""


def fit_usl(points: Sequence[tuple[float, float]]) -> Usl | None:
    """The law that fits (users, messages a second) best; None if there are too few levels of concurrency."""
    used = [(users, rate) for users, rate in points if users >= 1 and rate > 0]
    if len({users for users, _ in used}) < MIN_LEVELS:
        return None
    users, rates = (np.array(column, float) for column in zip(*used, strict=True))
    active = [0, 1, 2]
    while True:
        parameters = _gauss_newton(users, rates, active)
        negative = [i for i in active[1:] if parameters[i] <= 0]
        if not negative:
            return _summary(users, rates, parameters, active)
        active.remove(min(negative, key=lambda i: parameters[i]))


def throughput(users: Vector, parameters: Vector) -> Vector:
    """What the law says of so many users, per second; `parameters` are λ (per second), σ and κ."""
    lam, sigma, kappa = parameters
    result: Vector = lam * users / _slowdown(users, sigma, kappa)
    return result


def _slowdown(users: Vector, sigma: float, kappa: float) -> Vector:
    return 1 + sigma * (users - 1) + kappa * users * (users - 1)


def _start(users: Vector, rates: Vector, active: list[int]) -> Vector:
    """N / X = (1 + σ (N - 1) + κ N (N - 1)) / λ, weighted so that errors are relative; kept sensible."""
    columns = np.stack([np.ones_like(users), users - 1, users * (users - 1)], axis=1)[:, active]
    weights = rates / users
    solved, *_ = np.linalg.lstsq(columns * weights[:, None], np.ones_like(users), rcond=None)
    found = np.zeros(3)
    found[active] = solved
    if found[0] <= 0:
        found = np.array([float(np.min(users / rates)), 0.0, 0.0])
    return np.array([1 / found[0], *(np.maximum(found[1:], 0.0) / found[0])])


def _jacobian(users: Vector, parameters: Vector, active: list[int]) -> Vector:
    """Of ln X: one row a point, one column a parameter, λ as ln λ."""
    _, sigma, kappa = parameters
    slowdown = _slowdown(users, sigma, kappa)
    columns = [np.ones_like(users), -(users - 1) / slowdown, -users * (users - 1) / slowdown]
    return np.stack([columns[i] for i in active], axis=1)


def _gauss_newton(users: Vector, rates: Vector, active: list[int]) -> Vector:
    """Damped where a full step would make it worse (Levenberg)."""
    current, damping = _start(users, rates, active), 1e-3
    residual = np.log(rates) - np.log(throughput(users, current))
    for _ in range(_STEPS):
        jacobian = _jacobian(users, current, active)
        normal = jacobian.T @ jacobian
        scaled = normal + damping * np.diag(np.diag(normal))
        step = np.linalg.lstsq(scaled, jacobian.T @ residual, rcond=None)[0]
        candidate = current.copy()
        for i, change in zip(active, step, strict=True):
            candidate[i] = current[i] * math.exp(min(change, 5.0)) if i == 0 else current[i] + change
        slowdown = _slowdown(users, candidate[1], candidate[2])
        better = np.log(rates) - np.log(throughput(users, candidate)) if np.all(slowdown > 0) else None
        if better is None or better @ better > residual @ residual:
            damping *= 10
            if damping > 1e9:
                break
            continue
        gain = residual @ residual - better @ better
        current, residual, damping = candidate, better, damping / 10
        if gain <= _TOLERANCE * (better @ better + _TOLERANCE):
            break
    return current


def _summary(users: Vector, rates: Vector, parameters: Vector, active: list[int]) -> Usl:
    lam, sigma, kappa = (float(value) for value in parameters)
    fitted = throughput(users, parameters)
    residuals = np.log(rates) - np.log(fitted)
    freedom = len(users) - len(active)
    jacobian = _jacobian(users, parameters, active)
    covariance = np.linalg.pinv(jacobian.T @ jacobian) * (residuals @ residuals) / max(freedom, 1)
    errors: list[float | None] = [None, None, None]
    for place, i in enumerate(active):
        errors[i] = math.sqrt(float(covariance[place, place])) * (lam if i == 0 else 1.0)
    spread = float(np.sum((rates - rates.mean()) ** 2))
    r2 = 1 - float(np.sum((rates - fitted) ** 2)) / spread if spread else 0.0
    residual = math.sqrt(float(residuals @ residuals) / max(freedom, 1))
    peak = math.sqrt(max(1 - sigma, 0.0) / kappa) if kappa > 0 else None
    peak = None if peak is None else max(peak, 1.0)
    return Usl(
        lam, sigma, kappa, errors[0], errors[1], errors[2], r2=r2, residual=residual,
        peak_users=peak,
        peak_per_s=None if peak is None else float(throughput(np.array([peak]), parameters)[0]),
        problem=_problem(r2, residual, float(rates.std() / rates.mean())),
    )  # fmt: skip


def _problem(r2: float, residual: float, variation: float) -> str:
    """Where throughput hardly changes there is nothing for R² to explain, and the residual alone counts."""
    if residual > MAX_RESIDUAL:
        return f"the law does not fit: trials scatter by {residual:.0%} about it"
    if r2 < MIN_R2 and variation > MAX_RESIDUAL:
        return f"the law does not fit: it explains {max(r2, 0):.0%} of what concurrency changes (R²)"
    return ""
