"""Delivered messages: trace fields taken off, line ends compared fairly."""

from __future__ import annotations

from smtpbench.conformance import Message

TRACE = b"Return-Path: <a@b>\r\nReceived: from x\r\n\tby y;\r\n now\r\nDelivered-To: c@d\r\n"


def test_trace_fields_on_top_are_taken_off_and_unfolded() -> None:
    message = Message(TRACE + b"X-Smtpbench: 1\r\nReceived: old\r\n\r\nbody\r\n")
    assert message.content == b"X-Smtpbench: 1\r\nReceived: old\r\n\r\nbody\r\n"
    assert message.trace == (
        ("return-path", "<a@b>"),
        ("received", "from x\tby y; now"),
        ("delivered-to", "c@d"),
    )
    assert message.received == ("from x\tby y; now",)
    assert message.traces("Return-Path") == ("<a@b>",)


def test_a_message_without_trace_is_all_content() -> None:
    assert Message(b"\r\nbody").content == b"\r\nbody"
    assert Message(b"").content == b""
    assert Message(b"Received").trace == ()


def test_content_is_compared_to_the_octet() -> None:
    message = Message(TRACE + b"a: b\r\n\r\n.x\r\n")
    assert message.same_as(b"a: b\r\n\r\n.x\r\n")
    assert not message.same_as(b"a: b\r\n\r\n.x\n")
    assert message.holds(b"\r\n.x")
    assert message.difference(b"a: b\r\n\r\n.x\r\n") == ""
    assert message.difference(b"a: b\r\n\r\n..x\r\n") == (
        "from octet 9: sent .x\\r\\n, delivered x\\r\\n (13 octets sent, 12 delivered)"
    )


def test_a_mailbox_with_lf_is_compared_in_lf() -> None:
    message = Message(TRACE.replace(b"\r\n", b"\n") + b"a: b\n\nx\n", "lf")
    assert message.same_as(b"a: b\r\n\r\nx\r\n")
    assert message.holds(b"b\r\n\r\nx")
    assert not message.same_as(b"a: b\r\n\r\nx\r\n\r\n")
    assert not message.same_as(b"a: b\r\n\r\n\rx\r\n")
