"""The engine's event loop where there is one socket, which it reads without asking whether it is ready."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Any

import pytest

from smtpbench.load.eventloop import EventLoop, Poll
from smtpbench.load.transport import LONE_S
from tests.load.test_eventloop import (
    LIMIT_S,
    Client,
    answer_all,
    connected,
    in_thread,
    listener,
    read_all,
    run,
)

__all__ = ["listener"]

LATE_S = 0.5  # far more than a machine that is busy takes, and far less than a wait that nothing ends


class Counted:
    """Counts how often a loop waits for its `epoll`."""

    def __init__(self, poll: Poll) -> None:
        self._poll = poll
        self.waits = 0

    def poll(self, timeout: float, maxevents: int) -> list[tuple[int, Any]]:
        self.waits += 1
        return self._poll(timeout, maxevents)


def counted() -> Counted:
    """The waits of the running loop, from the next on."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, EventLoop)
    waits = Counted(loop._poll)
    loop._poll = waits.poll
    return waits


def echo(peer: socket.socket) -> threading.Thread:
    """Whoever answers all that comes, in a thread of its own, until the end."""
    thread = threading.Thread(target=answer_all, args=(peer,))
    thread.start()
    return thread


async def asked(client: Client, transport: asyncio.Transport, times: int) -> None:
    """Ask so often, each time when the answer to the last is there."""
    client.received, client.wanted = b"", 4 * times
    client.enough = asyncio.get_running_loop().create_future()
    client.on_data = lambda data: transport.write(data) if len(client.received) < client.wanted else None
    transport.write(b"ping")
    await client.enough


def test_answers_over_the_only_socket_take_no_wait_but_the_read(listener: socket.socket) -> None:
    async def main() -> None:
        client, transport, peer = await connected(listener)
        thread = echo(peer)
        epoll = counted()
        await asked(client, transport, 200)
        assert client.received == b"ping" * 200
        assert epoll.waits < 50  # some answers take long, on a machine that is busy
        transport.abort()
        await client.lost
        await in_thread(thread.join, LIMIT_S)

    run(main())


def test_a_second_socket_ends_it_and_both_are_served(listener: socket.socket) -> None:
    async def main() -> None:
        first, one, peer = await connected(listener)
        threads = [echo(peer)]
        await asked(first, one, 5)
        second, two, peer = await connected(listener)
        threads.append(echo(peer))
        epoll = counted()
        await asyncio.gather(asked(first, one, 20), asked(second, two, 20))
        assert epoll.waits
        two.abort()
        await second.lost
        await asked(first, one, 5)  # alone again
        one.abort()
        await first.lost
        for thread in threads:
            await in_thread(thread.join, LIMIT_S)

    run(main())


def test_another_thread_is_heard_while_the_only_server_is_silent(listener: socket.socket) -> None:
    async def main() -> None:
        _, transport, peer = await connected(listener)
        loop = asyncio.get_running_loop()
        with closing(peer):
            for pause in (0.0, LONE_S / 4, LONE_S):
                called: asyncio.Future[None] = loop.create_future()
                caller = threading.Timer(pause, partial(loop.call_soon_threadsafe, called.set_result, None))
                begun = loop.time()
                caller.start()
                await called
                assert loop.time() - begun < pause + LATE_S
            transport.abort()

    run(main())


def test_another_thread_is_heard_while_the_only_server_never_rests(listener: socket.socket) -> None:
    async def main() -> None:
        client, transport, peer = await connected(listener)
        thread, loop = echo(peer), asyncio.get_running_loop()
        client.on_data = transport.write
        transport.write(b"ping")
        called: asyncio.Future[None] = loop.create_future()
        threading.Timer(LONE_S, lambda: loop.call_soon_threadsafe(called.set_result, None)).start()
        begun = loop.time()
        await called
        assert loop.time() - begun < LONE_S + LATE_S
        transport.abort()
        await client.lost
        await in_thread(thread.join, LIMIT_S)

    run(main())


@pytest.mark.parametrize("delay", [LONE_S / 2, LONE_S + 0.001, 2.5 * LONE_S])
def test_a_timer_is_met_while_the_only_server_is_silent(listener: socket.socket, delay: float) -> None:
    """Of several waits the best is looked at: a machine that is busy makes some of them late."""

    async def main() -> None:
        _, transport, peer = await connected(listener)
        loop = asyncio.get_running_loop()
        late = []
        with closing(peer):
            for _ in range(10):
                due = loop.time() + delay
                fired: asyncio.Future[float] = loop.create_future()
                loop.call_at(due, lambda fired=fired: fired.set_result(loop.time()))  # type: ignore[misc]
                late.append(await fired - due)
            transport.abort()
        assert min(late) >= -1e-6
        assert min(late) < 0.001

    run(main())


def test_what_the_only_socket_does_not_take_waits_and_blocks_nobody(listener: socket.socket) -> None:
    size = 20_000_000  # more than the buffers of both sockets

    async def main() -> None:
        client, transport, peer = await connected(listener)
        client.wanted = 4
        with closing(peer):
            peer.sendall(b"250 ")
            await client.enough  # read alone: the socket is in blocking mode from now on
            transport.write(b"x" * size)
            assert client.paused == [True]
            transport.close()
            assert len(await in_thread(read_all, peer)) == size
        assert await client.lost is None

    run(main())


def test_the_end_and_a_reset_are_told_of_the_only_socket(listener: socket.socket) -> None:
    async def main(end: Callable[[socket.socket], None]) -> tuple[bytes, Exception | None]:
        client, _, peer = await connected(listener)
        client.wanted = 4
        with closing(peer):
            peer.sendall(b"250 ")
            await client.enough
            asyncio.get_running_loop().call_later(0.001, end, peer)
            lost = await client.lost
        return client.received, lost

    def reset(peer: socket.socket) -> None:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.close()

    assert run(main(lambda peer: peer.shutdown(socket.SHUT_WR))) == (b"250 ", None)
    received, lost = run(main(reset))
    assert (received, type(lost)) == (b"250 ", ConnectionResetError)


def test_an_error_in_the_only_protocol_ends_its_connection(listener: socket.socket) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        errors: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda loop, context: errors.append(context))
        client, _, peer = await connected(listener)

        def fail(data: bytes) -> None:
            raise ZeroDivisionError

        client.on_data = fail
        with closing(peer):
            peer.sendall(b"250\r\n")
            await client.lost
        assert [type(context["exception"]) for context in errors] == [ZeroDivisionError]

    run(main())
