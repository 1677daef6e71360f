"""Transparency: the end of data in every segmentation, the stuffed dot, the ends that are none."""

import itertools
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpbench.wire.content import ContentReceiver, dot_stuff

VECTORS = [
    # what is sent, the content
    (b".\r\n", b""),
    (b"\r\n.\r\n", b"\r\n"),
    (b"a\r\n.\r\n", b"a\r\n"),
    (b"..\r\n.\r\n", b".\r\n"),
    (b"..a\r\n.\r\n", b".a\r\n"),
    (b".a\r\n.\r\n", b"a\r\n"),
    (b"...b\r\n.\r\n", b"..b\r\n"),
    (b"a..b\r\n.\r\n", b"a..b\r\n"),
    (b"a\r\n..\r\n..\r\n.\r\n", b"a\r\n.\r\n.\r\n"),
    (b"a\n.\nb\r\n.\r\n", b"a\n.\nb\r\n"),
    (b"a\n.\r\nb\r\n.\r\n", b"a\n.\r\nb\r\n"),
    (b"a\r\n.\nb\r\n.\r\n", b"a\r\n\nb\r\n"),
    (b"a\r.\rb\r\n.\r\n", b"a\r.\rb\r\n"),
    (b"a\r\n.\rb\r\n.\r\n", b"a\r\n\rb\r\n"),
    (b"a\r.\r\nb\r\n.\r\n", b"a\r.\r\nb\r\n"),
    (b"a\n.\rb\r\n.\r\n", b"a\n.\rb\r\n"),
    (b"a\r.\nb\r\n.\r\n", b"a\r.\nb\r\n"),
    (b"a\r\r\n.\r\r\nb\r\n.\r\n", b"a\r\r\n\r\r\nb\r\n"),
    (b"a\r\n\0.\r\nb\r\n.\r\n", b"a\r\n\0.\r\nb\r\n"),
    (b"a\r\n.\0\r\nb\r\n.\r\n", b"a\r\n\0\r\nb\r\n"),
    (b"\x80\xff\x00\r\n.\r\n", b"\x80\xff\x00\r\n"),
]


def receive(segments):
    receiver = ContentReceiver()
    content = b""
    for index, segment in enumerate(segments):
        content += receiver.feed(segment)
        if receiver.complete:
            return receiver, content, receiver.rest + b"".join(segments[index + 1 :])
    return receiver, content, b""


@pytest.mark.parametrize(("sent", "content"), VECTORS)
@pytest.mark.parametrize("trailing", [b"", b"\r\n", b".\r\n", b"MAIL FROM:<>\r\n"])
def test_whole_and_byte_by_byte_with_what_follows(sent, content, trailing):
    octets = [sent[i : i + 1] for i in range(len(sent))]
    for segments in ([sent + trailing], [*octets, trailing], [sent, trailing]):
        receiver, received, rest = receive(segments)
        assert receiver.complete
        assert received == content
        assert rest == trailing


@pytest.mark.parametrize(("sent", "content"), VECTORS)
def test_cut_in_two_anywhere(sent, content):
    for cut in range(len(sent) + 1):
        receiver, received, rest = receive([sent[:cut], sent[cut:]])
        assert (receiver.complete, received, rest) == (True, content, b"")


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b".",
        b".\r",
        b"\r\n.\r",
        b"a\r\n.",
        b"a\n.\n",
        b"a\n.\r\n",
        b"a\r\n.\n",
        b"a\r\n.\r\r\n",
        b"a.\r\n",
    ],
)
def test_not_the_end_of_data(sent):
    receiver, _, _ = receive([sent])
    assert not receiver.complete


def test_nothing_may_come_after_the_end():
    receiver, _, _ = receive([b".\r\n"])
    with pytest.raises(ValueError, match="end of data"):
        receiver.feed(b"x")


@pytest.mark.parametrize(
    ("sent", "bare_cr", "bare_lf"),
    [(b"a\r\nb\r\n.\r\n", 0, 0), (b"a\nb\rc\r\n.\r\n", 1, 1), (b"\n\n\r\r\n.\r\n", 1, 2), (b".\r\n", 0, 0)],
)
def test_bare_line_ends_are_counted_however_they_come(sent, bare_cr, bare_lf):
    for segments in ([sent], [sent[i : i + 1] for i in range(len(sent))]):
        receiver, _, _ = receive(segments)
        assert (receiver.bare_cr, receiver.bare_lf) == (bare_cr, bare_lf)


@pytest.mark.parametrize(
    ("content", "stuffed"),
    [
        (b"", b".\r\n"),
        (b"a\r\n", b"a\r\n.\r\n"),
        (b"a", b"a\r\n.\r\n"),
        (b".\r\n", b"..\r\n.\r\n"),
        (b"a\r\n.b\r\n", b"a\r\n..b\r\n.\r\n"),
        (b"a\n.b\r\n", b"a\n.b\r\n.\r\n"),
        (b"\r\n", b"\r\n.\r\n"),
    ],
)
def test_stuffing_adds_the_end_and_no_line(content, stuffed):
    assert dot_stuff(content) == stuffed


edgy = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"a", b"\0", b"\xff"]), max_size=30).map(
    b"".join
)


@given(edgy, st.lists(st.integers(0, 60), max_size=6), st.binary(max_size=5))
def test_round_trip_in_any_segmentation(content, cuts, trailing):
    content += b"\r\n"
    sent = dot_stuff(content) + trailing
    edges = sorted({0, len(sent), *(cut for cut in cuts if cut < len(sent))})
    receiver, received, rest = receive([sent[a:b] for a, b in itertools.pairwise(edges)])
    assert receiver.complete
    assert (received, rest) == (content, trailing)


@given(edgy)
def test_the_same_as_reading_line_by_line(sent):
    """An independent reading of §4.5.2: split at CRLF, a line of one dot ends, a leading dot goes."""
    lines = re.split(rb"(?<=\r\n)", sent)
    end = next((i for i, line in enumerate(lines) if line == b".\r\n"), None)
    receiver, received, _ = receive([sent])
    assert receiver.complete is (end is not None)
    if end is not None:
        assert received == b"".join(line.removeprefix(b".") for line in lines[:end])


def test_large_content_costs_no_more_than_its_copies():
    line = b"." + b"x" * 997 + b"\r\n"
    content = line * 20_000  # 20 MB, each line stuffed
    sent = dot_stuff(content)
    segments = [sent[i : i + 65_536] for i in range(0, len(sent), 65_536)]
    receiver = ContentReceiver()
    begin = time.process_time()
    size = sum(len(receiver.feed(segment)) for segment in segments)
    spent = time.process_time() - begin
    assert receiver.complete
    assert size == len(content)
    assert spent < 2.0  # about 0.05 s; a loop over octets takes more than 2
