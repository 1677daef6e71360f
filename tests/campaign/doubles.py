"""What stands in for servers and their processes in tests of campaigns."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any

WAIT = 60.0


@contextmanager
def in_a_thread(serving: Callable[[], AbstractAsyncContextManager[Any]]) -> Iterator[None]:
    """What `serving` gives is entered in the event loop of a thread of its own meanwhile."""
    ready, loop, stop = threading.Event(), asyncio.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        async with serving():
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(WAIT)
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(WAIT)
        loop.close()


class NoProcesses:
    """A target whose processes nobody knows: it cannot be killed, and does not start."""

    guessed = ""

    def kill(self) -> None:
        """Nothing."""

    def start(self) -> None:
        """Nothing."""

    def pids(self) -> list[int]:
        """None."""
        return []

    def log_tail(self) -> str:
        """Nothing."""
        return ""
