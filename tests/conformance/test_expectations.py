"""Expectations judge what was seen, and say what they expect."""

from __future__ import annotations

import pytest

from smtpbench.conformance import (
    Answer,
    Delivery,
    Ending,
    Expectation,
    Message,
    Observation,
    Outcome,
    all_of,
    any_reply,
    choice,
    closed,
    closed_with_421,
    closed_with_refusal,
    codes,
    each_message,
    expect,
    intact,
    messages,
    near,
    not_codes,
    not_severity,
    not_split,
    nothing_delivered,
    one_message,
    refused,
    sequence,
    severity,
    silence,
    single,
    stricter,
    text_matches,
    that,
)
from smtpbench.wire.replies import ReplyParser


def answer(octets: bytes = b"", ending: Ending = Ending.OPEN, asked: bytes = b"NOOP\r\n") -> Answer:
    return Answer(asked, tuple(ReplyParser().feed(octets)), ending, 0.5)


def delivery(octets: bytes, *contents: bytes, ending: Ending = Ending.CLOSED) -> Delivery:
    replies = tuple(ReplyParser().feed(octets))
    return Delivery(b"", replies, ending, 0.0, tuple(Message(content) for content in contents))


OK = b"250 ok\r\n"
BYE = b"221 bye\r\n"
SILENT, CLOSED = answer(ending=Ending.SILENT), answer(ending=Ending.CLOSED)


@pytest.mark.parametrize(
    ("expectation", "good", "bad"),
    [
        (codes(250, 251), [OK, b"251 ok\r\n"], [b"252 x\r\n", b""]),
        (severity(5), [b"500 x\r\n", b"559 x\r\n"], [b"450 x\r\n", b""]),
        (not_codes(500), [OK, b"501 x\r\n"], [b"500 x\r\n", b""]),
        (not_severity(2), [b"500 x\r\n"], [OK, b""]),
        (any_reply, [OK, b"999 x\r\n"], [b""]),
        (single(codes(250)), [OK], [OK + OK, b"", b"500 x\r\n"]),
        (sequence(codes(250), severity(3)), [OK + b"354 x\r\n"], [OK, OK + OK, OK + b"354 x\r\n" + OK]),
        (text_matches(rb"ok\b", "ok"), [OK], [b"250 okay\r\n", b""]),
        (codes(250) & text_matches(b"ok", "ok"), [OK], [b"250 no\r\n", b"251 ok\r\n"]),
    ],
)
def test_replies(expectation: Expectation[Answer], good: list[bytes], bad: list[bytes]) -> None:
    assert [expectation.judge(answer(octets)) for octets in good] == [Outcome.CONFORMS] * len(good)
    assert [expectation.judge(answer(octets)) for octets in bad] == [Outcome.VIOLATES] * len(bad)


def test_silence_and_close() -> None:
    assert silence.judge(SILENT) is Outcome.CONFORMS
    assert silence.judge(CLOSED) is Outcome.VIOLATES
    assert silence.judge(answer(OK)) is Outcome.VIOLATES
    assert closed.judge(CLOSED) is Outcome.CONFORMS
    assert closed.judge(SILENT) is Outcome.VIOLATES
    assert codes(250).judge(CLOSED) is Outcome.VIOLATES


@pytest.mark.parametrize(
    ("octets", "ending", "with_421", "with_refusal"),
    [
        (b"421 bye\r\n", Ending.CLOSED, True, True),
        (b"521 bye\r\n", Ending.CLOSED, False, True),
        (b"421 bye\r\n", Ending.OPEN, False, False),
        (OK, Ending.CLOSED, False, False),
        (b"", Ending.CLOSED, False, False),
    ],
)
def test_orderly_closes(octets: bytes, ending: Ending, with_421: bool, with_refusal: bool) -> None:
    seen = answer(octets, ending)
    assert (closed_with_421.judge(seen) is Outcome.CONFORMS) is with_421
    assert (closed_with_refusal.judge(seen) is Outcome.CONFORMS) is with_refusal


def test_a_close_after_a_delivery_is_not_orderly() -> None:
    assert closed_with_421.judge(delivery(b"421 bye\r\n", b"x")) is Outcome.VIOLATES
    assert closed_with_refusal.judge(delivery(b"521 bye\r\n", b"x")) is Outcome.VIOLATES


