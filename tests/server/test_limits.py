from __future__ import annotations

import pytest

from smtpbench.errors import UsageError
from smtpbench.server import Receiver, ServerConfig
from smtpbench.server.dialogue import Close, Wait
from smtpbench.server.faults import with_faults
from smtpbench.server.limits import TARPIT_STEP_S, Limits, limited, parse_limits

EHLO = b"EHLO client.example\r\n"
MAIL, RCPT, RSET = b"MAIL FROM:<a@example.org>\r\n", b"RCPT TO:<alice@example.com>\r\n", b"RSET\r\n"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def make(limits: Limits, base: type[Receiver] = Receiver) -> tuple[Clock, type[Receiver]]:
    clock = Clock()
    return clock, limited(limits, base, clock)  # type: ignore[return-value]


def greeted(receiver: type[Receiver], client: str = "192.0.2.1") -> Receiver:
    session = receiver(ServerConfig(), client=client)
    session.greeting()
    session.feed(EHLO)
    return session


def codes(octets: bytes) -> list[int]:
    return [int(line[:3]) for line in octets.splitlines() if line[3:4] == b" "]


def test_connections_at_once_are_counted_by_client_and_given_back() -> None:
    _, receiver = make(Limits(connections=1))
    first = greeted(receiver)
    second = receiver(ServerConfig(), client="192.0.2.1")
    assert codes(second.greeting()) == [421]
    assert isinstance(second.action, Close)
    assert codes(receiver(ServerConfig(), client="192.0.2.2").greeting()) == [220]
    for session in (first, second):
        session.disconnected()
    assert codes(receiver(ServerConfig(), client="192.0.2.1").greeting()) == [220]


def test_rates_begin_anew_each_minute() -> None:
    clock, receiver = make(Limits(connection_rate=2, messages=3))
    assert [codes(receiver(ServerConfig(), client="192.0.2.9").greeting()) for _ in range(3)] == [
        [220],
        [220],
        [421],
    ]
    session = greeted(receiver)
    assert codes(session.feed((MAIL + RSET) * 4)) == [250, 250] * 3 + [450, 250]
    clock.now = 61
    assert codes(session.feed(MAIL)) == [250]
    assert codes(receiver(ServerConfig(), client="192.0.2.9").greeting()) == [220]


def test_recipients() -> None:
    _, receiver = make(Limits(recipients=3, message_recipients=2))
    session = greeted(receiver)
    assert codes(session.feed(MAIL + RCPT * 3)) == [250, 250, 250, 452]
    assert codes(session.feed(RSET + MAIL + RCPT)) == [250, 250, 450]


def test_messages_of_a_session() -> None:
    _, receiver = make(Limits(session_messages=1))
    session = greeted(receiver)
    assert codes(session.feed(MAIL + RSET + MAIL)) == [250, 250, 421]
    assert isinstance(session.action, Close)


def test_greylisting_ends() -> None:
    clock, receiver = make(Limits(greylist=10))
    session = greeted(receiver)
    assert codes(session.feed(MAIL + RCPT)) == [250, 450]
    clock.now = 10
    assert codes(session.feed(RCPT)) == [250]


def test_a_tarpit_slows_down_after_errors() -> None:
    _, receiver = make(Limits(tarpit=2))
    session = greeted(receiver)
    assert codes(session.feed(b"BOO\r\nBOO\r\n")) == [500, 500]
    assert session.feed(b"BOO\r\n") == b""
    assert session.action == Wait(TARPIT_STEP_S)
    assert codes(session.waited()) == [500]
    session.feed(b"NOOP\r\n")
    assert session.action == Wait(2 * TARPIT_STEP_S)
    assert codes(session.waited()) == [250]


def test_limits_go_with_faults() -> None:
    _, receiver = make(Limits(session_messages=1), with_faults(["noop-not-recognised"]))
    assert codes(greeted(receiver).feed(b"NOOP\r\n" + MAIL + RSET + MAIL)) == [500, 250, 250, 421]


def test_limits_as_text() -> None:
    assert parse_limits(["connections=3", "message-recipients=10"]) == Limits(3, message_recipients=10)


@pytest.mark.parametrize("text", ["connections", "connections=x", "connections=-1", "speed=3", ""])
def test_nonsense(text: str) -> None:
    with pytest.raises(UsageError, match="--limit"):
        parse_limits([text])
