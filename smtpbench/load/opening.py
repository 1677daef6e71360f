"""From a TCP connection to a session that may send mail: TLS, banner, EHLO, STARTTLS, AUTH, each timed."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from time import perf_counter_ns as clock

from smtpbench.errors import (
    AuthFailed,
    ConnectionLost,
    NotSmtp,
    SessionError,
    TlsFailed,
    Unreachable,
)
from smtpbench.load.flow import QUIT, Flow
from smtpbench.load.recorder import Recorder
from smtpbench.wire import sasl
from smtpbench.wire.ehlo import Extensions, parse_extensions
from smtpbench.wire.replies import Reply

MAX_AUTH_STEPS = 4  # SCRAM takes three; a server that goes on for longer is not serious
GOODBYE_S = 1.0  # how long a server may take over QUIT before we close without its answer


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
    tls: str = "none"
    context: ssl.SSLContext | None = None
    server_name: str | None = None
    login: Login | None = None
    pipelining: bool = True
    lmtp: bool = False


class Refused(SessionError):
    """The server answered the set-up of a session with 4yz or 5yz."""

    def __init__(self, reply: Reply, to: str) -> None:
        super().__init__(f"{to}: {reply}")
        self.code = reply.code


async def open_flow(
    door: Door, recorder: Recorder, make: Callable[[], Flow]
) -> tuple[Flow, Reply, Extensions]:
    """A session ready for MAIL, its greeting and what EHLO offered. Raises SessionError."""
    flow = await _connect(door, recorder, make)
    try:
        if door.tls == "implicit":
            await _start_tls(door, recorder, flow)
        greeting = await _expect(flow.reply(flow.connected_at), recorder.banner, "greeting")
        extensions = await _hello(door, recorder, flow)
        if door.tls == "starttls":
            await _expect(flow.command(b"STARTTLS"), recorder.starttls, "STARTTLS")
            await _start_tls(door, recorder, flow)
            extensions = await _hello(door, recorder, flow)
        await _authenticate(door, recorder, flow, extensions)
    except BaseException:
        flow.abort()
        raise
    flow.pipelining = door.pipelining and "PIPELINING" in extensions
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


async def _connect(door: Door, recorder: Recorder, make: Callable[[], Flow]) -> Flow:
    started = clock()
    try:
        async with asyncio.timeout(door.connect_timeout):
            _, flow = await asyncio.get_running_loop().create_connection(make, door.host, door.port)
    except TimeoutError:
        raise Unreachable(
            f"{door.host}:{door.port}: no connection within {door.connect_timeout:g} s"
        ) from None
    except OSError as error:
        raise Unreachable(f"{door.host}:{door.port}: {error.strerror or error}") from None
    recorder.connect((flow.connected_at - started) // 1000)
    return flow


async def _start_tls(door: Door, recorder: Recorder, flow: Flow) -> None:
    started = clock()
    assert door.context is not None
    assert flow.transport is not None
    loop = asyncio.get_running_loop()
    try:
        transport = await loop.start_tls(
            flow.transport, flow, door.context,
            server_hostname=door.server_name, ssl_handshake_timeout=door.connect_timeout,
        )  # fmt: skip
    except (OSError, ssl.SSLError) as error:
        raise TlsFailed(f"{door.host}:{door.port}: TLS handshake: {error}") from None
    if transport is None:
        raise ConnectionLost(f"{door.host}:{door.port}: closed during the TLS handshake")
    flow.use(transport)
    now = clock()
    recorder.tls((now - started) // 1000)
    flow.connected_at = now  # the banner of an implicit TLS endpoint is due from here


async def _expect(answer: Awaitable[tuple[Reply, int]], record: Callable[[int], None], to: str) -> Reply:
    reply, took = await answer
    record(took)
    if reply.code == 0:
        raise NotSmtp(f"{to}: not SMTP: {reply}")
    if reply.severity != 2:
        raise Refused(reply, to)
    return reply


async def _hello(door: Door, recorder: Recorder, flow: Flow) -> Extensions:
    verb = "LHLO" if door.lmtp else "EHLO"
    try:
        reply = await _expect(flow.command(f"{verb} {door.client_name}".encode()), recorder.ehlo, verb)
    except Refused as refused:
        if door.lmtp or refused.code // 100 != 5:
            raise
        reply = await _expect(flow.command(f"HELO {door.client_name}".encode()), recorder.ehlo, "HELO")
        return parse_extensions(Reply(reply.code, reply.lines[:1], reply.raw))
    return parse_extensions(reply)


async def _authenticate(door: Door, recorder: Recorder, flow: Flow, extensions: Extensions) -> None:
    login = door.login
    if login is None or ("AUTH" not in extensions and not login.required):
        return
    name = _mechanism(extensions, encrypted=door.tls != "none")
    exchange = sasl.mechanism(name, login.username, login.password)
    started = clock()
    line = f"AUTH {name}".encode()
    if exchange.initial is not None:
        line += b" " + (base64.b64encode(exchange.initial) or b"=")
    reply, _ = await flow.command(line)
    for _ in range(MAX_AUTH_STEPS):
        if reply.code != 334:
            break
        try:
            answer = base64.b64encode(exchange.respond(base64.b64decode(reply.lines[-1])))
        except ValueError as error:
            raise AuthFailed(f"AUTH {name}: {error}") from None
        reply, _ = await flow.command(answer)
    recorder.auth((clock() - started) // 1000)
    if reply.severity != 2:
        raise Refused(reply, f"AUTH {name}")


def _mechanism(extensions: Extensions, *, encrypted: bool) -> str:
    """The one to use: under TLS the cheapest for both sides, without it one that hides the password."""
    order = ("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256")
    for name in order if encrypted else reversed(order):
        if name in extensions.auth_mechanisms:
            return name
    offered = " ".join(extensions.auth_mechanisms) or "nothing"
    raise AuthFailed(f"AUTH: the server offers {offered}, we can do {', '.join(order)}")
