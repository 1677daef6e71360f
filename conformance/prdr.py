"""PRDR (draft-hall-prdr): a reply for each recipient after the content, as LMTP has it."""

from __future__ import annotations

from smtpbench.conformance import (
    EXTENSION,
    RECIPIENT,
    SECOND_RECIPIENT,
    Answer,
    Observation,
    Peer,
    case,
    codes,
    expect,
    sequence,
    severity,
)

DECIDED = severity(2, 4, 5)


@case("MISC-37", needs=[EXTENSION("PRDR"), RECIPIENT, SECOND_RECIPIENT], broken_by="prdr-ends-early")
async def each_recipient_gets_its_reply(peer: Peer) -> Observation:
    """The content for two recipients is answered with 353, a reply for each, and one for all."""
    await peer.until_mail(PRDR=None)
    await peer.until_rcpt(peer.recipient, peer.second_recipient)
    first = await peer.content(peer.marked_body(b"text\r\n"))
    if first.code != 353:
        return expect(first, codes(353))
    rest = await peer.read(3)
    answer = Answer(first.asked, first.replies + rest.replies, rest.ending, rest.waited)
    return expect(answer, sequence(codes(353), DECIDED, DECIDED, DECIDED))
