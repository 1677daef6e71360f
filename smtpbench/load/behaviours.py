"""What abnormal sessions do, one small coroutine a kind. None of it is measured, so none of it is fast.

A behaviour returns the code of the reply that decided, or None where no reply was due because we
left. It raises SessionError for a connection that fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter_ns as clock
from typing import Any

from smtpbench.errors import ConnectionLost, DeadlineExceeded, NotSmtp
from smtpbench.load.flow import Flow
from smtpbench.load.recorder import SERIES, Recorder
from smtpbench.load.script import DATA, Transaction
from smtpbench.wire.replies import Reply

DRIP_S = 0.25  # between two pieces of a content that trickles
_CHUNK = b"x" * 998 + b"\r\n"
_CHUNKS = 64  # lines in one write of an oversize content
_GO_AHEAD = 354
LOWEST_REFUSAL = 400


class Unrecorded(Recorder):
    """Takes what a session reports and keeps the words of the first refusal alone."""

    def __init__(self) -> None:
        super().__init__()
        for name in (*SERIES, "reply"):
            setattr(self, name, _forget)


def _forget(_value: int) -> None:
    pass


class OddFlow(Flow):
    """A session that is led reply by reply, and waits while the server takes no more octets."""

    conductible = False

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._writable = asyncio.Event()
        self._writable.set()

    def pause_writing(self) -> None:
        """The buffer is full."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """It is no longer."""
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody waits for a connection that is gone."""
        self._writable.set()
        super().connection_lost(exc)

    async def pour(self, octets: bytes) -> None:
        """Write, and wait until there is room for more. Raises ConnectionLost."""
        if self.broken:
            raise ConnectionLost("the server closed the connection")
        self._write(octets)
        await self._writable.wait()

    def leave(self) -> None:
        """Close without a word, once what was written is on its way."""
        self.broken = True
        if self.transport is not None:
            self.transport.close()

    def note(self, reply: Reply) -> None:
        """Keep what the server said when it refused."""
        self._note(reply.raw)

    @property
    def answered(self) -> bool:
        """Whether the server has said something that nobody has read."""
        return bool(self._early)


class Odd:
    """One abnormal session, ready for MAIL.

    `limit` is the largest message that EHLO announced, `hold` and `patience` are in seconds.
    """

    def __init__(
        self, flow: OddFlow, message: Transaction, *, limit: int, hold: float, patience: float
    ) -> None:
        self.flow = flow
        self.message = message
        self.limit = limit
        self.hold = hold
        self._patience = patience

    async def pour(self, octets: bytes) -> None:
        """Write, and wait until there is room for more."""
        try:
            async with asyncio.timeout(self._patience):
                await self.flow.pour(octets)
        except TimeoutError:
            raise DeadlineExceeded(f"nothing was read for {self._patience:g} s") from None

    async def ask(self, line: bytes) -> int:
        """The code that answers a line (with its CRLF)."""
        return await self._within(self.flow.command(line.removesuffix(b"\r\n")))

    async def answer(self) -> int:
        """The code that answers what was written before."""
        return await self._within(self.flow.reply(clock()))

    async def _within(self, answer: Awaitable[tuple[Reply, int]]) -> int:
        try:
            async with asyncio.timeout(self._patience):
                reply, _ = await answer
        except TimeoutError:
            raise DeadlineExceeded(f"no reply within {self._patience:g} s") from None
        if not reply.code:
            raise NotSmtp(f"not an SMTP reply: {reply.text[:100]}")
        if reply.code >= LOWEST_REFUSAL:
            self.flow.note(reply)
        return reply.code

    async def until_content(self) -> int:
        """MAIL, one RCPT and DATA: 354, or what refused it."""
        for line in (self.message.mail, self.message.rcpts[0]):
            if (code := await self.ask(line)) >= LOWEST_REFUSAL:
                return code
        return await self.ask(DATA)


async def whole_message(odd: Odd) -> int | None:
    """An ordinary message."""
    if (code := await odd.until_content()) != _GO_AHEAD:
        return code
    await odd.pour(odd.message.content(b""))
    return await odd.answer()


async def declare_too_much(odd: Odd) -> int | None:
    """MAIL with a SIZE that the server has said it does not take (RFC 1870 §6.1)."""
    return await odd.ask(b"%s SIZE=%d\r\n" % (odd.message.mail[:-2], odd.limit + 1))


async def send_too_much(odd: Odd) -> int | None:
    """More octets than the server takes, undeclared; stops where the server speaks up."""
    if (code := await odd.until_content()) != _GO_AHEAD:
        return code
    left = odd.limit + 1
    while left > 0 and not odd.flow.answered:
        await odd.pour(_CHUNK * _CHUNKS)
        left -= len(_CHUNK) * _CHUNKS
    if not odd.flow.answered:
        await odd.pour(b".\r\n")
    return await odd.answer()


async def abort_in_data(odd: Odd) -> int | None:
    """Half a content and the end of the connection: no message (RFC 5321 §4.1.1.4)."""
    if (code := await odd.until_content()) != _GO_AHEAD:
        return code
    content = odd.message.content(b"")
    await odd.pour(content[: len(content) // 2])
    odd.flow.leave()
    return None


async def drop_without_quit(odd: Odd) -> int | None:
    """A message, and no goodbye."""
    code = await whole_message(odd)
    odd.flow.leave()
    return code


async def drip(odd: Odd) -> int | None:
    """A content that takes as long as `hold`."""
    if (code := await odd.until_content()) != _GO_AHEAD:
        return code
    content = odd.message.content(b"")
    pieces = max(1, min(len(content), int(odd.hold / DRIP_S)))
    size = -(-len(content) // pieces)
    for at in range(0, len(content), size):
        if odd.flow.answered:
            break
        await odd.pour(content[at : at + size])
        if at + size < len(content):
            await asyncio.sleep(odd.hold / pieces)
    return await odd.answer()


async def say_goodbye(odd: Odd) -> int | None:
    """A session without a message."""
    code = await odd.ask(b"QUIT\r\n")
    odd.flow.leave()
    return code


async def hold_still(odd: Odd) -> int | None:
    """A session that is only held. A server that is tired of it says 421, or closes."""
    try:
        async with asyncio.timeout(odd.hold):
            reply, _ = await odd.flow.reply(clock())
    except TimeoutError:
        return await say_goodbye(odd)
    odd.flow.note(reply)
    return reply.code


BEHAVIOURS: dict[str, Callable[[Odd], Awaitable[int | None]]] = {
    "unknown-recipient": whole_message,
    "oversize-declared": declare_too_much,
    "oversize": send_too_much,
    "abort-in-data": abort_in_data,
    "drop-without-quit": drop_without_quit,
    "slow-drip": drip,
    "churn": say_goodbye,
    "idle-holder": hold_still,
}
