"""Commands as a client writes them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from smtpbench.wire import commands


def test_lines() -> None:
    assert commands.mail("a@example.org") == b"MAIL FROM:<a@example.org>"
    assert commands.mail("") == b"MAIL FROM:<>"
    assert commands.mail("é@example.org", {"SIZE": "10", "SMTPUTF8": None}) == (
        "MAIL FROM:<é@example.org> SIZE=10 SMTPUTF8".encode()
    )
    assert commands.rcpt("b@example.com", {"NOTIFY": "NEVER"}) == b"RCPT TO:<b@example.com> NOTIFY=NEVER"
    assert commands.bdat(5) == b"BDAT 5"
    assert commands.bdat(0, last=True) == b"BDAT 0 LAST"


def test_xtext_of_the_rfc() -> None:
    assert commands.xtext("e=mc2@example.com") == "e+3Dmc2@example.com"
    assert commands.xtext("a+b c") == "a+2Bb+20c"


@given(st.text())
def test_xtext_is_printable_without_its_specials(value: str) -> None:
    encoded = commands.xtext(value)
    assert all(33 <= ord(c) <= 126 and c != "=" for c in encoded)
