"""The sink's receiver: its short way does what the receiver's own does, however the octets are cut."""

import itertools
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smtpbench.server import sink_receiver
from smtpbench.server.config import ServerConfig
from smtpbench.server.dialogue import Close
from smtpbench.server.sink import Sink, sink_config
from smtpbench.server.sink_receiver import SinkReceiver
from smtpbench.wire.content import dot_stuff

ENVELOPE = b"MAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\nRCPT TO:<c@y.example>\r\n"


class Spoken:
    """A session with a sink of its own: what it said, and what it took."""

    def __init__(self, pieces, **options):
        self.taken = []
        sink = Sink(sink_config(**options), consumer=self.taken.extend)
        self.receiver = SinkReceiver(sink.config, intake=sink)
        self.said = self.receiver.greeting() + b"".join(self.receiver.feed(piece) for piece in pieces)
        self.messages = [
            (message.ordinal, message.sender, message.recipients, message.content)
            for message in sink._batch  # a hand-over takes a loop
        ]
        assert (sink.counts.messages, sink.counts.recipients, sink.counts.octets) == (
            len(self.messages),
            sum(len(message[2]) for message in self.messages),
            sum(len(message[3]) for message in self.messages),
        )

    @property
    def codes(self):
        return [int(line[:3]) for line in self.said.split(b"\r\n")[:-1] if line[3:4] == b" "]

    def same_as(self, other):
        return self.said == other.said and self.messages == other.messages


def one_octet_each(octets):
    return [octets[i : i + 1] for i in range(len(octets))]


DIALOGUES = {
    "plain": b"EHLO x.example\r\n" + ENVELOPE + b"DATA\r\nhello\r\n.\r\nQUIT\r\n",
    "helo": b"HELO x.example\r\n" + ENVELOPE + b"DATA\r\nhello\r\n.\r\nQUIT\r\n",
    "again and again": b"EHLO x.example\r\n" + (ENVELOPE + b"DATA\r\nhello\r\n.\r\n") * 3 + b"QUIT\r\n",
    "dots": b"EHLO x.example\r\n" + ENVELOPE + b"DATA\r\n..a\r\n...\r\n..\r\nb.\r\n.c\r\n.\r\nNOOP\r\n",
    "dot first": b"EHLO x.example\r\n" + ENVELOPE + b"DATA\r\n.\r\nNOOP\r\n",
    "no line end before the dot": b"EHLO x.example\r\n"
    + ENVELOPE
    + b"DATA\r\na\n.\n\n.\r\n.\n\r\n.\r\nNOOP\r\n",
    "bare ends": b"EHLO x.example\r\n" + ENVELOPE + b"DATA\r\n\r\r.\r\r\n\n.\r\n..\r\n.\r\r\n.\r\nNOOP\r\n",
    "commands in the content": b"EHLO x.example\r\n" + ENVELOPE + b"DATA\r\nQUIT\r\nDATA\r\n.\r\nQUIT\r\n",
    "chunks": b"EHLO x.example\r\n" + ENVELOPE + b"BDAT 7\r\n\r\n.\r\nab" + b"BDAT 2 LAST\r\ncdNOOP\r\n",
    "no chunk": b"EHLO x.example\r\n" + ENVELOPE + b"BDAT 0 LAST\r\nNOOP\r\n",
    "chunk without a recipient": b"EHLO x.example\r\nBDAT 5\r\nQUIT\r\nNOOP\r\n",
    "parameters": b"EHLO x.example\r\nMAIL FROM:<> SIZE=5 BODY=8BITMIME\r\nRCPT TO:<a@b.example> NOTIFY=NEVER"
    b"\r\nDATA\r\nx\r\n.\r\n",
    "unknown parameter": b"EHLO x.example\r\nMAIL FROM:<a@b.example> WRONG=1\r\nRCPT TO:<a@b.example>\r\n",
    "parameter after HELO": b"HELO x.example\r\nMAIL FROM:<a@b.example> SIZE=1\r\n",
    "utf-8": "EHLO x.example\r\nMAIL FROM:<ä@ö.example>\r\nMAIL FROM:<ä@ö.example> SMTPUTF8\r\n"
    "RCPT TO:<ü@ö.example>\r\nDATA\r\nß\r\n.\r\nRCPT TO:<ü@ö.example>\r\n".encode(),
    "order": b"MAIL FROM:<a@b.example>\r\nDATA\r\nEHLO x.example\r\nRCPT TO:<a@b.example>\r\nDATA\r\n"
    b"MAIL FROM:<a@b.example>\r\nDATA\r\nMAIL FROM:<c@d.example>\r\nRSET\r\nRCPT TO:<a@b.example>\r\n",
    "hello in a transaction": b"EHLO x.example\r\nMAIL FROM:<a@b.example>\r\nEHLO x.example\r\n"
    b"RCPT TO:<a@b.example>\r\n",
    "errors": b"FOO\r\n\r\nEHLO\r\nEHLO a b\r\nehlo x.example \r\nmail from:<a@b.example>\r\nRCPT TO:<nobody>"
    b"\r\nRCPT TO:<Postmaster>\r\nRCPT TO: <a@b.example>\r\nNO\rOP\r\nNO\nOP\r\nVRFY a\r\nHELP\r\n",
    "a space too many": b"EHLO x.example\r\nMAIL FROM: <a@b.example>\r\n"
    b"rcpt to:  <c@d.example> NOTIFY=NEVER\r\nRCPT TO: <c@d.example>\r\nDATA\r\nx\r\n.\r\n",
    "a long line": b"EHLO x.example\r\nNOOP " + b"x" * 5_000 + b"\r\nNOOP\r\n",
    "behind QUIT": b"EHLO x.example\r\nQUIT\r\n" + ENVELOPE,
}


