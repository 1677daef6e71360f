"""The less usual extensions of the reference server, as a client sees them."""

from datetime import UTC, datetime

import pytest

from smtpbench.target import Role

HELLO = b"EHLO client.example.org\r\n"
MAIL = b"MAIL FROM:<sender@example.org>"
RCPT = b"RCPT TO:<alice@example.com>"
LOGIN = b"AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n"
USERS = {"alice": "secret"}


def keywords(talk, hello=HELLO):
    return [line[4:].decode() for line in talk.say(hello).split(b"\r\n")[1:-1]]


@pytest.fixture
def known(new_talk):
    """A submission session of a user."""
    talk = new_talk(
        role=Role.SUBMISSION,
        users=USERS,
        auth_in_clear=True,
        max_hold=60,
        null_mx=frozenset({"null.example"}),
        burl={"imap://a/b": b"Subject: fetched\r\n", "imap://a/big": b"x" * 3_000},
        max_size=2_000,
    )
    talk.say(HELLO + LOGIN)
    return talk


@pytest.mark.parametrize(
    ("role", "listed"),
    [
        (Role.MX, {"ETRN", "DELIVERBY", "MTRK", "MT-PRIORITY", "RRVS", "PRDR", "LIMITS"}),
        (
            Role.SUBMISSION,
            {"DELIVERBY", "MTRK", "BURL", "FUTURERELEASE", "MT-PRIORITY", "RRVS", "PRDR", "LIMITS"},
        ),
        (Role.LMTP, {"MT-PRIORITY", "RRVS", "LIMITS"}),
    ],
)
def test_each_port_has_its_extensions(new_talk, role, listed):
    talk = new_talk(role=role, max_hold=60)
    hello = b"LHLO a\r\n" if role is Role.LMTP else HELLO
    found = {line.split()[0] for line in keywords(talk, hello)}
    ordinary = {"PIPELINING", "SIZE", "8BITMIME", "SMTPUTF8", "CHUNKING", "BINARYMIME", "ENHANCEDSTATUSCODES"}
    assert found - ordinary - {"DSN", "HELP", "EXPN", "VRFY"} == listed


def test_a_sink_has_none_of_them(new_talk):
    talk = new_talk(sink=True, max_hold=60, max_transactions=1)
    assert keywords(talk)[-1] == "VRFY"
    assert talk.codes(b"ETRN example.com\r\n") == [502]


@pytest.mark.parametrize(
    ("line", "code"),
    [(b"example.com", 251), (b"@example.com", 251), (b"other.example", 459), (b"#uucp", 458)],
)
def test_etrn(talk, line, code):
    talk.say(HELLO)
    assert talk.codes(b"ETRN " + line + b"\r\n") == [code]


def test_etrn_outside_a_session_and_inside_a_transaction(talk):
    assert talk.codes(b"ETRN example.com\r\n" + HELLO + MAIL + b"\r\nETRN example.com\r\n") == [
        503,
        250,
        250,
        503,
    ]


def test_a_submission_port_has_no_etrn(known):
    assert known.codes(b"ETRN example.com\r\n") == [502]


@pytest.mark.parametrize("verb", [b"XCLIENT", b"XFORWARD"])
def test_nobody_is_a_proxy(talk, verb):
    talk.say(HELLO)
    assert talk.codes(verb + b" NAME=a\r\n" + MAIL + b"\r\n" + verb + b" NAME=a\r\n") == [550, 250, 503]


@pytest.mark.parametrize(("value", "code"), [(b"60;R", 250), (b"59;R", 455), (b"-5;N", 250), (b"0;R", 501)])
def test_deliver_by(talk, value, code):
    talk.say(HELLO)
    assert talk.codes(MAIL + b" BY=" + value + b"\r\n") == [code]


@pytest.mark.parametrize(
    ("parameters", "code", "hold"),
    [
        (b" HOLDFOR=60", 250, 60.0),
        (b" HOLDUNTIL=2026-03-01T12:00:30Z", 250, 30.0),
        (b" HOLDFOR=61", 501, None),
        (b" HOLDUNTIL=2026-03-01T12:01:01Z", 501, None),
        (b" HOLDUNTIL=2026-03-01T12:00:00Z", 501, None),
        (b" HOLDFOR=10 HOLDUNTIL=2026-03-01T12:00:30Z", 501, None),
        (b"", 250, 0.0),
    ],
)
def test_future_release(known, parameters, code, hold):
    assert known.codes(MAIL + parameters + b"\r\n") == [code]
    if hold is None:
        return
    known.say(RCPT + b"\r\nDATA\r\n")
    known.receiver.feed(b"\r\nx\r\n.\r\n")
    assert known.receiver.action.hold == hold
    assert (b"STATE timed" in known.receiver.action.copies[0].content) is (hold > 0)


def test_future_release_is_announced(known):
    assert "FUTURERELEASE 60 2026-03-01T12:01:00Z" in keywords(known)


