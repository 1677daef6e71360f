"""The embedded aiosmtpd and the reference server: what their targets promise is so."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Iterator

import pytest

from smtpbench.lab import open_target
from smtpbench.target import Role, Target
from tests.lab.conftest import client, delivered, maildir

MESSAGE = b"Subject: exact\r\n\r\n.one\r\n..two\r\n\xe9\x00\r\n"


@pytest.fixture(scope="module", params=["embedded", "lab:reference"])
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    with open_target(request.param) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _empty_maildir(target: Target) -> None:
    for path in (maildir(target) / "new").iterdir():
        path.unlink()


def rcpt(connection: smtplib.SMTP, address: str) -> int:
    connection.docmd("MAIL FROM:<>")
    code, _ = connection.docmd(f"RCPT TO:<{address}>")
    connection.rset()
    return code


def test_every_recipient_gets_the_octets_that_were_sent(target: Target) -> None:
    fixtures = target.fixtures
    with client(target, Role.MX) as connection:
        connection.sendmail(fixtures.sender, [fixtures.recipient, fixtures.second_recipient], MESSAGE)
    messages = delivered(target)
    assert len(messages) == 2
    assert all(message.endswith(MESSAGE) for message in messages)


def test_a_mailbox_in_utf8_gets_its_mail(target: Target) -> None:
    fixtures = target.fixtures
    with client(target, Role.MX) as connection:
        connection.sendmail(fixtures.sender, [fixtures.utf8_recipient], MESSAGE, mail_options=["SMTPUTF8"])
    (message,) = delivered(target)
    assert b" with UTF8" in message
    assert f"for <{fixtures.utf8_recipient}>".encode() in message


def test_a_message_is_there_before_its_reply(target: Target) -> None:
    with client(target, Role.MX) as connection:
        for count in range(1, 6):
            connection.sendmail(target.fixtures.sender, [target.fixtures.recipient], MESSAGE)
            assert len(delivered(target)) == count


def test_recipients_are_as_the_fixtures_say(target: Target) -> None:
    fixtures = target.fixtures
    with client(target, Role.MX) as connection:
        assert rcpt(connection, str(fixtures.recipient)) == 250
        assert rcpt(connection, str(fixtures.second_recipient)) == 250
        assert rcpt(connection, "PostMaster") == 250
        assert rcpt(connection, "postmaster@EXAMPLE.com") == 250
        assert rcpt(connection, str(fixtures.unknown_recipient)) == 550
        assert rcpt(connection, str(fixtures.foreign_recipient)) == 550


@pytest.mark.parametrize("role", [Role.SUBMISSION, Role.SUBMISSIONS])
def test_submission_wants_authentication_and_takes_ours(target: Target, role: Role) -> None:
    assert target.auth is not None
    with client(target, role) as connection:
        assert connection.docmd("MAIL FROM:<alice@example.com>")[0] == 530
        with pytest.raises(smtplib.SMTPAuthenticationError):
            connection.login(target.auth.username, "wrong")
    with client(target, role) as connection:
        connection.login(target.auth.username, target.auth.password())
        connection.sendmail("alice@example.com", [target.fixtures.recipient], MESSAGE)
    assert len(delivered(target)) == 1


def test_the_mx_offers_starttls_with_a_certificate_of_our_ca(target: Target) -> None:
    with client(target, Role.MX) as connection:
        assert connection.has_extn("starttls")
        assert connection.starttls(context=ssl.create_default_context(cafile=target.tls.ca))[0] == 220


def test_nothing_is_left_behind() -> None:
    with open_target("embedded") as target:
        folder = maildir(target).parent.parent
        assert folder.is_dir()
        port = target.main.port
    assert not folder.exists()
    with pytest.raises(ConnectionRefusedError):
        smtplib.SMTP("127.0.0.1", port)


def test_only_the_user_can_read_the_password(target: Target) -> None:
    assert target.auth is not None
    assert target.auth.password_file is not None
    assert target.auth.password_file.stat().st_mode & 0o077 == 0
    assert len(target.auth.password()) >= 16
