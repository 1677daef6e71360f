"""RFC 5321 §4.1.1.4, §2.3.8: the data end at CRLF . CRLF and nowhere else.

The first twelve cases send, inside the data, something that looks like their end and behind it the
commands of another message. A server that takes the bait answers those commands, so it is judged on the
number of its replies and on what was delivered. What it does to the bare CR, LF or NUL is its own affair.
"""

from __future__ import annotations

from smtpbench.conformance import (
    DELIVERED,
    RECIPIENT,
    Answer,
    Delivery,
    Expectation,
    Message,
    Observation,
    Peer,
    all_of,
    any_reply,
    case,
    closed_with_421,
    closed_with_refusal,
    each_message,
    expect,
    refused,
    sequence,
    severity,
    silence,
    taken,
    that,
)

NEEDS = (RECIPIENT, DELIVERED)
AFTER = "rfc5321.data.end-of-data-gets-one-reply"
PAUSE = 0.05  # seconds between octets that shall be read one by one, on a loopback or a local network
EDGES = (4096, 8192, 65536)  # sizes of read buffers in common use, in octets
END = b"\r\n.\r\n"

accepted: Expectation[Delivery] = sequence(severity(2), any_reply) | sequence(severity(2))
whole = each_message(
    "in each message delivered all that was sent",
    that("all that was sent", lambda message: message.holds(b"Subject: smuggled")),
)
not_delivered: Expectation[Delivery] = that("nothing delivered", lambda delivery: not delivery.arrived)
dropped: Expectation[Delivery] = that(
    "the connection closed without a reply", lambda answer: answer.closed and not answer.replies
)


async def bait(peer: Peer, looks_like_the_end: bytes) -> Observation:
    """Send `looks_like_the_end` inside the data with the commands of another message behind it."""
    await peer.until_data()
    await peer.send(peer.marked_body(b"first" + looks_like_the_end + peer.smuggled()))
    return expect(
        await peer.delivery(),
        accepted & whole,
        stricter=refused | closed_with_421 | closed_with_refusal | (dropped & not_delivered),
        choice=accepted & not_delivered,
    )


@case("5321-D-5", needs=NEEDS, after=AFTER, broken_by="data-ends-at-lf-dot-lf")
async def lf_dot_lf_is_not_end_of_data(peer: Peer) -> Observation:
    """LF . LF does not end the data."""
    return await bait(peer, b"\n.\n")


@case("5321-D-6", needs=NEEDS, after=AFTER, broken_by="data-ends-at-lf-dot-crlf")
async def lf_dot_crlf_is_not_end_of_data(peer: Peer) -> Observation:
    """LF . CRLF does not end the data: the line before the dot was not ended."""
    return await bait(peer, b"\n.\r\n")


@case("5321-D-7", needs=NEEDS, after=AFTER, broken_by="data-ends-at-crlf-dot-lf")
async def crlf_dot_lf_is_not_end_of_data(peer: Peer) -> Observation:
    """CRLF . LF does not end the data: the line with the dot was not ended."""
    return await bait(peer, b"\r\n.\n")


@case("5321-D-8", needs=NEEDS, after=AFTER, broken_by="data-ends-at-cr-dot-cr")
async def cr_dot_cr_is_not_end_of_data(peer: Peer) -> Observation:
    """CR . CR does not end the data."""
    return await bait(peer, b"\r.\r")


@case("5321-D-9", needs=NEEDS, after=AFTER, broken_by="data-ends-at-crlf-dot-cr")
async def crlf_dot_cr_is_not_end_of_data(peer: Peer) -> Observation:
    """CRLF . CR does not end the data."""
    return await bait(peer, b"\r\n.\r")


@case("5321-D-10", needs=NEEDS, after=AFTER, broken_by="data-ends-at-cr-dot-crlf")
async def cr_dot_crlf_is_not_end_of_data(peer: Peer) -> Observation:
    """CR . CRLF does not end the data."""
    return await bait(peer, b"\r.\r\n")


@case("5321-D-10", needs=NEEDS, after=AFTER, broken_by="data-ends-at-lf-dot-cr")
async def lf_dot_cr_is_not_end_of_data(peer: Peer) -> Observation:
    """LF . CR does not end the data."""
    return await bait(peer, b"\n.\r")


