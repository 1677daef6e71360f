"""One SMTP connection from the client's side: raw octets out, replies in, every phase timed.

Nothing here judges. A case may send any octets; what comes back is parsed by `ReplyParser`, whose
anomalies stay with each reply. Every wait has a deadline; every error says which address it is about.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import ssl
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Self

from smtpbench._incoming import MAX_QUEUED, Incoming
from smtpbench.errors import ConnectionLost, DeadlineExceeded, NotSmtp, TlsFailed, Unreachable, os_words
from smtpbench.target import Endpoint, Timeouts, Tls
from smtpbench.transcript import Transcript
from smtpbench.wire import sasl
from smtpbench.wire.commands import CRLF
from smtpbench.wire.content import dot_stuff
from smtpbench.wire.ehlo import NO_EXTENSIONS, Extensions, parse_extensions
from smtpbench.wire.replies import Reply, escape
from smtpbench.witness import Witness

MAX_AUTH_STEPS = 10  # no mechanism needs more than 4
REDACTED = b"<redacted>"


@lru_cache(maxsize=16)  # reading the CAs takes longer than the handshake
def tls_context(tls: Tls) -> ssl.SSLContext:
    """The client context of the target file: its own CA or the system's, checked unless told not to."""
    try:
        context = ssl.create_default_context(cafile=str(tls.ca) if tls.ca else None)
    except (OSError, ssl.SSLError) as error:
        raise TlsFailed(f"tls.ca: {tls.ca}: {error}") from None
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class Session:
    """A connection to one endpoint. Make it with `open`, end it with `quit`, `close` or `abort`.

    `phases` holds the last duration in nanoseconds of each phase that happened: connect, tls, banner,
    ehlo, starttls, auth, body. `extensions` is what the last accepted EHLO offered.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        tls: Tls,
        timeouts: Timeouts,
        transcript: Transcript | None,
        witness: Witness | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.timeouts = timeouts
        self.transcript = transcript
        self.extensions: Extensions = NO_EXTENSIONS
        self.tls_active = False
        self.phases: dict[str, int] = {}
        self.waits: list[float] = []  # seconds from what was sent last to each reply that came after it
        self._tls = tls
        self._incoming = Incoming(transcript, witness)
        self._sent = time.perf_counter_ns()  # when something was sent last; at first, when we connected
        self._challenged = False  # the last reply was a 334: what we say next is secret

    @classmethod
    async def open(
        cls,
        endpoint: Endpoint,
        *,
        tls: Tls | None = None,
        timeouts: Timeouts | None = None,
        transcript: Transcript | None = None,
        witness: Witness | None = None,
    ) -> Self:
        """Connect, and shake hands where TLS is implicit. The greeting is not read yet.

        `witness` sees all that is said on the connection.
        Raises Unreachable, TlsFailed or DeadlineExceeded.
        """
        session = cls(endpoint, tls or Tls(), timeouts or Timeouts(), transcript, witness)
        begin = time.perf_counter_ns()
        await session._connect()
        session.phases["connect"] = time.perf_counter_ns() - begin
        if endpoint.tls == "implicit":
            await session.begin_tls()
        return session

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        connecting = loop.create_connection(lambda: self._incoming, self.endpoint.host, self.endpoint.port)
        try:
            async with asyncio.timeout(self.timeouts.connect):
                await connecting
        except TimeoutError:
            raise DeadlineExceeded(
                f"{self.where}: no connection within {self.timeouts.connect:g} s"
            ) from None
        except OSError as error:
            raise Unreachable(f"{self.where}: cannot connect: {_reason(error)}") from None

    @property
    def where(self) -> str:
        """``host:port``, for messages."""
        return self.endpoint.address

    @property
    def local_port(self) -> int:
        """The port of our end; 0 when the connection is gone."""
        transport = self._incoming.transport
        name = transport.get_extra_info("sockname") if transport is not None else None
        return int(name[1]) if name else 0

    @property
    def eof(self) -> bool:
        """Whether the server has closed its side."""
        return self._incoming.eof

    @property
    def reset(self) -> bool:
        """Whether the connection ended by a TCP reset."""
        return self._incoming.reset

    @property
    def challenged(self) -> bool:
        """Whether the last reply was a 334, so that what is said next belongs to an AUTH exchange."""
        return self._challenged

    @property
    def pending(self) -> bytes:
        """Octets that came and have not been read: whole replies first, then an unfinished one."""
        return b"".join(reply.raw for reply, _ in self._incoming.replies) + self._incoming.parser.pending

    # Octets

    async def send(self, data: bytes, *, secret: bool = False) -> None:
        """Write exactly `data`. Raises ConnectionLost or DeadlineExceeded.

        The transcript shows no credentials: what follows AUTH and its mechanism, or answers a 334, is
        redacted, and so is all of `data` if it is `secret`.
        """
        transport = self._incoming.transport
        if transport is None or self._incoming.closed or transport.is_closing():
            raise ConnectionLost(f"{self.where}: the server closed the connection before we could write")
        witness, shown = self._incoming.witness, self._shown(data, secret)
        if self.transcript is not None:
            self.transcript.add("client", shown)
        if witness is not None:
            witness.sent(data, shown)
        self._challenged = False
        self._sent = time.perf_counter_ns()
        transport.write(data)
        await self._drained(transport)

    async def _drained(self, transport: asyncio.WriteTransport) -> None:
        """Wait until what was written has gone, as long as the server takes any of it."""
        left = transport.get_write_buffer_size()
        while True:
            try:
                async with asyncio.timeout(self.timeouts.reply):
                    return await self._incoming.drained()
            except TimeoutError:
                before, left = left, transport.get_write_buffer_size()
                if left >= before:
                    raise DeadlineExceeded(
                        f"{self.where}: the server stopped reading for {self.timeouts.reply:g} s"
                    ) from None

    def _shown(self, data: bytes, secret: bool) -> bytes:
        if secret or self._challenged:
            return REDACTED + (CRLF if data.endswith(CRLF) else b"")
        return CRLF.join(_redact(line) for line in data.split(CRLF)) if b"auth" in data.lower() else data

    async def quiet(self, seconds: float) -> bytes:
        """What comes unprompted within `seconds`; returns at the first octets. ``b""`` is silence."""
        await self._incoming.until(lambda: bool(self.pending) or self.eof, seconds)
        return self.pending

    # Replies

    async def read_reply(self, timeout: float | None = None) -> Reply:
        """The next reply, whatever it says. Raises DeadlineExceeded, ConnectionLost or NotSmtp."""
        reply, _ = await self._next(self.timeouts.reply if timeout is None else timeout)
        return reply

    async def _next(self, timeout: float) -> tuple[Reply, int]:
        incoming = self._incoming
        await incoming.until(
            lambda: bool(incoming.replies) or incoming.eof or incoming.parser.overflowed, timeout
        )
        if not incoming.replies:
            if incoming.eof:
                raise ConnectionLost(f"{self.where}: the server closed the connection{self._partial()}")
            if incoming.parser.overflowed:
                raise NotSmtp(f"{self.where}: a reply line without end{self._partial()}")
            raise DeadlineExceeded(f"{self.where}: no reply within {timeout:g} s{self._partial()}")
        if len(incoming.replies) == MAX_QUEUED and incoming.transport:
            incoming.transport.resume_reading()
        reply, when = incoming.replies.popleft()
        self._challenged = reply.code == 334
        if when > self._sent:
            self.waits.append((when - self._sent) / 1e9)
        return reply, when

    def _partial(self) -> str:
        pending = self._incoming.parser.pending
        return f" after an unfinished reply: {escape(pending[:80])}" if pending else ""

    async def greeting(self) -> Reply:
        """The server's first reply. Raises NotSmtp if it is none."""
        begin = time.perf_counter_ns()
        reply, when = await self._next(self.timeouts.reply)
        self.phases["banner"] = max(0, when - begin)
        if reply.code == 0 or self._incoming.parser.overflowed:
            raise NotSmtp(f"{self.where}: not SMTP: the server's first line is {_what(reply.raw)}")
        return reply

    async def until_eof(self, timeout: float | None = None) -> list[Reply]:
        """All replies until the server closes or `timeout` seconds are over; `eof` tells which."""
        replies: list[Reply] = []
        deadline = time.monotonic() + (self.timeouts.reply if timeout is None else timeout)
        while True:
            try:
                replies.append(await self.read_reply(max(0.0, deadline - time.monotonic())))
            except (ConnectionLost, DeadlineExceeded, NotSmtp):
                return replies

    # Commands

    async def command(
        self, line: bytes | str, timeout: float | None = None, *, secret: bool = False
    ) -> Reply:
        """Send one line (CRLF is added) and read one reply."""
        octets = line.encode() if isinstance(line, str) else line
        await self.send(octets + CRLF, secret=secret)
        return await self.read_reply(timeout)

    async def pipeline(self, lines: Sequence[bytes | str], timeout: float | None = None) -> list[Reply]:
        """Send all lines in one write (RFC 2920) and read as many replies."""
        octets = [line.encode() if isinstance(line, str) else line for line in lines]
        await self.send(b"".join(line + CRLF for line in octets))
        return [await self.read_reply(timeout) for _ in lines]

    async def _timed(self, phase: str, line: bytes) -> Reply:
        begin = time.perf_counter_ns()
        await self.send(line + CRLF)
        reply, when = await self._next(self.timeouts.reply)
        self.phases[phase] = when - begin
        return reply

    async def ehlo(self, name: str, verb: str = "EHLO") -> Reply:
        """EHLO (or LHLO, HELO); a positive reply sets `extensions`, a refused one leaves them (§4.1.4)."""
        reply = await self._timed("ehlo", f"{verb} {name}".encode())
        if reply.severity == 2:
            self.extensions = parse_extensions(reply) if verb != "HELO" else NO_EXTENSIONS
        return reply

    async def content(self, content: bytes) -> Reply:
        """Send a message after a 354: dot-stuffed, ended by CRLF.CRLF; read the reply (§4.5.2)."""
        begin = time.perf_counter_ns()
        await self.send(dot_stuff(content))
        reply, when = await self._next(self.timeouts.reply)
        self.phases["body"] = when - begin
        return reply

    # TLS

    async def starttls(self) -> Reply:
        """STARTTLS (RFC 3207); after a 220 the handshake, and what EHLO said is forgotten (§4.2)."""
        reply = await self._timed("starttls", b"STARTTLS")
        if reply.code == 220:
            await self.begin_tls()
        return reply

    async def begin_tls(self, context: ssl.SSLContext | None = None) -> None:
        """Shake hands now, with `context` in place of the target's own (`tls_context`).

        Raises TlsFailed or DeadlineExceeded; octets still unread are kept as they are.
        """
        begin = time.perf_counter_ns()
        name = self._tls.server_name or self.endpoint.host
        loop = asyncio.get_running_loop()
        assert self._incoming.transport is not None
        try:
            async with asyncio.timeout(self.timeouts.connect):
                transport = await loop.start_tls(
                    self._incoming.transport,
                    self._incoming,
                    context or tls_context(self._tls),
                    server_hostname=name,
                )
        except TimeoutError:
            raise DeadlineExceeded(
                f"{self.where}: no TLS handshake within {self.timeouts.connect:g} s"
            ) from None
        except (ssl.SSLError, OSError) as error:
            raise TlsFailed(f"{self.where}: TLS handshake failed: {_reason(error)}") from None
        if transport is None:
            raise TlsFailed(f"{self.where}: the server closed the connection during the TLS handshake")
        self._incoming.transport = transport
        self.tls_active = True
        self.extensions = NO_EXTENSIONS
        self.phases["tls"] = time.perf_counter_ns() - begin
        if self.transcript is not None:
            self.transcript.add_note("TLS begun")
        if self._incoming.witness is not None:
            self._incoming.witness.tls_begun()

    # AUTH

    async def auth(self, mechanism: str, username: str, password: str, *, initial: bool = True) -> Reply:
        """One AUTH exchange (RFC 4954 §4) to its final reply: 235, or why not.

        With `initial` false the initial response waits for an empty challenge. A challenge that makes
        no sense is answered with "*", and the reply to that is returned.
        """
        begin = time.perf_counter_ns()
        exchange = sasl.mechanism(mechanism, username, password)
        line = f"AUTH {mechanism}".encode()
        first = exchange.initial
        if first is not None and initial:
            line, first = line + b" " + (base64.b64encode(first) or b"="), None
        reply = await self.command(line)
        for _ in range(MAX_AUTH_STEPS):
            if reply.code != 334:
                break
            response, first = first if first is not None else _response(exchange, reply), None
            reply = await self.command(b"*" if response is None else base64.b64encode(response))
        self.phases["auth"] = time.perf_counter_ns() - begin
        return reply

    # The end

    async def quit(self) -> Reply | None:
        """QUIT and close; the reply, or None if the connection was gone already."""
        try:
            return await self.command(b"QUIT")
        except (ConnectionLost, DeadlineExceeded, NotSmtp):
            return None
        finally:
            await self.close()

    async def close(self, within: float = 0.0) -> None:
        """Close our side, with TLS's closing alert where TLS is active.

        Waits up to `within` seconds for the server to close too, then drops the connection.
        """
        transport = self._incoming.transport
        self._incoming.leave()
        if transport is not None and not transport.is_closing():
            transport.close()
        await asyncio.sleep(0)
        if transport is None or not within:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                while not self._incoming.closed:
                    await self._incoming.change()
        transport.abort()

    def abort(self) -> None:
        """Drop the connection without a goodbye."""
        self._incoming.leave()
        if self._incoming.transport is not None:
            self._incoming.transport.abort()


def _response(exchange: sasl.Mechanism, reply: Reply) -> bytes | None:
    try:
        return exchange.respond(base64.b64decode(b"".join(reply.lines), validate=True))
    except (ValueError, binascii.Error):
        return None


def _redact(line: bytes) -> bytes:
    words = line.split(b" ", 2)
    return b" ".join([*words[:2], REDACTED]) if words[0].upper() == b"AUTH" and len(words) > 2 else line


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason == "WRONG_VERSION_NUMBER":
        return "the server answered with something that is not TLS"
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).replace("_", " ").lower()
    if isinstance(error, OSError):
        return os_words(error).lower()
    return str(error) or type(error).__name__


def _what(raw: bytes) -> str:
    if raw.startswith(b"HTTP/"):
        return f"HTTP: {escape(raw[:60])}"
    return f"TLS, not text: {escape(raw[:20])}" if raw[:2] in (b"\x15\x03", b"\x16\x03") else escape(raw[:80])