def test_a_stranger_cannot_raise_a_priority(talk):
    talk.say(HELLO)
    assert talk.say(MAIL + b" MT-PRIORITY=5\r\n").startswith(b"250 2.3.6 0 ")
    talk.say(RCPT + b"\r\nDATA\r\n.\r\n")
    assert b"\tPRIORITY 0;\r\n" in talk.stored[0].content


@pytest.mark.parametrize("value", [b"5", b"-5"])
def test_a_user_can(known, value):
    assert known.say(MAIL + b" MT-PRIORITY=" + value + b"\r\n") == b"250 2.1.0 Sender OK\r\n"
    known.say(RCPT + b"\r\nDATA\r\n.\r\n")
    assert b"\tPRIORITY %s;\r\n" % value in known.stored[0].content


@pytest.mark.parametrize(
    ("parameter", "code"),
    [(b" RRVS=2019-01-01T00:00:00Z", 550), (b" RRVS=2021-01-01T00:00:00Z;R", 250), (b"", 250)],
)
def test_a_mailbox_that_changed_hands(new_talk, parameter, code):
    talk = new_talk(owners_since={"alice": datetime(2020, 1, 1, tzinfo=UTC)})
    talk.say(HELLO + MAIL + b"\r\n")
    said = talk.say(RCPT + parameter + b"\r\n")
    assert said.startswith(b"%d " % code)
    assert (b" 5.7.17 " in said) is (code == 550)
    assert talk.codes(b"RCPT TO:<bob@example.com>" + parameter + b"\r\n") == [250]  # nothing known of bob


def test_null_mx(known):
    assert known.codes(b"MAIL FROM:<a@Null.example>\r\nMAIL FROM:<a@b.example>\r\n") == [550, 250]
    assert known.codes(b"RCPT TO:<a@null.example>\r\nRCPT TO:<a@b.example>\r\n") == [556, 250]


def test_burl_fetches_what_there_is(known):
    known.say(MAIL + b"\r\n" + RCPT + b"\r\n")
    assert known.codes(b"BURL imap://a/b\r\nBDAT 4\r\n\r\n.aDATA\r\nBURL imap://a/b LAST\r\n") == [
        250,
        250,
        503,
        250,
    ]
    assert known.stored[0].content.endswith(b"\r\nSubject: fetched\r\n\r\n.aSubject: fetched\r\n")


@pytest.mark.parametrize("url", [b"imap://a/c", b"imap://a/big", b"imap://a/b;urlauth=submit+bob:internal:0"])
def test_burl_that_fails_ends_the_transaction(known, url):
    known.say(MAIL + b"\r\n" + RCPT + b"\r\n")
    assert known.codes(b"BURL " + url + b" LAST\r\nDATA\r\n") == [554, 503]
    assert known.stored == []


def test_burl_needs_a_recipient_and_a_user(known, new_talk):
    assert known.codes(b"BURL imap://a/b LAST\r\n" + MAIL + b"\r\nBURL imap://a/b LAST\r\n") == [
        503,
        250,
        503,
    ]
    stranger = new_talk(role=Role.SUBMISSION, users=USERS, auth_in_clear=True)
    assert "BURL" in keywords(stranger)
    assert "BURL imap" in keywords(known)


def test_prdr(talk):
    talk.say(HELLO + MAIL + b" PRDR\r\n" + RCPT + b"\r\nRCPT TO:<bob@example.com>\r\nDATA\r\n")
    assert talk.codes(b"x\r\n.\r\n") == [353, 250, 250, 250]
    talk.say(MAIL + b" PRDR\r\n" + RCPT + b"\r\nDATA\r\n")
    assert talk.codes(b"x\r\n.\r\n") == [250]


def test_prdr_of_a_message_that_cannot_be_stored(new_talk):
    talk = new_talk(works=False)
    talk.say(HELLO + MAIL + b" PRDR\r\n" + RCPT + b"\r\nRCPT TO:<bob@example.com>\r\nDATA\r\n")
    assert talk.codes(b"x\r\n.\r\n") == [353, 451, 451, 451]


def test_limits(new_talk):
    talk = new_talk(max_transactions=2, max_recipients=3)
    assert keywords(talk)[-1] == "LIMITS RCPTMAX=3 MAILMAX=2"
    assert talk.codes(MAIL + b" SIZE=99999999\r\n" + MAIL + b"\r\n") == [552, 250]
    assert talk.codes((RCPT + b"\r\n") * 4) == [250, 250, 250, 452]
    assert talk.codes(b"RSET\r\n" + MAIL + b"\r\n") == [250, 452]


def test_requiretls_is_for_tls(new_talk):
    clear, inside = new_talk(), new_talk(encrypted=True)
    assert "REQUIRETLS" not in keywords(clear)
    assert "REQUIRETLS" in keywords(inside)
    line = MAIL + b" REQUIRETLS\r\n"
    assert (clear.codes(line), inside.codes(line)) == ([555], [250])
