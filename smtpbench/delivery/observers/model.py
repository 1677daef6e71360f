"""What an observer is, what it gives back, and the loop of those that have to look again and again."""

from __future__ import annotations

import asyncio
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from typing import Literal, Protocol, Self, TypeVar

FIRST_POLL = 0.01  # seconds; doubled after each look that was in vain …
LAST_POLL = 0.1  # … up to this: a delivery is seen soon, a long wait costs little


LineEnds = Literal["crlf", "lf"]
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Delivered:
    """One delivered message.

    `content` is what the mailbox holds, octet for octet, with the line ends that `line_ends` names: where
    that is "lf", a bare LF and a CRLF cannot be told apart (most files, and all mail from IMAP and POP3).
    `sender` and `recipients` are addresses without brackets, as far as the mailbox tells them (from
    Return-Path, and Delivered-To or Envelope-To, or the envelope in a sink); `where` is the file or the sink.
    `read_ns` is when a client of a mailbox on a server had the message in hand, and `stated_ns` when that
    server says that it was delivered (IMAP's INTERNALDATE, in whole seconds), if it does: wall clock.
    """

    content: bytes
    line_ends: LineEnds
    sender: str | None
    recipients: tuple[str, ...]
    where: str
    read_ns: int = 0
    stated_ns: int | None = None


class Observer(Protocol):
    """Sees deliveries while it is entered."""

    @property
    def absent(self) -> str:
        """Why it can have seen nothing: there is no mailbox. "" if there is one."""

    async def start(self) -> None:
        """Begin: what is there already does not count."""

    async def stop(self) -> None:
        """End, and release what was held."""

    async def fetch(self, marker: bytes, at_least: int, within: float) -> list[Delivered]:
        """All messages that hold `marker`; waits up to `within` seconds for `at_least` of them."""

    async def __aenter__(self) -> Self:
        """Start."""

    async def __aexit__(self, *exc: object) -> None:
        """Stop."""


class Polling(ABC):
    """An observer that has to look again and again.

    Several may wait for messages at once; looks block, so they run in a thread, one after the other.
    """

    last_poll = LAST_POLL

    @property
    def absent(self) -> str:
        """See `Observer`."""
        return ""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def _in_thread(self, work: Callable[[], _Result]) -> _Result:
        """The result of `work`. Nothing else begins before it has ended, even if nobody waits for it."""
        async with self._turn:
            running = asyncio.get_running_loop().run_in_executor(None, work)
            try:
                return await asyncio.shield(running)
            finally:
                if not running.done():
                    self._give_up()
                    await asyncio.wait([running])
                    running.exception()  # of no interest any more

    def _give_up(self) -> None:  # noqa: B027 - nothing to do where a look is short
        """From outside the thread: what it does is not wanted any more."""

    @abstractmethod
    async def start(self) -> None:
        """Begin."""

    @abstractmethod
    async def stop(self) -> None:
        """End."""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def fetch(self, marker: bytes, at_least: int, within: float) -> list[Delivered]:
        """Look, at growing intervals, until `at_least` were found or the time is out."""
        deadline = time.monotonic() + within
        interval = FIRST_POLL
        while True:
            found = await self._look(marker)
            remaining = deadline - time.monotonic()
            if len(found) >= at_least or remaining <= 0:
                return found
            await asyncio.sleep(min(interval, remaining))
            interval = min(interval * 2, self.last_poll)

    @abstractmethod
    async def _look(self, marker: bytes) -> list[Delivered]:
        """All messages with `marker` that are there now."""


_FOR = re.compile(r"\bfor\s+<([^<>\s]+)>")


def stored(content: bytes, where: str, line_ends: LineEnds | None = None) -> Delivered:
    """A message from a mailbox. Its first line tells which line ends there are, where nothing else does."""
    if line_ends is None:
        first, newline, _ = content.partition(b"\n")
        line_ends = "crlf" if newline and first.endswith(b"\r") else "lf"
    header = BytesHeaderParser().parsebytes(content)
    return_path = header.get("Return-Path")
    named = header.get_all("Delivered-To", []) or header.get_all("Envelope-To", [])
    recipients = [str(value).strip().strip("<>") for value in named[:1]]
    if not recipients:
        recipients = _FOR.findall(str(header.get("Received", "")))
    sender = None if return_path is None else str(return_path).strip().strip("<>")
    return Delivered(content, line_ends, sender, tuple(recipients), where)
