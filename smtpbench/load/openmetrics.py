"""A run as OpenMetrics: what a Prometheus server can scrape while it goes on.

Everything is read off the collector when somebody asks, on the control side: an engine's loop thread does
nothing for it. Latencies are in seconds, as histograms with fixed bounds; they come from the HdrHistogram
counts, so a bound is exact to three digits. What happens in a warm-up is in none of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from smtpbench import __version__
from smtpbench.load.collect import Process
from smtpbench.load.recorder import INTENDED, INTENDED_OF, LOOP_LAG, SCHEDULE_LAG, Counts, values
from smtpbench.load.result import FAILURES, MISSED, OUTCOMES, PHASES

if TYPE_CHECKING:
    from smtpbench.load.control import Control

BOUNDS_S = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
)  # fmt: skip
CONTENT_TYPE: str = CONTENT_TYPE_LATEST

_ACTUAL = {"accepted": "transaction"} | {name: name for name in FAILURES}
_FROM_PLAN = {"accepted": INTENDED} | INTENDED_OF


class RunMetrics(Collector):
    """The metrics of the run that `control` conducts, whichever that is when they are asked for."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client.registry.Collector."""
        yield InfoMetricFamily("smtpbench", "What measures.", value={"version": __version__})
        yield from self._counters()
        yield from self._gauges()
        yield from self._histograms()

    def _counters(self) -> Iterator[Metric]:
        found = self._control.collector
        yield CounterMetricFamily(
            "smtpbench_messages_offered", "Messages that were due.", found.totals["offered"]
        )
        by_outcome = CounterMetricFamily(
            "smtpbench_messages", "Messages by what became of them.", labels=["outcome"]
        )
        for outcome in (*OUTCOMES, MISSED):
            by_outcome.add_metric([outcome], found.totals[outcome])
        yield by_outcome
        yield CounterMetricFamily(
            "smtpbench_sessions", "Sessions that were opened.", found.totals["sessions"]
        )
        replies = CounterMetricFamily("smtpbench_replies", "Replies by code.", labels=["code"])
        for code, count in sorted(found.replies.items()):
            replies.add_metric([str(code)], count)
        yield replies
        cpu = CounterMetricFamily(
            "smtpbench_generator_cpu_seconds",
            "CPU time of each loop thread.",
            labels=["process"],
            unit="seconds",
        )
        for name, did in self._processes():
            cpu.add_metric([name], did.use.sums["cpu_ns"] / 1e9)
        yield cpu

    def _gauges(self) -> Iterator[Metric]:
        figures = self._control.progress()
        yield GaugeMetricFamily(
            "smtpbench_run_seconds", "How long the measurement has lasted.", figures["t_s"]
        )
        yield GaugeMetricFamily("smtpbench_sessions_open", "Sessions that are open.", figures["sessions"])
        yield GaugeMetricFamily(
            "smtpbench_arrivals_waiting", "Arrivals without a session.", figures["waiting"] or 0
        )
        busy = GaugeMetricFamily(
            "smtpbench_generator_busy_ratio",
            "Of a core, by each loop in its last second.",
            labels=["process"],
        )
        for name, did in self._processes():
            busy.add_metric([name], did.busy)
        yield busy
        workers = GaugeMetricFamily(
            "smtpbench_workers", "Processes by what became of them.", labels=["state"]
        )
        for state, count in figures["workers"].items():
            workers.add_metric([state], count)
        yield workers

    def _processes(self) -> Iterator[tuple[str, Process]]:
        control = self._control
        for worker_id, worker in control.roster.items():
            if worker.part is not None:
                yield worker.name, control.collector.of(worker_id)

    def _histograms(self) -> Iterator[Metric]:
        yield self._family("smtpbench_phase", "Latency by phase.", "phase", {name: name for name in PHASES})
        for start, series in (("actual_start", _ACTUAL), ("intended_start", _FROM_PLAN)):
            what = f"From the {start.replace('_', ' ')} of a message to its outcome."
            yield self._family(f"smtpbench_from_{start}", what, "outcome", series)
        lags = {"loop": LOOP_LAG, "schedule": SCHEDULE_LAG}
        yield self._family("smtpbench_generator_lag", "How late the generator itself was.", "of", lags)

    def _family(self, name: str, what: str, label: str, series: dict[str, str]) -> HistogramMetricFamily:
        family = HistogramMetricFamily(f"{name}_seconds", what, labels=[label], unit="seconds")
        for value, key in series.items():
            counts = self._control.collector.counts.get(key)
            if counts is not None:
                family.add_metric([value], *buckets(counts))
        return family


def buckets(counts: Counts) -> tuple[list[tuple[str, float]], float]:
    """The cumulative counts at each bound, and the sum in seconds."""
    positions = np.flatnonzero(counts)
    took, found = values(positions), counts[positions]
    running = np.concatenate([[0], np.cumsum(found)])
    at = np.searchsorted(took, [round(bound * 1e6) for bound in BOUNDS_S], side="right")
    bounded = [(str(bound), float(running[index])) for bound, index in zip(BOUNDS_S, at, strict=True)]
    return [*bounded, ("+Inf", float(running[-1]))], float(took @ found) / 1e6


def exposition(control: Control) -> bytes:
    """The metrics of a run as they are now, ended by ``# EOF``."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(RunMetrics(control))
    text: bytes = generate_latest(registry)
    return text
