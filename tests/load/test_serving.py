"""The event loop of a sink, with a sink on it and plain sockets as clients. Every wait is bounded."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import socket
import ssl
import struct
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import trustme

from smtpbench.load import serving
from smtpbench.load.serving import AcceptedTransport, ServingLoop
from smtpbench.server.sink import Sink, sink_config

LIMIT_S = 60
ENVELOPE = b"EHLO x.example\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\nDATA\r\n"


def run(main: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=ServingLoop) as runner:
        return runner.run(asyncio.wait_for(main, LIMIT_S))


def client(port: int, **options: int) -> socket.socket:
    made = socket.socket()
    made.settimeout(LIMIT_S)
    for name, value in options.items():
        made.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
    made.connect(("127.0.0.1", port))
    return made


def rest(connected: socket.socket) -> bytes:
    """All that comes until the end."""
    with connected, connected.makefile("rb") as file:
        return file.read()


def talk(port: int, *pieces: bytes) -> bytes:
    connected = client(port)
    greeting = connected.recv(1_000)
    for piece in pieces:
        connected.sendall(piece)
    return greeting + rest(connected)


def codes(said: bytes) -> list[int]:
    return [int(line[:3]) for line in said.splitlines() if line[3:4] == b" "]


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not true():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("keeping", [False, True])
def test_sessions_with_messages_of_any_size(keeping: bool) -> None:
    """Smaller than a read, as long, longer; and the last words are there."""
    taken: list[Any] = []
    whole = AcceptedTransport.read_size
    bodies = [b"x" * (size - 2) + b"\r\n" for size in (10, whole, 3 * whole + 1)]

    async def main() -> None:
        async with Sink(consumer=taken.extend if keeping else None) as sink:
            for body in bodies:
                said = await asyncio.to_thread(talk, sink.port, ENVELOPE, body + b".\r\nQUIT\r\n")
                assert codes(said) == [220, 250, 250, 250, 354, 250, 221]
            await until(lambda: not sink.connections)
            assert sink.counts.octets == sum(map(len, bodies))

    run(main())
    assert [one.content for one in taken] == (bodies if keeping else [])


@pytest.mark.parametrize("keeping", [False, True])
def test_a_client_that_reads_late_gets_every_reply_and_the_last_words(keeping: bool) -> None:
    number = 4_000  # replies of nearly 1 MB: more than the system takes

    async def main() -> None:
        async with Sink(consumer=(lambda _: None) if keeping else None) as sink:
            assert sink._server is not None
            for listener in sink._server.sockets:
                listener.setsockopt(
                    socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536
                )  # which those it accepts inherit
            connected = client(sink.port, SO_RCVBUF=65_536)
            sending = asyncio.create_task(
                asyncio.to_thread(connected.sendall, b"EHLO x.example\r\n" * number + b"QUIT\r\n")
            )
            await until(lambda: any(one._write_paused for one in sink.connections))
            said = await asyncio.to_thread(rest, connected)
            await sending
            assert codes(said) == [220, *[250] * number, 221]

    run(main())


def test_starttls() -> None:
    ca = trustme.CA()
    context, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    ca.issue_cert("localhost").configure_cert(context)
    ca.configure_trust(trusting)

    def secure(port: int) -> bytes:
        connected = client(port)
        connected.sendall(b"EHLO x.example\r\nSTARTTLS\r\n")
        said = b""
        while b"Ready to start TLS" not in said:
            said += connected.recv(1_000)
        inside = trusting.wrap_socket(connected, server_hostname="localhost")
        inside.sendall(ENVELOPE + b"x" * 100_000 + b"\r\n.\r\nQUIT\r\n")
        return rest(inside)

    async def main() -> None:
        async with Sink(sink_config(tls=context)) as sink:
            assert codes(await asyncio.to_thread(secure, sink.port))[-2:] == [250, 221]
            assert sink.counts.octets == 100_002

    run(main())


def test_it_does_not_serve_in_clear_what_was_to_be_tls() -> None:
    async def main() -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            where = listener.getsockname()
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            with pytest.raises(ValueError, match="in clear only"):
                await asyncio.get_running_loop().create_server(asyncio.Protocol, sock=listener, ssl=context)
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(where, LIMIT_S)

    run(main())


def test_a_connection_that_is_reset_is_forgotten() -> None:
    async def main() -> None:
        async with Sink() as sink:
            connected = client(sink.port)
            await until(lambda: sink.connections)
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connected.close()
            await until(lambda: not sink.connections)

    run(main())


def test_stopping_tells_those_who_are_connected() -> None:
    async def main() -> None:
        async with Sink() as sink:
            connected = client(sink.port)
            await until(lambda: sink.connections)
            await sink.stop()
            assert codes(await asyncio.to_thread(rest, connected)) == [220, 421]
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", sink.port), LIMIT_S)

    run(main())


def test_without_file_descriptors_a_client_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "RETRY_S", 0.01)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, ServingLoop)
        async with Sink() as sink:
            with client(sink.port) as first:
                limits = resource.getrlimit(resource.RLIMIT_NOFILE)
                waiting = client(sink.port)
                resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
                try:
                    await until(lambda: loop.scarce > 1)
                    assert sink.counts.sessions == 0
                finally:
                    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
                waiting.sendall(b"QUIT\r\n")
                assert codes(await asyncio.to_thread(rest, waiting)) == [220, 221]
                await until(lambda: len(sink.connections) == 1)
                first.sendall(b"QUIT\r\n")

    run(main())


def test_signals() -> None:
    seen: list[int] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, seen.append, 1)
        loop.add_signal_handler(signal.SIGUSR2, seen.append, 2)
        os.kill(os.getpid(), signal.SIGUSR2)
        await until(lambda: seen)
        os.kill(os.getpid(), signal.SIGUSR1)
        await until(lambda: len(seen) > 1)
        assert loop.remove_signal_handler(signal.SIGUSR1)
        assert not loop.remove_signal_handler(signal.SIGUSR1)
        assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL

    run(main())
    assert seen == [2, 1]
    assert signal.getsignal(signal.SIGUSR2) is signal.SIG_DFL


def test_sessions_leave_nothing_to_the_garbage_collector() -> None:
    async def main() -> None:
        async with Sink() as sink:
            session = ENVELOPE + b"hello\r\n.\r\nRSET\r\nQUIT\r\n"
            await asyncio.to_thread(talk, sink.port, session)  # what is remembered from now on
            await until(lambda: not sink.connections)
            gc.collect()
            gc.disable()
            try:
                await asyncio.to_thread(lambda: [talk(sink.port, session) for _ in range(20)])
                await until(lambda: not sink.connections)
                gc.set_debug(gc.DEBUG_SAVEALL)
                gc.collect()
                left = [found for found in gc.garbage if type(found).__module__.startswith("smtpbench")]
            finally:
                gc.set_debug(0)
                gc.garbage.clear()
                gc.enable()
            assert left == []

    run(main())
