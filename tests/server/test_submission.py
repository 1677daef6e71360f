"""What a submission server checks and completes, and that a relay does neither."""

import re
from datetime import UTC, datetime

import pytest

from smtpbench.server.submission import Submission, breach, completed, fields_of, is_qualified
from smtpbench.target import Role
from smtpbench.wire.grammar import parse_reverse_path

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
DATE = b"Date: Sun, 01 Mar 2026 12:00:00 +0000\r\n"
ID = b"Message-ID: <id@mx.example.com>\r\n"
FROM = b"From: alice@example.com\r\n"
GOOD = b"Message-ID: <1@a.example>\r\n" + DATE


def complete(content, user="alice@example.com", what=Submission.mends):
    return completed(content, what=what, user=user, now=NOON, ident="id", host="mx.example.com")


@pytest.mark.parametrize(
    ("content", "result"),
    [
        (FROM + GOOD + b"\r\nbody", FROM + GOOD + b"\r\nbody"),
        (b"\r\nbody\r\n", DATE + ID + b"From: <alice@example.com>\r\n\r\nbody\r\n"),
        (b"", DATE + ID + b"From: <alice@example.com>\r\n"),
        (FROM + DATE, ID + FROM + DATE),
        (FROM + b"Message-ID: nothing\r\n" + DATE, ID + FROM + DATE),
        (FROM + b"Message-ID: <a b@c>\r\n" + DATE, ID + FROM + DATE),
        (FROM + GOOD.replace(DATE, b""), DATE + FROM + GOOD.replace(DATE, b"")),
        (FROM + GOOD.replace(DATE, b"Date: yesterday\r\n"), DATE + FROM + GOOD.replace(DATE, b"")),
        (FROM + GOOD + b"BCC: x@y,\r\n z@y\r\nCc: c@y\r\n\r\n", FROM + GOOD + b"Cc: c@y\r\n\r\n"),
        (b"From: A <ALICE@example.com>\r\n" + GOOD, b"From: A <ALICE@example.com>\r\n" + GOOD),
        (b"From: b@c.example\r\n" + GOOD, b"Sender: <alice@example.com>\r\nFrom: b@c.example\r\n" + GOOD),
        (
            b"From: alice@example.com,\r\n b@c\r\n" + GOOD,
            b"Sender: <alice@example.com>\r\nFrom: alice@example.com,\r\n b@c\r\n" + GOOD,
        ),
        (b"From: b@c\r\nSender: d@e\r\n" + GOOD, b"From: b@c\r\nSender: d@e\r\n" + GOOD),
        (b"no field\r\n\r\n", b"no field\r\n\r\n"),
    ],
)
def test_what_is_missing_is_added_and_nothing_else_is_touched(content, result):
    assert complete(content) == result


def test_nothing_is_said_of_an_unknown_user():
    assert complete(b"From: b@c\r\n" + GOOD, user=None) == b"From: b@c\r\n" + GOOD
    assert complete(GOOD, user=None) == GOOD


def test_only_what_is_asked_for_is_mended():
    assert complete(b"Bcc: x@y\r\n\r\n", what={"date"}) == DATE + b"Bcc: x@y\r\n\r\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (FROM + b"\r\nbody", None),
        (b"\r\nno: header\rhere", "bare CR or LF"),
        (b"a\nb", "bare CR or LF"),
        (FROM * 2, "more than one From"),
        (b"Subject: a\r\nX: b\r\nsubject: c\r\n", "more than one Subject"),
        (b"Received: a\r\n" * 2 + FROM, None),
        (b"Subject : a\r\n", "no header field"),
        (b"Sub ject: a\r\n", "no header field"),
        (b"Subj\xe9ct: a\r\n", "no header field"),
        (b" folded: first\r\n", "no header field"),
        (b"Subject: \xc3\xa9\r\n\tfolded\r\n", None),
    ],
)
def test_what_only_the_author_can_mend_is_named(content, reason):
    found = breach(content)
    assert found is None if reason is None else reason in found


def test_fields_are_the_octets_of_the_header():
    header = b"A: 1\r\nB:\r\n 2\r\nC:3\r\n"
    fields = fields_of(header + b"\r\nD: body\r\n")
    assert b"".join(field.raw for field in fields) == header
    assert [(field.name, field.value) for field in fields] == [(b"a", b" 1"), (b"b", b"\r\n 2"), (b"c", b"3")]


@pytest.mark.parametrize(
    ("path", "qualified"),
    [("<>", True), ("<a@b>", False), ("<a@b.c>", True), ("<a@[1.2.3.4]>", True), ("<a@[IPv6:::1]>", True)],
)
def test_qualified(path, qualified):
    found, _ = parse_reverse_path(path.encode())
    assert is_qualified(found) is qualified


@pytest.fixture
def session(new_talk):
    """A function that opens a session on an endpoint of this role, with AUTH done where it is asked for."""

    def opened(role):
        talk = new_talk(role=role, users={"alice": "secret"}, encrypted=True)
        talk.say(b"EHLO a.example\r\nAUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n")
        return talk

    return opened


def test_a_submitted_message_is_completed_once(session):
    talk = session(Role.SUBMISSION)
    assert talk.send(b"From: b@c.example\r\n\r\nx\r\n", (b"alice@example.com", b"bob@example.com")) == [
        354,
        250,
    ]
    added = {re.search(rb"Message-ID: <\w+@mx\.example\.com>", copy.content)[0] for copy in talk.stored}
    assert len(added) == 1
    assert all(b"Sender: <alice@example.com>\r\n" in copy.content for copy in talk.stored)


@pytest.mark.parametrize(
    ("content", "code"), [(b"x: 1\r\ny z\r\n\r\n", 554), (b"\r\na\rb\r\n", 554), (b"\r\n", 250)]
)
def test_a_submitted_message_is_checked(content, code, session):
    assert session(Role.SUBMISSION).send(content) == [354, code]


def test_domains_are_to_be_qualified_by_who_submits(session):
    talk = session(Role.SUBMISSION)
    assert talk.say(b"MAIL FROM:<a@b>\r\n").startswith(b"554 5.1.8 ")
    assert talk.codes(b"MAIL FROM:<>\r\nRCPT TO:<postmaster>\r\n") == [250, 250]
    assert talk.say(b"RCPT TO:<a@b>\r\n").startswith(b"554 5.1.2 ")


def test_a_relay_neither_checks_nor_completes(session):
    talk = session(Role.MX)
    talk.say(b"MAIL FROM:<a@b>\r\nRCPT TO:<alice@example.com>\r\nDATA\r\n")
    assert talk.codes(b"no field\r\nBcc: x\r\n.\r\n") == [250]
    assert talk.stored[0].content.endswith(b"no field\r\nBcc: x\r\n")
    assert b"Message-ID" not in talk.stored[0].content
