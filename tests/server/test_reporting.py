"""Reports of local delivery: whom they go to, for which recipients, and after which reply."""

import asyncio

import pytest

from smtpbench.server import MaildirStore, Server, ServerConfig
from smtpbench.target import Role

HELLO = b"EHLO client.example.org\r\n"
SENDER = b"<bob@example.com>"


def sent(talk, *recipients, sender=SENDER, mail=b"", hello=HELLO):
    """A whole transaction; the codes after DATA, and what was stored of it."""
    talk.say(hello)
    talk.say(b"MAIL FROM:" + sender + mail + b"\r\n")
    for recipient in recipients:
        assert talk.codes(b"RCPT TO:" + recipient + b"\r\n") == [250]
    talk.say(b"DATA\r\n")
    codes = talk.codes(b"Subject: x\r\n\r\nbody\r\n.\r\n")
    return codes, talk.stored


def reports(stored):
    return [copy for copy in stored if b"multipart/report" in copy.content]


@pytest.mark.parametrize(
    ("recipient", "action"),
    [
        (b"<alice@example.com>", None),
        (b"<alice@example.com> NOTIFY=NEVER", None),
        (b"<alice@example.com> NOTIFY=FAILURE,DELAY", None),
        (b"<alice@example.com> NOTIFY=delay,success", b"delivered"),
        (b"<bouncer@example.com>", b"failed"),
        (b"<bouncer@example.com> NOTIFY=FAILURE", b"failed"),
        (b"<bouncer@example.com> NOTIFY=NEVER", None),
        (b"<bouncer@example.com> NOTIFY=SUCCESS", None),
    ],
)
def test_notify_is_obeyed(talk, recipient, action):
    codes, stored = sent(talk, recipient)
    assert codes == [250]
    assert [b"Action: " + action + b"\r\n" in copy.content for copy in reports(stored)] == [True] * bool(
        action
    )


def test_a_report_goes_to_the_sender_from_the_null_path(talk):
    _, stored = sent(
        talk, b"<alice@example.com> NOTIFY=SUCCESS ORCPT=rfc822;A+2Bx@y", mail=b" ENVID=Q+2B1 RET=FULL"
    )
    original, report = stored
    assert original.mailbox == "alice"
    assert (report.mailbox, report.sender, report.recipients) == ("bob", b"", (b"bob@example.com",))
    assert report.content.startswith(b"Return-Path: <>\r\nFrom: ")
    assert b"\r\nOriginal-Envelope-Id: Q+1\r\n" in report.content
    assert b"\r\nOriginal-Recipient: rfc822;A+x@y\r\n" in report.content
    assert b"body" not in report.content


def test_ret_full_brings_a_failed_message_back(talk):
    _, stored = sent(talk, b"<bouncer@example.com>", mail=b" RET=FULL")
    assert [copy.mailbox for copy in stored] == ["bob"]
    assert b"Subject: x\r\n\r\nbody\r\n\r\n--" in stored[0].content


def test_one_report_covers_those_who_are_due_and_no_others(talk):
    recipients = (b"<alice@example.com> NOTIFY=SUCCESS", b"<bob@example.com>", b"<bouncer@example.com>")
    _, stored = sent(talk, *recipients)
    (report,) = reports(stored)
    assert report.content.count(b"Final-Recipient: ") == 2
    assert b"Final-Recipient: rfc822;bob" not in report.content


@pytest.mark.parametrize(
    "sender", [b"<>", b"<bob@elsewhere.example>", b"<nobody@example.com>", b"<bouncer@example.com>"]
)
def test_nobody_else_gets_one(talk, sender):
    codes, stored = sent(talk, b"<alice@example.com> NOTIFY=SUCCESS", b"<bouncer@example.com>", sender=sender)
    assert codes == [250]
    assert reports(stored) == []


def test_a_message_that_was_refused_is_not_reported(new_talk):
    talk = new_talk(works=False)
    assert sent(talk, b"<alice@example.com> NOTIFY=SUCCESS", b"<bouncer@example.com>") == ([451], [])


def test_lmtp_tells_of_a_failure_in_its_reply(new_talk):
    talk = new_talk(role=Role.LMTP)
    recipients = (b"<bouncer@example.com>", b"<alice@example.com> NOTIFY=SUCCESS")
    codes, stored = sent(talk, *recipients, hello=b"LHLO client.example.org\r\n")
    assert codes == [550, 250]
    (report,) = reports(stored)
    assert b"bouncer" not in report.content


def test_a_sink_reports_nothing(new_talk):
    _, stored = sent(new_talk(sink=True), b"<alice@example.com> NOTIFY=SUCCESS", b"<bouncer@example.com>")
    assert len(stored) == 1


async def test_a_report_is_stored_though_the_client_is_gone(tmp_path):
    async with Server(ServerConfig(), store=MaildirStore(tmp_path)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(
            HELLO + b"MAIL FROM:<bob@example.com>\r\nRCPT TO:<bouncer@example.com>\r\nDATA\r\n\r\n.\r\n"
        )
        await asyncio.wait_for(reader.readuntil(b"354 "), 10)
        writer.close()
    (report,) = (tmp_path / "bob" / "new").iterdir()  # a server that stops lets deliveries finish
    assert b"Action: failed" in report.read_bytes()
