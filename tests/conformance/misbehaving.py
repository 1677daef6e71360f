"""Servers that misbehave as a whole, not in one command: what a run meets in the field."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Self

from smtpbench.server import Receiver, Server, ServerConfig
from smtpbench.wire.parse import Command


class Misbehaving(Server):
    """The reference server with sessions of another class; `greeted` counts its sessions."""

    greeted = 0

    def __init__(self, receiver_class: type[Receiver], config: ServerConfig | None = None) -> None:
        outer = self

        class Counted(receiver_class):  # type: ignore[misc, valid-type]
            server = outer

            def greeting(self) -> bytes:
                outer.greeted += 1
                return bytes(super().greeting())

        super().__init__(config, receiver=Counted)


class NoAnswerToAuth(Receiver):
    """AUTH gets no answer, ever."""

    def do_auth(self, command: Command) -> None:
        pass


class DropsEveryThird(Receiver):
    """Every third connection is closed without a word."""

    server: Misbehaving

    def greeting(self) -> bytes:
        if self.server.greeted % 3 == 0:
            self.close()
            return b""
        return super().greeting()


class DiesInMidRun(Receiver):
    """After 30 sessions nothing listens any more, and every connection is dropped."""

    server: Misbehaving
    last = 30

    def greeting(self) -> bytes:
        if self.server.greeted >= self.last:
            if self.server._server is not None:
                self.server._server.close()
            for connection in list(self.server.connections):
                connection.abort()
            self.close()
            return b""
        return super().greeting()


class ClosesAfterEachCommand(Receiver):
    """A command is answered and the connection closed."""

    def on_line(self, line: bytes) -> None:
        super().on_line(line)
        if self.action is None:
            self.close()


class ClosesInsteadOfAnswering(Receiver):
    """A command closes the connection."""

    def on_line(self, line: bytes) -> None:
        self.close()


class FourAtATime(Receiver):
    """A fifth connection is greeted with 421 and closed."""

    server: Misbehaving

    def greeting(self) -> bytes:
        if len(self.server.connections) > 4:
            self.close()
            return self.format_reply(421, [f"{self.config.name} Too many connections"])
        return super().greeting()


class Tarpit:
    """A way to `server` on which every piece that it says is held back for `delay` seconds."""

    def __init__(self, server: Server, delay: float) -> None:
        self._server, self._delay = server, delay
        self._listener: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._listener is not None
        return int(self._listener.sockets[0].getsockname()[1])

    async def __aenter__(self) -> Self:
        await self._server.start()
        self._listener = await asyncio.start_server(self._pass_on, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._listener is not None
        self._listener.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.stop()

    async def _pass_on(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        server, to_server = await asyncio.open_connection("127.0.0.1", self._server.port)
        try:
            await asyncio.gather(_copy(client, to_server, 0.0), _copy(server, to_client, self._delay))
        finally:
            to_client.close()
            to_server.close()


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter, delay: float) -> None:
    with suppress(OSError, asyncio.CancelledError):
        while data := await source.read(65_536):
            await asyncio.sleep(delay)
            sink.write(data)
            await sink.drain()
        sink.close()
