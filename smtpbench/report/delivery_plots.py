"""The plots of a queue run: the depth of the queue over time, and how long messages took."""

from __future__ import annotations

from matplotlib.ticker import FuncFormatter

from smtpbench.campaign.result import QueueResult
from smtpbench.report.capacity_plots import LOOK
from smtpbench.report.delivery import read_latencies
from smtpbench.report.drawing import GRID, INK, SERIES, drawing, legend_above, svg_of
from smtpbench.report.plots import spectrum_plot
from smtpbench.report.text import number


def depth_plot(result: QueueResult) -> str:
    """Messages accepted and not yet settled, over the run. "" without a message."""
    points = result.queue_depth
    if len(points) < 2:
        return ""
    at, depth = [point.t_s for point in points], [point.depth for point in points]
    with drawing("depth", 12, 3.6) as figure:
        axes = figure.add_subplot()
        axes.fill_between(at, depth, color=SERIES[0], alpha=0.18, linewidth=0)
        axes.plot(at, depth, color=SERIES[0], label="accepted, not yet delivered or bounced")
        axes.axvline(result.load_s, color=INK, linewidth=1.2, linestyle="--", label="the load ends")
        axes.set_ylim(0, max(1, *depth) * 1.08)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(round(value))))
        axes.set_xlabel("seconds from the first message accepted")
        axes.margins(x=0.01)
        legend_above(axes, loc="lower right")
        return svg_of(figure, "Depth of the queue over time")


def sustainable_plot(result: QueueResult) -> str:
    """How much of what was offered piled up, against the rate, of each trial. "" without a search."""
    found = result.search
    trials = [one for one in found.trials if one.depth_slope is not None] if found else []
    if not found or not trials:
        return ""
    with drawing("sustainable", 12, 3.8) as figure:
        axes = figure.add_subplot()
        for verdict, look in LOOK.items():
            chosen = [one for one in trials if one.verdict is verdict]
            at = [one.rate for one in chosen]
            slopes = [one.depth_slope for one in chosen if one.depth_slope]
            middle = [one.per_s for one in slopes]
            reach = [one.high - one.per_s for one in slopes]
            if chosen:
                axes.errorbar(at, middle, yerr=reach, fmt="none", ecolor=GRID, elinewidth=1.4, zorder=1)
                axes.scatter(at, middle, s=42, zorder=3, linewidths=0, **look)
        if found.low_per_s is not None and found.high_per_s is not None:
            label = f"edge, {found.confidence:.0%} interval"
            axes.axvspan(
                found.low_per_s, found.high_per_s, color=SERIES[0], alpha=0.16, linewidth=0, label=label
            )
        if found.rate_per_s is not None:
            axes.axvline(found.rate_per_s, color=SERIES[2], linewidth=1.4, label="sustainable")
        axes.axhline(0, color=INK, linewidth=0.8)
        axes.set_xlim(left=0)
        axes.set_xlabel("messages offered a second")
        axes.set_ylabel("growth of the queue, messages/s")
        legend_above(axes, loc="lower right")
        return svg_of(figure, "Growth of the queue against the rate")


def delivery_plot(result: QueueResult) -> str:
    """Latency to the arrival against percentile. Raises UsageError if a histogram cannot be decoded."""
    found = [
        ("end to end", result.end_to_end),
        ("in the queue, from the 250", result.in_queue),
        *read_latencies(result),
    ]
    return spectrum_plot([(name, stats) for name, stats in found if stats.hdr], "delivery")
