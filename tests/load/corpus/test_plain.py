from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpbench.delivery.fingerprint import MASK
from smtpbench.errors import UsageError
from smtpbench.load.corpus.plain import plain
from smtpbench.load.quantities import SMALLEST_MESSAGE

SENDER, RECIPIENT = "sender@example.org", "recipient@example.net"


@given(st.integers(SMALLEST_MESSAGE, 5000))
def test_content_has_the_size_asked_for_and_needs_no_dot_stuffing(size: int) -> None:
    content = MASK.join(plain(size, SENDER, [RECIPIENT]))
    assert len(content) == size
    lines = content.split(b"\r\n")
    assert lines.pop() == b""
    assert all(len(line) <= 998 and not line.startswith(b".") and b"\n" not in line for line in lines)


def test_a_size_below_that_of_the_headers_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="too small"):
        plain(SMALLEST_MESSAGE, f"{'x' * 200}@example.org", [f"{'y' * 200}@example.net"])


def test_headers_may_be_utf_8() -> None:
    content = MASK.join(plain(1024, "jörg@exämple.example", ["ü@example.net"], utf8=True)).decode()
    assert "From: <jörg@exämple.example>" in content
    assert f"Message-ID: <{MASK.decode()}@exämple.example>" in content
