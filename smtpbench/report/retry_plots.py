"""Retries over time: the attempts for each message, and how it ended."""

from __future__ import annotations

from smtpbench.campaign.retry_result import Retries
from smtpbench.report.drawing import GRID, SERIES, drawing, legend_above, svg_of


def retry_plot(found: Retries) -> str:
    """A line for each message on one time axis. "" where nothing was seen."""
    messages = [one for one in found.messages if one.attempts or one.delivered_s or one.bounced_s]
    if not messages:
        return ""
    names = [one.kind for one in messages][::-1]
    with drawing("retries", 12, 1.2 + 0.28 * len(names)) as figure:
        axes = figure.add_subplot()
        for row, one in enumerate(messages[::-1]):
            times = [*(attempt.t_s for attempt in one.attempts), *one.delivered_s, *one.bounced_s]
            axes.hlines(row, min(times), max(times), color=GRID, linewidth=1.2)
        failed = [(a.t_s, r) for r, one in enumerate(messages[::-1]) for a in one.attempts]
        taken = [(at, r) for r, one in enumerate(messages[::-1]) for at in one.delivered_s]
        told = [(at, r) for r, one in enumerate(messages[::-1]) for at in one.bounced_s]
        for points, marker, size, series, label in (
            (failed, "|", 9, 0, "attempt"), (taken, "o", 6, 2, "delivered"), (told, "X", 7, 1, "bounce"),
        ):  # fmt: skip
            if points:
                at, line = zip(*points, strict=True)
                axes.plot(at, line, marker, markersize=size, color=SERIES[series], label=label)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(-0.7, len(names) - 0.3)
        axes.set_xlim(left=0)
        axes.set_xlabel("seconds from the beginning of the campaign")
        legend_above(axes, loc="lower right")
        return svg_of(figure, "Attempts, deliveries and bounces of each message over time")
