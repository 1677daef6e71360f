"""RFC 4468, BURL: content that the submission server fetches from an IMAP server."""

from __future__ import annotations

from smtpbench.conformance import (
    AUTH,
    DELIVERED,
    ENDPOINT,
    EXTENSION,
    RECIPIENT,
    Observation,
    Peer,
    Role,
    Untested,
    all_of,
    any_reply,
    case,
    codes,
    expect,
    near,
    nothing_delivered,
    severity,
)

BURL = (ENDPOINT(Role.SUBMISSION), EXTENSION("BURL"), AUTH)
NOWHERE = b"imap://nobody@imap.invalid/INBOX;uidvalidity=1/;uid=1;urlauth=submit+nobody:internal:" + b"0" * 32
FETCH = b"BURL " + NOWHERE + b" LAST"
refused = severity(4, 5)


async def one_chunk(peer: Peer) -> None:
    """A first BDAT that is accepted, in a transaction."""
    await peer.until_rcpt()
    content = peer.marked_body(b"text\r\n")
    await peer.send(b"BDAT %d\r\n%s" % (len(content), content))
    answer = await peer.read()
    if answer.code != 250:
        raise Untested("BDAT was not accepted", str(answer))


@case("MISC-10", needs=[*BURL, RECIPIENT], broken_by="burl-needs-no-recipient")
async def burl_needs_a_recipient(peer: Peer) -> Observation:
    """BURL is refused before MAIL, and after MAIL as long as no RCPT has succeeded."""
    await peer.until_allowed()
    before = await peer.command(FETCH)
    await peer.until_mail()
    return all_of(expect(before, refused), expect(await peer.command(FETCH), refused))


@case("MISC-10", needs=[*BURL, RECIPIENT, DELIVERED], broken_by="burl-of-nothing-is-accepted")
async def what_cannot_be_fetched_fails_the_transaction(peer: Peer) -> Observation:
    """A URL that leads nowhere is refused, and nothing of the transaction is delivered."""
    if "CHUNKING" in await peer.until_ready():
        await one_chunk(peer)
    await peer.until_rcpt()
    answer = await peer.command(FETCH)
    return all_of(expect(answer, refused), expect(await peer.nothing_arrived(), nothing_delivered))


@case("MISC-11", needs=[*BURL, EXTENSION("CHUNKING"), RECIPIENT], broken_by="burl-after-bdat-is-refused")
async def burl_can_follow_bdat(peer: Peer) -> Observation:
    """A BURL after a BDAT is not out of order; what becomes of its URL is another question."""
    await one_chunk(peer)
    return expect(await peer.command(FETCH), near(codes(500, 502, 503)) | any_reply)


@case("MISC-11", needs=[*BURL, RECIPIENT], broken_by="burl-needs-no-recipient")
async def burl_cannot_follow_data(peer: Peer) -> Observation:
    """After the end of data there is no transaction that a BURL could add to."""
    await peer.content_of(peer.marked_body(b"text\r\n"))
    return expect(await peer.command(FETCH), refused)