@pytest.mark.parametrize("dialogue", DIALOGUES.values(), ids=DIALOGUES)
@pytest.mark.parametrize("options", [{}, {"lmtp": True}, {"without": frozenset({"ENHANCEDSTATUSCODES"})}])
def test_a_dialogue_is_the_same_however_it_is_cut(dialogue, options):
    if options.get("lmtp"):
        dialogue = dialogue.replace(b"EHLO", b"LHLO")
    slow = Spoken(one_octet_each(dialogue), **options)
    assert len(slow.codes) > 2
    assert Spoken([dialogue], **options).same_as(slow)
    by_line = [line + b"\r\n" for line in dialogue.split(b"\r\n")[:-1]]
    assert Spoken(by_line, **options).same_as(slow)
    edges = [match.end() for match in re.finditer(rb"[\r\n.]", dialogue)]
    for edge in edges:
        assert Spoken([dialogue[:edge], dialogue[edge:]], **options).same_as(slow), dialogue[:edge]
    for first, second in itertools.pairwise(edges):
        pieces = [dialogue[:first], dialogue[first:second], dialogue[second:]]
        assert Spoken(pieces, **options).same_as(slow), pieces


def test_the_dialogues_lead_where_they_should():
    assert Spoken([DIALOGUES["dots"]]).messages == [
        (1, b"a@x.example", (b"b@y.example", b"c@y.example"), b".a\r\n..\r\n.\r\nb.\r\nc\r\n")
    ]
    assert [m[3] for m in Spoken([DIALOGUES["dot first"]]).messages] == [b""]
    assert [m[3] for m in Spoken([DIALOGUES["chunks"]]).messages] == [b"\r\n.\r\nabcd"]
    assert [m[3] for m in Spoken([DIALOGUES["bare ends"]]).messages] == [b"\r\r.\r\r\n\n.\r\n.\r\n\r\r\n"]
    assert [m[0] for m in Spoken([DIALOGUES["again and again"]]).messages] == [1, 2, 3]
    assert Spoken([DIALOGUES["order"]]).codes == [220, 503, 503, 250, 503, 503, 250, 503, 503, 250, 503]
    assert Spoken([DIALOGUES["a space too many"]]).codes == [220, 250, 250, 250, 250, 354, 250]
    assert Spoken([DIALOGUES["plain"].replace(b"EHLO", b"LHLO")], lmtp=True).codes == [
        *(220, 250, 250, 250, 250, 354, 250, 250, 221)  # one for each recipient (RFC 2033 §4.2)
    ]


def test_the_short_way_is_gone():
    """Or else the other tests compare the long way with itself."""
    sink = Sink(sink_config())
    receiver = SinkReceiver(sink.config, intake=sink)
    receiver.feed(b"EHLO x.example\r\n")
    long_way: list[Any] = []
    receiver.on_line = lambda line: long_way.append(line)
    receiver.begin_content = lambda: long_way.append("content")
    for _ in range(2):
        for line in (*ENVELOPE.splitlines(keepends=True), b"DATA\r\n", b"hello\r\n.\r\n"):
            receiver.feed(line)
        receiver.feed(ENVELOPE + b"DATA\r\n")
        receiver.feed(b"hello\r\n.\r\n" + ENVELOPE + b"DATA\r\n")
        receiver.feed(b"hello\r\n.\r\nEHLO x.example\r\n")
    receiver.feed(b"QUIT\r\n")
    assert long_way == []
    assert sink.counts.messages == 6
    assert isinstance(receiver.action, Close)


