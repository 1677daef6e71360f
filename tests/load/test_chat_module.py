"""`_chat.c` alone: one chat, or one visit, over a pair of sockets."""

from __future__ import annotations

import errno
import os
import select
import socket
import sys
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter_ns
from typing import Any

import pytest

from smtpbench.load.chat import (
    AHEAD,
    BROKEN,
    DONE,
    ENDED,
    PROGRESS,
    READ,
    SMOOTH,
    UNUSUAL,
    available,
    new_chats,
)
from smtpbench.load.congestion import RENO
from smtpbench.load.openings import sockaddr
from tests.load.conftest import congestion_of
from tests.load.wires import COMMANDS, OPENING, YES, Wire

pytestmark = pytest.mark.skipif(not available(), reason="_chat.c is not built: no C compiler")
LIMIT_S = 20.0
LATE_S = 0.01  # long enough for loopback; what comes later is found by the next wait


@pytest.fixture
def wire() -> Any:
    one = Wire()
    yield one
    one.close()


def test_the_steps_go_out_one_by_one(wire: Wire) -> None:
    number = wire.start()
    for answer, line in zip(YES[:3], [*COMMANDS.splitlines(keepends=True)], strict=True):
        assert wire.peer.recv(100) == line
        assert wire.told(answer) == []
    assert wire.peer.recv(100) == b".\r\n"
    ((which, (what, of, at, series, _)),) = wire.told(YES[3])
    assert (which, what, of) == (~wire.number, SMOOTH, number)
    codes, mail, rcpt, data, body, transaction = (
        array("h" if octets is series[0] else "q", octets) for octets in series
    )
    assert codes.tolist() == [250, 250, 354, 250]
    assert min(*mail, *rcpt, *data, *body) >= 0
    assert 0 <= transaction[0] - sum([*mail, *rcpt, *data, *body]) <= 3  # each is rounded down
    assert transaction[0] == (at - wire.began) // 1000
    assert wire.began < at <= perf_counter_ns()


def test_each_message_is_timed_from_the_end_of_the_last(wire: Wire) -> None:
    """Of two messages to two recipients, with an answer that takes 20 ms."""
    commands = b"MAIL FROM:<>\r\nRCPT TO:<a@example.net>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n"
    wire.chats.start(wire.number, commands, (b"1\r\n", b"2\r\n"), wire.began)
    answers = [*YES[:2], *YES[1:]] * 2
    spans = []  # in which each answer came, by our clock
    for nth, answer in enumerate(answers):
        if nth == 7:
            time.sleep(0.02)  # what is long is not taken for another
        before = perf_counter_ns()
        events = wire.told(answer)
        spans.append((before, perf_counter_ns()))
        assert bool(events) == (nth == 9)
    ((_, (what, _, at, series, _)),) = events
    assert what == SMOOTH
    assert array("h", series[0]).tolist() == [250, 250, 250, 354, 250] * 2
    mail, rcpt, data, body, transaction = (array("q", octets) for octets in series[1:])
    assert [len(one) for one in (mail, rcpt, data, body, transaction)] == [2, 4, 2, 2, 2]
    assert rcpt[3] >= 20_000
    took = [mail[0], *rcpt[:2], data[0], body[0], mail[1], *rcpt[2:], data[1], body[1]]
    earlier = [(wire.began, wire.began), *spans[:-1]]
    for us, (first, last), (since, until) in zip(took, spans, earlier, strict=True):
        assert (first - until) // 1000 <= us <= (last - since) // 1000
    assert 0 <= transaction[1] - (mail[1] + rcpt[2] + rcpt[3] + data[1] + body[1]) <= 4
    assert 0 <= (at - wire.began) // 1000 - sum(transaction) <= 1


