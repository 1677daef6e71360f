"""The client half of one session, without a socket: what it sends to which replies, and what it concludes."""

from datetime import UTC, datetime

import pytest

from smtpbench.server.outbound import Courier, Encrypt, Outbound
from smtpbench.server.reports import Action
from smtpbench.wire.replies import ReplyParser

ONE, TWO = b"one@relay.example", b"two@relay.example"
OK = b"250 OK\r\n"
EHLO = b"250-hop.example.org\r\n250-SIZE 1000\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n250 X\r\n"
PLAIN = b"250 hop.example.org\r\n"
CONTENT = b"Subject: x\r\n\r\n.dot\r\n"


def message(*recipients, sender=b"alice@example.com", content=CONTENT, mail=None, rcpt=None):
    to = recipients or (ONE,)
    return Outbound("relayed", sender, to, content, mail or {}, rcpt or ({},) * len(to), datetime.now(UTC))


def converse(outbound, *replies, encrypt=None):
    """The steps of a session whose hop says 220 and then `replies`, one to each step; and the courier."""
    courier = Courier(outbound, name="mx.example.com")
    steps = courier.conversation()
    said = [next(steps)]
    assert said.pop() == b""
    reply = b"220 hop.example.org\r\n"
    for following in [*replies, None]:
        parsed = None if reply is None else ReplyParser().feed(reply)[0]
        said.append(steps.send(parsed))
        reply = following
    with pytest.raises(StopIteration):
        steps.send(ReplyParser().feed(b"221 Bye\r\n")[0])
    return said, courier


def test_an_ordinary_session():
    said, courier = converse(message(ONE, TWO), EHLO, OK, OK, OK, b"354 Go\r\n", OK)
    assert said == [
        b"EHLO mx.example.com\r\n",
        b"MAIL FROM:<alice@example.com> SIZE=%d\r\n" % len(CONTENT),
        b"RCPT TO:<one@relay.example>\r\n",
        b"RCPT TO:<two@relay.example>\r\n",
        b"DATA\r\n",
        b"Subject: x\r\n\r\n..dot\r\n.\r\n",
        b"QUIT\r\n",
    ]
    assert {key: item.action for key, item in courier.outcomes.items()} == dict.fromkeys(
        (ONE, TWO), Action.RELAYED
    )
    assert courier.deferred == {}


def test_helo_follows_a_refused_ehlo_and_no_parameter_is_sent():
    outbound = message(mail={"RET": "HDRS", "ENVID": "x"}, rcpt=({"NOTIFY": "FAILURE"},))
    said, _ = converse(outbound, b"502 No\r\n", PLAIN, OK, OK, b"354 Go\r\n", OK)
    assert said[:4] == [
        b"EHLO mx.example.com\r\n",
        b"HELO mx.example.com\r\n",
        b"MAIL FROM:<alice@example.com>\r\n",
        b"RCPT TO:<one@relay.example>\r\n",
    ]


def test_dsn_parameters_go_on_as_they_came():
    outbound = message(
        mail={"RET": "hdrs", "ENVID": "Ab+2Bc", "SIZE": "5"},
        rcpt=({"NOTIFY": "success,FAILURE", "ORCPT": "RFC822;One@Relay.example"},),
    )
    said, _ = converse(outbound, EHLO, OK, OK, b"354 Go\r\n", OK)
    assert said[1] == b"MAIL FROM:<alice@example.com> SIZE=%d RET=hdrs ENVID=Ab+2Bc\r\n" % len(CONTENT)
    assert said[2] == b"RCPT TO:<one@relay.example> NOTIFY=success,FAILURE ORCPT=RFC822;One@Relay.example\r\n"


def test_each_recipient_has_an_outcome_of_its_own():
    three = b"three@relay.example"
    said, courier = converse(
        message(ONE, TWO, three), EHLO, OK, b"550 5.1.1 No\r\n", b"451 Later\r\n", OK, b"354 Go\r\n", OK
    )
    assert said[5:] == [b"DATA\r\n", b"Subject: x\r\n\r\n..dot\r\n.\r\n", b"QUIT\r\n"]
    assert {key: item.action for key, item in courier.outcomes.items()} == {
        ONE: Action.FAILED,
        three: Action.RELAYED,
    }
    assert (courier.outcomes[ONE].status, courier.outcomes[ONE].diagnostic) == ("5.1.1", "550 5.1.1 No")
    assert courier.deferred == {TWO: "451 Later"}


