"""The plots of a load run in the HTML report: latency by percentile, and what happened over time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, MaxNLocator, NullFormatter

from smtpbench.load.result import PHASES, LoadResult, PhaseStats, TimelinePoint
from smtpbench.report.drawing import SERIES, drawing, latency_tick, legend_above, svg_of
from smtpbench.report.histograms import Recorded, decode

_WHOLE = "transaction"
_WHOLE_S = 0.9  # a point of the timeline that lasts longer is a whole second


def latency_plot(result: LoadResult) -> str:
    """Latency of the whole and of each phase by percentile, on a log axis of 1/(1-q). "" without histograms.

    Raises UsageError if a histogram cannot be decoded.
    """
    names = [_WHOLE, *(name for name in PHASES if name not in (_WHOLE, "session"))]
    found = [(name, result.phases[name]) for name in names if name in result.phases]
    return spectrum_plot([one for one in found if one[1].hdr], "latency")


def starts_plot(result: LoadResult) -> str:
    """The whole transaction from its actual and from its intended start. "" for a closed workload.

    Raises UsageError if a histogram cannot be decoded.
    """
    actual, intended = result.phases.get(_WHOLE), result.from_intended_start.get(_WHOLE)
    if not (actual and actual.hdr and intended and intended.hdr):
        return ""
    return spectrum_plot([("from the actual start", actual), ("from the intended start", intended)], "starts")


def spectrum_plot(series: Sequence[tuple[str, PhaseStats]], salt: str) -> str:
    """The curves of these series, in that order. "" without any.

    Raises UsageError if a histogram cannot be decoded.
    """
    decoded = [(name, decode(name, stats)) for name, stats in series]
    curves = [(name, histogram) for name, histogram in decoded if histogram.get_max_value() > 0]
    if not curves:
        return ""
    deepest = max(histogram.get_total_count() for _, histogram in curves)
    with drawing(salt, 12, 4.3) as figure:
        axes = figure.add_subplot()
        for (name, histogram), color in zip(curves, SERIES, strict=False):
            axes.plot(*_spectrum(histogram), color=color, label=name)
        _nines_axis(axes, deepest)
        _latency_axis(axes)
        legend_above(axes)
        return svg_of(figure, "Latency by percentile")


def timeline_plot(result: LoadResult) -> str:
    """Messages, sessions and latency in each second of the run. "" if it was shorter than two seconds.

    A second that was only begun, at the end, is left out: it would look like a collapse.
    """
    points = [point for point in result.timeline if point.span_s > _WHOLE_S]
    if len(points) < 2:
        return ""
    with drawing("timeline", 12, 7) as figure:
        rate, sessions, latency = figure.subplots(3, 1, sharex=True, height_ratios=(5, 2, 5))
        _rates(rate, points)
        _sessions(sessions, points)
        _latencies(latency, points)
        latency.set_xlabel("seconds from the start")
        latency.xaxis.set_major_locator(MaxNLocator(integer=True))
        latency.margins(x=0.01)
        return svg_of(figure, "Throughput, failures, sessions and latency over time")


def _rates(axes: Axes, points: Sequence[TimelinePoint]) -> None:
    at, accepted = [point.t_s for point in points], [point.accepted for point in points]
    offered, failed = [point.offered for point in points], [point.failed for point in points]
    axes.fill_between(at, accepted, color=SERIES[0], alpha=0.18, linewidth=0)
    if any(offered):
        axes.plot(at, offered, color=SERIES[2], linewidth=1.2, linestyle="--", label="offered")
    axes.plot(at, accepted, color=SERIES[0], label="accepted")
    if any(failed):
        axes.plot(at, failed, color=SERIES[1], label="failed")
    axes.set_title("messages in each second", loc="left")
    axes.set_ylim(0, max(1, *accepted, *offered, *failed) * 1.08)
    axes.yaxis.set_major_formatter(FuncFormatter(_count))
    legend_above(axes, loc="lower right")


def _sessions(axes: Axes, points: Sequence[TimelinePoint]) -> None:
    sessions = [point.sessions for point in points]
    axes.step([point.t_s for point in points], sessions, where="post", color=SERIES[3])
    axes.set_title("open sessions", loc="left")
    axes.set_ylim(0, max(1, *sessions) * 1.15)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=3, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(_count))


def _latencies(axes: Axes, points: Sequence[TimelinePoint]) -> None:
    at = [point.t_s for point in points]
    axes.plot(at, [point.p99_ms for point in points], color=SERIES[1], label="p99")
    axes.plot(at, [point.p50_ms for point in points], color=SERIES[0], label="p50")
    axes.set_title("transaction latency in each second", loc="left")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(latency_tick))
    legend_above(axes, loc="lower right")


def _count(value: float, _position: int | None) -> str:
    return f"{value:,.0f}"


def _spectrum(histogram: Any) -> tuple[list[float], list[float]]:
    """(1/(1-q), milliseconds) from the minimum to one sample in `total`; 0 has no place on a log axis."""
    recorded = Recorded(histogram)
    total = max(recorded.total, 2)
    steps = 160
    inverse = [total ** (step / steps) for step in range(steps + 1)]
    values = recorded.quantiles([1 - 1 / x for x in inverse])
    return inverse, [value / 1000 or math.nan for value in values]


def _nines_axis(axes: Axes, deepest: int) -> None:
    labels = {1: "0 %", 2: "50 %", 10: "90 %", 100: "99 %"}
    labels |= {10**nines: f"99.{'9' * (nines - 2)} %" for nines in range(3, 10)}
    shown = {at: label for at, label in labels.items() if at <= max(deepest, 10)}
    axes.set_xscale("log")
    axes.set_xlim(1, max(deepest, 10))
    axes.xaxis.set_major_locator(FixedLocator(list(shown)))
    axes.xaxis.set_major_formatter(FixedFormatter(list(shown.values())))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("percentile")


def _latency_axis(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(latency_tick))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.minorticks_off()
