"""The result of a capacity search: the public schema ``smtpbench.capacity/1``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from smtpbench.load.result import Notice
from smtpbench.load.search import End, Step, Verdict

SCHEMA = "smtpbench.capacity/1"


class _Model(BaseModel):
    model_config = ConfigDict(populate_by_name=True, extra="forbid")


class Trial(_Model):
    """One run of the search. `rate` is None for a closed trial, `users` for an open one.

    Latencies are those of a transaction in ms; `intended_p99_ms` is from when the plan had it due.
    `recovery_s` is how long the target was given before it; `file` its whole result, below ``--out``.
    """

    number: int
    step: Step | Literal["concurrency"]
    rate: float | None = None
    users: int | None = None
    verdict: Verdict
    why: str = ""
    offered_per_s: float = 0.0
    accepted_per_s: float = 0.0
    error_rate: float | None = None
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    intended_p50_ms: float = 0.0
    intended_p99_ms: float = 0.0
    recovery_s: float = 0.0
    file: str | None = None


class Capacity(_Model):
    """The highest rate that holds, in messages a second, and the edge above it.

    `held` of `tried` trials at `rate_per_s` held. The edge is the rate at which a trial is as likely to
    hold as to fail; `low_per_s` to `high_per_s` contain it with probability `confidence`. The three are None
    if nothing failed.
    """

    rate_per_s: float | None = None
    held: int = 0
    tried: int = 0
    edge_per_s: float | None = None
    low_per_s: float | None = None
    high_per_s: float | None = None
    confidence: float = 0.95
    method: str = ""


class KneeResult(_Model):
    """Where latency begins to rise faster than the rate.

    `at_start`: it does so from the lowest rate tried, so the knee is there or below; `at_end`: it did so
    nowhere.
    """

    rate_per_s: float
    latency_ms: float
    at_start: bool = False
    at_end: bool = False
    method: str = ""


class UslResult(_Model):
    """X(N) = λ N / (1 + σ (N - 1) + κ N (N - 1)), fitted to the closed trials; errors are standard errors.

    `fits` is false if `problem` says why the law does not describe the trials.
    """

    fits: bool
    problem: str = ""
    lambda_per_s: float = 0.0
    sigma: float = 0.0
    kappa: float = 0.0
    lambda_se: float | None = None
    sigma_se: float | None = None
    kappa_se: float | None = None
    r2: float = 0.0
    residual: float = 0.0
    peak_users: float | None = None
    peak_per_s: float | None = None


class CapacityResult(_Model):
    """A whole search, as ``load --find-capacity --json`` writes it."""

    schema_: str = Field(default=SCHEMA, alias="schema")
    smtpbench: str = ""
    started: str = ""
    duration_s: float = 0.0
    target: dict[str, Any] = {}
    workload: dict[str, Any] = {}
    thresholds: list[str] = []
    settings: dict[str, Any] = {}
    end: End = End.UNKNOWN
    reason: str = ""
    interrupted: bool = False
    required_per_s: float | None = None  # what the user asked the target to hold
    capacity: Capacity = Capacity()
    knee: KneeResult | None = None
    usl: UslResult | None = None
    trials: list[Trial] = []
    preflight: list[Notice] = []
    notes: list[str] = []

    @property
    def meets(self) -> bool | None:
        """Whether the target holds what is required; None if nothing is, or if the trials do not tell."""
        confirmed = self.capacity.rate_per_s if self.end in (End.FOUND, End.MAXIMUM, End.AT_LEAST) else None
        if self.required_per_s is None:
            return None
        if confirmed is not None and confirmed >= self.required_per_s:
            return True
        return False if self.end in (End.FOUND, End.MAXIMUM, End.BELOW) else None
