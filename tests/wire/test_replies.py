"""Replies: every vector whole, octet by octet, and with trailing data; then any octets at all."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpbench.wire.enhanced import EnhancedCode, leading_code
from smtpbench.wire.replies import MAX_REPLY_LINES, MAX_UNFINISHED, Anomaly, Reply, ReplyParser, escape

A = Anomaly

VECTORS: list[tuple[bytes, int, tuple[bytes, ...], set[Anomaly]]] = [
    (b"250 OK\r\n", 250, (b"OK",), set()),
    (b"250\r\n", 250, (b"",), set()),
    (b"250 \r\n", 250, (b"",), set()),
    (b"250-a\r\n250-b c\r\n250 d\r\n", 250, (b"a", b"b c", b"d"), set()),
    (b"250-\r\n250\r\n", 250, (b"", b""), set()),
    (b"354 tab\there\r\n", 354, (b"tab\there",), set()),
    (b"250 OK\n", 250, (b"OK",), {A.BARE_LF}),
    (b"250-a\n250 b\r\n", 250, (b"a", b"b"), {A.BARE_LF}),
    (b"250 a\rb\r\n", 250, (b"a\rb",), {A.BARE_CR}),
    (b"250 a\r\r\n", 250, (b"a\r",), {A.BARE_CR}),
    (b"250-a\r\n251 b\r\n", 251, (b"a", b"b"), {A.CODE_MISMATCH}),
    (b"250OK\r\n", 250, (b"OK",), {A.BAD_SEPARATOR}),
    (b"250_OK\r\n", 250, (b"_OK",), {A.BAD_SEPARATOR}),
    (b"199 low\r\n", 199, (b"low",), {A.BAD_CODE}),
    (b"600 high\r\n", 600, (b"high",), {A.BAD_CODE}),
    (b"260 middle\r\n", 260, (b"middle",), {A.BAD_CODE}),
    (b"559 last\r\n", 559, (b"last",), set()),
    (b"hello\r\n", 0, (b"hello",), {A.BAD_CODE}),
    (b"\r\n", 0, (b"",), {A.BAD_CODE}),
    (b"25\r\n", 0, (b"25",), {A.BAD_CODE}),
    ("250 café\r\n".encode(), 250, ("café".encode(),), {A.NON_ASCII}),
    (b"250 a\x07b\x00\r\n", 250, (b"a\x07b\x00",), {A.CONTROL_CHARACTER}),
    (b"250 " + b"x" * 506 + b"\r\n", 250, (b"x" * 506,), set()),
    (b"250 " + b"x" * 507 + b"\r\n", 250, (b"x" * 507,), {A.OVERLONG_LINE}),
    (b"\xb2\xb3\xb4 x\r\n", 0, (b"\xb2\xb3\xb4 x",), {A.BAD_CODE, A.NON_ASCII}),
]
ids = [repr(vector[0][:24]) for vector in VECTORS]


@pytest.mark.parametrize(("raw", "code", "lines", "anomalies"), VECTORS, ids=ids)
class TestVectors:
    def expected(self, raw: bytes, code: int, lines: tuple[bytes, ...], anomalies: set[Anomaly]) -> Reply:
        return Reply(code, lines, raw, frozenset(anomalies))

    def test_whole(self, raw: bytes, code: int, lines: tuple[bytes, ...], anomalies: set[Anomaly]) -> None:
        parser = ReplyParser()
        assert parser.feed(raw) == [self.expected(raw, code, lines, anomalies)]
        assert parser.pending == b""

    def test_octet_by_octet(
        self, raw: bytes, code: int, lines: tuple[bytes, ...], anomalies: set[Anomaly]
    ) -> None:
        parser = ReplyParser()
        early = [parser.feed(raw[n : n + 1]) for n in range(len(raw) - 1)]
        assert not any(early)
        assert parser.pending == raw[:-1]
        assert parser.feed(raw[-1:]) == [self.expected(raw, code, lines, anomalies)]

    def test_trailing_data_stays_pending(
        self, raw: bytes, code: int, lines: tuple[bytes, ...], anomalies: set[Anomaly]
    ) -> None:
        parser = ReplyParser()
        assert parser.feed(raw + b"250-mo") == [self.expected(raw, code, lines, anomalies)]
        assert parser.pending == b"250-mo"
        assert parser.feed(b"re\r\n") == []
        assert parser.feed(b"250 end\r\n") == [
            Reply(250, (b"more", b"end"), b"250-more\r\n250 end\r\n", frozenset())
        ]


ITEMS = st.sampled_from(
    [b"250 ok", b"250-", b"\r\n", b"\n", b"\r", b"5", b" ", b"\xff", b"\x00", b"354 go\r\n"]
)


@given(st.lists(ITEMS | st.binary(max_size=8), max_size=30), st.data())
def test_cutting_changes_nothing_and_no_octet_is_lost(parts: list[bytes], data: st.DataObject) -> None:
    octets = b"".join(parts)
    whole = ReplyParser()
    expected = whole.feed(octets)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(octets)), max_size=6)))
    cut = ReplyParser()
    edges = [0, *cuts, len(octets)]
    found = [r for a, b in itertools.pairwise(edges) for r in cut.feed(octets[a:b])]
    assert found == expected
    assert b"".join(reply.raw for reply in expected) + whole.pending == octets


@pytest.mark.parametrize("piece", [1 << 12, 1 << 20])
def test_a_line_without_end_is_cut_off_once_and_memory_is_bounded(piece: int) -> None:
    parser = ReplyParser()
    found = [reply for _ in range(40) for reply in parser.feed(b"2" * piece)]
    assert parser.overflowed
    assert parser.pending == b""
    assert [reply.code for reply in found] == [222]
    assert len(found[0].raw) <= MAX_UNFINISHED + 1
    assert {A.UNFINISHED, A.OVERLONG_LINE} <= found[0].anomalies


def test_a_reply_of_too_many_lines_is_cut_off() -> None:
    parser = ReplyParser()
    found = parser.feed(b"250-x\r\n" * (MAX_REPLY_LINES + 10))
    assert len(found) == 1
    assert found[0].code == 250
    assert len(found[0].lines) == MAX_REPLY_LINES + 1
    assert parser.feed(b"250 end\r\n") == []


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"2.1.0 Ok", EnhancedCode(2, 1, 0)),
        (b"5.7.134 no", EnhancedCode(5, 7, 134)),
        (b"4.0.0", EnhancedCode(4, 0, 0)),
        (b"3.1.0 no such class", None),
        (b"2.1.0Ok", None),
        (b"2.1 Ok", None),
        (b"2.1.1234 four digits", None),
        (b" 2.1.0 late", None),
        (b"", None),
    ],
)
def test_enhanced_codes(text: bytes, code: EnhancedCode | None) -> None:
    assert leading_code(text) == code
    assert Reply(250, (b"9.9.9 first line", text), b"").enhanced == code


def test_what_is_shown_cannot_steer_a_terminal() -> None:
    assert escape(b"a\\b\r\n\t\x1b[31m\x00\xff") == r"a\\b\r\n\t\x1b[31m\x00\xff"
    assert str(Reply(0, (b"\x1b]0;x\x07",), b"")) == r"??? \x1b]0;x\x07"


@given(st.binary())
def test_escape_is_printable_ascii_and_loses_nothing(data: bytes) -> None:
    shown = escape(data)
    assert shown.isascii()
    assert shown.isprintable()
    assert shown.encode().decode("unicode_escape").encode("latin-1") == data


@pytest.mark.parametrize("code", ["2.0.0", "5.1.10", "4.2.4", "5.3.6", "4.4.7", "5.5.6", "5.6.10", "5.7.30"])
def test_codes_of_the_registry(code: str) -> None:
    found = leading_code(code.encode())
    assert found is not None
    assert found.is_registered
    assert not found._replace(detail=found.detail + 1).is_registered
    assert not found._replace(subject=8).is_registered
