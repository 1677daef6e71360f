"""The hot path: one SMTP connection whose transactions run inside `data_received`.

A coroutine that awaits each reply costs a future, a task switch and a timer a command; at 40 µs a message
that is more than the SMTP itself. So only the set-up of a session (banner, EHLO, STARTTLS, AUTH) is
awaited reply by reply. A transaction is a chain of small methods: each takes the reply code it waits
for, notes the time, writes the next octets from strings rendered beforehand, and names its successor.

With PIPELINING (RFC 2920) the commands of a transaction go out as one group, and the message content
leads the group of the next transaction: ``content . MAIL RCPT DATA`` is one write. Every phase is timed
from the write that carried its octets to its reply, so the phases of a group overlap.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter_ns as clock
from typing import Protocol, cast

from smtpbench.errors import ConnectionLost, NotSmtp
from smtpbench.load.message import END_OF_DATA, Template
from smtpbench.load.recorder import Recorder
from smtpbench.wire.replies import Reply, ReplyParser, escape

DATA = b"DATA\r\n"
RSET = b"RSET\r\n"
QUIT = b"QUIT\r\n"

# RFC 5321 §4.2: Reply-code = %x32-35 %x30-35 %x30-39. What is not in here takes the slow path.
_CODES = {
    b"%d%d%d " % (a, b, c): a * 100 + b * 10 + c for a in range(2, 6) for b in range(6) for c in range(10)
}
_LOWEST_CODE = 200
_LOWEST_REFUSAL = 400


class Source(Protocol):
    """Where sessions get their messages from."""

    def take(self) -> int:
        """When the next message was due (`clock` ns), or 0 if there is none to send now."""

    def give_back(self, due: int) -> None:
        """Return one that was taken but never sent."""


@dataclass(frozen=True, slots=True)
class Script:
    """The octets that every transaction of a workload is made of."""

    mail: bytes
    rcpts: tuple[bytes, ...]
    template: Template
    lmtp: bool = False  # a reply for each accepted recipient after the content (RFC 2033 §4.2)

    @property
    def group(self) -> bytes:
        """The commands of one transaction as one write."""
        return self.mail + b"".join(self.rcpts) + DATA


class Flow(asyncio.Protocol):
    """One connection, from TCP to QUIT. `run` sends messages for as long as the source has some.

    `over` is for the owner, to set when the session shall end. `left` is how many messages this
    session may still carry (negative: no limit); `broken` says that it can carry no more.
    """

    def __init__(
        self, script: Script, recorder: Recorder, source: Source, *, timed_from_plan: bool = False
    ) -> None:
        self._script = script
        self._group = script.group
        self._rec = recorder
        self._source = source
        self._timed_from_plan = timed_from_plan
        self._parser = ReplyParser()
        self._partial = False
        self.transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self.over: asyncio.Future[None] = self._loop.create_future()
        self._waiter: asyncio.Future[tuple[Reply, int]] | None = None
        self._early: deque[tuple[Reply, int]] = deque()
        self._on: Callable[[int, int], None] | None = None  # None: set-up, replies go to `reply`
        self._resting: Callable[[Flow], None] | None = None
        self.pipelining = False
        self.left = -1  # never reaches 0: no limit
        self.broken = False
        self.connected_at = 0
        self._sent = 0  # when what is being answered was written
        self._heard = 0  # when the last reply came
        self._started = 0
        self._due = 0
        self._next_due = 0
        self._failure = 0
        self._position = 0
        self._accepted = 0

    # --- the connection ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's own class is no subclass
        self._write = self.transport.write
        self.connected_at = clock()

    def use(self, transport: asyncio.Transport) -> None:
        """Go on over the TLS `transport`."""
        self.transport = transport
        self._write = transport.write

    def check_nothing_early(self) -> None:
        """Before TLS: what came unasked in the clear must not be taken for the server's (RFC 3207 §4.2)."""
        if self._early or self._parser.pending:
            raise NotSmtp("the server sent more than was asked for, before TLS began")

    def connection_lost(self, exc: Exception | None) -> None:
        """Count a message that was under way; wake whoever waits."""
        self.broken = True
        if self._on is not None:
            self._abandon("dropped")
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(ConnectionLost("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        """Take replies; the common case, one whole line of a known code, needs no parser."""
        now = clock()
        if self._on is not None and not self._partial:
            if data.find(b"\n") == len(data) - 1 and data[-2:] == b"\r\n" and (code := _CODES.get(data[:4])):
                if code >= _LOWEST_REFUSAL:
                    self._note(data)
                self._rec.reply(code)
                self._heard = now
                self._on(code, now)
                return
            if data[-2:] == b"\r\n":
                lines = data.split(b"\r\n")[:-1]
                codes = [_CODES.get(line[:4]) for line in lines]
                if None not in codes:
                    for known, line in zip(codes, lines, strict=True):
                        self._reply(known or 0, now, line)
                    return
        self._parse(data, now)

    def _parse(self, data: bytes, now: int) -> None:
        for reply in self._parser.feed(data):
            if self._on is None:
                self._rec.reply(reply.code)
                self._set_up_reply(reply, now)
            elif reply.code >= _LOWEST_CODE and not self._parser.overflowed:
                self._reply(reply.code, now, reply.raw)
            else:
                self.abort()  # not SMTP: what it and the rest mean for the message is unknown
                return
        self._partial = bool(self._parser.pending)
        if self._parser.overflowed:
            self.abort()

    def _set_up_reply(self, reply: Reply, now: int) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result((reply, now))
        else:
            self._early.append((reply, now))

    def _reply(self, code: int, now: int, octets: bytes) -> None:
        if code >= _LOWEST_REFUSAL:
            self._note(octets)
        self._rec.reply(code)
        self._heard = now
        if self._on is not None:
            self._on(code, now)

    def _note(self, octets: bytes) -> None:
        """Keep the words of the first refusal; what a server says unasked refuses no message."""
        if not self._rec.refusal and self._on != self._on_idle:
            self._rec.note_refusal(" / ".join(escape(line) for line in octets.splitlines()))

    def abort(self) -> None:
        """Drop the connection at once."""
        self.broken = True
        if self.transport is not None:
            self.transport.abort()

    def expire(self, before: int) -> None:
        """Give up if the server has owed a reply since earlier than `before` (`clock` ns)."""
        if self._on in (None, self._on_idle) or max(self._sent, self._heard) > before:
            return
        self._abandon("timeouts")
        self.abort()

    # --- set-up, reply by reply ---

    async def reply(self, since: int) -> tuple[Reply, int]:
        """The next reply and the µs from `since` to it. Raises ConnectionLost."""
        if not self._early:
            if self.broken:
                raise ConnectionLost("the server closed the connection")
            self._waiter = self._loop.create_future()
            try:
                self._early.append(await self._waiter)
            finally:
                self._waiter = None
        reply, at = self._early.popleft()
        return reply, max(at - since, 0) // 1000

    async def command(self, line: bytes) -> tuple[Reply, int]:
        """Send `line` (CRLF is added); its reply and the µs it took."""
        self._early.clear()
        now = clock()
        self._write(line + b"\r\n")
        return await self.reply(now)

    # --- transactions ---

    def run(self, resting: Callable[[Flow], None]) -> None:
        """Send messages from now on; `resting` is called whenever there is none to send, or no way to."""
        self._resting = resting
        self._on = self._on_idle
        self.next()

    def next(self) -> None:
        """Begin the next message if the source has one and this session may."""
        if not self.broken and self.left and (due := self._source.take()):
            self.left -= 1
            self._begin(due, clock())
            self._write(self._group if self.pipelining else self._script.mail)
        else:
            self._rest()

    def finish(self) -> None:
        """Back to replies one by one, to say QUIT."""
        self._on = None

    def _rest(self) -> None:
        self._on = self._on_idle
        if self._resting is not None:
            self._resting(self)

    def _begin(self, due: int, sent: int) -> None:
        self._due = due
        self._failure = self._position = self._accepted = 0
        self._started = self._sent = sent
        self._on = self._on_mail

    def _on_idle(self, code: int, now: int) -> None:
        """Unprompted: a server that is tired of waiting says 421 and closes (RFC 5321 §3.8)."""
        self.broken = True
        if self._resting is not None:
            self._resting(self)

    def _on_mail(self, code: int, now: int) -> None:
        self._rec.mail((now - self._sent) // 1000)
        if code >= 300:
            self._failure = code
            if not self.pipelining:
                self._refused(now)
                return
        self._on = self._on_rcpt
        if not self.pipelining:
            self._sent = now
            self._write(self._script.rcpts[0])

    def _on_rcpt(self, code: int, now: int) -> None:
        self._rec.rcpt((now - self._sent) // 1000)
        if code < 300:
            self._accepted += 1
        elif not self._failure:
            self._failure = code
        self._position += 1
        rcpts = self._script.rcpts
        if self._position < len(rcpts):
            if not self.pipelining:
                self._sent = now
                self._write(rcpts[self._position])
        elif self.pipelining:
            self._on = self._on_data
        elif self._accepted:
            self._sent = now
            self._on = self._on_data
            self._write(DATA)
        else:
            self._refused(now)

    def _on_data(self, code: int, now: int) -> None:
        self._rec.data((now - self._sent) // 1000)
        if code != 354:
            self._failure = self._failure or code
            self._refused(now)
            return
        self._sent = now
        self._on = self._on_body
        if not self._accepted:  # RFC 2920 §3.1: no recipient, yet 354; only an empty message ends it
            self._write(END_OF_DATA)
            return
        self._failure = 0
        if self.pipelining and self.left and (due := self._source.take()):
            self.left -= 1
            self._next_due = due
            self._write(self._script.template.next_content(self._group))
        else:
            self._write(self._script.template.next_content())

    def _on_body(self, code: int, now: int) -> None:
        if code >= 300 and not self._failure:
            self._failure = code
        if self._script.lmtp and self._accepted > 1:
            self._accepted -= 1
            return
        rec = self._rec
        rec.body((now - self._sent) // 1000)
        if self._failure:
            self._refused(now)
            return
        rec.counters["accepted"] += 1
        rec.transaction((now - self._started) // 1000)
        if self._timed_from_plan:
            rec.intended((now - self._due) // 1000)
        self._proceed()

    def _proceed(self) -> None:
        """The next transaction: already written behind the content, or begun now."""
        if due := self._next_due:
            self._next_due = 0
            self._begin(due, self._sent)  # it went out with the content
        else:
            self.next()

    def _refused(self, now: int) -> None:
        """The message failed with `_failure`; clear the transaction and go on, unless the server closes."""
        self._count(self._refusal())
        if self._failure == 421:
            self._give_back_next()
            self.broken = True
            self._rest()
        elif self._next_due or self._on == self._on_body or self._on == self._on_mail:
            self._proceed()  # nothing is left to clear: the content's reply ended it, or MAIL never began it
        else:
            self._sent = now
            self._on = self._on_rset
            self._write(RSET)

    def _on_rset(self, code: int, now: int) -> None:
        self.next()

    def _abandon(self, outcome: str) -> None:
        """The connection failed: count the message under way as `outcome`, keep the one not begun."""
        self.broken = True
        if self._on not in (self._on_idle, self._on_rset):
            self._count(outcome if not self._failure else self._refusal())
        self._give_back_next()
        self._rest()

    def _refusal(self) -> str:
        return "rejected_4xx" if self._failure // 100 == 4 else "rejected_5xx"

    def _count(self, outcome: str) -> None:
        self._rec.counters[outcome] += 1

    def _give_back_next(self) -> None:
        if self._next_due:
            self._source.give_back(self._next_due)
            self._next_due = 0
