"""The plots of a load run in the HTML report: latency by percentile, and what happened over time."""

from __future__ import annotations

import binascii
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

from hdrh.codec import HdrCookieException, HdrHistogramSettingsException, HdrLengthException
from hdrh.histogram import HdrHistogram
from matplotlib.axes import Axes
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, MaxNLocator, NullFormatter

from smtpbench.errors import UsageError
from smtpbench.load.result import LoadResult, PhaseStats
from smtpbench.report.drawing import SERIES, drawing, latency_tick, legend_above, svg_of

_PERCENTILES = {1: "0 %", 2: "50 %", 10: "90 %", 100: "99 %"}
_PERCENTILES |= {10**nines: f"99.{'9' * (nines - 2)} %" for nines in range(3, 8)}

_PARTS = ("connect", "mail", "rcpt", "data", "body")
"""Phases that can stand beside the whole transaction in the spectrum, slowest three shown."""


def latency_plot(result: LoadResult) -> str:
    """Latency against percentile, the tail spread out (1/(1-q) on a log axis). "" without histograms.

    Raises UsageError if a histogram cannot be decoded.
    """
    return spectrum_plot(list(_spectrum_series(result)), "latency")


def spectrum_plot(series: Sequence[tuple[str, PhaseStats]], salt: str) -> str:
    """The curves of these series, in that order. "" without any.

    Raises UsageError if a histogram cannot be decoded.
    """
    curves = [(name, _decode(name, stats)) for name, stats in series]
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
    """Messages a second and latency over the run. "" if the run was shorter than two seconds."""
    points = result.timeline
    if len(points) < 2:
        return ""
    at = [point.t_s for point in points]
    with drawing("timeline", 12, 5) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True)
        accepted = [point.accepted for point in points]
        upper.fill_between(at, accepted, color=SERIES[0], alpha=0.18, linewidth=0)
        upper.plot(at, accepted, color=SERIES[0])
        upper.set_title("messages accepted in each second", loc="left")
        upper.set_ylim(0, max(1, *accepted) * 1.08)
        upper.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        lower.plot(at, [point.p99_ms for point in points], color=SERIES[1], label="p99")
        lower.plot(at, [point.p50_ms for point in points], color=SERIES[0], label="p50")
        lower.set_title("transaction latency in each second", loc="left")
        legend_above(lower, loc="lower right")
        lower.set_ylim(bottom=0)
        lower.yaxis.set_major_formatter(FuncFormatter(latency_tick))
        lower.set_xlabel("seconds from the start")
        lower.xaxis.set_major_locator(MaxNLocator(integer=True))
        lower.margins(x=0.01)
        return svg_of(figure, "Throughput and latency over time")


def _spectrum_series(result: LoadResult) -> Iterable[tuple[str, PhaseStats]]:
    whole = result.phases.get("transaction")
    if whole and whole.hdr:
        yield "transaction", whole
    intended = result.from_intended_start.get("transaction")
    if intended and intended.hdr:
        yield "transaction, from its intended start", intended
    parts = [(name, result.phases[name]) for name in _PARTS if name in result.phases]
    slowest = sorted((part for part in parts if part[1].hdr), key=lambda part: -part[1].p99_ms)
    yield from slowest[:3]


def _decode(name: str, stats: PhaseStats) -> Any:
    try:
        histogram = HdrHistogram.decode(stats.hdr)
    except (binascii.Error, zlib.error, ValueError, IndexError, HdrCookieException) as error:
        raise UsageError(f"phase {name}: hdr is not a histogram: {error or type(error).__name__}") from None
    except (HdrLengthException, HdrHistogramSettingsException) as error:
        raise UsageError(f"phase {name}: hdr is a damaged histogram: {error}") from None
    return histogram


def _spectrum(histogram: Any) -> tuple[list[float], list[float]]:
    """(1/(1-q), milliseconds) from the minimum to one sample in `total`."""
    total = max(histogram.get_total_count(), 2)
    steps = 160
    inverse = [total ** (step / steps) for step in range(steps + 1)]
    values = [histogram.get_value_at_percentile(100 * (1 - 1 / x)) / 1000 for x in inverse]
    return inverse, [max(value, 0.001) for value in values]


def _nines_axis(axes: Axes, deepest: int) -> None:
    labels = {
        1: "0 %",
        2: "50 %",
        10: "90 %",
        100: "99 %",
        1000: "99.9 %",
        10_000: "99.99 %",
        100_000: "99.999 %",
    }
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
