"""The plots of a capacity search: latency and goodput against rate, throughput against users."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter

from smtpbench.load.capacity_result import CapacityResult, Trial
from smtpbench.load.search import Verdict
from smtpbench.load.usl import throughput
from smtpbench.report.drawing import GRID, INK, SERIES, drawing, latency_tick, legend_above, svg_of
from smtpbench.report.text import number

_HELD, _FAILED = SERIES[2], SERIES[1]
LOOK: dict[Verdict, dict[str, Any]] = {
    Verdict.HELD: {"marker": "o", "color": _HELD, "label": "held"},
    Verdict.FAILED: {"marker": "X", "color": _FAILED, "label": "failed"},
    Verdict.INVALID: {"marker": "s", "color": INK, "label": "void: the generator"},
}


def rate_plot(result: CapacityResult) -> str:
    """Latency against rate, and messages accepted against messages offered. "" without open trials."""
    trials = [trial for trial in result.trials if trial.rate is not None]
    if not trials:
        return ""
    with drawing("capacity", 12, 6.6) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True)
        _points(upper, trials, lambda trial: max(trial.intended_p99_ms, 0.001))
        upper.set_yscale("log")
        upper.yaxis.set_major_formatter(FuncFormatter(latency_tick))
        upper.yaxis.set_minor_formatter(NullFormatter())
        upper.set_title("p99 from the intended start", loc="left")
        _points(lower, trials, lambda trial: trial.accepted_per_s)
        lower.set_title("messages accepted a second", loc="left")
        lower.set_xlabel("messages offered a second")
        top = max(trial.rate or 0 for trial in trials)
        lower.plot([0, top], [0, top], color=GRID, linewidth=1.2, zorder=0)
        lower.set_ylim(0, 1.08 * max(trial.accepted_per_s for trial in trials) or 1)
        lower.set_xlim(left=0)
        for axes in (lower.xaxis, lower.yaxis):
            axes.set_major_formatter(FuncFormatter(lambda value, _: number(round(value))))
        for axes in (upper, lower):
            _landmarks(axes, result)
        legend_above(upper, loc="lower right")
        return svg_of(figure, "Latency and goodput against the rate")


def users_plot(result: CapacityResult) -> str:
    """Throughput against users, with the law that was fitted. "" without closed trials."""
    trials = [trial for trial in result.trials if trial.users is not None]
    if not trials:
        return ""
    with drawing("users", 12, 3.8) as figure:
        axes = figure.add_subplot()
        _points(axes, trials, lambda trial: trial.accepted_per_s)
        most = max(trial.users or 1 for trial in trials)
        law = result.usl
        if law is not None and law.lambda_per_s:
            users = np.geomspace(1, most, 200)
            fitted = throughput(users, np.array([law.lambda_per_s, law.sigma, law.kappa]))
            style = "-" if law.fits else ":"
            label = "scalability law" if law.fits else "scalability law (does not fit)"
            axes.plot(users, fitted, style, color=SERIES[0], label=label, zorder=1)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(round(value))))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(round(value))))
        axes.set_ylim(0, 1.08 * max(trial.accepted_per_s for trial in trials) or 1)
        axes.set_xlabel("concurrent users, each sending back to back")
        axes.set_ylabel("messages/s accepted")
        legend_above(axes)
        return svg_of(figure, "Throughput against concurrent users")


def _points(axes: Axes, trials: Sequence[Trial], height: Callable[[Trial], float]) -> None:
    for verdict, look in LOOK.items():
        chosen = [trial for trial in trials if trial.verdict is verdict]
        if chosen:
            at = [float(trial.users or trial.rate or 0) for trial in chosen]
            axes.scatter(at, [height(trial) for trial in chosen], s=42, zorder=3, linewidths=0, **look)


def _landmarks(axes: Axes, result: CapacityResult) -> None:
    """The interval of the edge, the rate that holds, the knee."""
    found = result.capacity
    if found.low_per_s is not None and found.high_per_s is not None:
        axes.axvspan(
            found.low_per_s, found.high_per_s, color=SERIES[0], alpha=0.16, linewidth=0,
            label=f"edge, {found.confidence:.0%} interval",
        )  # fmt: skip
    if found.rate_per_s is not None:
        axes.axvline(found.rate_per_s, color=_HELD, linewidth=1.4, label="holds")
    if result.knee is not None and not (result.knee.at_end or result.knee.at_start):
        axes.axvline(result.knee.rate_per_s, color=SERIES[3], linewidth=1.4, linestyle="--", label="knee")