@case("5321-D-10", needs=NEEDS, after=AFTER, broken_by="data-ends-at-cr-dot-lf")
async def cr_dot_lf_is_not_end_of_data(peer: Peer) -> Observation:
    """CR . LF does not end the data."""
    return await bait(peer, b"\r.\n")


@case("5321-D-11", needs=NEEDS, after=AFTER, broken_by="data-ends-at-crcrlf-dot-crcrlf")
async def crcrlf_dot_crcrlf_is_not_end_of_data(peer: Peer) -> Observation:
    """CR CRLF . CR CRLF does not end the data: the line has a CR beside its dot."""
    return await bait(peer, b"\r\r\n.\r\r\n")


@case("5321-D-11", needs=NEEDS, after=AFTER, broken_by="data-ends-at-crlf-dot-crcrlf")
async def crlf_dot_crcrlf_is_not_end_of_data(peer: Peer) -> Observation:
    """CRLF . CR CRLF does not end the data: the line has a CR beside its dot."""
    return await bait(peer, b"\r\n.\r\r\n")


@case("5321-D-12", needs=NEEDS, after=AFTER, broken_by="data-ends-at-crlf-nul-dot-crlf")
async def crlf_nul_dot_crlf_is_not_end_of_data(peer: Peer) -> Observation:
    """CRLF NUL . CRLF does not end the data: the line has a NUL beside its dot."""
    return await bait(peer, b"\r\n\0.\r\n")


@case("5321-D-12", needs=NEEDS, after=AFTER, broken_by="data-ends-at-crlf-dot-nul-crlf")
async def crlf_dot_nul_crlf_is_not_end_of_data(peer: Peer) -> Observation:
    """CRLF . NUL CRLF does not end the data: the line has a NUL beside its dot."""
    return await bait(peer, b"\r\n.\0\r\n")


@case("5321-D-13", needs=NEEDS, after=AFTER, broken_by="data-end-needs-one-segment")
async def end_of_data_in_single_octets(peer: Peer) -> Observation:
    """CRLF . CRLF ends the data when each of its octets comes by itself, and no sooner than its last."""
    content = peer.marked_body(b"text\r\n")
    await peer.until_data()
    await peer.send(content.removesuffix(b"\r\n"))
    early = [await peer.probe(bytes([octet]), within=PAUSE) for octet in END[:-1]]
    last = taken(await peer.delivery(END[-1:]))
    arrived: Expectation[Delivery] = that(
        "the message", lambda delivery: any(item.holds(b"text\r\n") for item in delivery.messages)
    )
    return all_of(*(expect(answer, silence) for answer in early), expect(last, accepted & arrived))


@case("5321-D-14", needs=[RECIPIENT], after=AFTER, broken_by="data-end-missed-at-4096")
async def end_of_data_at_the_edges_of_buffers(peer: Peer) -> Observation:
    """CRLF . CRLF ends the data wherever the edge of a read buffer cuts it."""
    answers: list[Answer] = []
    for size in (edge - cut for edge in EDGES for cut in range(1, len(END))):
        answers.append(await peer.content_of(filled(peer, size)))
        if not answers[-1].replies:
            break
    return all_of(*(expect(answer, severity(2), choice=severity(4, 5)) for answer in answers))


def filled(peer: Peer, size: int) -> bytes:
    """A message of `size` octets in short lines, the last without its CRLF."""
    head = peer.marked_body(b"")
    full, rest = divmod(size - len(head), 64)
    return head + (b"x" * 62 + b"\r\n") * full + b"x" * rest


@case("5321-D-14", needs=NEEDS, after=AFTER, broken_by="data-ends-at-4096-dot")
async def dots_at_the_edges_of_buffers(peer: Peer) -> Observation:
    """Lines that begin with a dot do not end the data wherever the edge of a read buffer cuts them."""
    dots = b".\r\n.x\r\n" * (max(EDGES) // 9 + 1000)  # 9 octets as sent, so every cut occurs
    tail: Expectation[Message] = that("the last line", lambda message: message.holds(b"\r\ntail\r\n"))
    delivery = taken(await peer.delivered(peer.marked_body(dots + b"tail\r\n")))
    return expect(delivery, accepted & each_message("in each message delivered the last line", tail))
