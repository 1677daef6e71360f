"""Reports are matched to the message they are on, by what they return, by its ENVID, or by anything."""

from functools import partial

from smtpbench.delivery.accounts import Notice
from smtpbench.delivery.notices import read_notices as read_any_notices

read_notices = partial(read_any_notices, runs={b"0123abcd"})

ID, OTHER = b"0123abcd-00000001f", b"0123abcd-000000020"
HEADER = b"Subject: load\r\nMessage-ID: <0123abcd-00000001f@example.org>\r\n"


def report(*, returned=HEADER, envelope_id="", action="failed", status="5.1.1"):
    fields = f"Reporting-MTA: dns; mx.example.com\r\n{envelope_id}\r\n"
    fields += f"Final-Recipient: rfc822; bob@example.com\r\nAction: {action}\r\nStatus: {status}\r\n"
    return (
        b"From: postmaster@mx.example.com\r\nTo: s@example.org\r\nMessage-ID: <1@mx.example.com>\r\n"
        b'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\nMIME-Version: 1.0\r\n'
        b"\r\n--b\r\n\r\nSorry.\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n" + fields.encode() +
        b"\r\n--b\r\nContent-Type: text/rfc822-headers\r\n\r\n" + returned + b"\r\n--b--\r\n"
    )  # fmt: skip


def test_a_failure_by_the_header_that_is_returned():
    assert read_notices(report(), 7, sender="") == [Notice(ID, "bob@example.com", "failed", 7, strict=True)]


def test_by_the_envelope_identifier():
    content = report(
        returned=b"X: " + OTHER + b"\r\n", envelope_id="Original-Envelope-Id: 0123abcd-00000001f\r\n"
    )
    (notice,) = read_notices(content, 7)
    assert notice.identifier == ID


def test_an_envelope_identifier_of_another_form_names_no_message():
    (notice,) = read_notices(report(envelope_id="Original-Envelope-Id: ffffffff-000000001\r\n"), 7)
    assert notice.identifier == ID
    content = report(returned=b"", envelope_id="Original-Envelope-Id: ffffffff-000000001\r\n")
    assert read_notices(content, 7) is None


def test_by_an_identifier_anywhere():
    (notice,) = read_notices(report(returned=b"X: 0123abcd-00000001f\r\n"), 7)
    assert notice.identifier == ID


def test_the_original_recipient_goes_before_the_final_one():
    content = report().replace(b"Action", b"Original-Recipient: rfc822; alice@example.com\r\nAction")
    (notice,) = read_notices(content, 7)
    assert notice.recipient == "alice@example.com"


def test_a_delay_and_a_report_with_a_flaw():
    (delayed,) = read_notices(report(action="delayed", status="4.0.0"), 7)
    assert (delayed.action, delayed.strict) == ("delayed", True)
    (flawed,) = read_notices(report(status="bad"), 7)
    assert (flawed.action, flawed.strict) == ("failed", False)


def test_a_bounce_in_a_form_of_its_own():
    content = b"Subject: Undelivered\r\n\r\nCould not deliver:\r\n\r\n" + HEADER
    assert read_notices(content, 7) is None
    expected = [Notice(ID, "", "failed", 7, strict=False)]
    assert read_notices(content, 7, sender="") == expected
    assert read_notices(b"Return-Path: <>\r\n" + content, 7) == expected
    assert read_notices(b"Auto-Submitted: auto-replied\r\n" + content, 7) == expected


def test_messages_are_no_reports():
    assert read_notices(HEADER + b"\r\n0123abcd-00000001f\r\n", 7, sender="") is None
    assert read_notices(b"Subject: hi\r\n\r\nhello\r\n", 7, sender="") is None