@contextmanager
def visiting(*, alone: bool = False) -> Iterator[tuple[Any, int, socket.socket]]:
    """Chats, the descriptor of a visit that has just begun, and the other end of its connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener, select.epoll() as epoll:
        chats = new_chats(epoll.fileno())
        port = listener.getsockname()[1]
        opening = (*OPENING, sockaddr("127.0.0.1", port))
        number, *_ = chats.visit(opening, COMMANDS, (b".\r\n",), alone)
        assert number >= 0
        peer, _ = listener.accept()
        with peer:
            yield chats, number, peer


def test_a_whole_session_waits_for_the_greeting_and_says_quit() -> None:
    before = perf_counter_ns()
    with visiting() as (chats, number, peer):
        for answer in (OPENING[0], OPENING[2], *YES):
            peer.send(answer)
            assert chats.poll(LATE_S, 0) == []
        peer.send(b"221 bye\r\n")
        ((which, (what, _, at, whole, _)),) = chats.poll(LIMIT_S, 0)
        began, *replies = array("q", whole)
        codes, times = replies[::2], replies[1::2]
        assert (which, what, codes) == (~number, SMOOTH, [-3, 220, 250, 250, 250, 354, 250, 221])
        assert sorted(times) == times
        assert before < began < times[0]
        assert at == times[-1]
        assert peer.recv(1000) == OPENING[1] + COMMANDS + b".\r\nQUIT\r\n"
        chats.drop(number)
        with pytest.raises(ConnectionResetError):
            peer.recv(1)


def test_a_visit_is_opening_until_ehlo_is_answered_and_who_awaits_that_is_told_once() -> None:
    with visiting() as (chats, number, peer):
        for answer, opening in ((OPENING[0], 1), (OPENING[2], 0)):
            assert chats.opening == 1
            chats.awaited = not opening
            peer.send(answer)
            told = chats.poll(LATE_S, 0)
            assert chats.opening == opening
        ((which, event),) = told
        assert (which not in (number, ~number), event) == (True, 0)
        assert not chats.awaited
        peer.send(YES[0])
        assert chats.poll(LATE_S, 0) == []


def test_a_visit_that_is_hastened_is_for_others_to_count() -> None:
    with visiting() as (chats, number, peer):
        chats.hasten(number)
        assert chats.opening == 0
        chats.awaited = True
        peer.send(OPENING[0])
        assert chats.poll(LATE_S, 0) == []
        peer.send(OPENING[2])
        ((_, (what, *_)),) = chats.poll(LATE_S, 0)
        assert what == PROGRESS
        assert (chats.opening, chats.awaited) == (0, True)


@pytest.mark.parametrize("answer", [b"", OPENING[0], b"421 closing\r\n"])
def test_a_visit_that_ends_before_is_no_longer_opening(answer: bytes) -> None:
    with visiting() as (chats, number, peer):
        peer.send(answer)
        chats.poll(LATE_S, 0)
        chats.drop(number)
        assert chats.opening == 0


def test_a_visit_alone_is_read_without_a_wait() -> None:
    with visiting(alone=True) as (chats, number, peer):
        assert chats.alone(number, perf_counter_ns() + 10**9) is None  # nothing has come, and it said so soon
        for answer in (OPENING[0], OPENING[2]):
            peer.send(answer)
            assert chats.alone(number, 0) == []
        peer.send(YES[0])
        assert chats.poll(LATE_S, 0) == []  # nobody watches it
        chats.watch(number)
        peer.send(b"550 no\r\n")
        ((_, (what, *_)),) = chats.poll(LIMIT_S, 0)
        assert what == UNUSUAL


def test_a_visit_takes_nothing_over_from_a_chat_that_was_forgotten() -> None:
    """On a descriptor of the same number."""
    with socket.create_server(("127.0.0.1", 0)) as listener, select.epoll() as epoll:
        chats, port = new_chats(epoll.fileno()), listener.getsockname()[1]
        old, peer = socket.socketpair()
        chats.start(old.fileno(), COMMANDS, (b".\r\n",), 0)
        chats.forget(old.fileno())
        before = old.fileno()
        old.close()
        peer.close()
        number, *_ = chats.visit((*OPENING, sockaddr("127.0.0.1", port)), COMMANDS, (b".\r\n",), False)
        assert number == before
        with listener.accept()[0] as server:
            for answer in (OPENING[0], OPENING[2], *YES):
                server.send(answer)
                assert chats.poll(LATE_S, 0) == []
            server.send(b"221 bye\r\n")
            ((_, (what, *_)),) = chats.poll(LIMIT_S, 0)
        chats.drop(number)
    assert what == SMOOTH


def test_a_visit_to_nobody_is_told_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with select.epoll() as epoll:
        number, *_ = new_chats(epoll.fileno()).visit(
            (*OPENING, sockaddr("127.0.0.1", port)), COMMANDS, (b"",), False
        )
    assert -number == errno.ECONNREFUSED


@pytest.mark.parametrize("opening", [
    None, OPENING, (*OPENING, b"short"), (*OPENING[:2], None, bytes(16)), (*OPENING, bytes(16), b""),
])  # fmt: skip
def test_an_opening_has_an_address(wire: Wire, opening: Any) -> None:
    with pytest.raises(TypeError):
        wire.chats.visit(opening, COMMANDS, (b"",), False)


def test_addresses_are_those_of_the_kernel() -> None:
    """And loopback is known as such: see `congestion.py`."""
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.create_server((host, 0), family=family) as listener, select.epoll() as epoll:
            port = listener.getsockname()[1]
            chats = new_chats(epoll.fileno())
            number, *_ = chats.visit((*OPENING, sockaddr(host, port)), COMMANDS, (b"",), False)
            with listener.accept()[0], socket.socket(fileno=os.dup(number)) as ours:
                assert congestion_of(ours) == RENO
                chats.drop(number)


@pytest.mark.parametrize("answer", [
    b"354 go\r\n", b"450 no\r\n", b"550 no\r\n", b"250-a\r\n250 b\r\n", b"250 ok\n", b"250 o\rk\r\n",
    b"250 ok\r\n\r\n", b"250\r\n", b"25", b"260 ok\r\n", b"2x0 ok\r\n", b"\xff\r\n", b"250 " + b"x" * READ,
])  # fmt: skip
def test_what_is_not_as_wished_is_handed_over_whole(wire: Wire, answer: bytes) -> None:
    wire.start()
    ((_, (what, _, _, replies, octets)),) = wire.told(b"250 ok\r\n", answer)
    assert (what, replies[::2]) == (UNUSUAL, (250,))
    assert octets + (wire.ours.recv(READ) if len(octets) == READ else b"") == answer


def test_only_354_lets_the_content_out(wire: Wire) -> None:
    wire.start()
    ((_, (what, *_)),) = wire.told(b"250 ok\r\n", b"250 ok\r\n", b"250 ok\r\n")
    assert what == UNUSUAL
    assert wire.peer.recv(1000) == COMMANDS


def test_the_end_of_the_stream_is_told(wire: Wire) -> None:
    wire.start()
    wire.told(b"250 ok\r\n")
    wire.peer.shutdown(socket.SHUT_WR)
    (number, (what, _, at, replies, _)), (other, _) = wire.chats.poll(0, 0)
    assert (~number, other, what, at, replies[::2]) == (wire.number, wire.number, BROKEN, 0, (250,))


def test_a_reply_and_the_end_are_both_told(wire: Wire) -> None:
    wire.start()
    wire.peer.send(b"250 ok\r\n")
    wire.peer.shutdown(socket.SHUT_WR)
    (_, (what, _, _, replies, _)), (other, _) = wire.chats.poll(0, 0)
    assert (what, replies[::2], other) == (ENDED, (250,), wire.number)


def test_what_comes_for_no_chat_is_for_whoever_has_the_descriptor(wire: Wire) -> None:
    wire.peer.send(b"421 tired\r\n")
    ((number, event),) = wire.chats.poll(0, 0)
    assert (number, bool(event & 1)) == (wire.number, True)
    wire.start()
    wire.chats.forget(wire.number)
    wire.peer.send(b"250 ok\r\n")
    ((number, _),) = wire.chats.poll(0, 0)
    assert number == wire.number


def test_a_chat_has_a_number_of_its_own(wire: Wire) -> None:
    first = wire.start()
    wire.chats.forget(wire.number)
    assert wire.start() == first + 1


def test_a_chat_is_cut_short_after_the_message_under_way(wire: Wire) -> None:
    wire.start((b"1\r\n", b"2\r\n", b"3\r\n", b"4\r\n"))
    assert wire.told(*YES, *YES[:2]) == []
    assert wire.chats.curtail(wire.number) == 2
    assert wire.chats.curtail(wire.number) == 0
    ((_, (what, _, _, series, _)),) = wire.told(*YES[2:])
    assert (what, len(series[0]) // 2) == (SMOOTH, 8)
    assert wire.peer.recv(1000) == COMMANDS + b"1\r\n" + COMMANDS + b"2\r\n"
    assert wire.chats.curtail(wire.number) == 0


def test_none_begins_another_message_once_all_are_halted(wire: Wire) -> None:
    wire.start((b"1\r\n", b"2\r\n"))
    wire.chats.halt()
    ((_, (what, _, _, series, _)),) = wire.told(*YES)
    assert (what, len(series[0]) // 2) == (SMOOTH, 4)


def test_progress_is_told_once(wire: Wire) -> None:
    wire.start()
    wire.told(b"250 ok\r\n")
    ((_, (what, _, _, replies, _)),) = wire.chats.progress(wire.number)
    assert (what, replies[::2]) == (PROGRESS, (250,))
    assert wire.chats.progress(wire.number) == []
    ((_, (what, _, _, replies, _)),) = wire.told(*YES[1:])
    assert (what, replies[::2]) == (DONE, (250, 354, 250))


def test_octets_live_as_long_as_the_chat(wire: Wire) -> None:
    content = b"x" * 100 + b"\r\n.\r\n"
    before = sys.getrefcount(content)
    wire.start((content,))
    assert sys.getrefcount(content) == before + 1
    wire.told(*YES)
    assert sys.getrefcount(content) == before
    wire.start((content,))
    wire.chats.forget(wire.number)
    assert sys.getrefcount(content) == before
    wire.start((content,))
    del wire.chats
    assert sys.getrefcount(content) == before


@pytest.mark.parametrize("arguments", [
    (1, b"DATA\r\n", (b"",)), (1, "DATA\r\n", (b"",), 0), (1, b"DATA\r\n", b"", 0), (1, b"DATA\r\n", (), 0),
    (1, b"DATA\r\n", ("",), 0), (1, b"DATA\r\n", (b"",) * (AHEAD + 1), 0), ("1", b"DATA\r\n", (b"",), 0),
    (1, b"DATA\r\n", (b"",), None),
])  # fmt: skip
def test_what_is_not_of_the_right_type_is_refused(wire: Wire, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError):
        wire.chats.start(*arguments)


@pytest.mark.parametrize("commands", [b"", b"DATA"])
def test_commands_have_an_end(wire: Wire, commands: bytes) -> None:
    with pytest.raises(ValueError, match="line end"):
        wire.chats.start(wire.number, commands, (b"",), 0)
