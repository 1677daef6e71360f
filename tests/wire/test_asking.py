"""The client's stream: what was asked, in any segmentation, and when it cannot be told."""

from __future__ import annotations

import pytest

from smtpbench.wire.asking import MAX_LINE, Asked, ClientStream
from smtpbench.wire.legal import CONTENT, RESPONSE


def whats(stream: ClientStream, octets: bytes, *, cut: bool) -> list[str]:
    pieces = [octets[i : i + 1] for i in range(len(octets))] if cut else [octets]
    return [asked.what for piece in pieces for asked in stream.feed(piece)]


@pytest.mark.parametrize("cut", [False, True])
def test_commands_and_chunks(cut: bool) -> None:
    stream = ClientStream()
    octets = b"ehlo a\r\nNOOP\r\nBDAT 6\r\nQUIT\r\nBDAT 0 LAST\r\nRSET\r\nXNO\r\nRS"
    assert whats(stream, octets, cut=cut) == ["EHLO", "NOOP", "BDAT", "BDAT", "RSET", ""]
    assert stream.partial
    assert not stream.plain  # XNO
    assert whats(stream, b"ET\r\n", cut=cut) == ["RSET"]
    assert not stream.partial


@pytest.mark.parametrize("cut", [False, True])
def test_content_after_354(cut: bool) -> None:
    stream = ClientStream()
    assert whats(stream, b"DATA\r\n", cut=cut) == ["DATA"]
    assert stream.held
    stream.content_follows()
    assert whats(stream, b"a\r\n..\r\n.x\r\nQUIT\r\n.\r\nNOOP\r\n", cut=cut) == [CONTENT, "NOOP"]
    assert stream.plain


@pytest.mark.parametrize("cut", [False, True])
def test_auth_responses_are_not_read(cut: bool) -> None:
    stream = ClientStream()
    (asked,) = stream.feed(b"AUTH PLAIN c2VjcmV0\r\n")
    assert asked == Asked("AUTH", "AUTH")
    stream.response_follows()
    assert whats(stream, b"QUIT\r\n", cut=cut) == [RESPONSE]
    stream.commands_follow()
    assert whats(stream, b"QUIT\r\n", cut=cut) == ["QUIT"]


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize(
    "octets",
    [
        *(b"NOOP\n", b"NOOP\rX\r\n", b"\r\r\n", b"BDAT x\r\n", b"x" * (MAX_LINE + 2), b"DATA\r\nx"),
        *(b"QUIT\r\nNOOP\r\n", b"STARTTLS\r\nE", b"AUTH PLAIN\r\nx"),
    ],
)
def test_what_cannot_be_followed(octets: bytes, cut: bool) -> None:
    stream = ClientStream()
    whats(stream, octets, cut=cut)
    assert stream.lost
    assert stream.feed(b"NOOP\r\n") == []


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize(
    "octets", [b"a\n", b"a\rb", b"\0", b"a\r\r\n", b"\n.\r\n", b"x" * 1_001, b"a\r\n" + b"y" * 1_001]
)
def test_odd_content(octets: bytes, cut: bool) -> None:
    stream = ClientStream()
    stream.feed(b"DATA\r\n")
    stream.content_follows()
    assert whats(stream, octets + b"\r\n.\r\n", cut=cut) == []
    assert stream.lost


@pytest.mark.parametrize("cut", [False, True])
def test_lines_of_legal_length_are_ordinary(cut: bool) -> None:
    stream = ClientStream()
    stream.feed(b"DATA\r\n")
    stream.content_follows()
    assert whats(stream, (b"x" * 998 + b"\r\n") * 3 + b".\r\n", cut=cut) == [CONTENT]
