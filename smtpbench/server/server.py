"""The asyncio server: one `Receiver` for each connection, and what sans-IO cannot do.

async with Server(ServerConfig(), faults=("no-received",)) as server:
    ...                      # server.port, server.store
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Self, TypeVar, cast

from smtpbench.errors import UsageError, os_words
from smtpbench.server.config import ServerConfig
from smtpbench.server.dialogue import Close, Deliver, StartTls, Wait
from smtpbench.server.outbound import Courier, Outbound
from smtpbench.server.receiver import Receiver
from smtpbench.server.relay import Relay
from smtpbench.server.store import Copy, MemoryStore, Store
from smtpbench.target import Role, host_and_port

HANDSHAKE_TIMEOUT = 30.0
MAX_AHEAD = 65_536  # octets read while a reply is held back; who sends more has to wait
SHUTDOWN_GRACE = 2.0  # for deliveries under way and last replies when the server is stopped
_Base = TypeVar("_Base", Receiver, Courier, Relay)


def _deviating(base: type[_Base], faults: tuple[str, ...]) -> type[_Base]:
    """`base` with those of `faults` that are mixins of it. A server without faults does not import them."""
    if not faults:
        return base
    from smtpbench.server.faults import faulty

    return faulty(base, faults)


class Server:
    """Listens while entered. `faults` names deviations of `FAULTS`; `store` defaults to memory.

    `receiver` makes the receiver of each connection, where it is to be another than the reference one.
    """

    def __init__(
        self,
        config: ServerConfig | None = None,
        *,
        store: Store | None = None,
        faults: tuple[str, ...] = (),
        receiver: Callable[..., Receiver] | None = None,
    ) -> None:
        self.config = config or ServerConfig()
        self.store: Store = store if store is not None else MemoryStore()
        self._courier, self._relay = _deviating(Courier, faults), _deviating(Relay, faults)
        self.relay: Relay | None = None
        self.new_receiver: Callable[..., Receiver] = receiver or _deviating(Receiver, faults)
        self.connections: set[Connection] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.held: set[asyncio.Task[None]] = set()
        self.loop: asyncio.AbstractEventLoop
        self._server: asyncio.Server | None = None
        self._port: int | None = None
        if self.config.role is Role.SUBMISSIONS and self.config.tls is None:
            raise UsageError("role submissions needs a TLS certificate")

    @property
    def port(self) -> int:
        """The port it listens on."""
        assert self._port is not None
        return self._port

    @property
    def blocking(self) -> bool:
        """Whether `deliver` is to be called from a thread."""
        return self.store.blocking or self.config.spool is not None

    async def start(self) -> None:
        """Listen. Raises UsageError where the address cannot be bound."""
        if self.config.relays:
            self.relay = self._relay(self.config, self.store, self._courier)
        await self.listen(self.config.port)
        if self.relay is not None:
            self.relay.resume()

    async def listen(self, port: int) -> None:
        """Take connections on `port`. Raises UsageError where it cannot be bound."""
        self.loop = asyncio.get_running_loop()
        implicit = self.config.tls if self.config.role is Role.SUBMISSIONS else None
        try:
            self._server = await self.loop.create_server(
                self.new_connection, self.config.host, port, ssl=implicit, backlog=1024
            )
        except (OSError, UnicodeError) as error:
            where = host_and_port(self.config.host, port)
            reason = os_words(error) if isinstance(error, OSError) else "not a host name"
            raise UsageError(f"cannot listen on {where}: {reason}") from None
        self._port = cast(int, self._server.sockets[0].getsockname()[1])

    def new_connection(self) -> Connection:
        """What serves the next client."""
        return Connection(self)

    async def stop(self) -> None:
        """Stop listening, say 421 to those who are connected, let deliveries under way finish."""
        if self._server is None:
            return
        self._server.close()
        for connection in list(self.connections):
            connection.shut_down()
        waiting = [*self.tasks, *(connection.until_closed() for connection in self.connections)]
        if waiting:
            await asyncio.wait(waiting, timeout=SHUTDOWN_GRACE)
        for connection in list(self.connections):
            connection.abort()
        for message in list(self.held):
            message.cancel()
        if self.relay is not None:
            await self.relay.stop()
        self._server = None

    def deliver(self, copies: Sequence[Copy]) -> list[bool]:
        """Store `copies`, and queue those that are for another host; whether each is safe now."""
        stored = iter(self.store.deliver([copy for copy in copies if not isinstance(copy, Outbound)]))
        return [self._queue(copy) if isinstance(copy, Outbound) else next(stored) for copy in copies]

    def _queue(self, message: Outbound) -> bool:
        return self.relay is not None and self.relay.accept(message)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def spawn(self, work: asyncio.Task[None]) -> None:
        """Keep a task until it is done."""
        self.tasks.add(work)
        work.add_done_callback(self.tasks.discard)

    def hold(self, action: Deliver) -> list[bool]:
        """Take copies that are to be stored later; what is still held when the server stops is gone."""
        task = asyncio.get_running_loop().create_task(self._release(action))
        self.held.add(task)
        task.add_done_callback(self.held.discard)
        return [True] * len(action.copies)

    async def _release(self, action: Deliver) -> None:
        await asyncio.sleep(action.hold)
        if self.blocking:
            await asyncio.to_thread(self.deliver, action.copies)
        else:
            self.deliver(action.copies)


class Connection(asyncio.Protocol):
    """One connection: moves octets between the transport and its receiver, and carries out actions."""

    _transport: asyncio.Transport | None = None
    _receiver: Receiver | None = None
    _last_input = 0.0
    _timer: asyncio.TimerHandle | None = None
    _waiting: asyncio.Task[Any] | None = None  # for a reply that is late on purpose
    _write_paused = False
    _busy = False  # a task of ours carries out an action; input that comes now is kept for later
    _stopping = False
    _closed: asyncio.Future[None] | None = None

    def __init__(self, server: Server) -> None:
        self._server = server
        self._loop = server.loop

    def until_closed(self) -> asyncio.Future[None]:
        """Done as soon as the connection is gone."""
        if self._closed is None:
            self._closed = self._loop.create_future()
        return self._closed

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there: greet it."""
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self._receiver = self._server.new_receiver(
            self._server.config,
            client=peer[0] if peer else "127.0.0.1",
            tls=transport.get_extra_info("ssl_object") is not None,
        )
        self._receiver.tls_unique = _tls_unique(transport)
        self._server.connections.add(self)
        self._last_input = self._loop.time()
        self._send(self._receiver.greeting())
        self._watch_idleness()
        self._act()

    def data_received(self, data: bytes) -> None:
        """Octets of the client."""
        if self._receiver is None or self._transport is None or self._transport.is_closing():
            return
        self._last_input = self._loop.time()
        self._send(self._receiver.feed(data))
        self._limit_ahead()
        self._act()
        self._watch_idleness()

    def pause_writing(self) -> None:
        """The client does not read: stop reading from it, so that memory stays bounded."""
        self._write_paused = True
        self._regulate()

    def resume_writing(self) -> None:
        """The client reads again."""
        self._write_paused = False
        self._regulate()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        receiver, self._receiver, self._transport = self._receiver, None, None
        self._server.connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._waiting is not None:
            self._waiting.cancel()
        if self._closed is not None and not self._closed.done():
            self._closed.set_result(None)
        if receiver is not None:
            unfinished = receiver.disconnected()
            if unfinished:
                self._server.deliver(unfinished)

    # actions

    def _limit_ahead(self) -> None:
        """Do not read without end from a client that does not wait for a reply that is held back.

        While TLS begins the transport is not ours, and what came early is read as soon as it has begun.
        """
        receiver = self._receiver
        if not self._busy or receiver is None or isinstance(receiver.action, StartTls):
            return
        if len(receiver.input) > MAX_AHEAD and self._transport is not None:
            self._transport.pause_reading()

    def _send(self, data: bytes) -> None:
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _regulate(self) -> None:
        """Read from the client only while its input can be taken and its replies can be sent."""
        if self._transport is None or self._receiver is None or self._transport.is_closing():
            return
        if self._write_paused or self._receiver.action is not None:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _act(self) -> None:
        """Carry out what the receiver waits for, until it waits for input or for a task of ours."""
        receiver = self._receiver
        if self._busy:
            return
        while receiver is not None and isinstance(receiver.action, Deliver):
            if receiver.action.hold:
                outcome = self._server.hold(receiver.action)
            elif not self._server.blocking:
                outcome = self._server.deliver(receiver.action.copies)
            else:
                break
            self._send(receiver.delivered(outcome))
        if receiver is None or receiver.action is None or self._transport is None:
            return
        if isinstance(receiver.action, Close):
            self._transport.close()
            return
        self._busy = True
        if not isinstance(receiver.action, Wait):
            self._transport.pause_reading()
        if isinstance(receiver.action, Deliver):
            work = self._deliver(receiver)
        elif isinstance(receiver.action, Wait):
            work = self._wait(receiver, receiver.action.seconds)
        else:
            work = self._start_tls(receiver, self._transport)
        self._server.spawn(self._loop.create_task(work))

    async def _deliver(self, receiver: Receiver) -> None:
        while isinstance(receiver.action, Deliver):  # a report follows its message, client or no client
            outcome = await asyncio.to_thread(self._server.deliver, receiver.action.copies)
            self._send(receiver.delivered(outcome))
        self._busy = False
        if self._stopping and receiver.action is None:
            self._part(Receiver.shut_down)
        else:
            self._regulate()
            self._act()

    async def _wait(self, receiver: Receiver, seconds: float) -> None:
        if self._receiver is None:
            return
        self._waiting = asyncio.current_task()
        await asyncio.sleep(seconds)
        self._waiting = None
        self._busy = False
        self._send(receiver.waited())
        self._regulate()
        self._act()

    async def _start_tls(self, receiver: Receiver, transport: asyncio.Transport) -> None:
        context = receiver.config.tls
        assert context is not None
        try:
            encrypted = await self._loop.start_tls(
                transport, self, context, server_side=True, ssl_handshake_timeout=HANDSHAKE_TIMEOUT
            )
        except (OSError, EOFError):  # ssl.SSLError is an OSError: no TLS, no connection
            transport.abort()
            self.connection_lost(None)
            return
        if encrypted is not None and self._receiver is not None:
            self._transport = encrypted
            self._busy = False
            receiver.tls_unique = _tls_unique(encrypted)
            self._send(receiver.tls_started())
            self._act()

    # time and the end

    def _watch_idleness(self) -> None:
        """Look again when the silence that is allowed now would be over; sooner than planned if need be."""
        if self._receiver is None:
            return
        due = self._last_input + self._receiver.idle_limit()
        if self._timer is None or self._timer.cancelled() or due < self._timer.when():
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(due, self._check_idle)

    def _check_idle(self) -> None:
        self._timer = None
        receiver = self._receiver
        if receiver is None:
            return
        limit = receiver.idle_limit()
        remaining = limit - (self._loop.time() - self._last_input)
        if remaining <= 0 and receiver.action is None:
            self._part(Receiver.timed_out)
        else:
            self._timer = self._loop.call_later(remaining if remaining > 0 else limit, self._check_idle)

    def shut_down(self) -> None:
        """Say 421 and close; a delivery under way is answered first."""
        self._stopping = True
        self._part(Receiver.shut_down)

    def _part(self, last_words: Callable[[Receiver], bytes]) -> None:
        if self._receiver is None or self._transport is None:
            return
        if isinstance(self._receiver.action, StartTls | Wait):  # nothing can be said now
            self._transport.abort()
        elif self._receiver.action is None:
            self._send(last_words(self._receiver))
            self._transport.close()

    def abort(self) -> None:
        """Drop the connection at once."""
        if self._transport is not None:
            self._transport.abort()


def _tls_unique(transport: asyncio.BaseTransport) -> bytes | None:
    """The channel binding of that name (RFC 5929 §3); TLS 1.3 has none (RFC 8446 appendix C.5)."""
    encrypted = transport.get_extra_info("ssl_object")
    if encrypted is None or encrypted.version() == "TLSv1.3":
        return None
    return cast("bytes | None", encrypted.get_channel_binding("tls-unique"))
