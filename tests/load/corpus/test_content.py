from __future__ import annotations

import re
import tracemalloc
from email import message_from_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpbench.delivery.fingerprint import make_identifier
from smtpbench.load.corpus.content import Content
from smtpbench.load.corpus.plain import plain
from smtpbench.load.identifiers import Identifiers
from smtpbench.wire.content import ContentReceiver

PIECES = st.lists(
    st.lists(st.sampled_from([b".", b"..", b"\r\n", b"\r\n.", b"a", b"\xc3\xa9"]), max_size=6).map(b"".join),
    min_size=2, max_size=3,
).map(lambda pieces: [*pieces[:-1], pieces[-1] + b"\r\n"])  # fmt: skip


@given(PIECES, st.sampled_from([b"", b"MAIL FROM:<>\r\n"]))
def test_the_wire_form_undone_is_the_stored_form(pieces: list[bytes], after: bytes) -> None:
    identifiers = Identifiers()
    content = Content(pieces, identifiers)
    receiver = ContentReceiver()
    received = receiver.feed(content.next_content(after))
    assert receiver.complete
    assert receiver.rest == after
    stored = content.stored(make_identifier(identifiers.run, 1))
    assert received == stored
    assert len(stored) == content.size


@given(PIECES, st.sampled_from([b"", b"MAIL FROM:<>\r\n"]))
def test_bdat_carries_the_stored_form_as_it_is(pieces: list[bytes], after: bytes) -> None:
    identifiers = Identifiers()
    content = Content(pieces, identifiers)
    command, _, rest = content.next_bdat(after).partition(b"\r\n")
    found = re.fullmatch(rb"BDAT (\d+) LAST", command)
    assert found is not None
    assert rest[: int(found[1])] == content.stored(make_identifier(identifiers.run, 1))
    assert rest[int(found[1]) :] == after


def test_each_message_has_an_identifier_of_its_own_in_header_and_body() -> None:
    identifiers = Identifiers()
    contents = [
        Content(plain(size, "sender@example.org", ["r@example.net"]), identifiers) for size in (600, 700)
    ]
    seen = set()
    for number in range(1, 101):
        content = contents[number % 2]
        message = message_from_bytes(content.next_content().removesuffix(b".\r\n"))
        identifier = re.fullmatch(r"<([0-9a-f]{8}-[0-9a-f]{9})@example\.org>", message["Message-ID"])
        assert identifier is not None
        assert str(message.get_payload()).splitlines()[0] == identifier[1]
        assert (identifiers.number, identifiers.contents[identifiers.content]) == (number, content)
        seen.add(identifier[1])
    assert len(seen) == 100


def test_two_processes_do_not_share_a_run() -> None:
    assert Identifiers().run != Identifiers().run


@pytest.mark.parametrize(
    ("content", "needs"),
    [
        (b"Subject: a\r\n\r\nb\r\n", set()),
        (b"Subject: a\r\n\r\n\xc3\xa9\r\n", {"8BITMIME"}),
        (b"Subject: \xc3\xa9\r\n\r\nb\r\n", {"SMTPUTF8"}),
    ],
)
def test_it_knows_what_it_needs(content: bytes, needs: set[str]) -> None:
    assert Content([b"X: ", b"\r\n" + content], Identifiers()).needs == needs


def test_pieces_that_do_not_end_a_line_are_no_content() -> None:
    with pytest.raises(ValueError, match="CRLF"):
        Content([b"a", b"b"], Identifiers())


def test_its_octets_are_kept_once() -> None:
    """In both forms, and however many messages are made of it."""
    pieces = [b"Subject: a\r\nMessage-ID: <", b"@example.org>\r\n\r\n", b"\r\n" + b"line\r\n" * 200_000]
    size = sum(map(len, pieces))
    tracemalloc.start()
    try:
        content = Content(pieces, Identifiers())
        for _ in range(3):
            content.next_content()
            content.next_bdat()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < size / 100
