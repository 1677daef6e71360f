"""The receiving side of a `Session`: replies as they come, and whoever waits for them or looks on."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import cast

from smtpbench.transcript import Transcript
from smtpbench.wire.replies import Reply, ReplyParser
from smtpbench.witness import Witness

MAX_QUEUED = 20_000  # replies held unread; a server that floods us is not read further
SLICE = 0.1  # seconds of a wait after which we look whether our own loop was on time …
LATE = 0.05  # … and by how much it was not: such a slice does not count
MAX_LATE = 50  # slices forgiven in one wait, so that it ends whatever this machine does


class Incoming(asyncio.Protocol):
    """Collects replies as they come and wakes whoever waits."""

    def __init__(self, transcript: Transcript | None, witness: Witness | None) -> None:
        self.parser = ReplyParser()
        self.replies: deque[tuple[Reply, int]] = deque()  # with perf_counter_ns of their last octet
        self.eof = False
        self.left = False  # we have closed
        self.reset = False
        self.closed = False
        self.transport: asyncio.Transport | None = None
        self.witness = witness
        self._transcript = transcript
        self._changed = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter_ns()
        if self._transcript is not None:
            self._transcript.add("server", data)
        replies = self.parser.feed(data)
        self.replies.extend((reply, now) for reply in replies)
        if self.witness is not None:
            self.witness.received(data, replies)
        if self.transport and (self.parser.overflowed or len(self.replies) > MAX_QUEUED):
            self.transport.pause_reading()
        self._changed.set()

    def eof_received(self) -> bool:
        self._ended(by_server=True)
        self._note("server closed")
        self._changed.set()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended(by_server=True)
        self.closed = True
        if isinstance(exc, ConnectionResetError):
            self.reset = True
            self._note("server reset the connection")
        self._changed.set()
        self._writable.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _note(self, text: str) -> None:
        if self._transcript is not None:
            self._transcript.add_note(text)

    def _ended(self, *, by_server: bool) -> None:
        if self.witness is not None and not self.eof and not self.left:
            (self.witness.closed if by_server else self.witness.left)(self.parser.pending)
        if by_server:
            self.eof = True
        else:
            self.left = True

    def leave(self) -> None:
        """We close: what the server does from here on is no answer."""
        self._ended(by_server=False)

    async def change(self) -> None:
        """Wait until something comes: octets, a reply, the end."""
        self._changed.clear()
        await self._changed.wait()

    async def until(self, ready: Callable[[], bool], seconds: float) -> None:
        """Wait until `ready`, or until the server has had `seconds` in which we listened.

        Time in which our own loop was late does not count: what came meanwhile has not been read.
        """
        loop = asyncio.get_running_loop()
        left, late = seconds, 0
        while not ready() and left > 0:
            due = loop.time() + min(left, SLICE)
            with suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    while not ready():
                        await self.change()
            if loop.time() - due > LATE and late < MAX_LATE:
                late += 1
            else:
                left -= SLICE

    async def drained(self) -> None:
        """Wait until the write buffer is below its high-water mark."""
        await self._writable.wait()
