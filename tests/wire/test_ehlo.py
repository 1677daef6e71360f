"""EHLO keyword lines: what was offered, and which lines break the grammar."""

from __future__ import annotations

import pytest

from smtpbench.wire.ehlo import NO_EXTENSIONS, Extensions, parse_extensions
from smtpbench.wire.replies import ReplyParser


def extensions(*lines: bytes, code: int = 250) -> Extensions:
    texts = [b"mx.example.com hello", *lines]
    raw = b"".join(b"%d-%s\r\n" % (code, line) for line in texts[:-1]) + b"%d %s\r\n" % (code, texts[-1])
    (reply,) = ReplyParser().feed(raw)
    return parse_extensions(reply)


def test_keywords_are_upper_case_and_the_greeting_line_is_none() -> None:
    found = extensions(b"pipelining", b"SIZE 100", b"AUTH plain LOGIN")
    assert dict(found) == {"PIPELINING": (), "SIZE": ("100",), "AUTH": ("plain", "LOGIN")}
    assert found.malformed == ()
    assert found.auth_mechanisms == ("PLAIN", "LOGIN")


@pytest.mark.parametrize("line", [b"AUTH=LOGIN", b"-X", b"A  B", b"A ", b"A \x01", "Ä".encode(), b""])
def test_a_line_outside_the_grammar_is_kept_as_malformed(line: bytes) -> None:
    assert extensions(line, b"HELP").malformed == (line,)


def test_a_keyword_listed_twice_joins_its_parameters() -> None:
    assert extensions(b"AUTH PLAIN", b"AUTH LOGIN")["AUTH"] == ("PLAIN", "LOGIN")


@pytest.mark.parametrize(
    ("line", "limit"),
    [(b"SIZE 0", 0), (b"SIZE 1000", 1000), (b"SIZE", None), (b"SIZE x", None), (b"HELP", None)],
)
def test_the_size_limit(line: bytes, limit: int | None) -> None:
    assert extensions(line).size_limit == limit


def test_a_refused_ehlo_offers_nothing() -> None:
    assert extensions(b"SIZE 100", code=502) == NO_EXTENSIONS
