"""Many chats at once: the wait for them is cut into naps as long as something comes meanwhile."""

from __future__ import annotations

import select
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from time import perf_counter_ns
from typing import Any

import pytest

from smtpbench.load.chat import READ, SMOOTH, UNUSUAL, available, new_chats
from tests.load.wires import COMMANDS, YES

pytestmark = pytest.mark.skipif(not available(), reason="_chat.c is not built: no C compiler")

MANY = 12  # more than those from which on there are naps
LIMIT_S = 20
QUIET_S = 0.2


class Crowd:
    """So many chats, and the other ends of their connections."""

    def __init__(self, stack: ExitStack) -> None:
        self.epoll = stack.enter_context(select.epoll())
        self.chats = new_chats(self.epoll.fileno())
        self.peers: list[socket.socket] = []
        self.numbers: list[int] = []
        for _ in range(MANY):
            ours, peer = (stack.enter_context(one) for one in socket.socketpair())
            ours.setblocking(False)
            self.epoll.register(ours, select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET)
            assert self.chats.start(ours.fileno(), COMMANDS, (b".\r\n",), perf_counter_ns()) < 0
            self.peers.append(peer)
            self.numbers.append(ours.fileno())

    def serve(self) -> None:
        """Answer every step of every chat, one after the other."""
        for answer in YES:
            for peer in self.peers:
                peer.recv(READ)
                peer.send(answer)


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    with ExitStack() as stack:
        yield Crowd(stack)


def test_all_come_to_their_end_whenever_they_are_answered(crowd: Crowd) -> None:
    server = threading.Thread(target=crowd.serve)
    server.start()
    told: list[tuple[int, Any]] = []
    while len(told) < MANY and (events := crowd.chats.poll(LIMIT_S, 0)):
        told += events
    server.join(LIMIT_S)
    assert sorted(~which for which, _ in told) == sorted(crowd.numbers)
    assert {what for _, (what, *_) in told} == {SMOOTH}
    assert {len(series[0]) // 2 for _, (_, _, _, series, _) in told} == {len(YES)}


def test_what_comes_after_a_silence_is_told(crowd: Crowd) -> None:
    """Also where naps have become seldom, and where there are none any more."""
    for peer in crowd.peers:
        began = perf_counter_ns()
        assert crowd.chats.poll(0.001, 0) == []
        assert perf_counter_ns() - began >= 1_000_000
        peer.send(b"550 no\r\n")
        ((_, (what, _, _, _, octets)),) = crowd.chats.poll(LIMIT_S, 0)
        assert (what, octets) == (UNUSUAL, b"550 no\r\n")


class Rung(Exception):
    """A signal has come."""


def test_a_signal_ends_the_wait(crowd: Crowd) -> None:
    def ring(*_: object) -> None:
        raise Rung

    before, began = signal.signal(signal.SIGALRM, ring), perf_counter_ns()
    try:
        signal.setitimer(signal.ITIMER_REAL, QUIET_S)
        with pytest.raises(Rung):
            crowd.chats.poll(LIMIT_S, 0)
        assert perf_counter_ns() - began < LIMIT_S / 2 * 1e9
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
