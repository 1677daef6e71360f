"""A sink that answers at once and does nothing: ``python -m smtpbench.load.null_sink [tls]``.

The generator is calibrated against it. It says its ports on one line, ``PLAIN IMPLICIT`` (0 without ``tls``),
and ends with its standard input. It imports nothing of ours, so that it is up in a moment. It is for our own
client: what it takes is not checked.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from typing import cast

import uvloop

HOST = "127.0.0.1"
BACKLOG = 1024
_OK = b"250 2.0.0 OK\r\n"
_REPLIES = {b"DATA": b"354 Go on\r\n", b"QUIT": b"221 2.0.0 Bye\r\n", b"AUTH": b"235 2.7.0 In\r\n"}
_END = b"\r\n.\r\n"


class NullSink(asyncio.Protocol):
    """One connection."""

    def __init__(self, context: ssl.SSLContext | None, *, implicit: bool = False) -> None:
        self._context, self._secure = context, implicit
        self._input = bytearray()
        self._content = False
        self._chunk = 0  # octets of a BDAT that are to come
        self._lmtp = False
        self._recipients = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(b"220 null.test ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        """Answer all that is complete, in one write."""
        self._input += data
        replies: list[bytes] = []
        while self._step(replies):
            pass
        if replies:
            self._transport.write(b"".join(replies))

    def _step(self, replies: list[bytes]) -> bool:
        if self._chunk:
            taken = min(self._chunk, len(self._input))
            del self._input[:taken]
            self._chunk -= taken
            if not self._chunk:
                self._done(replies)
            return not self._chunk
        at = self._input.find(_END if self._content else b"\r\n")
        if at < 0:
            return False
        if self._content:
            del self._input[: at + len(_END)]
            self._content = False
            self._done(replies)
            return True
        line = bytes(self._input[:at])
        del self._input[: at + 2]
        self._command(line, replies)
        return True

    def _done(self, replies: list[bytes]) -> None:
        replies += [_OK] * (self._recipients if self._lmtp else 1)
        self._recipients = 0

    def _command(self, line: bytes, replies: list[bytes]) -> None:
        verb = line[:4].upper()
        if verb in (b"EHLO", b"LHLO"):
            self._lmtp = verb == b"LHLO"
            replies.append(self._hello())
        elif verb == b"BDAT":
            self._chunk = int(line.split()[1])
        elif verb == b"STAR":
            self._transport.write(b"220 2.0.0 Go on\r\n")
            self._tasks.add(asyncio.get_running_loop().create_task(self._start_tls()))
        else:
            self._recipients += verb == b"RCPT"
            self._content = verb == b"DATA"
            replies.append(_REPLIES.get(verb, _OK))

    def _hello(self) -> bytes:
        keywords = [b"PIPELINING", b"CHUNKING", b"8BITMIME", b"SMTPUTF8", b"DSN", b"AUTH PLAIN"]
        keywords += [b"STARTTLS"] if self._context and not self._secure else []
        return b"".join(b"250-%s\r\n" % word for word in (b"null.test", *keywords)) + b"250 SIZE 0\r\n"

    async def _start_tls(self) -> None:
        loop = asyncio.get_running_loop()
        assert self._context is not None
        over = await loop.start_tls(self._transport, self, self._context, server_side=True)
        self._transport, self._secure = cast("asyncio.Transport", over), True


def _certificate() -> ssl.SSLContext:
    import trustme  # takes as long as all the rest, and few need it

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert(HOST).configure_cert(context)
    return context


async def serve(*, tls: bool) -> None:
    """Say the ports, and serve until standard input ends."""
    loop = asyncio.get_running_loop()
    context = _certificate() if tls else None
    plain = await loop.create_server(lambda: NullSink(context), HOST, 0, backlog=BACKLOG)
    ports = [plain.sockets[0].getsockname()[1], 0]
    if context is not None:
        implicit = await loop.create_server(
            lambda: NullSink(context, implicit=True), HOST, 0, ssl=context, backlog=BACKLOG
        )
        ports[1] = implicit.sockets[0].getsockname()[1]
    sys.stdout.write("{} {}\n".format(*ports))
    sys.stdout.flush()
    over = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), over.set)
    await over.wait()


if __name__ == "__main__":
    uvloop.run(serve(tls="tls" in sys.argv[1:]))
