"""What happened in each second of a run, phase by phase, for the charts of the web page.

The collector adds up; this takes the difference between two moments, so nothing is kept for it in an engine.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from smtpbench.load.collect import Collector
from smtpbench.load.recorder import INTENDED, Counts, percentile
from smtpbench.load.result import FAILURES, PHASES

LONGEST = 3600  # points kept: an hour
PERCENTS = (50, 90, 99)
CHARTED = (*PHASES, INTENDED)
COUNTED = ("offered", "accepted", *FAILURES)


class History:
    """The last hour of a run in points of about a second. A new collector begins a new run."""

    def __init__(self) -> None:
        self.run = 0  # how many there were before this one
        self.points: deque[dict[str, Any]] = deque(maxlen=LONGEST)
        self._collector: Collector | None = None
        self._counts: dict[str, Counts] = {}
        self._totals: dict[str, int] = {}
        self._t_s = 0.0

    def sample(self, collector: Collector, figures: dict[str, Any]) -> None:
        """Add a point if the run has gone on since the last; `figures` is its `Control.progress`."""
        if collector is not self._collector:
            self._begin(collector)
        if figures["t_s"] <= self._t_s:
            return
        passed, self._t_s = figures["t_s"] - self._t_s, figures["t_s"]
        totals = {name: collector.totals[name] for name in COUNTED}
        rates = {name: round((totals[name] - self._totals.get(name, 0)) / passed, 1) for name in COUNTED}
        self._totals = totals
        self.points.append({
            "t_s": figures["t_s"], "sessions": figures["sessions"], "waiting": figures["waiting"] or 0,
            "per_s": rates, "ms": self._latencies(collector),
        })  # fmt: skip

    def _begin(self, collector: Collector) -> None:
        self.run += self._collector is not None
        self._collector, self._t_s = collector, 0.0
        self.points.clear()
        self._counts.clear()
        self._totals = {}

    def _latencies(self, collector: Collector) -> dict[str, list[float]]:
        """The `PERCENTS` in ms of what each series measured since the last point."""
        found = {}
        for name in CHARTED:
            counts = collector.counts.get(name)
            if counts is None:
                continue
            new = counts - self._counts[name] if name in self._counts else counts
            self._counts[name] = counts.copy()
            positions = np.flatnonzero(new)
            if len(positions):
                fresh = new[positions]
                found[name] = [percentile(positions, fresh, percent) / 1000 for percent in PERCENTS]
        return found
