"""RFC 5321 §4.1.4: commands that come before the session has been opened with EHLO."""

from __future__ import annotations

from smtpbench.conformance import (
    Answer,
    Observation,
    Peer,
    case,
    codes,
    expect,
    not_codes,
    put_off,
    severity,
)


async def first(peer: Peer, line: bytes) -> Answer:
    """The reply to `line` as the first command of a session."""
    await peer.until_greeted()
    return await peer.command(line)


@case("5321-B-16", broken_by="noop-needs-ehlo", after="rfc5321.noop.noop-is-answered-250")
async def noop_before_ehlo(peer: Peer) -> Observation:
    """NOOP before EHLO is processed as usual."""
    return expect(await first(peer, b"NOOP"), not_codes(503), untested=put_off)


@case("5321-B-17", broken_by="help-needs-ehlo")
async def help_before_ehlo(peer: Peer) -> Observation:
    """HELP before EHLO is processed as usual."""
    return expect(await first(peer, b"HELP"), not_codes(503), untested=put_off)


@case("5321-B-18", broken_by="vrfy-needs-ehlo")
async def vrfy_before_ehlo(peer: Peer) -> Observation:
    """VRFY before EHLO is processed as usual."""
    return expect(await first(peer, b"VRFY postmaster"), not_codes(503), untested=put_off)


@case("5321-B-19", broken_by="expn-needs-ehlo")
async def expn_before_ehlo(peer: Peer) -> Observation:
    """EXPN before EHLO is processed as usual."""
    return expect(await first(peer, b"EXPN postmaster"), not_codes(503), untested=put_off)


@case("5321-B-20", broken_by="rset-needs-ehlo")
async def rset_before_ehlo(peer: Peer) -> Observation:
    """RSET before EHLO is processed as usual."""
    return expect(await first(peer, b"RSET"), not_codes(503), untested=put_off)


@case("5321-B-15", broken_by="mail-needs-no-ehlo")
async def mail_before_ehlo(peer: Peer) -> Observation:
    """A client says EHLO before MAIL; whether the server insists on it is the server's choice."""
    answer = await first(peer, b"MAIL FROM:<%s>" % peer.sender.encode())
    return expect(answer, codes(503), choice=severity(4, 5))
