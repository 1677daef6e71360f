"""The engine's event loop, against plain sockets on loopback. Every wait is bounded."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing
from typing import Any

import pytest

from smtpbench.load.eventloop import EventLoop
from smtpbench.load.transport import HIGH_WATER, SocketTransport

LIMIT_S = 10


def run(main: Coroutine[Any, Any, Any]) -> Any:
    """Run `main` in a loop of ours, within the limit."""
    with asyncio.Runner(loop_factory=EventLoop) as runner:
        return runner.run(asyncio.wait_for(main, LIMIT_S))


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(LIMIT_S)
        yield server


class Client(asyncio.Protocol):
    """Notes what the transport tells it."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.made: asyncio.Future[None] = loop.create_future()
        self.lost: asyncio.Future[Exception | None] = loop.create_future()
        self.received = b""
        self.paused: list[bool] = []
        self.on_data: Callable[[bytes], None] = lambda data: None
        self.wanted, self.enough = 1 << 30, loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.made.set_result(None)

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.on_data(data)
        if len(self.received) >= self.wanted and not self.enough.done():
            self.enough.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)

    def pause_writing(self) -> None:
        self.paused.append(True)

    def resume_writing(self) -> None:
        self.paused.append(False)


async def connected(listener: socket.socket) -> tuple[Client, SocketTransport, socket.socket]:
    """Both ends of a connection."""
    client = Client()
    loop = asyncio.get_running_loop()
    assert isinstance(loop, EventLoop)
    transport = loop.connect(client, *listener.getsockname())
    await client.made
    peer, _ = listener.accept()
    peer.settimeout(LIMIT_S)
    return client, transport, peer


async def in_thread(function: Callable[..., Any], *args: object) -> Any:
    return await asyncio.to_thread(function, *args)


def read_all(peer: socket.socket) -> bytes:
    chunks = []
    while chunk := peer.recv(1 << 16):
        chunks.append(chunk)
    return b"".join(chunks)


READ_SIZE = SocketTransport.read_size


@pytest.mark.parametrize("size", [1, READ_SIZE - 1, READ_SIZE, READ_SIZE + 1, 10 * READ_SIZE])
def test_all_that_is_sent_is_received(listener: socket.socket, size: int) -> None:
    async def main() -> None:
        client, transport, peer = await connected(listener)
        client.wanted = size
        with closing(peer):
            peer.sendall(b"x" * size)
            await client.enough
            assert client.received == b"x" * size
            transport.abort()
            assert await client.lost is None

    run(main())


def test_what_comes_with_the_end_is_received_before_it(listener: socket.socket) -> None:
    async def main() -> None:
        client, transport, peer = await connected(listener)
        with closing(peer):
            peer.sendall(b"221 bye\r\n")
            peer.shutdown(socket.SHUT_WR)
            assert await client.lost is None
        assert client.received == b"221 bye\r\n"
        assert transport.is_closing()

    run(main())


def test_a_port_where_nobody_listens(listener: socket.socket) -> None:
    address = listener.getsockname()
    listener.close()

    async def main() -> None:
        client = Client()
        asyncio.get_running_loop().connect(client, *address)  # type: ignore[attr-defined]
        assert isinstance(await client.lost, ConnectionRefusedError)
        assert not client.made.done()

    run(main())


def test_abort_resets_and_frees_the_port(listener: socket.socket) -> None:
    async def main() -> None:
        client, transport, peer = await connected(listener)
        with closing(peer):
            transport.abort()
            await client.lost
            with pytest.raises(ConnectionResetError):
                await in_thread(peer.recv, 1)
        transport.write(b"ignored")
        transport.abort()

    run(main())


def test_a_reset_is_an_error_of_the_connection(listener: socket.socket) -> None:
    async def main() -> None:
        client, _, peer = await connected(listener)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.close()
        assert isinstance(await client.lost, ConnectionResetError)

    run(main())


def test_what_the_socket_does_not_take_waits_and_pauses_the_protocol(listener: socket.socket) -> None:
    size = 20_000_000  # more than the buffers of both sockets

    async def main() -> None:
        client, transport, peer = await connected(listener)
        with closing(peer):
            transport.write(b"x" * size)
            transport.write(b"the end")
            assert transport.get_write_buffer_size() > HIGH_WATER
            assert client.paused == [True]
            transport.close()  # after what waits
            read = await in_thread(read_all, peer)
        assert (len(read), read[-8:]) == (size + 7, b"xthe end")
        assert client.paused == [True, False]
        assert await client.lost is None

    run(main())