@pytest.mark.parametrize(
    ("replies", "state"),
    [
        ((EHLO, b"451 Later\r\n"), "deferred"),
        ((EHLO, b"550 No\r\n"), Action.FAILED),
        ((EHLO, OK, b"552 Too many\r\n"), "deferred"),
        ((EHLO, OK, b"250 OK\r\n", b"451 Later\r\n"), "deferred"),
        ((EHLO, OK, OK, b"354 Go\r\n", b"421 Bye\r\n"), "deferred"),
        ((EHLO, OK, OK, b"354 Go\r\n", b"554 No\r\n"), Action.FAILED),
        ((b"421 Bye\r\n",), "deferred"),
        ((b"550 No\r\n", b"550 No\r\n"), Action.FAILED),
    ],
)
def test_a_refusal_on_the_way_decides_for_all(replies, state):
    said, courier = converse(message(), *replies)
    assert said[-1] == b"QUIT\r\n"
    found = courier.outcomes[ONE].action if ONE in courier.outcomes else "deferred"
    assert found == state
    assert (ONE in courier.deferred) == (state == "deferred")


EIGHT_BIT = "Subject: x\r\n\r\né\r\n".encode()
UTF8_HEADER = "Subject: é\r\n\r\nx\r\n".encode()


@pytest.mark.parametrize(
    ("outbound", "status"),
    [
        (message(content=EIGHT_BIT), "5.6.3"),
        (message(content=b"a\nb", mail={"BODY": "BINARYMIME"}), "5.6.3"),
        (message(content=UTF8_HEADER), "5.6.7"),
        (message("é@relay.example".encode()), "5.6.7"),
        (message(mail={"REQUIRETLS": None}), "5.7.10"),
    ],
)
def test_what_a_hop_cannot_take_is_not_sent(outbound, status):
    said, courier = converse(outbound, PLAIN)
    assert said == [b"EHLO mx.example.com\r\n", b"QUIT\r\n"]
    assert [item.status for item in courier.outcomes.values()] == [status]


def test_what_a_hop_can_take_is_sent():
    said, _ = converse(message(content=UTF8_HEADER), EHLO, OK, OK, b"354 Go\r\n", OK)
    assert said[1].endswith(b" BODY=8BITMIME SMTPUTF8\r\n")
    chunks = b"250-hop\r\n250-CHUNKING\r\n250 BINARYMIME\r\n"
    said, _ = converse(message(content=b"a\nb", mail={"BODY": "BINARYMIME"}), chunks, OK, OK, OK)
    assert said[1:4] == [
        b"MAIL FROM:<alice@example.com> BODY=BINARYMIME\r\n",
        b"RCPT TO:<one@relay.example>\r\n",
        b"BDAT 3 LAST\r\na\nb",
    ]


def test_a_report_on_its_way_needs_no_tls():
    said, _ = converse(message(sender=b"", mail={"REQUIRETLS": None}), EHLO, OK, OK, b"354 Go\r\n", OK)
    assert said[1] == b"MAIL FROM:<> SIZE=%d\r\n" % len(CONTENT)


def test_tls_is_used_where_it_is_offered():
    courier = Courier(message(mail={"REQUIRETLS": None}), name="mx.example.com")
    steps = courier.conversation()
    next(steps)
    steps.send(_reply(b"220 hop\r\n"))
    assert steps.send(_reply(b"250-hop\r\n250 STARTTLS\r\n")) == b"STARTTLS\r\n"
    assert isinstance(steps.send(_reply(b"220 Go\r\n")), Encrypt)
    assert steps.send(None) == b"EHLO mx.example.com\r\n"
    assert (
        steps.send(_reply(b"250-hop\r\n250 REQUIRETLS\r\n"))
        == b"MAIL FROM:<alice@example.com> REQUIRETLS\r\n"
    )
    assert courier.tls_active


def test_tls_without_requiretls_is_not_enough_for_it():
    courier = Courier(message(mail={"REQUIRETLS": None}), name="mx.example.com")
    steps = courier.conversation()
    next(steps)
    for reply in (b"220 hop\r\n", b"250-hop\r\n250 STARTTLS\r\n", b"220 Go\r\n"):
        steps.send(_reply(reply))
    steps.send(None)
    assert steps.send(_reply(PLAIN)) == b"QUIT\r\n"
    assert courier.outcomes[ONE].status == "5.7.30"


def _reply(octets):
    return ReplyParser().feed(octets)[0]
