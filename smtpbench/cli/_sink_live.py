"""What a sink shows on a terminal while it runs: one line, drawn over once a second."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator

from smtpbench.load.serving import ServingLoop
from smtpbench.server.sink import Sink

EVERY_S = 1.0


@contextlib.asynccontextmanager
async def live_line(made: Sink, loop: ServingLoop, *, quiet: bool) -> AsyncIterator[None]:
    """Show how `made` gets on, on standard error: nothing if `quiet`, or if that is no terminal."""
    if quiet or not sys.stderr.isatty():
        yield
        return
    showing = asyncio.create_task(_show(made, loop))
    try:
        yield
    finally:
        showing.cancel()
        await asyncio.wait([showing])


async def _show(made: Sink, loop: ServingLoop) -> None:
    from rich.console import Console  # takes longer to import than a sink to start
    from rich.live import Live
    from rich.text import Text

    began = before = loop.time()
    messages = made.counts.messages
    with Live("listening", console=Console(stderr=True), transient=True, auto_refresh=False) as live:
        while True:
            await asyncio.sleep(EVERY_S)
            now, counts = loop.time(), made.counts
            rate = (counts.messages - messages) / (now - before)
            shown = line(now - began, len(made.connections), counts.messages, rate, loop.scarce)
            live.update(Text(shown, no_wrap=True, overflow="ellipsis"), refresh=True)
            before, messages = now, counts.messages


def line(elapsed_s: float, sessions: int, messages: int, rate: float, scarce: int) -> str:
    """The sink so far: how many `sessions` are open, `messages` taken in all, and a second (`rate`)."""
    said = f"{elapsed_s:6.0f} s  {sessions:>5,} sessions  {messages:>11,} messages  {rate:>8,.0f}/s"
    return said + (f"  {shortage(scarce)}" if scarce else "")


def shortage(times: int) -> str:
    """That clients had to wait, because the system had nothing left for them."""
    return f"{times:,} × no file descriptor or memory for the next client"
