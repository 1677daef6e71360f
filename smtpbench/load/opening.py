"""From a TCP connection to a session that may send mail: TLS, banner, EHLO, STARTTLS, AUTH, each timed."""

from __future__ import annotations

import asyncio
import base64
import os
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import lru_cache
from time import perf_counter_ns as clock
from typing import TypeVar, cast

from smtpbench.errors import (
    AuthFailed,
    ConnectionLost,
    DeadlineExceeded,
    NotSmtp,
    SessionError,
    TlsFailed,
    Unreachable,
)
from smtpbench.load.eventloop import EventLoop
from smtpbench.load.flow import Flow
from smtpbench.load.recorder import Recorder
from smtpbench.load.script import QUIT
from smtpbench.wire import sasl
from smtpbench.wire.ehlo import NO_EXTENSIONS, Extensions, parse_extensions
from smtpbench.wire.replies import Anomaly, Reply

MAX_AUTH_STEPS = 4  # SCRAM takes three; a server that goes on for longer is not serious
GOODBYE_S = 1.0  # how long a server may take over QUIT before we close without its answer


_F = TypeVar("_F", bound=Flow)


@dataclass(frozen=True, slots=True)
class Login:
    """Who to authenticate as, and whether a server that offers no AUTH is an error."""

    username: str
    password: str = field(repr=False)
    required: bool = True


@dataclass(frozen=True, slots=True)
class Door:
    """How a session is opened: where, with which TLS, as whom. `host` is an address, resolved beforehand."""

    host: str
    port: int
    client_name: str
    connect_timeout: float
    reply_timeout: float
    tls: str = "none"
    context: ssl.SSLContext | None = None
    server_name: str | None = None
    login: Login | None = None
    pipelining: bool = True
    lmtp: bool = False

    @property
    def address(self) -> str:
        """``host:port`` for messages."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Refused(SessionError):
    """The server answered the set-up of a session with 4yz or 5yz."""

    def __init__(self, reply: Reply, to: str) -> None:
        super().__init__(f"{to}: {reply}")
        self.code = reply.code


async def open_flow(door: Door, recorder: Recorder, make: Callable[[], _F]) -> tuple[_F, Reply, Extensions]:
    """A session ready for MAIL, its greeting and what EHLO offered. Raises SessionError."""
    flow = await _connect(door, recorder, make)
    opening = _Opening(door, recorder, flow)
    try:
        greeting, extensions = await opening.run()
        if flow.broken:
            raise ConnectionLost(f"{door.address}: closed before MAIL")
    except BaseException:
        flow.abort()
        raise
    flow.pipelining = door.pipelining and "PIPELINING" in extensions
    flow.chunking = "CHUNKING" in extensions
    return flow, greeting, extensions


async def close_flow(flow: Flow) -> None:
    """Say QUIT if that is still possible, and close."""
    flow.finish()
    if not flow.broken:
        try:
            async with asyncio.timeout(GOODBYE_S):
                await flow.command(QUIT.rstrip())
        except (SessionError, TimeoutError):
            pass
    flow.abort()


async def _connect(door: Door, recorder: Recorder, make: Callable[[], _F]) -> _F:
    flow, started = make(), clock()
    loop = cast("EventLoop", asyncio.get_running_loop())
    try:
        transport = loop.connect(flow, door.host, door.port)
        async with asyncio.timeout(door.connect_timeout):
            await flow.connected
    except TimeoutError:
        transport.abort()
        raise Unreachable(f"{door.address}: no connection within {door.connect_timeout:g} s") from None
    except OSError as error:
        raise Unreachable(f"{door.address}: {_reason(error)}") from None
    recorder.connect((flow.connected_at - started) // 1000)
    return flow


def _reason(error: OSError) -> str:
    """The operating system's words; asyncio puts its own around them."""
    return os.strerror(error.errno) if error.errno else str(error)


@lru_cache(maxsize=64)
def _the_same(reply: Reply) -> Reply:
    """One object for replies that are alike: thousands of sessions keep theirs."""
    return reply