WORDS = [
    *(
        b"EHLO x.example\r\n",
        b"HELO x.example\r\n",
        b"MAIL FROM:<a@b.example>\r\n",
        b"MAIL FROM:<> SIZE=1\r\n",
    ),
    *(b"RCPT TO:<a@b.example>\r\n", b"RCPT TO:<c@d.example>\r\n", b"RCPT TO:<Postmaster>\r\n", b"DATA\r\n"),
    *(
        b"RSET\r\n",
        b"NOOP\r\n",
        b"BDAT 3\r\n",
        b"BDAT 2 LAST\r\n",
        b"abc",
        b".",
        b"\r",
        b"\n",
        b"\r\n",
        b"\r\n.\r\n",
    ),
]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=30), st.data())
def test_whatever_is_said_the_cuts_do_not_matter(words, data):
    octets = b"EHLO x.example\r\n" + ENVELOPE + b"".join(words)
    cuts = data.draw(st.lists(st.integers(0, len(octets)), max_size=8).map(sorted))
    pieces = [octets[a:b] for a, b in itertools.pairwise([0, *cuts, len(octets)])]
    slow = Spoken(one_octet_each(octets))
    assert Spoken([octets]).same_as(slow)
    assert Spoken([piece for piece in pieces if piece]).same_as(slow)
    assert Spoken(re.findall(rb"(?s).*?\n|.+", octets)).same_as(slow)


@given(
    st.lists(st.sampled_from([b".", b"\r\n", b"\r", b"\n", b"a", b"..", b"\r\n.\r"]), max_size=40).map(
        b"".join
    )
)
def test_what_is_sent_is_what_is_taken(content):
    stuffed = dot_stuff(content)
    spoken = Spoken([b"EHLO x.example\r\n", ENVELOPE + b"DATA\r\n", stuffed])
    expected = content if content.endswith(b"\r\n") or not content else content + b"\r\n"
    assert [message[3] for message in spoken.messages] == [expected]


def test_sizes_are_bounded():
    small = Spoken([b"EHLO x.example\r\n", ENVELOPE + b"DATA\r\n", b"x" * 98 + b"\r\n.\r\n"], max_size=100)
    assert small.codes[-1] == 250
    large = Spoken(
        [b"EHLO x.example\r\n", ENVELOPE + b"DATA\r\n", b"x" * 99 + b"\r\n.\r\nNOOP\r\n"], max_size=100
    )
    assert large.codes[-2:] == [552, 250]
    assert not large.messages
    declared = Spoken([b"EHLO x.example\r\n", b"MAIL FROM:<a@b.example> SIZE=101\r\n"], max_size=100)
    assert declared.codes[-1] == 552
    many = Spoken([b"EHLO x.example\r\nMAIL FROM:<a@b.example>\r\n", *[b"RCPT TO:<c@d.example>\r\n"] * 1_001])
    assert many.codes[-2:] == [250, 452]


def test_memory_stays_bounded_while_a_line_or_a_message_has_no_end():
    sink = Sink(sink_config(max_size=10_000))
    receiver = SinkReceiver(sink.config, intake=sink)
    for _ in range(100):
        receiver.feed(b"x" * 1_000)
        assert len(receiver.input) <= ServerConfig.max_line
    receiver.feed(b"\r\nEHLO x.example\r\n" + ENVELOPE + b"DATA\r\n")
    for _ in range(100):
        receiver.feed(b"x" * 1_000)
        assert sum(map(len, receiver.transaction.content)) <= 10_000
    assert receiver.feed(b"\r\n.\r\n").startswith(b"552")


def test_what_is_remembered_is_bounded():
    for number in range(sink_receiver.KNOWN_GROUPS + 10):
        Spoken([b"EHLO c%d.example\r\n" % number, b"EHLO c%d.example\r\n" % number])
    assert 0 < len(sink_receiver._groups) <= sink_receiver.KNOWN_GROUPS
    assert sink_receiver._known_line.cache_info().currsize <= sink_receiver.KNOWN_LINES
    sink = Sink(sink_config())
    for number in range(sink_receiver.KNOWN_CLIENTS + 10):
        SinkReceiver(sink.config, intake=sink).feed(b"EHLO c%d.example\r\n" % number)
    assert len(sink.phrases.hellos) == sink_receiver.KNOWN_CLIENTS


def test_what_the_extensions_are_goes_by_the_sink():
    plain = Spoken([b"EHLO x.example\r\n"], without=frozenset({"PIPELINING", "CHUNKING"})).said
    assert b"8BITMIME" in plain
    assert b"PIPELINING" not in plain
    assert Spoken([b"EHLO x.example\r\nBDAT 1\r\n"], without=frozenset({"CHUNKING"})).codes[-1] == 502
