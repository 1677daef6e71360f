"""The plots of a queue run: the depth of the queue over time, and how long messages took."""

from __future__ import annotations

from matplotlib.ticker import FuncFormatter

from smtpbench.campaign.result import QueueResult
from smtpbench.report.drawing import INK, SERIES, drawing, legend_above, svg_of
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


def delivery_plot(result: QueueResult) -> str:
    """Latency to the arrival against percentile. Raises UsageError if a histogram cannot be decoded."""
    found = [("end to end", result.end_to_end), ("in the queue, from the 250", result.in_queue)]
    return spectrum_plot([(name, stats) for name, stats in found if stats.hdr], "delivery")
