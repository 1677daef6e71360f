"""RFC 2033, LMTP: where it is not SMTP."""

from __future__ import annotations

from smtpbench.conformance import (
    DELIVERED,
    ENDPOINT,
    RECIPIENT,
    SECOND_RECIPIENT,
    Answer,
    Delivery,
    Expectation,
    Observation,
    Peer,
    Role,
    Untested,
    all_of,
    any_reply,
    case,
    closed,
    codes,
    expect,
    not_severity,
    sequence,
    severity,
    that,
)

LMTP = ENDPOINT(Role.LMTP)
a_fate = severity(2, 4, 5)


async def replies_to(peer: Peer, octets: bytes, count: int) -> Answer:
    """`count` replies to `octets`, and those that come after them unasked."""
    await peer.send(octets)
    answer = await peer.read(count)
    more = await peer.settle()
    return Answer(b"", answer.replies + more.replies, answer.ending)


@case("2033-1", needs=[LMTP], broken_by="lmtp-accepts-ehlo")
async def helo_and_ehlo_are_refused(peer: Peer) -> Observation:
    """Neither HELO nor EHLO gets a positive reply."""
    seen = []
    for verb in (b"HELO", b"EHLO"):
        answer = await peer.new_session().command(verb + b" client.example.org")
        seen.append(expect(answer, not_severity(2), stricter=closed))
    return all_of(*seen)


@case("2033-3", needs=[LMTP], broken_by="data-needs-no-rcpt")
async def data_needs_a_recipient(peer: Peer) -> Observation:
    """DATA in a transaction without a recipient is answered 503."""
    await peer.until_mail()
    return expect(await peer.command(b"DATA"), codes(503), near=severity(5), untested=severity(4))


@case("2033-4", needs=[LMTP, RECIPIENT, SECOND_RECIPIENT], broken_by="lmtp-one-reply")
async def each_recipient_gets_its_reply(peer: Peer) -> Observation:
    """The end of data is answered once for each of two recipients."""
    await peer.until_rcpt(peer.recipient, peer.second_recipient)
    await peer.until_data()
    answer = await replies_to(peer, peer.marked_body(b"text\r\n.\r\n"), 2)
    return expect(answer, sequence(a_fate, a_fate))


@case("2033-5", needs=[LMTP, RECIPIENT], broken_by="lmtp-one-reply")
async def a_recipient_named_twice_gets_two_replies(peer: Peer) -> Observation:
    """The end of data is answered twice for a recipient that was accepted twice."""
    await peer.until_rcpt(peer.recipient, peer.recipient)
    await peer.until_data()
    answer = await replies_to(peer, peer.marked_body(b"text\r\n.\r\n"), 2)
    return expect(answer, sequence(a_fate, a_fate))


@case("2033-7", needs=[LMTP, RECIPIENT, SECOND_RECIPIENT], broken_by="lmtp-one-reply")
async def the_last_chunk_gets_a_reply_for_each_recipient(peer: Peer) -> Observation:
    """BDAT LAST is answered once for each of two recipients."""
    if "CHUNKING" not in await peer.until_ready():
        raise Untested("CHUNKING is not offered")
    await peer.until_rcpt(peer.recipient, peer.second_recipient)
    content = peer.marked_body(b"text\r\n")
    answer = await replies_to(peer, b"BDAT %d LAST\r\n" % len(content) + content, 2)
    return expect(answer, sequence(a_fate, a_fate))


@case("2033-9", needs=[LMTP], broken_by="lmtp-without-pipelining")
async def pipelining_and_enhanced_codes_are_offered(peer: Peer) -> Observation:
    """LHLO lists PIPELINING and ENHANCEDSTATUSCODES."""
    both: Expectation[str] = that(
        "PIPELINING and ENHANCEDSTATUSCODES",
        lambda seen: {"PIPELINING", "ENHANCEDSTATUSCODES"} <= set(seen.split()),
    )
    return expect(" ".join(await peer.until_ready()), both)


@case("2033-2", needs=[LMTP], broken_by="lhlo-without-extensions")
async def lhlo_lists_the_extensions(peer: Peer) -> Observation:
    """LHLO is answered 250 with the extensions, as EHLO is in SMTP."""
    await peer.until_greeted()
    answer = await peer.ehlo()
    listed: Expectation[Answer] = that("a list of extensions", lambda answer: len(answer.lines) > 1)
    return expect(answer, codes(250) & listed, untested=severity(4))


@case("2033-6", needs=[LMTP, RECIPIENT, SECOND_RECIPIENT, DELIVERED], broken_by="lmtp-second-copy-lost")
async def each_positive_reply_stands_for_a_copy(peer: Peer) -> Observation:
    """As many copies are delivered as recipients got a positive reply after the end of data."""
    await peer.until_rcpt(peer.recipient, peer.second_recipient)
    await peer.until_data()
    await peer.send(peer.marked_body(b"text\r\n"))
    delivery = await peer.delivery(b".\r\n", recipients=2)
    positive = sum(reply.severity == 2 for reply in delivery.replies[:2])
    if not positive:
        raise Untested("no recipient got a positive reply", str(delivery))
    copies: Expectation[Delivery] = that(f"{positive} delivered", lambda seen: seen.arrived == positive)
    return expect(delivery, copies)


@case("2033-8", needs=[LMTP, RECIPIENT, SECOND_RECIPIENT], broken_by="lmtp-chunk-answered-for-each")
async def a_chunk_that_is_not_the_last_gets_one_reply(peer: Peer) -> Observation:
    """BDAT without LAST is answered once, though there are two recipients."""
    if "CHUNKING" not in await peer.until_ready():
        raise Untested("CHUNKING is not offered")
    await peer.until_rcpt(peer.recipient, peer.second_recipient)
    content = peer.marked_body(b"text\r\n")
    answer = await replies_to(peer, b"BDAT %d\r\n" % len(content) + content, 1)
    return expect(answer, sequence(any_reply))


@case("2033-10", needs=[LMTP], broken_by="lmtp-without-8bitmime")
async def eight_bit_content_is_offered(peer: Peer) -> Observation:
    """LHLO lists 8BITMIME."""
    listed: Expectation[str] = that("8BITMIME", lambda seen: "8BITMIME" in seen.split())
    return expect(" ".join(await peer.until_ready()), listed)