@pytest.mark.parametrize(
    ("octets", "contents", "one", "no"),
    [
        (OK + BYE, 1, True, False),
        (OK, 1, True, False),
        (OK + BYE, 0, False, False),  # accepted and lost
        (OK + BYE, 2, False, False),  # split, or delivered twice
        (OK * 4 + BYE, 1, False, False),  # commands in the content were executed
        (b"554 no\r\n" + BYE, 0, False, True),
        (b"451 no\r\n" + BYE, 0, False, True),
        (b"554 no\r\n" + BYE, 1, False, False),  # refused and delivered
        (b"554 no\r\n" + OK + BYE, 0, False, False),
        (b"", 0, False, False),
    ],
)
def test_one_message_or_refused(octets: bytes, contents: int, one: bool, no: bool) -> None:
    seen = delivery(octets, *([b"x"] * contents))
    assert (one_message.judge(seen) is Outcome.CONFORMS) is one
    assert (refused.judge(seen) is Outcome.CONFORMS) is no
    expected = Outcome.CONFORMS if one else Outcome.STRICTER if no else Outcome.VIOLATES
    assert not_split.judge(seen) is expected


def test_numbers_of_messages() -> None:
    assert messages(2).judge(delivery(OK + BYE, b"a", b"b")) is Outcome.CONFORMS
    assert messages(2).judge(delivery(OK + BYE, b"a")) is Outcome.VIOLATES
    assert nothing_delivered.judge(delivery(OK)) is Outcome.CONFORMS
    assert nothing_delivered.judge(delivery(OK, b"a")) is Outcome.VIOLATES


def test_contents() -> None:
    short = each_message("short content", that("short", lambda message: len(message.content) < 3))
    assert intact(b"a\r\n").judge(delivery(OK, b"Received: x\r\na\r\n")) is Outcome.CONFORMS
    assert intact(b"a\r\n").judge(delivery(OK, b"a\r\n", b"a\r\n\r\n")) is Outcome.VIOLATES
    assert intact(b"a\r\n").judge(delivery(OK)) is Outcome.VIOLATES
    assert short.judge(delivery(OK, b"ab")) is Outcome.CONFORMS
    assert short.judge(delivery(OK, b"ab", b"abc")) is Outcome.VIOLATES
    assert short.judge(delivery(OK)) is Outcome.VIOLATES


def test_the_first_alternative_that_matches_decides() -> None:
    expectation = codes(501) | near(severity(5)) | stricter(closed_with_421) | choice(codes(250))
    seen = {
        b"501 x\r\n": Outcome.CONFORMS,
        b"500 x\r\n": Outcome.NEAR,
        OK: Outcome.CHOICE,
        b"": Outcome.VIOLATES,
    }
    assert {octets: expectation.judge(answer(octets)) for octets in seen} == seen
    assert expectation.judge(answer(b"421 x\r\n", Ending.CLOSED)) is Outcome.STRICTER


def test_both_of_two_take_the_worse_outcome() -> None:
    both = (codes(250) | near(severity(2))) & text_matches(b"ok", "ok")
    assert both.judge(answer(OK)) is Outcome.CONFORMS
    assert both.judge(answer(b"251 ok\r\n")) is Outcome.NEAR
    assert both.judge(answer(b"251 no\r\n")) is Outcome.VIOLATES


def test_keywords_of_expect_mean_the_wrappers() -> None:
    seen = answer(b"500 x\r\n")
    by_keyword = expect(seen, codes(501), near=severity(5), stricter=codes(521), choice=codes(250))
    by_wrapper = expect(seen, codes(501) | stricter(codes(521)) | choice(codes(250)) | near(severity(5)))
    assert by_keyword == by_wrapper
    assert by_keyword == Observation(
        "501; open to choice: 250; stricter, and fine: 521; tolerated: 5yz", "NOOP → 500 x", Outcome.NEAR
    )


@pytest.mark.parametrize(
    ("seen", "text"),
    [
        (answer(OK), "NOOP → 250 ok"),
        (SILENT, "NOOP → no reply within 0.5 s"),
        (CLOSED, "NOOP → connection closed without a reply"),
        (answer(b"421 x\r\n", Ending.CLOSED), "NOOP → 421 x · connection closed"),
        (answer(OK, asked=b"A\x00\x1b"), "A\\x00\\x1b → 250 ok"),
        (answer(OK, asked=b"a" * 200), "a" * 120 + "… → 250 ok"),
        (delivery(OK + BYE, b"x"), "250 ok · 221 bye · connection closed · 1 message delivered"),
        (delivery(b"554 no\r\n"), "554 no · connection closed · nothing delivered"),
    ],
)
def test_what_was_seen_in_words(seen: Answer, text: str) -> None:
    assert str(seen) == text


def test_all_of_names_the_worst() -> None:
    good, bad = expect(answer(OK), codes(250)), expect(answer(b"500 x\r\n", asked=b"RSET\r\n"), codes(250))
    assert all_of(good, bad, good) == Observation("250", "RSET → 500 x", Outcome.VIOLATES)
    assert all_of(good) == good
    with pytest.raises(ValueError, match="at least one"):
        all_of()