class _Opening:
    """The steps from the connection to the first MAIL, in order."""

    def __init__(self, door: Door, recorder: Recorder, flow: Flow) -> None:
        self._door, self._rec, self._flow = door, recorder, flow

    async def run(self) -> tuple[Reply, Extensions]:
        """Greeting and extensions, once all steps are done."""
        if self._door.tls == "implicit":
            await self._start_tls()
        greeting = await self._expect(self._flow.reply(self._flow.connected_at), self._rec.banner, "greeting")
        extensions = await self._hello()
        if self._door.tls == "starttls":
            await self._expect(self._flow.command(b"STARTTLS"), self._rec.starttls, "STARTTLS")
            await self._start_tls()
            extensions = await self._hello()
        await self._authenticate(extensions)
        return greeting, extensions

    async def _start_tls(self) -> None:
        door, flow, started = self._door, self._flow, clock()
        assert door.context is not None
        assert flow.transport is not None
        flow.check_nothing_early()
        try:
            transport = await asyncio.get_running_loop().start_tls(
                flow.transport, flow.reader, door.context,
                server_hostname=door.server_name, ssl_handshake_timeout=door.connect_timeout,
            )  # fmt: skip
        except (OSError, ssl.SSLError) as error:
            raise TlsFailed(f"{door.address}: TLS handshake: {error}") from None
        if transport is None:
            raise ConnectionLost(f"{door.address}: closed during the TLS handshake")
        flow.use(transport)
        flow.connected_at = clock()  # the banner of an implicit TLS endpoint is due from here
        self._rec.tls((flow.connected_at - started) // 1000)

    async def _answer(self, answer: Awaitable[tuple[Reply, int]], to: str) -> tuple[Reply, int]:
        """A reply and the µs it took, within the deadline."""
        door = self._door
        try:
            async with asyncio.timeout(door.reply_timeout):
                reply, took = await answer
        except TimeoutError:
            raise DeadlineExceeded(
                f"{door.address}: {to}: no reply within {door.reply_timeout:g} s"
            ) from None
        except ConnectionLost as error:
            raise ConnectionLost(f"{door.address}: {to}: {error}") from None
        if reply.code == 0 or Anomaly.UNFINISHED in reply.anomalies:
            raise NotSmtp(f"{door.address}: {to}: not an SMTP reply: {reply.text[:100]}")
        return reply, took

    async def _expect(
        self, answer: Awaitable[tuple[Reply, int]], record: Callable[[int], None], to: str
    ) -> Reply:
        reply, took = await self._answer(answer, to)
        record(took)
        if reply.severity != 2:
            raise Refused(reply, f"{self._door.address}: {to}")
        return reply

    async def _hello(self) -> Extensions:
        verb, name = "LHLO" if self._door.lmtp else "EHLO", self._door.client_name
        try:
            reply = await self._expect(self._flow.command(f"{verb} {name}".encode()), self._rec.ehlo, verb)
        except Refused as refused:
            if self._door.lmtp or refused.code // 100 != 5:
                raise
            await self._expect(self._flow.command(f"HELO {name}".encode()), self._rec.ehlo, "HELO")
            return NO_EXTENSIONS
        self._flow.hello = reply = _the_same(reply)
        return parse_extensions(reply)

    async def _authenticate(self, extensions: Extensions) -> None:
        login, flow, started = self._door.login, self._flow, clock()
        if login is None or ("AUTH" not in extensions and not login.required):
            return
        name = _mechanism(extensions, encrypted=self._door.tls != "none")
        exchange = sasl.mechanism(name, login.username, login.password)
        line = f"AUTH {name}".encode()
        if exchange.initial is not None:
            line += b" " + (base64.b64encode(exchange.initial) or b"=")
        reply, _ = await self._answer(flow.command(line), f"AUTH {name}")
        for _ in range(MAX_AUTH_STEPS):
            if reply.code != 334:
                break
            try:
                answer = base64.b64encode(exchange.respond(base64.b64decode(reply.lines[-1])))
            except ValueError as error:
                raise AuthFailed(f"{self._door.address}: AUTH {name}: {error}") from None
            reply, _ = await self._answer(flow.command(answer), f"AUTH {name}")
        self._rec.auth((clock() - started) // 1000)
        if reply.severity != 2:
            raise Refused(reply, f"{self._door.address}: AUTH {name}")


def _mechanism(extensions: Extensions, *, encrypted: bool) -> str:
    """The one to use: under TLS the cheapest for both sides, without it one that hides the password."""
    order = ("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256")
    for name in order if encrypted else reversed(order):
        if name in extensions.auth_mechanisms:
            return name
    offered = " ".join(extensions.auth_mechanisms) or "nothing"
    raise AuthFailed(f"AUTH: the server offers {offered}, we can do {', '.join(order)}")
