"""From a TCP connection to a session that may send mail: TLS, banner, EHLO, STARTTLS, AUTH, each timed."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from time import perf_counter_ns as clock
from typing import TypeVar

from smtpbench.errors import (
    AuthFailed,
    ConnectionLost,
    DeadlineExceeded,
    TlsFailed,
)
from smtpbench.load.arrival import Arrival, Door, Goodbye, Refused, check_reply, extensions_of, step
from smtpbench.load.flow import Flow
from smtpbench.load.recorder import Recorder
from smtpbench.wire import sasl
from smtpbench.wire.ehlo import NO_EXTENSIONS, Extensions
from smtpbench.wire.replies import Reply

MAX_AUTH_STEPS = 4  # SCRAM takes three; a server that goes on for longer is not serious
_F = TypeVar("_F", bound=Flow)


async def open_flow(door: Door, recorder: Recorder, make: Callable[[], _F]) -> tuple[_F, Reply, Extensions]:
    """A session ready for MAIL, its greeting and what EHLO offered. Raises SessionError."""
    flow = make()
    try:
        await step(partial(Arrival, door, recorder, flow))
        if not door.plain:
            await Opening(door, recorder, flow).run()
        extensions = settle(door, flow)
    except BaseException:
        flow.abort()
        raise
    assert flow.greeting is not None
    return flow, flow.greeting, extensions


def settle(door: Door, flow: Flow) -> Extensions:
    """Send as the server offers to be sent to, which is returned. Raises ConnectionLost."""
    if flow.broken:
        raise ConnectionLost(f"{door.address}: closed before MAIL")
    extensions = NO_EXTENSIONS if flow.hello is None else extensions_of(flow.hello)
    offered = extensions.keywords
    flow.pipelining = door.pipelining and "PIPELINING" in offered
    flow.chunking = "CHUNKING" in offered
    flow.conduct()
    return extensions


async def close_flow(flow: Flow) -> None:
    """Say QUIT if that is still possible, and close."""
    flow.finish()
    if not flow.broken:
        await step(partial(Goodbye, flow))
    flow.part()


class Opening:
    """The steps from the connection to the first MAIL, in order."""

    def __init__(self, door: Door, recorder: Recorder, flow: Flow) -> None:
        self._door, self._rec, self._flow = door, recorder, flow

    async def run(self) -> None:
        """All steps that follow the arrival."""
        flow, rec = self._flow, self._rec
        if self._door.tls == "implicit":
            await self._start_tls()
            flow.greeting = await self._expect(flow.reply(flow.connected_at), rec.banner, "greeting")
            await self._hello()
        if self._door.tls == "starttls":
            await self._expect(flow.command(b"STARTTLS"), rec.starttls, "STARTTLS")
            await self._start_tls()
            await self._hello()
        await self._authenticate(NO_EXTENSIONS if flow.hello is None else extensions_of(flow.hello))

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
        check_reply(reply, f"{door.address}: {to}")
        return reply, took

    async def _expect(
        self, answer: Awaitable[tuple[Reply, int]], record: Callable[[int], None], to: str
    ) -> Reply:
        reply, took = await self._answer(answer, to)
        record(took)
        if reply.severity != 2:
            raise Refused(reply, f"{self._door.address}: {to}")
        return reply

    async def _hello(self) -> None:
        flow, door, record = self._flow, self._door, self._rec.ehlo
        flow.hello, name = None, door.client_name
        try:
            flow.hello = await self._expect(flow.command(f"{door.verb} {name}".encode()), record, door.verb)
        except Refused as refused:
            if door.lmtp or refused.code // 100 != 5:
                raise
            await self._expect(flow.command(f"HELO {name}".encode()), record, "HELO")

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
