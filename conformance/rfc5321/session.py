"""RFC 5321 §4.1.1, §4.1.4: the session commands EHLO, HELO, NOOP and RSET."""

from __future__ import annotations

from smtpbench.conformance import (
    RECIPIENT,
    Answer,
    Observation,
    Peer,
    Untested,
    all_of,
    any_reply,
    case,
    codes,
    expect,
    near,
    reply_that,
    severity,
    single,
)


def _done(answer: Answer) -> None:
    """What follows is about a command that was carried out."""
    if answer.severity != 2:
        raise Untested("the command was refused", str(answer))


@case("5321-B-1", "5321-A-30", broken_by=("ehlo-not-recognised", "ehlo-codes-differ"))
async def ehlo_is_supported(peer: Peer) -> Observation:
    """EHLO is answered with 250."""
    return expect(await peer.ehlo(), codes(250))


@case("5321-B-2", "5321-A-30", broken_by="helo-not-recognised")
async def helo_is_supported(peer: Peer) -> Observation:
    """HELO is answered with 250."""
    return expect(await peer.helo(), codes(250))


@case("5321-B-3", broken_by="helo-lists-extensions", after=helo_is_supported)
async def helo_gets_no_extension_list(peer: Peer) -> Observation:
    """The reply to HELO has one line; a list of extensions belongs to EHLO alone."""
    one_line = reply_that("a reply of one line", lambda reply: len(reply.lines) == 1)
    return expect(await peer.helo(), codes(250) & one_line)


@case("5321-B-12", broken_by="second-ehlo-refused")
async def second_ehlo_is_legal(peer: Peer) -> Observation:
    """EHLO may come again later in a session; if it is refused, then not as out of order."""
    await peer.until_ready()
    return expect(await peer.ehlo(), codes(250), choice=codes(500, 501, 502, 550))


@case("5321-B-11", needs=[RECIPIENT], broken_by="second-ehlo-keeps-transaction")
async def second_ehlo_clears_the_transaction(peer: Peer) -> Observation:
    """An EHLO inside a transaction leaves no recipients behind."""
    await peer.until_rcpt()
    _done(await peer.ehlo())
    return expect(await peer.command(b"DATA"), codes(503, 554), near=severity(5))


@case("5321-B-14", needs=[RECIPIENT], broken_by="helo-keeps-transaction", after=helo_is_supported)
async def helo_clears_the_transaction(peer: Peer) -> Observation:
    """A HELO inside a transaction leaves no recipients behind."""
    await peer.until_rcpt()
    _done(await peer.helo())
    return expect(await peer.command(b"DATA"), codes(503, 554), near=severity(5))


@case(
    "5321-B-21",
    "5321-A-30",
    broken_by=(
        "noop-not-answered",
        "noop-not-recognised",
        "reply-first-digit-six",
        "reply-second-digit-nine",
        "reply-code-unregistered",
    ),
)
async def noop_is_answered_250(peer: Peer) -> Observation:
    """NOOP is answered with 250."""
    await peer.until_ready()
    return expect(await peer.command(b"NOOP"), codes(250))


@case("5321-A-20", broken_by="two-replies-to-noop")
async def noop_gets_one_reply(peer: Peer) -> Observation:
    """A command is answered once."""
    await peer.until_ready()
    return expect(await peer.command(b"NOOP", extra=True), single(any_reply))


@case("5321-B-16", broken_by="noop-needs-ehlo", after=noop_is_answered_250)
async def noop_before_ehlo(peer: Peer) -> Observation:
    """NOOP is answered as usual before EHLO has been said."""
    return expect(await peer.command(b"NOOP"), codes(250))


@case("5321-B-22", broken_by="noop-refuses-argument", after=noop_is_answered_250)
async def noop_ignores_an_argument(peer: Peer) -> Observation:
    """NOOP takes a string and makes nothing of it."""
    await peer.until_ready()
    return expect(await peer.command(b"NOOP hello"), codes(250))


@case(
    "5321-B-23",
    needs=[RECIPIENT],
    broken_by="noop-resets",
    after=(noop_gets_one_reply, "rfc5321.data.data-is-answered-354"),
)
async def noop_keeps_the_transaction(peer: Peer) -> Observation:
    """NOOP between RCPT and DATA changes nothing."""
    await peer.until_rcpt()
    await peer.command(b"NOOP")
    return expect(await peer.command(b"DATA"), codes(354))


@case("5321-B-24", "5321-A-30", broken_by="rset-not-recognised")
async def rset_is_answered_250(peer: Peer) -> Observation:
    """RSET is answered with 250 in a transaction."""
    await peer.until_mail()
    return expect(await peer.command(b"RSET"), codes(250))


@case("5321-B-20", broken_by="rset-needs-ehlo", after=rset_is_answered_250)
async def rset_before_ehlo(peer: Peer) -> Observation:
    """RSET is answered as usual before EHLO has been said."""
    return expect(await peer.command(b"RSET"), codes(250))


@case("5321-B-26", broken_by="rset-closes", after=rset_is_answered_250)
async def rset_keeps_the_connection(peer: Peer) -> Observation:
    """The connection stays open after RSET."""
    await peer.until_ready()
    await peer.command(b"RSET")
    return expect(await peer.ehlo(), any_reply)


@case("5321-B-25", needs=[RECIPIENT], broken_by="rset-keeps-transaction", after=rset_keeps_the_connection)
async def rset_clears_the_transaction(peer: Peer) -> Observation:
    """After RSET there is neither a sender nor a recipient."""
    await peer.until_rcpt()
    await peer.command(b"RSET")
    data = expect(await peer.command(b"DATA"), codes(503, 554), near=severity(5))
    other = peer.new_session()
    await other.until_mail()
    await other.command(b"RSET")
    rcpt = await other.command(b"RCPT TO:<%s>" % peer.recipient.encode())
    return all_of(data, expect(rcpt, codes(503) | near(severity(5))))


@case("5321-B-27", broken_by="rset-refused-when-idle", after=rset_is_answered_250)
async def rset_without_a_transaction(peer: Peer) -> Observation:
    """RSET where there is nothing to reset is answered like any other."""
    await peer.until_ready()
    return expect(await peer.command(b"RSET"), codes(250))


@case("5321-A-31", broken_by="rset-accepts-argument")
async def rset_with_an_argument(peer: Peer) -> Observation:
    """RSET takes no argument."""
    await peer.until_ready()
    return expect(await peer.command(b"RSET now"), codes(501), near=severity(5))
