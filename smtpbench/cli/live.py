"""What a load or queue run shows on standard error while it goes on: a screen on a terminal, else a line a
second.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from smtpbench.cli._dashboard import Past, dashboard, drain_screen
from smtpbench.load.run import Notice, Progress
from smtpbench.load.thresholds import Threshold
from smtpbench.report.text import milliseconds, visible


@dataclass(frozen=True, slots=True)
class Watcher:
    """Whom a run tells how it goes: figures once a second, and lines when something happens."""

    progress: Progress
    notice: Notice


@contextmanager
def watching(*, quiet: bool, thresholds: Sequence[Threshold] = ()) -> Iterator[Watcher]:
    """A watcher that shows what it is told, with the state of the `thresholds`; nothing if `quiet`."""
    console = Console(stderr=True)

    def say(line: str) -> None:
        console.print(visible(line), markup=False, highlight=False, soft_wrap=True)

    if quiet:
        yield Watcher(lambda _: None, lambda _: None)
    elif console.is_terminal:
        with Live(Text("starting"), console=console, transient=True, auto_refresh=False) as live:
            yield Watcher(_Screen(live, thresholds).show, say)
    else:
        yield Watcher(lambda figures: say(plain_line(figures)), say)


@contextmanager
def queue_progress(*, quiet: bool, thresholds: Sequence[Threshold] = ()) -> Iterator[Progress]:
    """The same for runs whose mail is followed, and for campaigns of retries: what is told how it goes."""
    console = Console(stderr=True)
    if quiet:
        yield lambda _: None
    elif console.is_terminal:
        with Live(Text("starting"), console=console, transient=True, auto_refresh=False) as live:
            yield _Screen(live, thresholds).show
    else:
        yield lambda figures: console.print(
            visible(queue_line(figures)), markup=False, highlight=False, soft_wrap=True
        )


class _Screen:
    """The last figures on the terminal; drawn once a second and over what was there, so nothing flickers."""

    def __init__(self, live: Live, thresholds: Sequence[Threshold]) -> None:
        self._live, self._thresholds = live, thresholds
        self._past = Past()

    def show(self, figures: Mapping[str, Any]) -> None:
        """Draw `figures`."""
        self._live.update(self._drawn(figures), refresh=True)

    def _drawn(self, figures: Mapping[str, Any]) -> RenderableType:
        if "settled" in figures:
            return Text(queue_line(figures))
        size, past = self._live.console.size, self._past
        if "depth" in figures:
            past.depths.append(figures["depth"])
        if "so_far" not in figures:
            return drain_screen(figures, past, size.width, size.height - 1)
        if not figures["warming_up_s"]:
            past.rates.append(figures["accepted_last_s"])
        return dashboard(figures, past, self._thresholds, size.width, size.height - 1)


def plain_line(figures: Mapping[str, Any]) -> str:
    """The run so far in one line."""
    if figures["warming_up_s"]:
        return f"warming up, {figures['warming_up_s']:.0f} s left  {figures['sessions']:>5} sessions"
    return (
        f"{figures['t_s']:6.1f} s  {figures['sessions']:>5} sessions  {figures['accepted']:>9,} accepted  "
        f"{figures['accepted_last_s']:>7,}/s  {figures['failed']:>6,} failed  "
        f"p50 {figures['p50_ms']:.2f} ms  p99 {figures['p99_ms']:.2f} ms"
    )


def queue_line(figures: Mapping[str, Any]) -> str:
    """A run whose mail is followed, so far, in one line; or a campaign of retries."""
    if "settled" in figures:
        return f"{figures['t_s']:6.1f} s  {figures['settled']:>3} of {figures['messages']} messages settled"
    counts = (
        f"{figures['accepted']:>9,} accepted  {figures['arrived']:>9,} arrived  {figures['depth']:>7,} queued"
    )
    times = "".join(
        f"  {name} p50 {milliseconds(found['p50_ms'])} p99 {milliseconds(found['p99_ms'])}"
        for name, found in figures["delivery"].items()
        if found
    )
    if "t_s" not in figures:
        return f"  draining  {counts}{times}"
    return (
        f"{figures['t_s']:6.1f} s  {counts}  {figures['accepted_last_s']:>7,}/s in  "
        f"{figures['arrived_last_s']:>7,}/s out  {figures['failed']:>5,} failed  "
        f"p99 {figures['p99_ms']:.2f} ms{times}"
    )
