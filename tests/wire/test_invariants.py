"""What holds in every session: each dialogue whole and octet by octet, with and without its breach."""

from __future__ import annotations

import pytest

from smtpbench.wire.invariants import IDLE, Breach, Rule, SessionWatch
from smtpbench.wire.legal import KNOWN_CODES, fits
from smtpbench.wire.replies import ReplyParser

TLS = "TLS"
Step = tuple[str, bytes] | str
HELLO: list[Step] = [
    ("S", b"220 mx ESMTP\r\n"),
    ("C", b"EHLO a.example\r\n"),
    ("S", b"250-mx\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 ENHANCEDSTATUSCODES\r\n"),
]
PLAIN: list[Step] = [("S", b"220 mx\r\n"), ("C", b"EHLO a\r\n"), ("S", b"250 mx\r\n")]
BEGUN: list[Step] = [
    *HELLO,
    ("C", b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@d>\r\n"),
    ("S", b"250 2.1.0 ok\r\n250 2.1.5 ok\r\n250 2.1.5 ok\r\n"),
]
DATA: list[Step] = [*BEGUN, ("C", b"DATA\r\n"), ("S", b"354 go\r\n")]
MESSAGE: list[Step] = [*DATA, ("C", b"Subject: x\r\n\r\n..dot\r\n.\r\n"), ("S", b"250 2.0.0 ok\r\n")]
QUIT: list[Step] = [("C", b"QUIT\r\n"), ("S", b"221 2.0.0 bye\r\n")]


def play(
    steps: list[Step], *, cut: bool = False, end: str | None = None, lmtp: bool = False, idle: float = 0
) -> list[Breach]:
    """All breaches; with `cut` each octet comes alone."""
    watch, parser, breaches = SessionWatch(lmtp=lmtp), ReplyParser(), []
    for step in steps:
        if isinstance(step, str):
            watch.tls_begun()
            continue
        who, octets = step
        for piece in [octets[i : i + 1] for i in range(len(octets))] if cut else [octets]:
            if who == "C":
                watch.sent(piece)
                continue
            for reply in parser.feed(piece):
                breaches += watch.received(reply)
    if end == "server":
        breaches += watch.closed(parser.pending, idle=idle)
    if end == "client":
        breaches += watch.left(parser.pending)
    return breaches


def rules(steps: list[Step], **how: object) -> list[Rule]:
    whole = [breach.rule for breach in play(steps, **how)]  # type: ignore[arg-type]
    assert [breach.rule for breach in play(steps, cut=True, **how)] == whole  # type: ignore[arg-type]
    return whole


AUTH: list[Step] = [
    *HELLO,
    ("C", b"AUTH CRAM-MD5\r\n"),
    ("S", b"334 PDE+\r\n"),
    ("C", b"c2VjcmV0\r\n"),
    ("S", b"235 2.7.0 ok\r\n"),
]
CHUNKS: list[Step] = [
    *BEGUN,
    ("C", b"BDAT 6\r\nNOOP\r\nBDAT 0\r\nBDAT 3 LAST\r\na\r\n"),
    ("S", b"250 2.0.0 ok\r\n250 2.0.0 ok\r\n250 2.0.0 ok\r\n"),
]
STARTTLS: list[Step] = [*HELLO, ("C", b"STARTTLS\r\n"), ("S", b"220 2.0.0 go\r\n"), TLS]
GOOD: dict[str, list[Step]] = {
    "message": [*MESSAGE, *QUIT],
    "two messages": [*MESSAGE, *MESSAGE[3:], *QUIT],
    "chunks": [*CHUNKS, *QUIT],
    "auth": [*AUTH, *QUIT],
    "auth cancelled": [*AUTH[:5], ("C", b"*\r\n"), ("S", b"501 5.7.0 no\r\n"), *QUIT],
    "starttls": [*STARTTLS, *HELLO[1:], *QUIT],
    "refusals": [
        *HELLO,
        *[("C", b"VRFY a\r\nXNOSUCH\r\nHELP\r\n"), ("S", b"252 2.0.0 ?\r\n500 5.5.2 ?\r\n214 2.0.0 see\r\n")],
        *[("C", b"RCPT TO:<a@b>\r\nDATA\r\n"), ("S", b"503 5.5.1 no\r\n503 5.5.1 no\r\n"), *QUIT],
    ],
    "no service": [("S", b"554 no\r\n"), ("C", b"EHLO a\r\n"), ("S", b"503 no\r\n")],
    "421 at any time": [*HELLO, ("S", b"421 4.3.2 down\r\n")],
    "421 in the content": [*DATA, ("C", b"x\r\n"), ("S", b"421 4.3.2 down\r\n")],
    "a bare LF, then anything": [*HELLO, ("C", b"NOOP\nNOOP\r\n"), ("S", b"252 ok\r\n250 5.0.0 ok\r\n")],
    "an odd content": [*DATA, ("C", b"a\n.\r\nb\r\n.\r\n"), ("S", b"250 2.0.0 ok\r\n250 2.0.0 ok\r\n")],
    "octets behind DATA": [*BEGUN, ("C", b"DATA\r\nx\r\n"), ("S", b"354 go\r\n250 ok\r\n250 ok\r\n")],
    "a long line": [*HELLO, ("C", b"NOOP " + b"x" * 3_000 + b"\r\n"), ("S", b"500 a\r\n500 b\r\n")],
    "a reply inside a line": [*HELLO, ("C", b"NOOP"), ("S", b"250 2.0.0 ok\r\n")],
    "codes of an extension": [
        *HELLO,
        *[("C", b"MAIL FROM:<a@b> SIZE=9 X=1\r\n"), ("S", b"530 5.7.0 AUTH first\r\n"), *QUIT],
    ],
    "no enhanced codes offered": [*PLAIN, ("C", b"NOOP\r\n"), ("S", b"250 5.0.0 is our version\r\n")],
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("end", [None, "client"])
def test_a_good_session_breaks_nothing(name: str, end: str | None) -> None:
    assert rules(GOOD[name], end=end) == []


BAD: dict[str, tuple[list[Step], Rule]] = {
    "two replies": ([*HELLO, ("C", b"NOOP\r\n"), ("S", b"250 2.0.0 ok\r\n250 2.0.0 ok\r\n")], Rule.ONE_REPLY),
    "two greetings": ([("S", b"220 mx\r\n220 mx\r\n")], Rule.ONE_REPLY),
    "two after a message": ([*MESSAGE, ("S", b"250 2.0.0 ok\r\n")], Rule.ONE_REPLY),
    "two after a chunk": ([*CHUNKS, ("S", b"250 2.0.0 ok\r\n")], Rule.ONE_REPLY),
    "one too many for a group": ([*BEGUN, ("S", b"250 2.0.0 ok\r\n")], Rule.ONE_REPLY),
    "one after QUIT": ([*HELLO, *QUIT, ("S", b"250 2.0.0 ok\r\n")], Rule.ONE_REPLY),
    "inside TLS": ([*STARTTLS, ("S", b"220 mx\r\n")], Rule.ONE_REPLY),
    "before the end of data": ([*DATA, ("C", b"x\r\n."), ("S", b"250 2.0.0 ok\r\n")], Rule.PROMPTED),
    "NOOP 252": ([*HELLO, ("C", b"NOOP\r\n"), ("S", b"252 2.0.0 ok\r\n")], Rule.CODE_FITS),
    "greeting 250": ([("S", b"250 mx\r\n")], Rule.CODE_FITS),
    "DATA 250": ([*BEGUN, ("C", b"DATA\r\n"), ("S", b"250 2.0.0 ok\r\n")], Rule.CODE_FITS),
    "content 354": ([*DATA, ("C", b".\r\n"), ("S", b"354 2.0.0\r\n")], Rule.CODE_FITS),
    "response 250": ([*AUTH[:-1], ("S", b"250 2.0.0 ok\r\n")], Rule.CODE_FITS),
    "a class that differs": ([*HELLO, ("C", b"RSET\r\n"), ("S", b"250-2.0.0 a\r\n250 4.0.0 b\r\n")],
                             Rule.ENHANCED_CLASS),
    "a class that differs in 421": ([*HELLO, ("S", b"421 5.0.0 b\r\n")], Rule.ENHANCED_CLASS),
    "a code that is not registered": ([*HELLO, ("C", b"RSET\r\n"), ("S", b"250 2.0.1 a\r\n")],
                                      Rule.ENHANCED_REGISTERED),
    "a bare LF": ([*HELLO, ("C", b"RSET\r\n"), ("S", b"250 2.0.0 a\n")], Rule.LINE_ENDS),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_each_breach_is_told_once(name: str) -> None:
    steps, rule = BAD[name]
    assert rules(steps) == [rule]


def test_after_a_reply_too_many_replies_are_judged_alone() -> None:
    shifted: list[Step] = [("C", b"QUIT\r\n"), ("S", b"250 2.0.0 ok\r\n"), ("S", b"250 o\x07k\r\n")]
    assert rules([*HELLO, ("S", b"250 2.0.0 ok\r\n"), *shifted]) == [Rule.ONE_REPLY, Rule.PRINTABLE]


def test_what_is_left_unread_is_unprompted_unless_a_reply_is_due() -> None:
    assert rules([*HELLO, ("S", b"(none)")], end="client") == [Rule.PROMPTED]
    assert rules([*HELLO, *QUIT, ("S", b"(none)")], end="server") == [Rule.PROMPTED]
    assert rules([*HELLO, ("C", b"NOOP\r\n"), ("S", b"250 2.")], end="client") == []


def test_the_breach_says_what_was_asked_and_shows_no_secret() -> None:
    (breach,) = play(
        [*HELLO, ("C", b"NOOP \x1b\xff\r\n"), ("C", b"RSET\r\n"), ("S", b"250 a\r\n252 2.0.0 b\r\n")]
    )
    assert breach == (Rule.CODE_FITS, "RSET → 252 2.0.0 b")
    secret = [*HELLO, ("C", b"AUTH PLAIN c2VjcmV0\r\n"), ("S", b"250 2.0.0 ok\r\n")]
    assert play(secret) == [(Rule.CODE_FITS, "AUTH → 250 2.0.0 ok")]


# UTF-8

UTF8_REPLY: Step = ("S", "250 2.0.0 é\r\n".encode())
MAIL8: list[Step] = [("C", b"MAIL FROM:<a@b> SMTPUTF8\r\n"), ("S", b"250 2.1.0 ok\r\n")]
TWO8: list[Step] = [
    ("C", b"RCPT TO:<c@d>\r\nRCPT TO:<e@d>\r\nDATA\r\n"),
    ("S", b"250 2.1.5 ok\r\n250 2.1.5 ok\r\n354 go\r\n"),
]


def test_utf8_is_printable_where_smtputf8_asked_for_it() -> None:
    assert rules([*HELLO, ("C", b"VRFY a SMTPUTF8\r\n"), UTF8_REPLY]) == []
    assert rules([*HELLO, *MAIL8, ("C", b"RCPT TO:<c@d>\r\n"), UTF8_REPLY]) == []
    assert rules([*HELLO, *MAIL8, *TWO8, ("C", b".\r\n"), UTF8_REPLY]) == []
    assert rules([*HELLO, ("C", "VRFY é\r\n".encode()), UTF8_REPLY]) == []  # an echo
    late: list[Step] = [("C", b"NOOP\n"), ("C", b"MAIL FROM:<a@b> SMTPUTF8\r\n"), UTF8_REPLY]
    assert play([*HELLO, *late]) == []


@pytest.mark.parametrize(
    "steps",
    [
        [("C", b"VRFY a\r\n"), UTF8_REPLY],
        [("C", b"VRFY a SMTPUTF8\r\n"), ("S", b"250 2.0.0 \xe9\r\n")],
        [("C", b"VRFY a SMTPUTF8\r\n"), ("S", "250 2.0.0 \aé\r\n".encode())],
        [*MAIL8, ("C", b"RSET\r\n"), ("S", b"250 2.0.0 ok\r\n"), ("C", b"NOOP\r\n"), UTF8_REPLY],
        [*MAIL8, *TWO8, ("C", b".\r\n"), ("S", b"250 2.0.0 ok\r\n"), ("C", b"NOOP\r\n"), UTF8_REPLY],
    ],
    ids=range(5),
)
def test_other_octets_above_127_are_not(steps: list[Step]) -> None:
    assert rules([*HELLO, *steps]) == [Rule.PRINTABLE]


# LMTP


def lmtp(*steps: Step) -> list[Step]:
    return [step if isinstance(step, str) else (step[0], step[1].replace(b"EHLO", b"LHLO")) for step in steps]


def test_lmtp_has_a_reply_for_each_recipient() -> None:
    two = lmtp(*MESSAGE, ("S", b"450 4.2.0 no\r\n"))
    assert rules(two, lmtp=True) == []
    assert rules([*two, ("S", b"250 2.0.0 ok\r\n")], lmtp=True) == [Rule.ONE_REPLY]
    assert rules(lmtp(*CHUNKS, ("S", b"250 2.0.0 ok\r\n")), lmtp=True) == []
    assert rules(lmtp(*CHUNKS, ("S", b"250 2.0.0 a\r\n250 2.0.0 b\r\n")), lmtp=True) == [Rule.ONE_REPLY]


def test_a_failed_chunk_in_lmtp_may_have_one_reply_or_several() -> None:
    failed = lmtp(*BEGUN, ("C", b"BDAT 2 LAST\r\nxx"), ("S", b"554 5.0.0 no\r\n"))
    assert rules(failed, lmtp=True) == []
    assert rules([*failed, ("S", b"554 5.0.0 no\r\n")], lmtp=True) == []


# Closes


@pytest.mark.parametrize(
    "steps",
    [HELLO, [*HELLO, ("C", b"RSET\r\n")], MESSAGE, [*HELLO, ("C", b"NOOP\r\n"), ("S", b"250 2.0.0 ok\r\n")]],
)
def test_a_close_that_nothing_explains(steps: list[Step]) -> None:
    assert rules(steps, end="server") == [Rule.CLOSE]


@pytest.mark.parametrize(
    "steps",
    [
        [],
        [("S", b"220 mx\r\n")],
        [("S", b"554 no\r\n")],
        [*HELLO, *QUIT],
        [*HELLO, ("C", b"QUIT\r\n")],
        [*HELLO, ("S", b"421 4.0.0 bye\r\n")],
        [*HELLO, ("C", b"XNOSUCH\r\n"), ("S", b"500 5.5.2 ?\r\n")],
        [*HELLO, ("C", b"NOOP\n"), ("S", b"500 5.5.2 ?\r\n")],
        [*HELLO, ("C", b"NO")],
        [*PLAIN, ("C", b"RSET\r\n"), ("C", b"RSET\r\n")],
        [*PLAIN, ("C", b"RSET\r\nRSET\r\n")],
        [*DATA, ("C", b"half")],
        [*DATA, ("C", b"x\n\r\n.\r\n")],
        [*DATA, ("C", b"x" * 1_001 + b"\r\n.\r\n")],
        [*DATA, ("C", b"x\r\n.\r\n"), ("S", b"554 5.7.1 spam\r\n")],
        [*AUTH[:-1], ("S", b"535 5.7.8 no\r\n")],
        STARTTLS,
        STARTTLS[:-1],
        [*HELLO, *[("C", b"RCPT TO:<a@b>\r\n"), ("S", b"503 5.5.1 no\r\n")] * 4],
    ],
    ids=range(19),
)
def test_a_close_that_may_be_right(steps: list[Step]) -> None:
    assert rules(steps, end="server") == []


def test_a_close_after_a_silence_and_a_close_of_ours() -> None:
    assert rules(HELLO, end="server", idle=IDLE + 1) == []
    assert rules(HELLO, end="client") == []


def test_what_comes_between_starttls_and_a_handshake_is_no_reply() -> None:
    accepted: list[Step] = [*HELLO, ("C", b"STARTTLS\r\n"), ("S", b"220 2.0.0 go\r\n")]
    alert: Step = ("S", b"\x15\x03\x03\x00\x02\x02\n")  # unexpected_message is 10, a line feed
    assert rules([*accepted, ("C", b"EHLO a\r\n"), alert], end="server") == []
    assert rules([*accepted, TLS, ("C", b"EHLO a\r\n"), ("S", b"250 mx\n")]) == [Rule.LINE_ENDS]


# Codes


def test_general_codes_fit_every_command_and_success_only_its_own() -> None:
    for verb in ("NOOP", "RSET", "QUIT", "MAIL", "RCPT", "DATA", "EHLO", "VRFY", "AUTH"):
        assert all(fits(verb, code) for code in (421, 500, 501, 503))
    done = {code for code in KNOWN_CODES if fits("RCPT", code) and code < 400}
    assert done == {250, 251}
    assert {code for code in KNOWN_CODES if fits("DATA", code) and code < 400} == {354}
    assert not fits("NOOP", 502)
    assert fits("XCLIENT", 299)
