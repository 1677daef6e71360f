"""Sinks with one known property each, for the tests that hold our figures against the truth."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from smtpbench.target import Endpoint, Fixtures, Role, Target, Timeouts

REFERENCE = b"reference.example"
NO_PIPELINING = b"250-test\r\n250 SIZE 1000000\r\n"
PIPELINING = b"250-test\r\n250-PIPELINING\r\n250 SIZE 1000000\r\n"
_REPLIES = {b"MAIL": b"250 ok\r\n", b"DATA": b"354 go\r\n", b"RSET": b"250 ok\r\n", b"QUIT": b"221 bye\r\n"}


class Sink:
    """Accepts everything, RCPT after `rcpt_delay_s`; answers nothing while `open` is not set."""

    def __init__(self, *, pipelining: bool, rcpt_delay_s: float = 0.0) -> None:
        self.messages = 0
        self.took_ms: dict[bytes, list[float]] = {}  # by client name: from a RCPT to its reply
        self.open = asyncio.Event()
        self.open.set()
        self._milestones: dict[int, asyncio.Event] = {}
        self._ehlo = PIPELINING if pipelining else NO_PIPELINING
        self._delay = rcpt_delay_s

    async def reached(self, messages: int) -> None:
        """Wait until so many messages have come."""
        await self._milestones.setdefault(messages, asyncio.Event()).wait()

    async def freeze(self, seconds: float) -> None:
        """Say nothing on any connection for so long."""
        self.open.clear()
        await asyncio.sleep(seconds)
        self.open.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._say(writer, b"220 test\r\n")
            client = b""
            while line := await reader.readline():
                client = line.split()[1] if line.startswith(b"EHLO") else client
                begun = time.perf_counter()
                await self._command(line[:4].upper(), reader, writer)
                if line.startswith(b"RCPT"):
                    self.took_ms.setdefault(client, []).append((time.perf_counter() - begun) * 1000)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _command(self, verb: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if verb == b"RCPT":
            await asyncio.sleep(self._delay)
            await self._say(writer, b"250 ok\r\n")
        else:
            await self._say(writer, self._ehlo if verb == b"EHLO" else _REPLIES[verb])
        if verb == b"DATA":
            await reader.readuntil(b"\r\n.\r\n")
            await self.open.wait()
            self.messages += 1
            if self.messages in self._milestones:
                self._milestones[self.messages].set()
            await self._say(writer, b"250 queued\r\n")

    async def _say(self, writer: asyncio.StreamWriter, octets: bytes) -> None:
        await self.open.wait()
        writer.write(octets)


@asynccontextmanager
async def sinking(
    *, pipelining: bool = True, rcpt_delay_s: float = 0.0
) -> AsyncIterator[tuple[Sink, Target]]:
    """A sink, and the target that it is."""
    sink = Sink(pipelining=pipelining, rcpt_delay_s=rcpt_delay_s)
    listener = await asyncio.start_server(sink.serve, "127.0.0.1", 0)
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        yield (
            sink,
            Target(
                endpoints={Role.MX: Endpoint(port=port)},
                fixtures=Fixtures(recipient="rcpt@example.net"),
                timeouts=Timeouts(connect=5, reply=10),
            ),
        )


def reference_rcpt_ms(port: int, transactions: int) -> list[float]:
    """How long a plain blocking socket waits for each reply to RCPT: it shares nothing with our engine."""
    took = []
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        replies = connection.makefile("rb")

        def say(line: bytes, lines: int = 1) -> float:
            begun = time.perf_counter()
            connection.sendall(line)
            for _ in range(lines):
                assert replies.readline()
            return (time.perf_counter() - begun) * 1000

        replies.readline()
        connection.sendall(b"EHLO %s\r\n" % REFERENCE)
        while replies.readline()[3:4] == b"-":
            pass
        for _ in range(transactions):
            say(b"MAIL FROM:<a@example.org>\r\n")
            took.append(say(b"RCPT TO:<b@example.net>\r\n"))
            say(b"DATA\r\n")
            say(b"Subject: x\r\n\r\nx\r\n.\r\n")
    return took
