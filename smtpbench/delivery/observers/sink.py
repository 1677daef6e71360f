"""The observer that is itself the next hop of the target."""

from __future__ import annotations

from smtpbench.delivery.observers.model import Delivered, Polling
from smtpbench.server import MemoryStore, Server, ServerConfig


class SinkObserver(Polling):
    """Listens as the next hop of the target: accepts anything, keeps it in memory with its envelope."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__()
        self._store = MemoryStore()
        extensions = ServerConfig.extensions - {"STARTTLS", "AUTH"}
        config = ServerConfig(host=host, port=port, name="sink.example.org", extensions=extensions, sink=True)
        self._server = Server(config, store=self._store)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._server.port

    async def start(self) -> None:
        """Listen. Raises UsageError where the address cannot be bound."""
        await self._server.start()

    async def stop(self) -> None:
        """Stop listening."""
        await self._server.stop()

    async def _look(self, marker: bytes) -> list[Delivered]:
        where = f"sink:{self._server.config.host}:{self.port}"
        return [
            Delivered(
                copy.content,
                "crlf",
                copy.sender.decode("utf-8", "replace"),
                tuple(address.decode("utf-8", "replace") for address in copy.recipients),
                where,
            )
            for copy in self._store.messages
            if marker in copy.content
        ]
