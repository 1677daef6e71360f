from __future__ import annotations

import re
from email import message_from_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpbench.errors import UsageError
from smtpbench.load.message import Template
from smtpbench.load.quantities import SMALLEST_MESSAGE

SENDER, RECIPIENT = "sender@example.org", "recipient@example.net"


@given(st.integers(SMALLEST_MESSAGE, 5000))
def test_content_has_the_size_asked_for_and_needs_no_dot_stuffing(size: int) -> None:
    wire = Template(size, SENDER, [RECIPIENT]).next_content()
    assert wire.endswith(b"\r\n.\r\n")
    content = wire.removesuffix(b".\r\n")
    assert len(content) == size
    lines = content.split(b"\r\n")
    assert lines.pop() == b""
    assert all(len(line) <= 998 and not line.startswith(b".") and b"\n" not in line for line in lines)


def test_each_message_has_an_identifier_of_its_own_in_header_and_body() -> None:
    template = Template(1024, SENDER, [RECIPIENT])
    seen = set()
    for _ in range(100):
        message = message_from_bytes(template.next_content().removesuffix(b".\r\n"))
        identifier = re.fullmatch(r"<([0-9a-f]{8}-[0-9a-f]{9})@example\.org>", message["Message-ID"])
        assert identifier is not None
        assert message.get_payload().splitlines()[0] == identifier[1]
        seen.add(identifier[1])
    assert len(seen) == 100


def test_what_follows_the_content_is_appended() -> None:
    assert Template(1024, SENDER, [RECIPIENT]).next_content(b"MAIL\r\n").endswith(b"\r\n.\r\nMAIL\r\n")


def test_a_size_below_that_of_the_headers_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="too small"):
        Template(SMALLEST_MESSAGE, f"{'x' * 200}@example.org", [f"{'y' * 200}@example.net"])
