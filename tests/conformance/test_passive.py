"""Rules over every reply of a run."""

from __future__ import annotations

import pytest

from smtpbench.conformance.bench import SeenReply
from smtpbench.conformance.model import find_cases, load_catalogue
from smtpbench.conformance.passive import RULES, judge_all
from smtpbench.wire.replies import ReplyParser

GOOD = b"220-mx.example.com ESMTP\r\n220 ready\r\n250 ok\r\n354 go on\r\n334 \r\n221 2.0.0 bye\r\n"


def broken_by(octets: bytes) -> set[str]:
    """Ids of the rules that `octets`, among good replies, break."""
    seen = [SeenReply("some.case", reply) for reply in ReplyParser().feed(GOOD + octets)]
    results = judge_all(seen, load_catalogue(find_cases()))
    assert len(results) == len(RULES)
    for result in results:
        assert bool(result.transcript) == (result.verdict != "pass")
    return {result.id.removeprefix("passive.") for result in results if result.verdict != "pass"}


@pytest.mark.parametrize(
    ("octets", "rules"),
    [
        (b"", set()),
        (b"250 ok\n", {"replies-end-with-crlf"}),
        (b"250 o\rk\r\n", {"replies-end-with-crlf"}),
        (b"290 ok\r\n", {"reply-codes-have-three-digits-in-range", "reply-codes-are-known"}),
        (b"650 ok\r\n", {"reply-codes-have-three-digits-in-range", "first-digit-is-two-to-five"}),
        (b"ok\r\n", {"reply-codes-have-three-digits-in-range", "first-digit-is-two-to-five"}),
        (b"250:ok\r\n", {"reply-codes-have-three-digits-in-range"}),
        (b"250-a\r\n251 b\r\n", {"lines-of-a-reply-have-one-code"}),
        (b"250 \xe9\r\n", {"reply-text-is-printable-ascii"}),
        (b"250 \x07\r\n", {"reply-text-is-printable-ascii"}),
        (b"250\r\n", {"replies-have-text"}),
        (b"259 ok\r\n", {"reply-codes-are-known"}),
        (b"250 " + b"x" * 507 + b"\r\n", {"reply-lines-fit-512-octets"}),
        (b"250 " + b"x" * 506 + b"\r\n", set()),
    ],
)
def test_rules(octets: bytes, rules: set[str]) -> None:
    assert broken_by(octets) == rules


def test_the_first_breach_is_the_evidence() -> None:
    parser = ReplyParser()
    seen = [SeenReply(f"case.{n}", reply) for n, reply in enumerate(parser.feed(GOOD + b"250 a\n250 b\n"))]
    result = next(r for r in judge_all(seen, load_catalogue(find_cases())) if "crlf" in r.id)
    assert result.observed == "2 of 7 replies; the first in case.5: 250 a"
    assert [line.bytes for line in result.transcript] == ["250 a\\n"]
    assert result.verdict == "fail"


def test_no_reply_is_untested() -> None:
    results = judge_all([], load_catalogue(find_cases()))
    assert {(result.verdict, result.reason) for result in results} == {("untested", "no reply was seen")}
