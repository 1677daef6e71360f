"""RFC 3030, CHUNKING and BINARYMIME: content in chunks of a stated length."""

from __future__ import annotations

from smtpbench.conformance import (
    DELIVERED,
    EXTENSION,
    NUL_DELIVERED,
    RECIPIENT,
    TLS_EXTENSION,
    Answer,
    Delivery,
    Expectation,
    Message,
    Observation,
    Peer,
    Untested,
    all_of,
    any_reply,
    case,
    closed,
    codes,
    each_message,
    expect,
    one_message,
    refused,
    severity,
    silence,
    single,
    taken,
    that,
)

CHUNKING = EXTENSION("CHUNKING")
BINARYMIME = EXTENSION("BINARYMIME")
NEEDS = (CHUNKING, RECIPIENT)
SEEN = (CHUNKING, RECIPIENT, DELIVERED)
AFTER = "rfc5321.data.end-of-data-gets-one-reply"
ALL_OCTETS = bytes(range(256))


def chunk(octets: bytes, last: bytes = b"") -> bytes:
    """BDAT with `octets`; `last` is what stands behind the size."""
    return b"BDAT %d%s\r\n%s" % (len(octets), last, octets)


async def bdat(peer: Peer, octets: bytes, last: bytes = b"") -> Answer:
    """Send one chunk and read one reply."""
    await peer.send(chunk(octets, last))
    return await peer.read()


def holding(part: bytes) -> Expectation[Delivery]:
    """Every message delivered holds `part`."""
    held: Expectation[Message] = that("the octets as sent", lambda message: message.holds(part))
    return each_message("the octets as they were sent", held)


async def in_step(peer: Peer) -> Observation:
    """The session goes on in step: a command has one reply."""
    return expect(await peer.command(b"MAIL FROM:<>", extra=True), single(any_reply))


@case("3030-1", needs=NEEDS, broken_by="data-250")
async def data_is_still_supported(peer: Peer) -> Observation:
    """DATA works beside BDAT."""
    await peer.until_rcpt()
    return expect(await peer.command(b"DATA"), codes(354), untested=severity(4))


@case("3030-2", needs=NEEDS, broken_by="bdat-chunk-answered-354")
async def each_chunk_is_answered(peer: Peer) -> Observation:
    """Every chunk that was received is answered with 250."""
    await peer.until_rcpt()
    content = peer.marked_body(b"text\r\n")
    answers = (await bdat(peer, content[:50]), await bdat(peer, content[50:], b" LAST"))
    return all_of(*(expect(answer, codes(250), untested=severity(4)) for answer in answers))


@case("3030-3", "3030-13", needs=SEEN, broken_by="bdat-empty-chunk-refused")
async def last_chunk_can_be_empty(peer: Peer) -> Observation:
    """A last chunk of no octets, with LAST in lower case, ends the message."""
    await peer.until_rcpt()
    await bdat(peer, peer.marked_body(b"text\r\n"))
    delivery = await peer.delivery(b"BDAT 0 last\r\n")
    return expect(delivery, holding(b"\r\ntext\r\n"), untested=severity(4) | codes(550, 552, 554))


@case("3030-4", needs=NEEDS, after=AFTER, broken_by="transaction-kept-after-data")
async def chunk_after_the_last(peer: Peer) -> Observation:
    """BDAT after BDAT LAST is answered with 503."""
    await peer.until_rcpt()
    await bdat(peer, peer.marked_body(b"text\r\n"), b" LAST")
    return expect(await bdat(peer, b"more\r\n", b" LAST"), codes(503), near=severity(4, 5))


@case("3030-5", "3030-15", needs=[CHUNKING], broken_by="bdat-failed-not-discarded")
async def chunk_of_a_failed_bdat_is_discarded(peer: Peer) -> Observation:
    """The octets of a BDAT out of sequence are not read as commands."""
    await peer.until_ready()
    answer = await bdat(peer, b"NOOP\r\n" * 3, b" LAST")
    return all_of(expect(answer, codes(503), near=severity(4, 5)), await in_step(peer))


