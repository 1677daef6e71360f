"""Rules over every session of a run."""

from __future__ import annotations

import pytest

from smtpbench.conformance.bench import Seen
from smtpbench.conformance.model import find_cases, load_catalogue
from smtpbench.conformance.passive import RULES, judge_all
from smtpbench.conformance.result import CaseResult
from smtpbench.wire import invariants
from smtpbench.wire.replies import ReplyParser
from smtpbench.witness import Witness

GOOD = [b"220 mx ESMTP\r\n", b"250-mx\r\n250 ENHANCEDSTATUSCODES\r\n"]


def session(reply: bytes, *, closed: bool = False) -> Witness:
    """Greeting, EHLO, and NOOP answered with `reply`; the server closes, or we do."""
    witness, parser = Witness(), ReplyParser()
    sent = iter((b"EHLO a\r\n", b"NOOP\r\n", b""))
    for octets in (*GOOD, reply):
        witness.received(octets, parser.feed(octets))
        line = next(sent)
        witness.sent(line, line)
    (witness.closed if closed else witness.left)(parser.pending)
    return witness


def judged(*witnesses: Witness) -> dict[str, CaseResult]:
    seen = Seen()
    for number, witness in enumerate(witnesses):
        seen.add(f"case.{number}", witness)
    results = judge_all(seen, load_catalogue(find_cases()))
    assert len(results) == len(RULES)
    for result in results:
        assert bool(result.transcript) == (result.verdict != "pass")
    return {result.id.removeprefix("passive."): result for result in results}


def broken_by(reply: bytes) -> set[str]:
    return {key for key, result in judged(session(reply)).items() if result.verdict != "pass"}


@pytest.mark.parametrize(
    ("octets", "rules"),
    [
        (b"250 2.0.0 ok\r\n", set()),
        (b"250 ok\n", {"replies-end-with-crlf"}),
        (b"250 o\rk\r\n", {"replies-end-with-crlf"}),
        (b"290 ok\r\n", {"reply-codes-have-three-digits-in-range", "reply-codes-are-known"}),
        (b"650 ok\r\n", {"reply-codes-have-three-digits-in-range", "first-digit-is-two-to-five"}),
        (b"ok\r\n", {"reply-codes-have-three-digits-in-range", "first-digit-is-two-to-five"}),
        (b"250:ok\r\n", {"reply-codes-have-three-digits-in-range"}),
        (b"251-a\r\n250 b\r\n", {"lines-of-a-reply-have-one-code"}),
        (b"250 \xe9\r\n", {"reply-text-is-printable-ascii"}),
        (b"250 \x07\r\n", {"reply-text-is-printable-ascii"}),
        (b"250\r\n", {"replies-have-text"}),
        (b"259 ok\r\n", {"reply-codes-are-known"}),
        (b"250 " + b"x" * 507 + b"\r\n", {"reply-lines-fit-512-octets"}),
        (b"250 " + b"x" * 506 + b"\r\n", set()),
        (b"250 ok\r\n250 ok\r\n", {"no-command-has-a-second-reply"}),
        (b"250 ok\r\n25", {"nothing-is-said-unprompted"}),
        (b"221 ok\r\n", {"reply-codes-fit-the-command"}),
        (b"250 5.0.0 ok\r\n", {"enhanced-class-is-the-first-digit"}),
    ],
)
def test_rules(octets: bytes, rules: set[str]) -> None:
    assert broken_by(octets) == rules


def test_every_rule_of_the_wire_has_its_row() -> None:
    assert [rule.watched for rule in RULES] == list(invariants.Rule)


def test_the_first_breach_is_the_evidence_with_its_wire_log() -> None:
    result = judged(session(b"250 ok\r\n"), session(b"250 a\n"), session(b"250 b\n"))["replies-end-with-crlf"]
    assert result.observed == "2 of 9 replies; the first in case.1: 250 a"
    assert [(line.sender, line.bytes) for line in result.transcript] == [
        ("server", "220 mx ESMTP\\r\\n"),
        ("client", "EHLO a\\r\\n"),
        ("server", "250-mx\\r\\n250 ENHANCEDSTATUSCODES\\r\\n"),
        ("client", "NOOP\\r\\n"),
        ("server", "250 a\\n"),
    ]
    assert result.verdict == "fail"


def test_sessions_are_counted_where_a_session_breaks_the_rule() -> None:
    result = judged(session(b"250 ok\r\n"), session(b"250 a\r\n250 b\r\n"))["no-command-has-a-second-reply"]
    assert result.observed == "1 of 2 sessions; the first in case.1: one more reply after NOOP: 250 b"


def test_a_single_close_may_be_the_networks() -> None:
    closes = "connection-closes-only-with-221-or-421"
    once = session(b"250 ok\r\n", closed=True)
    assert judged(once)[closes].verdict == "pass"
    twice = judged(once, session(b"250 ok\r\n", closed=True))[closes]
    assert twice.verdict == "fail"
    assert twice.transcript[-1].bytes == "server closed"


def test_no_reply_is_untested() -> None:
    results = judge_all(Seen(), load_catalogue(find_cases()))
    assert {(result.verdict, result.reason) for result in results} == {("untested", "no reply was seen")}
