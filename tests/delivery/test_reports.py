"""The report parser: our own reports are flawless, each broken rule is named, and no octets make it raise."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpbench.delivery.reports import About, parse_report
from smtpbench.server.reports import Action, Original, Outcome, report

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ORIGINAL = b"Subject: x\r\n\r\nbody\r\n"


def ours(**parameters):
    outcomes = [
        Outcome(b"Alice@example.com", Action.FAILED, "5.1.1", orcpt="rfc822;Al+2Bx@y", diagnostic="550 no"),
        Outcome("é@example.com".encode(), Action.DELAYED, "4.4.1", remote="next.example"),
    ]
    original = Original(b"sender@example.org", ORIGINAL, NOON, **parameters)
    return report(original, outcomes, mta="mx.example.com", now=NOON, ident="0123")


ARRIVAL = b"Arrival-Date: Sun,  1 Mar 2026 12:00:00 +0000"
RETRY = b"Will-Retry-Until: Sun, 1 Mar 2026 12:00:00 +0000\n"

# As Postfix writes it: LF, its own extension fields, spaces behind the semicolons, folded text.
POSTFIX = b"""\
Return-Path: <>
Received: by mx.example.com (Postfix)
\tid 4B1; Sun,  1 Mar 2026 12:00:00 +0000 (UTC)
Date: Sun,  1 Mar 2026 12:00:00 +0000 (UTC)
From: MAILER-DAEMON@example.com (Mail Delivery System)
Subject: Undelivered Mail Returned to Sender
To: bob@example.com
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
\tboundary="4A9.1/mx.example.com"
Content-Transfer-Encoding: 8bit

This is a MIME-encapsulated message.

--4A9.1/mx.example.com
Content-Description: Notification
Content-Type: text/plain; charset=utf-8

I'm sorry.

--4A9.1/mx.example.com
Content-Description: Delivery report
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.com
Original-Envelope-Id: Q+1
X-Postfix-Queue-ID: 4A9
X-Postfix-Sender: rfc822; bob@example.com
Arrival-Date: Sun,  1 Mar 2026 12:00:00 +0000 (UTC)

Final-Recipient: rfc822; gone@example.net
Original-Recipient: rfc822;bouncer@example.com
Action: failed
Status: 5.4.4
Diagnostic-Code: X-Postfix; this laboratory
    sends nothing on

--4A9.1/mx.example.com
Content-Description: Undelivered Message
Content-Type: message/rfc822

Subject: x

body

