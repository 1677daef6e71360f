"""What a load run shows on standard error while it goes on: a screen on a terminal, else a line a second."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from smtpbench.cli._dashboard import dashboard
from smtpbench.load.run import Notice, Progress
from smtpbench.load.thresholds import Threshold
from smtpbench.report.text import visible

HISTORY_S = 500  # more than a terminal is wide


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


class _Screen:
    """The last figures on the terminal; drawn once a second and over what was there, so nothing flickers."""

    def __init__(self, live: Live, thresholds: Sequence[Threshold]) -> None:
        self._live, self._thresholds = live, thresholds
        self._rates: deque[int] = deque(maxlen=HISTORY_S)

    def show(self, figures: Mapping[str, Any]) -> None:
        """Draw `figures`."""
        if not figures["warming_up_s"]:
            self._rates.append(figures["accepted_last_s"])
        size = self._live.console.size
        shown = dashboard(figures, self._rates, self._thresholds, size.width, size.height - 1)
        self._live.update(shown, refresh=True)


def plain_line(figures: Mapping[str, Any]) -> str:
    """The run so far in one line."""
    if figures["warming_up_s"]:
        return f"warming up, {figures['warming_up_s']:.0f} s left  {figures['sessions']:>5} sessions"
    return (
        f"{figures['t_s']:6.1f} s  {figures['sessions']:>5} sessions  {figures['accepted']:>9,} accepted  "
        f"{figures['accepted_last_s']:>7,}/s  {figures['failed']:>6,} failed  "
        f"p50 {figures['p50_ms']:.2f} ms  p99 {figures['p99_ms']:.2f} ms"
    )
