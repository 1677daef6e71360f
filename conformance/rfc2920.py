"""RFC 2920, PIPELINING: commands in groups."""

from __future__ import annotations

from smtpbench.conformance import (
    DELIVERED,
    EXTENSION,
    RECIPIENT,
    UNKNOWN_RECIPIENT,
    Answer,
    Expectation,
    Observation,
    Peer,
    Untested,
    any_reply,
    case,
    codes,
    expect,
    nothing_delivered,
    sequence,
    severity,
    that,
)

PIPELINING = EXTENSION("PIPELINING")
AFTER = "rfc5321.data.end-of-data-gets-one-reply"


def mail(peer: Peer) -> bytes:
    """The MAIL line."""
    return b"MAIL FROM:<%s>" % peer.sender.encode()


def rcpt(recipient: str) -> bytes:
    """The RCPT line for `recipient`."""
    return b"RCPT TO:<%s>" % recipient.encode()


def known(answer: Answer) -> Answer:
    """`answer`; untested if one of its replies is a temporary refusal."""
    if any(reply.severity == 4 for reply in answer.replies):
        raise Untested("a temporary refusal", str(answer))
    return answer


@case("2920-10", needs=[PIPELINING])
async def keyword_has_no_parameter(peer: Peer) -> Observation:
    """The PIPELINING keyword stands alone."""
    values = (await peer.until_ready())["PIPELINING"]
    alone: Expectation[str] = that("PIPELINING", lambda seen: seen == "PIPELINING")
    return expect(" ".join(("PIPELINING", *values)), alone)


@case(
    "2920-1",
    needs=[PIPELINING, RECIPIENT, UNKNOWN_RECIPIENT],
    broken_by=("pipelined-replies-out-of-order", "pipelined-input-lost"),
)
async def replies_come_in_order(peer: Peer) -> Observation:
    """The replies to a group come in the order of its commands, a refused one among them."""
    await peer.until_mail()
    group = (rcpt(peer.recipient), rcpt(peer.unknown_recipient), b"DATA")
    answer = known(await peer.pipeline(*group))
    if len(answer.replies) > 1 and answer.replies[1].severity == 2:
        raise Untested("the unknown recipient was not refused", str(answer))
    return expect(answer, sequence(codes(250, 251), severity(5), severity(2, 3, 5)))


@case(
    "2920-2", needs=[PIPELINING, UNKNOWN_RECIPIENT], broken_by=("data-needs-no-rcpt", "pipelined-input-lost")
)
async def data_without_a_recipient_is_refused(peer: Peer) -> Observation:
    """DATA behind a RCPT that was refused, in one group, is refused too."""
    await peer.until_mail()
    answer = known(await peer.pipeline(rcpt(peer.unknown_recipient), b"DATA"))
    if answer.severity == 2:
        raise Untested("the unknown recipient was not refused", str(answer))
    return expect(answer, sequence(severity(5), severity(5)))


@case("2920-3", needs=[PIPELINING, UNKNOWN_RECIPIENT, DELIVERED])
async def nothing_is_sent_for_no_recipient(peer: Peer) -> Observation:
    """An empty message after a DATA that was let in without a recipient goes to nobody."""
    domain = peer.sender.rpartition("@")[2]
    await peer.until_mail(f"{peer.marker.decode()}@{domain}")  # found by its Return-Path
    answer = await peer.pipeline(rcpt(peer.unknown_recipient), b"DATA")
    if answer.severity == 2 or answer.replies[-1].code != 354:
        raise Untested("DATA was not let in, or the recipient was", str(answer))
    await peer.command(b".")
    return expect(await peer.nothing_arrived(), nothing_delivered)


@case("2920-4", "2920-6", needs=[PIPELINING, RECIPIENT], broken_by="noop-not-answered")
async def replies_are_not_held_back(peer: Peer) -> Observation:
    """All replies to a group that ends with NOOP come without further input."""
    await peer.until_ready()
    answer = known(await peer.pipeline(mail(peer), rcpt(peer.recipient), b"NOOP"))
    return expect(answer, sequence(any_reply, any_reply, any_reply))


@case(
    "2920-8",
    "2920-5",
    needs=[PIPELINING],
    broken_by="pipelined-input-lost",
)
async def nothing_behind_a_refused_command_is_lost(peer: Peer) -> Observation:
    """What follows a command that is not recognised, in the same segment, is answered."""
    await peer.until_ready()
    answer = await peer.pipeline(b"RSET", b"XNOSUCH", b"RSET", b"RSET")
    return expect(answer, sequence(any_reply, any_reply, any_reply, any_reply))


@case(
    "2920-9",
    needs=[PIPELINING, RECIPIENT],
    after=AFTER,
    broken_by=("one-transaction-only", "transaction-kept-after-data"),
)
async def content_begins_a_group(peer: Peer) -> Observation:
    """The end of a message and the MAIL and RCPT of the next can come in one segment."""
    await peer.until_data()
    group = peer.marked_body(b"text\r\n") + b".\r\n" + mail(peer) + b"\r\n" + rcpt(peer.recipient) + b"\r\n"
    await peer.send(group)
    answer = known(await peer.read(3))
    if answer.severity == 5:
        raise Untested("the message was refused", str(answer))
    return expect(answer, sequence(codes(250), codes(250), codes(250, 251)))


@case("2920-14", needs=[PIPELINING, RECIPIENT], after=AFTER, broken_by="quit-without-reply")
async def quit_behind_the_end_of_data(peer: Peer) -> Observation:
    """QUIT in the segment of the end of data is answered after it."""
    await peer.until_data()
    await peer.send(peer.marked_body(b"text\r\n") + b".\r\nQUIT\r\n")
    return expect(await peer.until_closed(), sequence(severity(2, 4, 5), any_reply))
