"""The sink: the next hop that we own. It takes whatever it is given, fast, and says what it was.

    async with Sink(SinkConfig(port=2525), consumer=batch_of_messages.extend) as sink:
        ...                               # sink.port, sink.counts

Without a consumer messages are counted and forgotten. With one, it is called with all messages that came in
one turn of the loop, before any of them is acknowledged: what was answered with 250 has been handed over. It
must not block. If it raises, the sink stops taking mail and `failure` says why.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import cast

from smtpbench.server.config import NEXT_HOP_EXTENSIONS, ServerConfig
from smtpbench.server.dialogue import Close
from smtpbench.server.receiver import Receiver
from smtpbench.server.server import Connection, Server
from smtpbench.server.sink_receiver import Phrases, SinkReceiver, Taken
from smtpbench.target import Role

NAME = "sink.example.org"
Consumer = Callable[[Sequence[Taken]], object]


def sink_config(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    name: str = NAME,
    lmtp: bool = False,
    tls: ssl.SSLContext | None = None,
    without: frozenset[str] = frozenset(),
    max_size: int = ServerConfig.max_size,
    idle_timeout: float = ServerConfig.idle_timeout,
) -> ServerConfig:
    """Settings of a sink: it offers the extensions of a next hop less `without`, and STARTTLS with `tls`."""
    extensions = NEXT_HOP_EXTENSIONS | ({"STARTTLS"} if tls is not None else set())
    return ServerConfig(
        host=host, port=port, name=name, role=Role.LMTP if lmtp else Role.MX, tls=tls,
        extensions=extensions - without, max_size=max_size, idle_timeout=idle_timeout, sink=True,
    )  # fmt: skip


@dataclass(slots=True)
class SinkCounts:
    """What a sink has seen. `recipients` and `octets` (of content) are those of the `messages` it took.

    `scripted` says what a script did, and how often; `scarce` how often the system had no file descriptor or
    memory for the next client, who had to wait.
    """

    sessions: int = 0
    messages: int = 0
    recipients: int = 0
    octets: int = 0
    scripted: dict[str, int] = field(default_factory=dict)
    scarce: int = 0

    def to_plain(self) -> dict[str, int | dict[str, int]]:
        """For JSON."""
        return asdict(self)


class Sink(Server):
    """Listens while entered; see above."""

    def __init__(
        self,
        config: ServerConfig | None = None,
        *,
        consumer: Consumer | None = None,
    ) -> None:
        super().__init__(config or sink_config(), receiver=partial(SinkReceiver, intake=self))
        self.phrases = Phrases(self.config)
        self.counts = SinkCounts()
        self.consumer = consumer
        self.failure: Exception | None = None
        self.failed = asyncio.Event()
        self.new_receiver: Callable[..., SinkReceiver]
        self._batch: list[Taken] = []
        self._held: list[HoldingConnection] = []
        self._at_end_of_turn: Callable[[Callable[[], None]], object]
        self._sweeper: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Listen. Raises UsageError where the address cannot be bound."""
        await super().start()
        self._at_end_of_turn = getattr(self.loop, "call_before_wait", self.loop.call_soon)
        self._sweep()

    async def stop(self) -> None:
        """Stop listening; whoever is connected gets 421."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._hand_over()
        await super().stop()

    def new_connection(self) -> Connection:
        """What serves the next client: replies are held back only where somebody is to have the message."""
        return SinkConnection(self) if self.consumer is None else HoldingConnection(self)

    # what its receivers say

    def open_session(self) -> int:
        """The number of a new session."""
        self.counts.sessions += 1
        return self.counts.sessions

    def count(self, recipients: int, octets: int) -> None:
        """A message was taken."""
        counts = self.counts
        counts.messages += 1
        counts.recipients += recipients
        counts.octets += octets

    def keep(self, message: Taken) -> None:
        """For the consumer, before the reply is sent."""
        self._batch.append(message)

    # handing over

    def hold_back(self, connection: HoldingConnection) -> None:
        """`connection` has replies that wait until its messages are handed over, in this turn of the loop."""
        if not self._held:
            self._at_end_of_turn(self._hand_over)
        self._held.append(connection)

    def _hand_over(self) -> None:
        batch, self._batch = self._batch, []
        held, self._held = self._held, []
        try:
            if batch and self.consumer is not None:
                self.consumer(batch)
        except Exception as error:  # noqa: BLE001 - whatever it was: these messages are not acknowledged
            self.fail(error)
        for connection in held:
            if self.failure is None:
                connection.release()
            else:
                connection.abort()

    def fail(self, error: Exception) -> None:
        """Take no more mail."""
        self.failure = self.failure or error
        self.refuse()
        self.failed.set()

    def refuse(self) -> None:
        """Stop listening, and break off what is there."""
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.abort()

    def _sweep(self) -> None:
        """Part from those who were silent for the idle time; looked at twice in it, so at most half late."""
        for connection in list(self.connections):
            assert isinstance(connection, SinkConnection)
            connection.sweep()
        self._sweeper = asyncio.get_running_loop().call_later(self.config.idle_timeout / 2, self._sweep)


class SinkConnection(Connection):
    """A connection with no timer of its own, which costs nothing but for what its receiver does."""

    _server: Sink
    _receiver: SinkReceiver | None
    _heard = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there, whoever it is: to ask the system for its address costs as much as a command."""
        self._transport = cast(asyncio.Transport, transport)
        sink = self._server
        self._receiver = receiver = sink.new_receiver(sink.config)
        sink.connections.add(self)
        self._send(receiver.greeting())

    def data_received(self, data: bytes) -> None:
        """Octets of the client."""
        receiver = self._receiver
        if receiver is None:
            return
        self._heard = True
        said = receiver.feed(data)
        if receiver.action is None:
            self._send(said)
        elif isinstance(receiver.action, Close):
            self._leave(said)
        else:
            self._send(said)
            self._limit_ahead()
            self._act()

    def _send(self, data: bytes) -> None:
        if data and self._transport is not None:
            self._transport.write(data)

    def _leave(self, last_words: bytes) -> None:
        """Send the last words and close: in one segment, where the transport can do that."""
        end_with = getattr(self._transport, "end_with", None)
        if end_with is not None:
            end_with(last_words)
        else:
            self._send(last_words)
            self._act()

    def sweep(self) -> None:
        """Part from a client that said nothing since the last call."""
        if not self._heard and self._receiver is not None and self._receiver.action is None:
            self._part(Receiver.timed_out)
        self._heard = False

    def _watch_idleness(self) -> None:
        """The sink sweeps."""


class HoldingConnection(SinkConnection):
    """A connection whose replies wait for the consumer, from a message on until the end of the turn."""

    _handed = 0  # how many messages of the session the consumer has, or gets in this turn of the loop

    def __init__(self, sink: Sink) -> None:
        super().__init__(sink)
        self._held: list[bytes] = []

    def release(self) -> None:
        """The consumer has the messages: send what was held back, do what was put off."""
        said, self._held = b"".join(self._held), []
        super()._send(said)
        super()._act()

    def _holds(self) -> bool:
        """Whether what is said now has to wait; a message that came with it is to be handed over."""
        receiver = self._receiver
        if receiver is not None and receiver.ordinal != self._handed:
            self._handed = receiver.ordinal
            if not self._held:
                self._server.hold_back(self)
            return True
        return bool(self._held)

    def _send(self, data: bytes) -> None:
        if self._holds():
            self._held.append(data)
        elif data and self._transport is not None:
            self._transport.write(data)

    def _leave(self, last_words: bytes) -> None:
        if self._holds():
            self._held.append(last_words)  # it closes when they are sent
        else:
            super()._leave(last_words)

    def _act(self) -> None:
        if not self._held:
            super()._act()
