"""Reports: who gets one by NOTIFY, and that a stock MIME parser finds in them what was put in."""

import email
import itertools
from datetime import UTC, datetime
from email import policy
from typing import Any

import pytest

from smtpbench.server.reports import Action, Original, Outcome, delivery_status, is_due, is_returnable, report

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
CONTENT = b"Subject: x\r\nX-Mark: 1\r\n\r\nbody\r\n"


def original(content=CONTENT, **parameters):
    return Original(b"sender@example.org", content, NOON, **parameters)


def outcome(action=Action.FAILED, status="5.2.0", address=b"Alice@example.com", **parameters):
    return Outcome(address, action, status, **parameters)


def made(message, *outcomes):
    content = report(message, outcomes, mta="mx.example.com", now=NOON, ident="0123abcd")
    assert b"\n" not in content.replace(b"\r\n", b"")
    return email.message_from_bytes(content, policy=policy.SMTP)


def status_of(message, *outcomes):
    return delivery_status(message, outcomes, mta="mx.example.com").decode("ascii").split("\r\n")


@pytest.mark.parametrize(
    ("notify", "due"),
    [
        (None, {Action.FAILED}),
        ("NEVER", set()),
        ("never", set()),
        ("FAILURE", {Action.FAILED}),
        ("DELAY", {Action.DELAYED}),
        ("SUCCESS", {Action.DELIVERED, Action.RELAYED, Action.EXPANDED}),
        ("success,delay", {Action.DELIVERED, Action.RELAYED, Action.EXPANDED, Action.DELAYED}),
        ("SUCCESS,FAILURE,DELAY", set(Action)),
    ],
)
def test_notify_says_which_reports_are_due(notify, due):
    assert {action for action in Action if is_due(notify, action)} == due


def test_the_null_reverse_path_gets_no_report():
    assert not is_returnable(b"")
    assert is_returnable(b"sender@example.org")


def test_the_header():
    message = made(original(), outcome())
    assert message["To"] == "sender@example.org"
    assert message["From"] == "Mail Delivery System <postmaster@mx.example.com>"
    assert message["Message-ID"] == "<0123abcd@mx.example.com>"
    assert message["Auto-Submitted"] == "auto-replied"
    assert message["Date"].datetime == NOON
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "delivery-status"
    assert message.defects == []


def test_the_parts_and_their_fields():
    message = made(
        original(envid="Q+2B+20q"),
        outcome(orcpt="rfc822;Al+2Bice@Example.com", diagnostic="550-no\n550 never", remote="next.example"),
        outcome(Action.DELIVERED, "2.0.0", b"bob@example.com"),
    )
    human, status, returned = message.get_payload()
    assert human.get_content_type() == "text/plain"
    assert "<bob@example.com> was delivered (2.0.0)." in human.get_content()
    assert returned.get_content_type() == "text/rfc822-headers"
    assert status.get_content_type() == "message/delivery-status"
    assert status["Content-Transfer-Encoding"] == "7bit"
    per_message, first, second = status.get_payload()
    assert per_message.items() == [
        ("Original-Envelope-Id", "Q+ q"),
        ("Reporting-MTA", "dns; mx.example.com"),
        ("Arrival-Date", "Sun, 01 Mar 2026 12:00:00 +0000"),
    ]
    assert first.items() == [
        ("Original-Recipient", "rfc822;Al+ice@Example.com"),
        ("Final-Recipient", "rfc822;Alice@example.com"),
        ("Action", "failed"),
        ("Status", "5.2.0"),
        ("Remote-MTA", "dns; next.example"),
        ("Diagnostic-Code", "smtp; 550-no 550 never"),
    ]
    assert second.items() == [
        ("Final-Recipient", "rfc822;bob@example.com"),
        ("Action", "delivered"),
        ("Status", "2.0.0"),
    ]


def test_the_groups_of_fields_are_parted_by_empty_lines():
    lines = status_of(original(), outcome(), outcome())
    assert [bool(line) for line in lines] == [
        True,
        True,
        False,
        True,
        True,
        True,
        False,
        True,
        True,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("ret", "action", "kind"),
    [
        (None, Action.FAILED, "text/rfc822-headers"),
        ("HDRS", Action.FAILED, "text/rfc822-headers"),
        ("full", Action.FAILED, "message/rfc822"),
        ("FULL", Action.DELIVERED, "text/rfc822-headers"),
    ],
)
def test_ret_says_what_comes_back(ret, action, kind):
    content = report(original(ret=ret), [outcome(action)], mta="m.example", now=NOON, ident="i")
    parts: Any = email.message_from_bytes(content).get_payload()
    assert parts[2].get_content_type() == kind
    assert (CONTENT in content) == (kind == "message/rfc822")
    assert b"X-Mark: 1\r\n\r\n--" in content or CONTENT in content


@pytest.mark.parametrize(
    ("content", "kind", "encoding"),
    [
        (CONTENT + b"\xff\xfe\r\n", "message/rfc822", "8bit"),
        ("Subject: é\r\n\r\nx\r\n".encode(), "message/global", "8bit"),
        (CONTENT + b"\0\r\n", "message/rfc822", "binary"),
        (CONTENT + b"a\rb\r\n", "message/rfc822", "binary"),
        (CONTENT + b"x" * 999, "message/rfc822", "binary"),
        (b"", "message/rfc822", "7bit"),
    ],
)
def test_any_octets_come_back_as_they_were(content, kind, encoding):
    made_of = report(original(content, ret="FULL"), [outcome()], mta="m.example", now=NOON, ident="i")
    head = f"Content-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode()
    assert made_of.endswith(head + content + b"\r\n--=_i--\r\n")
    assert (
        f"Content-Transfer-Encoding: {encoding}\r\n".encode() in made_of.partition(b"\r\n\r\n")[0] + b"\r\n"
    )


def test_headers_with_utf8_have_their_own_type():
    message = made(original("Subject: é\r\n\r\nx\r\n".encode()), outcome())
    assert message.get_payload()[2].get_content_type() == "message/global-headers"


def test_addresses_beyond_ascii_are_escaped():
    lines = status_of(original(), outcome(address="é@x.example".encode(), orcpt="utf-8;ü@x.example"))
    assert "Final-Recipient: utf-8;\\x{E9}@x.example" in lines
    assert "Original-Recipient: utf-8;\\x{FC}@x.example" in lines


@pytest.mark.parametrize("octets", ["+0D+0AAction:+20relayed", "+0A+0AStatus:+202.0.0", "a+00b", "+FF"])
def test_no_parameter_can_add_a_field(octets):
    for message, one in itertools.product(
        [original(envid=octets)], [outcome(orcpt="rfc822;" + octets), outcome()]
    ):
        lines = status_of(message, one)
        assert sum(line.startswith("Action") for line in lines) == 1
        assert sum(line.startswith("Status") for line in lines) == 1
        assert sum(not line for line in lines) == 2
