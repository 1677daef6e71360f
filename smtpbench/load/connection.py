"""One SMTP connection: octets in, replies out; the common reply costs no parser.

During set-up (`_on` is None) replies are awaited one by one. After that each goes to the method in
`_on`, inside `data_received`: a future, a task switch and a timer for each reply would cost more
than the SMTP itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from time import perf_counter_ns as clock
from typing import Protocol, cast

from smtpbench.errors import ConnectionLost, NotSmtp
from smtpbench.load.chat import AS_GREETED, DONE, Opening
from smtpbench.load.recorder import Recorder
from smtpbench.load.transport import SocketTransport
from smtpbench.wire.replies import Reply, ReplyParser, escape

# RFC 5321 §4.2: Reply-code = %x32-35 %x30-35 %x30-39. Refusals are noted, so they are parsed.
_CODES = {
    b"%d%d%d " % (a, b, c): a * 100 + b * 10 + c for a in range(2, 4) for b in range(6) for c in range(10)
}
_LOWEST_CODE = 200
_LOWEST_REFUSAL = 400
_SEEN: dict[bytes, tuple[int, ...]] = {}  # the codes of what was read once and may be read again
_PARSED: dict[bytes, tuple[Reply, ...]] = {}  # the same of replies that were parsed
_SEEN_MAX = 256  # most servers say the same to every MAIL, RCPT and DATA


def _codes(data: bytes) -> tuple[int, ...]:
    """The codes in a read, if all of it is one-line replies that say yes; else none."""
    if data[-2:] != b"\r\n":
        return ()
    lines = data.split(b"\n")[:-1]
    codes = tuple(
        _CODES[line[:4]] for line in lines if line[:4] in _CODES and line.find(b"\r") == len(line) - 1
    )
    if len(codes) != len(lines):
        return ()
    if len(_SEEN) < _SEEN_MAX:
        _SEEN[data] = codes
    return codes


def _unsaid(octets: bytes) -> None:
    """What is sent over a connection that is gone."""


class Listener(Protocol):
    """Leads a connection through its set-up."""

    def connected(self) -> None:
        """There is a transport now."""

    def heard(self, reply: Reply, now: int) -> None:
        """A reply has come, at `now` (`clock` ns)."""

    def lost(self, error: Exception | None) -> None:
        """There is no connection, or no longer."""


class Onlooker(asyncio.Protocol):
    """Stands between a connection and its transport, and hands on what comes."""

    def look(self) -> None:
        """The connection has a transport, or another one, which is then TLS."""


class Connection(asyncio.Protocol):
    """A connection that a session is made of. `broken` says that it can carry no more."""

    __slots__ = (
        "_early", "_heard", "_on", "_parser", "_partial", "_rec", "_waiter", "_write", "broken",
        "conducted", "connected_at", "greeting", "hello", "listener", "onlooker", "opening", "replayed_at",
        "transport",
    )  # fmt: skip

    def __init__(self, recorder: Recorder) -> None:
        self._rec = recorder
        self._parser: ReplyParser | None = None  # until a reply needs it
        self._partial = False
        self.transport: asyncio.Transport | None = None
        self.listener: Listener | None = None  # of set-up: hears of the connection, each reply and the end
        self._waiter: asyncio.Future[tuple[Reply, int]] | None = None
        self._early: list[tuple[Reply, int]] = []
        self._on: Callable[[int, int], None] | None = None  # None: set-up, see `listener`
        self.broken = False
        self.connected_at = 0
        self._heard = 0  # when the last reply came
        self.greeting: Reply | None = None
        self.hello: Reply | None = None  # to EHLO or LHLO
        self.onlooker: Onlooker | None = None
        self.conducted = False  # there may be chats
        self.opening: Opening | None = None  # that a chat has begun with
        self.replayed_at = 0  # when what is heard now has come, if it came in a chat (`clock` ns)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write."""
        self.transport = cast("asyncio.Transport", transport)
        self._write: Callable[[bytes], None] = self.transport.write
        self.connected_at = self.replayed_at or clock()
        if self.onlooker is not None:
            self.onlooker.look()
        if self.listener is not None:
            self.listener.connected()

    def use(self, transport: asyncio.Transport) -> None:
        """Go on over `transport`."""
        self.transport = transport
        self._write = transport.write
        if self.onlooker is not None:
            self.onlooker.look()

    def write_with(self, write: Callable[[bytes], None]) -> None:
        """Send what is sent from now on with `write`."""
        self._write = write

    @property
    def reader(self) -> asyncio.Protocol:
        """Who gets what comes."""
        return self.onlooker or self

    def check_nothing_early(self) -> None:
        """Before TLS: what came unasked in the clear must not be taken for the server's (RFC 3207 §4.2)."""
        if self._early or self._partial:
            raise NotSmtp("the server sent more than was asked for, before TLS began")

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake whoever waits."""
        self.broken = True
        listener, self.listener = self.listener, None
        if listener is not None:
            listener.lost(exc)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(ConnectionLost("the server closed the connection"))

    def abort(self) -> None:
        """Drop the connection at once."""
        self.broken = True
        if self.transport is not None:
            self.transport.abort()

    def part(self) -> None:
        """Drop the connection and hear of it no more, except through an onlooker."""
        self.broken = True
        transport = self.transport
        if self.onlooker is None and isinstance(transport, SocketTransport):
            self.transport, self._write = None, _unsaid
            transport.discard()
        elif transport is not None:
            transport.abort()

    # --- replies ---

    def replay(self, replies: Sequence[int], what: int) -> bytes:
        """See `Conducted`. What is written after a reply went out when it came, but for that after the last
        one of a chat that is DONE."""
        write, said = self._write, [b""]
        sent = len(replies) - 2 * (what == DONE)
        self._write = said.append
        try:
            for index in range(0, sent, 2):
                self.replayed_at = replies[index + 1]
                self._replayed(replies[index], self.replayed_at)
        finally:
            self._write, self.replayed_at = write, 0
        if len(said) != sent // 2 + 1:
            raise RuntimeError(f"{len(said) - 1} of {sent // 2} steps of a chat taken")
        if what == DONE:
            self._replayed(replies[-2], replies[-1])
        return said[-1]

    def _replayed(self, code: int, now: int) -> None:
        """A reply of a chat has come, at `now`."""
        note = self._rec.reply
        if self._on is None:
            reply = self._foretold(code)
            note(reply.code)
            if self.listener is not None:
                self.listener.heard(reply, now)
        else:
            note(code)
            self._heard = now
            on = self._on
            on(code, now)

    def _foretold(self, code: int) -> Reply:
        """What a chat has heard before MAIL or after QUIT."""
        if code > 0 or self.opening is None:
            return Reply(code, (b"",), b"%d \r\n" % code)
        return self.opening.greeting if code == AS_GREETED else self.opening.offers

    def recall(self) -> None:
        """Go on without a chat, if one has begun."""
        if isinstance(self.transport, SocketTransport):
            self.transport.recall()

    def catch_up(self) -> None:
        """Hear what has come in a chat until now."""
        if isinstance(self.transport, SocketTransport):
            self.transport.catch_up()

    def data_received(self, data: bytes) -> None:
        """Take replies; the common case, whole lines that say yes, needs no parser."""
        now = clock()
        if self._partial:
            self._parse(data, now)
        elif self._on is None:
            known, listener = _PARSED.get(data), self.listener
            if known is None or len(known) != 1 or listener is None:
                self._parse(data, now)
                return
            reply, note = known[0], self._rec.reply
            note(reply.code)
            listener.heard(reply, now)
        elif codes := _SEEN.get(data) or _codes(data):
            self._heard = now
            note = self._rec.reply
            for code in codes:
                note(code)
                on = self._on
                if on is None:  # the session has ended with the reply before: this one nobody asked for
                    self.abort()
                    return
                on(code, now)
                if self.conducted and len(codes) > 1:
                    self.recall()  # a chat that began with one of them would not hear of the next
        else:
            self._parse(data, now)

    def _parse(self, data: bytes, now: int) -> None:
        replies = self._replies(data)
        overflowed = self._parser is not None and self._parser.overflowed
        for reply in replies:
            if self._on is None:
                self._rec.reply(reply.code)
                self._set_up_reply(reply, now, expected=reply is replies[0])
            elif reply.code >= _LOWEST_CODE and not overflowed:
                self.recall()
                self._reply(reply.code, now, reply.raw)
            else:
                self.abort()  # not SMTP: what it and the rest mean for the message is unknown
                return
        if overflowed:
            self.abort()

    def _replies(self, data: bytes) -> Sequence[Reply]:
        """The replies that `data` completes. Thousands of sessions are greeted alike, so that is kept."""
        if not self._partial and (known := _PARSED.get(data)):
            return known
        if self._parser is None:
            self._parser = ReplyParser()
        whole, replies = not self._partial, self._parser.feed(data)
        self._partial = bool(self._parser.pending)
        if whole and not self._partial and not self._parser.overflowed and len(_PARSED) < _SEEN_MAX:
            _PARSED[data] = tuple(replies)
        return replies

    def _set_up_reply(self, reply: Reply, now: int, *, expected: bool) -> None:
        """What comes in one read with a reply that is due was not asked for: nothing has been said since."""
        if self.listener is not None and expected:
            self.listener.heard(reply, now)
        elif self._waiter is not None and not self._waiter.done():
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
        """Keep the words of the first refusal with each code."""
        code = octets[:3].decode("latin-1")
        if code not in self._rec.refusals:
            self._rec.note_refusal(" / ".join(escape(line) for line in octets.splitlines()), code)

    # --- set-up, reply by reply ---

    def say(self, octets: bytes) -> None:
        """Send what the listener wants to say."""
        if self._early:
            self._early.clear()
        write = self._write
        write(octets)

    async def reply(self, since: int) -> tuple[Reply, int]:
        """The next reply and the µs from `since` to it. Raises ConnectionLost."""
        if not self._early:
            if self.broken:
                raise ConnectionLost("the server closed the connection")
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                self._early.append(await self._waiter)
            finally:
                self._waiter = None
        reply, at = self._early.pop(0)
        return reply, max(at - since, 0) // 1000

    async def command(self, line: bytes) -> tuple[Reply, int]:
        """Send `line` (CRLF is added); its reply and the µs it took."""
        self._early.clear()
        now = clock()
        self._write(line + b"\r\n")
        return await self.reply(now)
