"""The observer that is itself the next hop of the target."""

from __future__ import annotations

from smtpbench.delivery.observers.model import Delivered, Polling
from smtpbench.server.sink import Sink, sink_config
from smtpbench.server.sink_receiver import Taken


class SinkObserver(Polling):
    """Listens as the next hop of the target: accepts anything, keeps it in memory with its envelope."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__()
        self._messages: list[Taken] = []
        self._sink = Sink(sink_config(host, port), consumer=self._messages.extend)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._sink.port

    async def start(self) -> None:
        """Listen. Raises UsageError where the address cannot be bound."""
        await self._sink.start()

    async def stop(self) -> None:
        """Stop listening."""
        await self._sink.stop()

    async def _look(self, marker: bytes) -> list[Delivered]:
        where = f"sink:{self._sink.config.host}:{self.port}"
        return [
            Delivered(
                message.content,
                "crlf",
                message.sender.decode("utf-8", "replace"),
                tuple(address.decode("utf-8", "replace") for address in message.recipients),
                where,
            )
            for message in self._messages
            if marker in message.content
        ]
