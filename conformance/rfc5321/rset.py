"""RFC 5321 §4.1.1.5: RSET."""

from __future__ import annotations

from smtpbench.conformance import (
    RECIPIENT,
    Observation,
    Peer,
    any_reply,
    case,
    closed,
    codes,
    expect,
    put_off,
    severity,
)


@case("5321-B-24", "5321-A-29", "5321-A-30", broken_by="rset-not-recognised")
async def rset_is_answered_250(peer: Peer) -> Observation:
    """RSET is answered 250."""
    await peer.until_mail()
    return expect(await peer.command(b"RSET"), codes(250), untested=put_off)


@case(
    "5321-B-25",
    needs=[RECIPIENT],
    broken_by="rset-keeps-transaction",
    after=[rset_is_answered_250, "rfc5321.order.rcpt-before-mail"],
)
async def rset_clears_the_transaction(peer: Peer) -> Observation:
    """After RSET there is no transaction, so RCPT is out of order."""
    await peer.until_rcpt()
    await peer.command(b"RSET")
    rcpt = await peer.command(b"RCPT TO:<%s>" % peer.recipient.encode())
    return expect(rcpt, codes(503), near=severity(5), untested=put_off | closed)


@case("5321-B-26", broken_by="rset-closes", after=rset_is_answered_250)
async def rset_keeps_the_connection(peer: Peer) -> Observation:
    """The connection stays open after RSET."""
    await peer.until_ready()
    await peer.command(b"RSET")
    return expect(await peer.command(b"RSET"), any_reply)


@case("5321-B-27", broken_by="rset-refused-when-idle", after=rset_is_answered_250)
async def rset_without_a_transaction(peer: Peer) -> Observation:
    """RSET where there is nothing to reset is answered like any other."""
    await peer.until_ready()
    return expect(await peer.command(b"RSET"), codes(250), untested=put_off)


@case("5321-A-31", broken_by="rset-accepts-argument")
async def rset_with_an_argument(peer: Peer) -> Observation:
    """RSET takes no argument."""
    await peer.until_ready()
    return expect(await peer.command(b"RSET now"), codes(501), near=severity(5), untested=put_off)
