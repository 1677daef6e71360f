"""An SMTP server that answers as told, so that a test can see every octet the engine sends."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

import pytest

from smtpbench.load import eventloop
from smtpbench.load.chat import available
from smtpbench.target import Endpoint, Fixtures, Role, Target, Timeouts

SILENCE = b""
HANG_UP = b"hang up"


Reply = bytes | Callable[[int], bytes]
Pause = Callable[["Server"], Awaitable[None]]


@dataclass
class Script:
    """What to answer to each verb: octets, `SILENCE`, `HANG_UP`, or a function of the nth such command."""

    greeting: Reply = b"220 test\r\n"
    ehlo: Reply = b"250-test\r\n250-PIPELINING\r\n250 SIZE 1000000\r\n"
    answers: Mapping[str, Reply] = field(default_factory=dict)
    after_content: Reply = b"250 2.0.0 queued\r\n"
    chop: bool = False  # one octet a write
    tls: ssl.SSLContext | None = None


_USUAL = {
    "MAIL": b"250 ok\r\n", "RCPT": b"250 ok\r\n", "DATA": b"354 go\r\n", "RSET": b"250 reset\r\n",
    "QUIT": b"221 bye\r\n", "AUTH": b"235 in\r\n", "STARTTLS": b"220 go\r\n",
}  # fmt: skip


class Server:
    """Counts and keeps what came: `commands` (lines), `contents` (octets), `reads` (as TCP brought them)."""

    def __init__(self, script: Script, before_answer: Pause | None = None) -> None:
        self.script = script
        self._before_answer = before_answer  # to a content
        self.commands: list[bytes] = []
        self.contents: list[bytes] = []
        self.reads: list[bytes] = []
        self.connections = 0
        self.left = asyncio.Event()  # a client has gone
        self._counts: dict[str, int] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self._answer(writer, self._count(self.script.greeting, "greeting"))
            await self._converse(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, EOFError):
            pass
        finally:
            writer.close()
            self.left.set()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pending = b""
        while data := await reader.read(1 << 16):
            self.reads.append(data)
            pending += data
            while b"\r\n" in pending:
                line, _, pending = pending.partition(b"\r\n")
                self.commands.append(line)
                verb = line[:8].split(b" ")[0].decode().upper()
                reply = self._reply(verb)
                await self._answer(writer, reply)
                if verb == "STARTTLS" and reply.startswith(b"220") and self.script.tls:
                    await writer.start_tls(self.script.tls)
                if reply.startswith(b"354"):
                    pending = await self._content(reader, writer, pending)

    async def _content(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pending: bytes
    ) -> bytes:
        pending = b"\r\n" + pending
        while b"\r\n.\r\n" not in pending:
            data = await reader.read(1 << 16)
            if not data:
                raise EOFError
            self.reads.append(data)
            pending += data
        content, _, rest = pending.partition(b"\r\n.\r\n")
        self.contents.append((content + b"\r\n")[2:])
        if self._before_answer is not None:
            await self._before_answer(self)
        await self._answer(writer, self._count(self.script.after_content, "content"))
        return rest

    def _reply(self, verb: str) -> bytes:
        if verb in ("EHLO", "LHLO"):
            return self._count(self.script.answers.get(verb, self.script.ehlo), verb)
        return self._count(self.script.answers.get(verb, _USUAL.get(verb, b"500 what\r\n")), verb)

    def _count(self, answer: bytes | Callable[[int], bytes], what: str) -> bytes:
        self._counts[what] = self._counts.get(what, 0) + 1
        return answer(self._counts[what]) if callable(answer) else answer

    async def _answer(self, writer: asyncio.StreamWriter, reply: bytes) -> None:
        if reply == HANG_UP:
            raise EOFError
        for piece in [reply[i : i + 1] for i in range(len(reply))] if self.script.chop else [reply]:
            writer.write(piece)
            await writer.drain()


def congestion_of(connection: socket.socket) -> bytes:
    """What a connection does against congestion: the name of it."""
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0")


Running = Callable[..., AbstractAsyncContextManager[tuple[Server, Target]]]


@asynccontextmanager
async def serving(
    script: Script | None = None, role: Role = Role.MX, before_answer: Pause | None = None, **target: object
) -> AsyncIterator[tuple[Server, Target]]:
    """A server that answers as `script` says, and the target that it is."""
    server = Server(script or Script(), before_answer)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        settings = {
            "endpoints": {role: Endpoint(port=port)},
            "fixtures": Fixtures(recipient="rcpt@example.net"),
            "timeouts": Timeouts(connect=2, reply=2),
            **target,
        }
        yield server, Target(**settings)


@pytest.fixture
def running() -> Running:
    """``async with running(Script(…)) as (server, target)``."""
    return serving


@pytest.fixture(params=[True, False], ids=["chats", "no-chats"])
def conducts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the engine has chats: what it does is the same."""
    if request.param and not available():
        pytest.skip("_chat.c is not built: no C compiler")
    monkeypatch.setattr(eventloop, "available", lambda: request.param)
    return bool(request.param)
