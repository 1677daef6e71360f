"""Crowds of connections, and what becomes of each."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from smtpbench.load import crowd as module
from smtpbench.load.crowd import Crowd, most_connections
from smtpbench.target import Endpoint, Fixtures, Role, Target

WAIT = 20.0
SIZE = 6


@contextmanager
def answering(*lines: bytes, close: bool = False) -> Iterator[tuple[Target, list[bytes]]]:
    """A target that says one line for each that it reads, the first at once; what it read is in the list."""
    heard: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with suppress(OSError), connection, connection.makefile("rb") as stream:
            for line in lines:
                connection.sendall(line)
                if close:
                    return
                heard.append(stream.readline())
            while octets := stream.read1():
                heard.append(octets)

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threads.append(threading.Thread(target=serve, args=(connection,)))
                threads[-1].start()

    threads = [threading.Thread(target=accept)]
    threads[0].start()
    try:
        port = listener.getsockname()[1]
        fixtures = Fixtures(recipient="alice@example.com")
        yield Target(endpoints={Role.MX: Endpoint(port=port)}, fixtures=fixtures), heard
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in threads:
            thread.join(WAIT)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("lines", "close", "word"),
    [
        ((b"421 busy\r\n",), True, "421"),
        ((b"450 busy\r\n",), True, "4yz"),
        ((b"554 no\r\n",), True, "5yz"),
        ((b"",), True, "dropped"),
    ],
)
def test_what_a_flood_is_told_is_counted(lines: tuple[bytes, ...], close: bool, word: str) -> None:
    with answering(*lines, close=close) as (target, _):
        crowd = Crowd(target, SIZE, slow=False)
        crowd.gather()
        until(lambda: crowd.met.total() == SIZE)
        crowd.release()
    assert crowd.met == {word: SIZE}


def test_who_is_greeted_is_held_until_released() -> None:
    with answering(b"220 hello\r\n") as (target, _):
        crowd = Crowd(target, SIZE, slow=False)
        crowd.gather()
        crowd.release()
    assert crowd.met.total() == SIZE
    assert not crowd.met.keys() - {"held", "silent"}


def test_nobody_listens_is_refused() -> None:
    with answering(b"220 hello\r\n") as (target, _):
        pass
    crowd = Crowd(target, SIZE, slow=False)
    crowd.gather()
    until(lambda: crowd.met.total() == SIZE)
    crowd.release()
    assert crowd.met == {"refused": SIZE}


def test_slow_sessions_are_slow_in_a_command_in_a_content_and_in_silence() -> None:
    with answering(b"220 a\r\n", b"250 b\r\n", b"250 c\r\n", b"250 d\r\n", b"354 e\r\n") as (target, heard):
        crowd = Crowd(target, 3, slow=True, drip_s=0.01)
        crowd.gather()
        until(lambda: b"DATA\r\n" in heard and b"Sub" in b"".join(heard))
        crowd.release()
    assert crowd.met == {"held": 3}
    assert not any(line.endswith(b".\r\n") for line in heard)


def test_our_own_limit_bounds_a_crowd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESERVE", 10**9)
    assert most_connections() == 0
    with answering(b"220 a\r\n") as (target, _):
        assert Crowd(target, 5, slow=False).size == 0
