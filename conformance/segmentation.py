"""The same octets in other TCP segments: no reply and no delivered octet depends on the cut."""

from __future__ import annotations

from collections.abc import Sequence

from smtpbench.conformance import (
    EXTENSION,
    RECIPIENT,
    SECOND_RECIPIENT,
    Observation,
    Peer,
    Role,
    Step,
    by_segments,
    case,
)

PIPELINING = EXTENSION("PIPELINING")
CHUNKING = EXTENSION("CHUNKING")
DEADLINE = 60.0
DATA, QUIT = Step(b"DATA\r\n"), Step(b"QUIT\r\n", 0)  # the reply to QUIT is read with the close


def mail(peer: Peer, parameter: bytes = b"") -> Step:
    """MAIL with the fixture's sender."""
    return Step(b"MAIL FROM:<%s>%s\r\n" % (peer.sender.encode(), parameter))


def rcpt(recipient: str) -> Step:
    """RCPT."""
    return Step(b"RCPT TO:<%s>\r\n" % recipient.encode())


def stuffed(content: bytes, recipients: int = 1) -> Step:
    """Content that is dot-stuffed already, and the end of data."""
    return Step(content + b".\r\n", recipients)


def chunk(octets: bytes, last: bytes = b"") -> Step:
    """BDAT and its chunk."""
    return Step(b"BDAT %d%s\r\n%s" % (len(octets), last, octets))


def group(*steps: Step) -> Step:
    """All steps in one write."""
    return Step(b"".join(step.octets for step in steps), sum(step.replies for step in steps))


@case(
    "5321-A-5",
    "5321-D-53",
    "5321-D-13",
    needs=[RECIPIENT],
    broken_by=("line-ends-at-segment-with-cr", "each-read-is-a-line", "end-of-data-in-one-segment"),
    deadline=DEADLINE,
)
async def transaction(peer: Peer) -> Observation:
    """A transaction, command by command, goes the same way however its octets are cut."""

    def dialogue(tag: bytes) -> Sequence[Step]:
        content = stuffed(peer.marked_body(b"text\r\n", tag))
        return Step(b"NOOP\r\n"), mail(peer), rcpt(peer.recipient), DATA, content, QUIT

    return await by_segments(peer, dialogue)


@case(
    "5321-A-5",
    needs=[RECIPIENT, SECOND_RECIPIENT],
    broken_by=("line-ends-at-segment-with-cr", "each-read-is-a-line"),
    deadline=DEADLINE,
)
async def transaction_for_two(peer: Peer) -> Observation:
    """A transaction with two recipients and a RSET before it goes the same way however it is cut."""
    replies = 2 if peer.role is Role.LMTP else 1
    both = rcpt(peer.recipient), rcpt(peer.second_recipient)

    def dialogue(tag: bytes) -> Sequence[Step]:
        content = stuffed(peer.marked_body(b"", tag), replies)
        return mail(peer), Step(b"RSET\r\n"), mail(peer), *both, DATA, content, QUIT

    return await by_segments(peer, dialogue, copies=2)


@case(
    "5321-D-14",
    "5321-D-16",
    needs=[RECIPIENT],
    broken_by=("segment-begins-a-line", "end-of-data-in-one-segment"),
    deadline=DEADLINE,
)
async def dots(peer: Peer) -> Observation:
    """Dots at the edges of lines are unstuffed, or end the data, whatever segment they are in."""
    lines = b"..one\r\n....\r\nx.\r\n.. \r\ny..z\r\n..\r\n"

    def dialogue(tag: bytes) -> Sequence[Step]:
        return mail(peer), rcpt(peer.recipient), DATA, stuffed(peer.marked_body(lines, tag)), QUIT

    return await by_segments(peer, dialogue)


@case(
    "2920-8",
    "2920-1",
    needs=[PIPELINING, RECIPIENT],
    broken_by=("each-read-is-a-line", "unfinished-line-lost-in-group"),
    deadline=DEADLINE,
)
async def pipelined_group(peer: Peer) -> Observation:
    """A group of commands, and content with QUIT behind it, go the same way however they are cut."""

    def dialogue(tag: bytes) -> Sequence[Step]:
        commands = group(mail(peer), Step(b"RSET\r\n"), mail(peer), rcpt(peer.recipient), DATA)
        return commands, group(stuffed(peer.marked_body(b"text\r\n", tag)), QUIT)

    return await by_segments(peer, dialogue)


@case(
    "3030-2",
    "3030-10",
    "3030-14",
    needs=[CHUNKING, RECIPIENT],
    broken_by=("chunk-ends-with-the-read", "each-read-is-a-line"),
    deadline=DEADLINE,
)
async def chunks(peer: Peer) -> Observation:
    """Chunks, the last of them of no octets, are counted whatever segments they come in."""

    def dialogue(tag: bytes) -> Sequence[Step]:
        first = chunk(peer.marked_body(b"", tag))
        rest = chunk(b".\r\n.\r\nQUIT\r"), chunk(b"\nlast\r\n"), chunk(b"", b" LAST")
        return mail(peer), rcpt(peer.recipient), first, *rest, QUIT

    return await by_segments(peer, dialogue, more={2: (2, 6), 3: (7,)})


@case(
    "3030-2",
    "2920-8",
    needs=[CHUNKING, PIPELINING, RECIPIENT],
    broken_by=("chunk-ends-with-the-read", "unfinished-line-lost-in-group"),
    deadline=DEADLINE,
)
async def pipelined_chunks(peer: Peer) -> Observation:
    """A group that has chunks in it goes the same way however it is cut."""

    def dialogue(tag: bytes) -> Sequence[Step]:
        content = chunk(peer.marked_body(b"", tag)), chunk(b"text\r\n"), chunk(b"", b" LAST")
        return (group(mail(peer), rcpt(peer.recipient), *content, QUIT),)

    return await by_segments(peer, dialogue)


@case(
    "6152-4",
    needs=[EXTENSION("8BITMIME"), RECIPIENT],
    broken_by="segment-ends-in-ascii",
    deadline=DEADLINE,
)
async def eight_bit_content(peer: Peer) -> Observation:
    """Octets above 127 are delivered unchanged when a segment ends inside a character."""
    fields = (
        b"MIME-Version: 1.0",
        b"Content-Type: text/plain; charset=utf-8",
        b"Content-Transfer-Encoding: 8bit",
    )

    def dialogue(tag: bytes) -> Sequence[Step]:
        content = stuffed(peer.marked_body("é €\r\n😀\r\n".encode(), tag, *fields))
        return mail(peer, b" BODY=8BITMIME"), rcpt(peer.recipient), DATA, content, QUIT

    return await by_segments(peer, dialogue)


@case("5321-D-22", needs=[RECIPIENT], broken_by="line-broken-at-segment", deadline=DEADLINE)
async def long_lines(peer: Peer) -> Observation:
    """Lines of 1000 octets are delivered unchanged when a segment ends inside them."""
    lines = (b"x" * 998 + b"\r\n") * 2

    def dialogue(tag: bytes) -> Sequence[Step]:
        return mail(peer), rcpt(peer.recipient), DATA, stuffed(peer.marked_body(lines, tag)), QUIT

    begin = len(peer.marked_body(b"", b"X-Segments: 000"))
    return await by_segments(
        peer, dialogue, more={3: (begin + 512, begin + 997, begin + 1_024, begin + 1_500)}
    )
