"""RFC 5321 §4.5.2, §2.4: the octets of a message, from the client to the mailbox."""

from __future__ import annotations

import re

from smtpbench.conformance import (
    DELIVERED,
    NUL_DELIVERED,
    RECIPIENT,
    Delivery,
    Expectation,
    Message,
    Observation,
    Peer,
    case,
    each_message,
    expect,
    refused,
    taken,
    that,
)

NEEDS = (RECIPIENT, DELIVERED)
AFTER = "rfc5321.data.end-of-data-gets-one-reply"
PRINTABLE = bytes(range(0x20, 0x7F))
CONTROLS = bytes(octet for octet in range(1, 0x80) if octet not in b"\r\n" and octet not in PRINTABLE)


def holding(part: bytes) -> Expectation[Delivery]:
    """Every message delivered holds `part` as it was sent."""
    held: Expectation[Message] = that("the lines as they were sent", lambda message: message.holds(part))
    return each_message("the lines as they were sent", held)


async def treatment(peer: Peer, body: bytes, *others: tuple[str, bytes]) -> str:
    """What becomes of `body`, in words. `others` are treatments with a name, each with what then arrives."""
    await peer.until_data()
    await peer.send(peer.marked_body(body + b"\r\nend\r\n"))
    delivery = await peer.delivery(b".\r\n")
    if not delivery.messages:
        return str(delivery)
    known = [("passed on as it was", body), *others]
    names = (
        name for name, arrived in known if delivery.messages[0].holds(b"\r\n" + arrived + b"\r\nend\r\n")
    )
    return next(names, f"changed otherwise; {delivery}")


async def delivered_or_refused(peer: Peer, line: bytes) -> Observation:
    """A message with `line` is delivered with it; refusing it is stricter."""
    delivery = await peer.delivered(peer.marked_body(line))
    return expect(taken(delivery) if delivery.accepted else delivery, holding(line), stricter=refused)


open_to_choice: Expectation[str] = that("any treatment of it", bool)


@case("5321-D-16", needs=NEEDS, after=AFTER, broken_by=("leading-dot-kept", "leading-dots-all-removed"))
async def stuffed_dots_are_removed(peer: Peer) -> Observation:
    """The dot that a client adds to a line that begins with one is removed again, and no other."""
    delivery = taken(await peer.delivered(peer.marked_body(b".one\r\n..two\r\n...\r\n")))
    return expect(delivery, holding(b"\r\n.one\r\n..two\r\n...\r\n"))


@case("5321-D-16", needs=NEEDS, after=AFTER, broken_by=("leading-dot-kept", "leading-dot-removed-if-doubled"))
async def single_leading_dot_is_removed(peer: Peer) -> Observation:
    """A leading dot before other characters is removed although no second one follows it."""
    await peer.until_data()
    await peer.send(peer.marked_body(b"first\r\n.x\r\nlast\r\n"))
    return expect(taken(await peer.delivery(b".\r\n")), holding(b"\r\nfirst\r\nx\r\nlast\r\n"))


@case("5321-D-19", needs=NEEDS, after=AFTER, broken_by="adds-crlf")
async def nothing_is_added_at_the_end(peer: Peer) -> Observation:
    """The message ends with the line that was its last, and no empty line after it."""
    last: Expectation[Message] = that(
        "the last line at the end", lambda message: re.search(rb"\nlast\r?\n\Z", message.content) is not None
    )
    delivery = taken(await peer.delivered(peer.marked_body(b"first\r\nlast\r\n")))
    return expect(delivery, each_message("the last line at the end", last))


@case("5321-D-20", needs=NEEDS, after=AFTER, broken_by="drops-tildes")
async def printable_characters_are_delivered(peer: Peer) -> Observation:
    """Every printable ASCII character and the tab reach the mailbox."""
    lines = b"\r\nx" + PRINTABLE + b"\r\nx\ty\r\n"
    return expect(taken(await peer.delivered(peer.marked_body(lines))), holding(lines))


