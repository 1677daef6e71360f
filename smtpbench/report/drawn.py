"""Which plots a page has. The only module that brings matplotlib: it is imported where a page is rendered."""

from __future__ import annotations

from markupsafe import Markup

from smtpbench.report.capacity_plots import rate_plot, users_plot
from smtpbench.report.delivery_plots import delivery_plot, depth_plot, sustainable_plot
from smtpbench.report.fault_plots import fault_plot
from smtpbench.report.model import Run
from smtpbench.report.plots import latency_plot, starts_plot, timeline_plot
from smtpbench.report.retry_plots import retry_plot


def plots(run: Run) -> dict[str, Markup]:
    """The plots there are by name, as inline SVG; "" where there is nothing to draw."""
    drawn: dict[str, str] = {}
    if run.retries:
        drawn["retries"] = retry_plot(run.retries)
    if run.measured:
        drawn |= {
            "latency": latency_plot(run.measured), "starts": starts_plot(run.measured),
            "timeline": timeline_plot(run.measured),
        }  # fmt: skip
    if run.queue and not run.retries:
        drawn |= {"depth": depth_plot(run.queue), "delivery": delivery_plot(run.queue)}
        drawn["sustainable"] = sustainable_plot(run.queue)
    if run.capacity:
        drawn |= {"rate": rate_plot(run.capacity), "users": users_plot(run.capacity)}
    if run.overload:
        drawn |= {f"fault-{at}": fault_plot(one, f"fault-{at}") for at, one in enumerate(run.overload.faults)}
    return {name: Markup(svg) for name, svg in drawn.items()}  # noqa: S704  drawn by us, from numbers
