"""What a load run shows while it goes on, on standard error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from smtpbench.load.run import Notice, Progress
from smtpbench.report.text import visible


@dataclass(frozen=True, slots=True)
class Watcher:
    """Whom a run tells how it goes: figures once a second, and lines when something happens."""

    progress: Progress
    notice: Notice


@contextmanager
def watching(*, quiet: bool) -> Iterator[Watcher]:
    """A line that changes on a terminal, a line a second elsewhere."""
    console = Console(stderr=True)

    def say(line: str) -> None:
        console.print(visible(line), markup=False, highlight=False, soft_wrap=True)

    if quiet:
        yield Watcher(lambda _: None, lambda _: None)
    elif console.is_terminal:
        with Live(Text("starting"), console=console, transient=True, auto_refresh=False) as live:
            yield Watcher(lambda figures: live.update(Text(plain_line(figures)), refresh=True), say)
    else:
        yield Watcher(lambda figures: say(plain_line(figures)), say)


def plain_line(figures: Mapping[str, Any]) -> str:
    """The run so far in one line."""
    return (
        f"{figures['t_s']:6.1f} s  {figures['sessions']:>5} sessions  {figures['accepted']:>9,} accepted  "
        f"{figures['accepted_last_s']:>7,}/s  {figures['failed']:>6,} failed  "
        f"p50 {figures['p50_ms']:.2f} ms  p99 {figures['p99_ms']:.2f} ms"
    )