@case(
    "3030-6",
    needs=[CHUNKING, EXTENSION("PIPELINING")],
    broken_by=("bdat-failed-not-discarded", "pipelined-input-lost"),
)
async def chunks_behind_a_failed_one_are_discarded(peer: Peer) -> Observation:
    """Chunks in the segment of a BDAT that fails are discarded too, each with one reply."""
    await peer.until_ready()
    await peer.send(chunk(b"NOOP\r\n") + chunk(b"NOOP\r\n" * 2) + chunk(b"NOOP\r\n", b" LAST"))
    answer = await peer.read(3)
    failed: Expectation[Answer] = that(
        "three refusals", lambda answer: [reply.severity in (4, 5) for reply in answer.replies] == [True] * 3
    )
    return all_of(expect(answer, failed), await in_step(peer))


@case("3030-7", needs=NEEDS, broken_by="data-after-bdat-accepted")
async def data_after_bdat(peer: Peer) -> Observation:
    """DATA in a transaction that has had a BDAT is answered with 503."""
    await peer.until_rcpt()
    await bdat(peer, peer.marked_body(b"text\r\n"))
    return expect(await peer.command(b"DATA"), codes(503), near=severity(4, 5))


@case("3030-8", needs=SEEN, broken_by="rset-keeps-chunks")
async def rset_discards_the_chunks(peer: Peer) -> Observation:
    """RSET after a chunk throws it away: the next message has nothing of it."""
    await peer.until_rcpt()
    await bdat(peer, b"X-Stale: yes\r\n")
    await peer.command(b"RSET")
    await peer.command(b"MAIL FROM:<%s>" % peer.sender.encode())
    await peer.command(b"RCPT TO:<%s>" % peer.recipient.encode())
    await peer.send(chunk(peer.marked_body(b"text\r\n"), b" LAST"))
    fresh: Expectation[Message] = that("nothing of it", lambda message: b"X-Stale" not in message.raw)
    return expect(taken(await peer.delivery(b"")), each_message("nothing of the first chunk", fresh))


@case("3030-9", needs=SEEN, broken_by="bdat-unstuffs-dots")
async def dots_are_content(peer: Peer) -> Observation:
    """Lines that begin with a dot, and a line of a dot alone, are delivered as they are."""
    lines = b"\r\n.one\r\n..two\r\n.\r\nlast\r\n"
    await peer.until_rcpt()
    await peer.send(chunk(peer.marked_body(lines), b" LAST"))
    return expect(taken(await peer.delivery(b"")), holding(lines))


@case("3030-11", needs=NEEDS, broken_by="bdat-without-size-accepted")
async def bdat_without_a_size_is_a_syntax_error(peer: Peer) -> Observation:
    """BDAT without a size, or with one that is no number, is answered with 501.

    What follows such a line cannot be told from commands, so to end the session there is stricter.
    """
    seen = []
    for line in (b"BDAT", b"BDAT x"):
        session = peer.new_session()
        await session.until_rcpt()
        seen.append(
            expect(await session.command(line), codes(501), near=severity(5), stricter=codes(421, 521))
        )
    return all_of(*seen)


@case("3030-14", needs=SEEN, broken_by="bdat-ends-lines-at-cuts")
async def cuts_leave_no_trace(peer: Peer) -> Observation:
    """Chunks that are cut inside a CRLF are put together without a trace."""
    lines = b"\r\none\r\ntwo\r\n"
    content = peer.marked_body(lines)
    cut = content.index(b"\ntwo")
    await peer.until_rcpt()
    await bdat(peer, content[:cut])
    await peer.send(chunk(content[cut:], b" LAST"))
    return expect(taken(await peer.delivery(b"")), holding(lines))