--4A9.1/mx.example.com--
"""


def test_our_own_report():
    found = parse_report(b"Return-Path: <>\r\n" + ours(envid="Q+2BAb"))
    assert found.flaws == ()
    assert found.to == ("sender@example.org",)
    assert found.envelope_id == "Q+Ab"
    first, second = found.recipients
    assert (first.action, first.status, first.address) == ("failed", "5.1.1", "Alice@example.com")
    assert first.original_address == "Al+x@y"
    assert (second.action, second.original_address) == ("delayed", None)
    assert (found.returned_type, found.returned) == ("text/rfc822-headers", b"Subject: x\r\n")
    assert str(found) == "report: failed (5.1.1), delayed (4.4.1); Original-Envelope-Id Q+Ab"


def test_the_original_that_comes_back():
    found = parse_report(ours(ret="FULL"))
    assert found.returned_type == "message/rfc822"
    assert found.returned.splitlines() == ORIGINAL.splitlines()
    assert found.envelope_id is None


def test_a_report_of_postfix():
    found = parse_report(POSTFIX)
    assert found.flaws == ()
    assert found.envelope_id == "Q+1"
    (recipient,) = found.recipients
    assert (recipient.action, recipient.status) == ("failed", "5.4.4")
    assert (recipient.address, recipient.original_address) == ("gone@example.net", "bouncer@example.com")
    assert recipient.fields["diagnostic-code"] == "X-Postfix; this laboratory    sends nothing on"


@pytest.mark.parametrize(
    ("old", "new", "about", "text"),
    [
        (b"report-type=delivery-status;", b"", About.FORM, "report-type is missing"),
        (b"multipart/report", b"multipart/mixed", About.FORM, "the type is multipart/mixed"),
        (b"message/delivery-status", b"text/plain", About.FORM, "no message/delivery-status part"),
        (b"text/plain; charset=utf-8", b"message/delivery-status", About.FORM, "not the second part"),
        (b"-status\n\nRep", b"-status\nContent-Transfer-Encoding: base64\n\nRep", About.FORM, "as base64"),
        (b"Arrival-Date: Sun", b"what: is this\nArrival Date Sun", About.FORM, "no field"),
        (b"Reporting-MTA: dns", b"X-MTA: dns", About.FIELDS, "no Reporting-Mta"),
        (b"X-Postfix-Queue-ID: 4A9", b"Reporting-MTA: dns; a", About.FIELDS, "Reporting-Mta comes twice"),
        (b"Final-Recipient: rfc822", b"X-Recipient: rfc822", About.FIELDS, "no Final-Recipient"),
        (b"Status: 5.4.4\n", b"", About.FIELDS, "no Status"),
        (b"Status: 5.4.4\n", b"Status: 5.4.4\nStatus: 5.4.4\n", About.FIELDS, "Status comes twice"),
        (b"Action: failed\n", b"", About.ACTION, "no Action"),
        (b"Action: failed\n", b"Action: bounced\n", About.ACTION, "value bounced"),
        (b"dns; mx", b"mx", About.VALUES, "Reporting-Mta has the value mx.example.com"),
        (b"Final-Recipient: rfc822;", b"Final-Recipient:", About.VALUES, "Final-Recipient has the value"),
        (b"Status: 5.4.4", b"Status: 5.04.4", About.VALUES, "value 5.04.4"),
        (b"Status: 5.4.4", b"Status: 554", About.VALUES, "value 554"),
        (b"Status:", RETRY + b"Status:", About.VALUES, "not on a delay"),
        (ARRIVAL, b"Arrival-Date: 1 Mar 26 12:00 UT", About.VALUES, "UT"),
    ],
)  # fmt: skip
def test_each_flaw_is_named(old, new, about, text):
    assert old in POSTFIX
    found = parse_report(POSTFIX.replace(old, new))
    assert any(flaw.about is about and text in flaw.text for flaw in found.flaws)
    assert found.flaws_about(about)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Action: failed", b"aCTION:  Failed (too late)"),
        (b"Status: 5.4.4", b"Status: 5.4.4 (no route)"),
        (b"Sun,  1 Mar 2026 12:00:00 +0000 (UTC)\n\nFinal", b"1 Mar 26 12:00 -0930\n\nFinal"),
        (b"-status\n\nRep", b"-status\nContent-Transfer-Encoding: 7BIT\n\nRep"),
        (b"\n", b"\r\n"),
    ],
)
def test_what_is_allowed_is_no_flaw(old, new):
    assert old in POSTFIX
    found = parse_report(POSTFIX.replace(old, new))
    assert found.flaws == ()
    assert found.recipients[0].action == "failed"


def test_fields_about_nobody():
    cut = (
        POSTFIX[: POSTFIX.index(b"\nFinal")]
        + POSTFIX[POSTFIX.index(b"\n--4A9.1/mx.example.com\nContent-Description: Und") :]
    )
    assert [flaw.text for flaw in parse_report(cut).flaws] == ["no fields about a recipient"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        ORIGINAL,
        POSTFIX.replace(b"-status", b"-notification"),
        POSTFIX.replace(b"multipart/report", b"multipart/mixed").replace(b"delivery-status", b"other"),
        POSTFIX.replace(b"multipart/report", b"text/plain"),
    ],
)
def test_what_is_no_report(content):
    assert parse_report(content) is None


@given(st.integers(0, len(POSTFIX)), st.binary(max_size=20), st.integers(0, 30))
def test_no_damage_makes_it_raise(at, octets, removed):
    found = parse_report(POSTFIX[:at] + octets + POSTFIX[at + removed :])
    assert found is None or isinstance(str(found), str)