def test_pause_reading_leaves_it_in_the_socket(listener: socket.socket) -> None:
    async def main() -> None:
        client, transport, peer = await connected(listener)
        client.wanted = 5
        with closing(peer):
            transport.pause_reading()
            peer.sendall(b"250\r\n")
            reader = await connected(listener)  # a whole connection later …
            reader[1].abort()
            reader[2].close()
            assert client.received == b""
            transport.resume_reading()
            await client.enough
            transport.abort()

    run(main())


def test_an_error_in_a_protocol_ends_its_connection_alone(listener: socket.socket) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        errors: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda loop, context: errors.append(context))
        bad, _, bad_peer = await connected(listener)
        good, _, good_peer = await connected(listener)

        def fail(data: bytes) -> None:
            raise ZeroDivisionError

        bad.on_data, good.wanted = fail, 5
        with closing(bad_peer), closing(good_peer):
            bad_peer.sendall(b"250\r\n")  # both are ready at the same wait
            good_peer.sendall(b"250\r\n")
            await bad.lost
            await good.enough
            assert not good.lost.done()
        assert [type(context["exception"]) for context in errors] == [ZeroDivisionError]

    run(main())


def test_another_thread_wakes_the_loop() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        threading.Thread(target=loop.call_soon_threadsafe, args=(future.set_result, 7)).start()
        assert await future == 7

    run(main())


def test_a_call_that_comes_while_the_loop_closes_wakes_nobody() -> None:
    loop = EventLoop()
    loop.close()
    loop._write_to_self()  # what `call_soon_threadsafe` does last, in the other thread


@pytest.mark.parametrize("delay", [0.0, 0.0004, 0.0015, 0.004, 0.03])
def test_a_timer_is_never_early(delay: float) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + delay
        future: asyncio.Future[float] = loop.create_future()
        loop.call_at(due, lambda: future.set_result(loop.time()))
        assert await future >= due - 1e-6

    run(main())


def test_timers_are_served_while_a_socket_never_rests(listener: socket.socket) -> None:
    async def main() -> None:
        client, transport, peer = await connected(listener)
        client.on_data = transport.write
        peer.setblocking(True)
        echo = threading.Thread(target=answer_all, args=(peer,))
        echo.start()
        transport.write(b"ping")
        await asyncio.sleep(0.01)
        transport.abort()
        await client.lost
        await in_thread(echo.join, LIMIT_S)
        assert not echo.is_alive()

    run(main())


def answer_all(peer: socket.socket) -> None:
    with peer:
        try:
            while data := peer.recv(100):
                peer.sendall(data)
        except ConnectionError:
            pass


def test_close_twice_is_no_error() -> None:
    loop = EventLoop()
    loop.close()
    loop.close()


def test_what_is_to_be_called_before_the_wait_is_called_once_what_was_ready_is_handled(
    listener: socket.socket,
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, EventLoop)
        seen: list[str] = []
        errors: list[object] = []
        loop.set_exception_handler(lambda loop, context: errors.append(context["exception"]))

        def hear(name: str) -> Callable[[bytes], None]:
            def heard(_: bytes) -> None:
                seen.append(name)
                loop.call_before_wait(lambda: seen.append(f"after {name}"))
                loop.call_before_wait(lambda: 1 / 0)

            return heard

        both = [await connected(listener) for _ in range(2)]
        for name, (each, _, _) in zip("ab", both, strict=True):
            each.on_data, each.wanted = hear(name), 5
        for _, _, peer in both:
            peer.sendall(b"250\r\n")  # both are ready at the same wait
        for each, _, _ in both:
            await each.enough
        done: asyncio.Future[None] = loop.create_future()
        loop.call_before_wait(lambda: done.set_result(None))  # from a task; and it wakes another
        await done
        assert {*seen[:2]} == {"a", "b"}
        assert seen[2:] == [f"after {name}" for name in seen[:2]]
        assert [type(error) for error in errors] == [ZeroDivisionError] * 2
        for _, transport, peer in both:
            transport.abort()
            peer.close()

    run(main())


def test_without_descriptors_there_is_one_error_and_no_loop() -> None:
    """A process of its own, which has as many as the interpreter uses, and one more."""
    script = """
import gc, os, resource
from smtpbench.load.eventloop import EventLoop
free = os.open(os.devnull, os.O_RDONLY)
resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, free + 1))
os.close(free)
try:
    EventLoop()
except OSError as error:
    gc.collect()
    print(error.strerror)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert (done.stdout, done.stderr) == ("Too many open files\n", "")