@case("3030-16", needs=[BINARYMIME], broken_by="binarymime-without-chunking")
async def binarymime_comes_with_chunking(peer: Peer) -> Observation:
    """A server that offers BINARYMIME offers CHUNKING too."""
    both: Expectation[str] = that("CHUNKING beside BINARYMIME", lambda seen: "CHUNKING" in seen.split())
    return expect(" ".join(await peer.until_ready()), both)


@case("3030-19", needs=[CHUNKING], broken_by="chunking-keyword-with-number")
async def keywords_have_no_parameter(peer: Peer) -> Observation:
    """The CHUNKING and BINARYMIME keywords stand alone."""
    offered = await peer.until_ready()
    seen = [" ".join((key, *offered[key])) for key in ("CHUNKING", "BINARYMIME") if key in offered]
    alone: Expectation[str] = that("no parameter", lambda seen: " " not in seen)
    return all_of(*(expect(line, alone) for line in seen))


@case("3030-17", needs=[BINARYMIME, RECIPIENT], broken_by="data-after-binarymime-accepted")
async def data_with_binarymime(peer: Peer) -> Observation:
    """DATA after BODY=BINARYMIME is answered with 503."""
    await peer.until_mail(BODY="BINARYMIME")
    await peer.until_rcpt()
    return expect(await peer.command(b"DATA"), codes(503), near=severity(4, 5))


@case(
    "3030-18",
    needs=[BINARYMIME, RECIPIENT, DELIVERED, NUL_DELIVERED],
    broken_by=("strips-eighth-bit", "drops-control-characters"),
)
async def binary_content_is_preserved(peer: Peer) -> Observation:
    """All 256 octets are delivered as they were sent."""
    await peer.until_mail(BODY="BINARYMIME")
    await peer.until_rcpt()
    fields = (b"MIME-Version: 1.0", b"Content-Transfer-Encoding: binary")
    await peer.send(chunk(peer.marked_body(ALL_OCTETS + b"\r\n", *fields), b" LAST"))
    return expect(taken(await peer.delivery(b"")), holding(ALL_OCTETS))


@case("3030-10", needs=SEEN, after=AFTER, broken_by="bdat-ends-at-a-dot")
async def line_ends_in_a_chunk_end_nothing(peer: Peer) -> Observation:
    """CR and LF in a chunk, bare ones and those about a dot, do not end it."""
    body = b"first\n.\nNOOP\r.\rNOOP\r\n.\r\nNOOP\r\nlast\r\n"
    await peer.until_rcpt()
    await peer.send(chunk(peer.marked_body(body), b" LAST"))
    delivery = await peer.delivery(b"")
    one: Expectation[Delivery] = that(  # to the chunk and to QUIT
        "two replies and the last line delivered",
        lambda seen: len(seen.replies) <= 2 and all(message.holds(b"last\r\n") for message in seen.messages),
    )
    return expect(delivery, one_message & one, stricter=refused & one)


@case("3030-12", needs=NEEDS)
async def chunk_of_absurd_size(peer: Peer) -> Observation:
    """A BDAT of a hundred thousand million octets: refused at once, or waited for."""
    await peer.until_rcpt()
    answer = await peer.probe(b"BDAT 99999999999 LAST\r\n")
    peer.drop()
    ended = severity(4, 5) | closed
    return expect(answer, ended, choice=silence)


@case("3030-20", needs=[TLS_EXTENSION("CHUNKING"), RECIPIENT])
async def chunk_cut_off_by_the_end_of_tls(peer: Peer) -> Observation:
    """A TLS session that ends in the middle of a chunk: the next client is greeted all the same."""
    await peer.until_greeted()
    if not peer.session.tls_active:
        await peer.ehlo()
        if (await peer.starttls()).code != 220:
            raise Untested("STARTTLS was not accepted")
    await peer.until_rcpt()
    await peer.send(b"BDAT 1000 LAST\r\n" + b"x" * 10)
    await peer.disconnect()
    return expect(await peer.new_session().connect(), codes(220), untested=severity(4))