@case("5321-D-20", needs=NEEDS, after=AFTER, broken_by="drops-control-characters")
async def control_characters_are_delivered(peer: Peer) -> Observation:
    """Control characters other than NUL, CR and LF reach the mailbox."""
    line = b"\r\nx" + CONTROLS + b"y\r\n"
    return await delivered_or_refused(peer, line)


@case("5321-D-20", needs=(*NEEDS, NUL_DELIVERED), after=AFTER, broken_by="drops-control-characters")
async def nul_is_delivered(peer: Peer) -> Observation:
    """NUL, one of the 128 ASCII characters, reaches the mailbox."""
    line = b"\r\nx\0y\r\n"
    return await delivered_or_refused(peer, line)


@case("5321-D-21", needs=NEEDS, after=AFTER, broken_by="loses-trailing-blanks")
async def trailing_blanks_are_kept(peer: Peer) -> Observation:
    """Blanks and tabs at the end of a line, and a line of nothing else, are kept."""
    lines = b"\r\nspace \r\ntab\t\r\n \r\nlast\r\n"
    return expect(taken(await peer.delivered(peer.marked_body(lines))), holding(lines))


@case("5321-D-21", needs=NEEDS, after=AFTER, broken_by="escapes-from-lines")
async def lines_that_begin_with_from_can_be_told_apart(peer: Peer) -> Observation:
    """Lines that begin with From are kept, or quoted so that this can be undone."""
    lines = (b"\r\nFrom here\r\n>From there\r\nlast\r\n", b"\r\n>From here\r\n>>From there\r\nlast\r\n")
    delivery = taken(await peer.delivered(peer.marked_body(lines[0])))
    return expect(delivery, holding(lines[0]) | holding(lines[1]))


@case("5321-D-15", needs=NEEDS, after=AFTER)
async def bare_lf_in_the_body(peer: Peer) -> Observation:
    """What becomes of a bare LF in the body: refused, passed on, made a CRLF, or removed."""
    others = (("made a CRLF", b"one\r\ntwo"), ("removed", b"onetwo"), ("made a space", b"one two"))
    return expect(await treatment(peer, b"one\ntwo", *others), open_to_choice)


@case("5321-D-15", needs=NEEDS, after=AFTER)
async def bare_cr_in_the_body(peer: Peer) -> Observation:
    """What becomes of a bare CR in the body: refused, passed on, made a CRLF, or removed."""
    others = (("made a CRLF", b"one\r\ntwo"), ("removed", b"onetwo"), ("made a space", b"one two"))
    return expect(await treatment(peer, b"one\rtwo", *others), open_to_choice)


@case("5321-A-11", needs=NEEDS, after=AFTER)
async def high_bits_without_an_extension(peer: Peer) -> Observation:
    """What becomes of octets with the high bit set that no BODY parameter has announced."""
    return expect(await treatment(peer, b"caf\xe9", ("the high bit cleared", b"cafi")), open_to_choice)


@case("5321-A-13", needs=NEEDS, after=AFTER, broken_by="rewrites-subject")
async def odd_but_legal_content_is_left_alone(peer: Peer) -> Observation:
    """A header and a body that are unusual and legal are delivered as they were sent."""
    fields = (
        b"subject-of-another-kind:no space",
        b"X-Folded: one\r\n two\r\n\tthree",
        b"Comments:  two spaces",
        b"COMMENTS: again",
        b"Content-Type: application/x-unknown; a=b",
    )
    body = b"\r\n\r\n--\r\n\r\n\r\n =?utf-8?q?=3D?= %s ${x} <!-- -->\r\n"
    delivery = taken(await peer.delivered(peer.header(*fields) + body.removeprefix(b"\r\n")))
    return expect(delivery, holding(peer.header(*fields)) & holding(body))
