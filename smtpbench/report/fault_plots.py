"""The plot of a fault under load: accepted and delivered over time, the depth, and when it struck."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from smtpbench.campaign.fault_result import Cycle, FaultResult
from smtpbench.report.drawing import INK, SERIES, drawing, legend_above, svg_of
from smtpbench.report.text import number

_ACCEPTED, _STRUCK, _DELIVERED, _AIMED = SERIES[0], SERIES[1], SERIES[2], SERIES[3]
_MARKS = ((False, "v", _STRUCK, "kill"), (True, "D", _AIMED, "kill aimed at a final dot"))


def fault_plot(fault: FaultResult, salt: str) -> str:
    """Rates, depth and the spans of the fault on one time axis. "" where nothing was seen."""
    if len(fault.timeline) < 2 or fault.struck_at_s is None:
        return ""
    end = max(fault.timeline[-1].t_s + fault.timeline[-1].span_s, fault.struck_at_s + fault.struck_s)
    with drawing(salt, 12, 5.6) as figure:
        marks, rates, depth = figure.subplots(3, 1, sharex=True, height_ratios=(0.45, 5, 3))
        _struck(marks, fault)
        _rates(rates, fault)
        _depth(depth, fault)
        for axes in (marks, rates, depth):
            for begin, over in spans(fault):
                axes.axvspan(begin, end if over is None else over, color=_STRUCK, alpha=0.17, linewidth=0)
        depth.set_xlim(min(0.0, fault.struck_at_s), end)
        depth.set_xlabel("seconds from the first message accepted")
        words = "the kills and the times until it greeted again" if fault.cycles else "the time of the fault"
        return svg_of(
            figure, f"Accepted and delivered a second and depth of the queue over time, with {words}"
        )


def spans(fault: FaultResult) -> Iterator[tuple[float, float | None]]:
    """When the target was struck, and when that was over: None if it did not greet again."""
    assert fault.struck_at_s is not None
    if not fault.cycles:
        yield fault.struck_at_s, fault.struck_at_s + fault.struck_s
    for one in fault.cycles:
        killed = fault.struck_at_s + one.at_s
        yield killed, None if one.down_s is None else killed + one.down_s


def _struck(axes: Axes, fault: FaultResult) -> None:
    """A mark for each kill, in a strip of its own; a word for what lasts."""
    axes.axis("off")
    axes.set_ylim(-1, 1)
    if fault.cycles:
        for aimed, marker, color, label in _MARKS:
            _kills(axes, fault, [one for one in fault.cycles if one.aimed is aimed], marker, color, label)
        legend_above(axes)
        return
    begin, over = next(spans(fault))
    axes.text(((over or begin) + begin) / 2, 0, fault.fault, ha="center", va="center", color=_STRUCK)


def _kills(
    axes: Axes, fault: FaultResult, chosen: Sequence[Cycle], marker: str, color: str, label: str
) -> None:
    at = [(fault.struck_at_s or 0.0) + one.at_s for one in chosen]
    if at:
        axes.plot(at, [0] * len(at), marker, markersize=6.5, color=color, label=label, clip_on=False)


def _rates(axes: Axes, fault: FaultResult) -> None:
    at = [point.t_s + point.span_s / 2 for point in fault.timeline]
    accepted = [point.accepted_per_s for point in fault.timeline]
    delivered = [point.delivered_per_s for point in fault.timeline]
    axes.fill_between(at, accepted, color=_ACCEPTED, alpha=0.18, linewidth=0)
    axes.plot(at, accepted, color=_ACCEPTED, label="accepted")
    axes.plot(at, delivered, color=_DELIVERED, linewidth=1.4, label="delivered or bounced")
    again = fault.accepted_again_s
    if again is not None and not fault.cycles:
        axes.axvline(again, color=INK, linewidth=1.2, linestyle="--", label="first accepted after it")
    axes.set_title("messages a second", loc="left")
    axes.set_ylim(0, max(1, *accepted, *delivered) * 1.08)
    axes.yaxis.set_major_formatter(FuncFormatter(_count))
    legend_above(axes, loc="lower right")


def _depth(axes: Axes, fault: FaultResult) -> None:
    at, depth = [point.t_s for point in fault.queue_depth], [point.depth for point in fault.queue_depth]
    axes.fill_between(at, depth, color=INK, alpha=0.18, linewidth=0)
    axes.plot(at, depth, color=INK)
    axes.set_title("accepted, not yet delivered or bounced", loc="left")
    axes.set_ylim(0, max(1, *depth) * 1.08)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(_count))


def _count(value: float, _position: int | None) -> str:
    return number(round(value))
