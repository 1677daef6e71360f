"""RFC 3848 §1: the protocol that the WITH clause of the Received line names."""

from __future__ import annotations

from smtpbench.conformance import (
    DELIVERED,
    ENDPOINT,
    RECIPIENT,
    TLS,
    Expectation,
    Observation,
    Peer,
    Role,
    Untested,
    case,
    expect,
    received_line,
    that,
    until_tls,
    with_clause,
)

NEEDS = [RECIPIENT, DELIVERED]
AFTER = "rfc5321.trace.received-line-on-top"


async def named(peer: Peer, *protocols: str) -> Observation:
    """Whether the Received line of a message that is sent now names one of `protocols`."""
    line = await received_line(peer)
    if not with_clause(line):
        raise Untested("the Received line has no WITH clause", line)
    expected: Expectation[str] = that(
        f"with {' or '.join(protocols)}", lambda seen: with_clause(seen) in protocols
    )
    return expect(line, expected)


@case("MISC-8", needs=[*NEEDS, ENDPOINT(Role.MX)], after=AFTER, broken_by="received-always-smtp")
async def esmtp_after_ehlo(peer: Peer) -> Observation:
    """A message after EHLO came with ESMTP."""
    await peer.until_ready()
    return await named(peer, "ESMTPS" if peer.session.tls_active else "ESMTP")


@case("MISC-8", needs=[*NEEDS, ENDPOINT(Role.MX)], after=AFTER, broken_by="received-always-esmtp")
async def smtp_after_helo(peer: Peer) -> Observation:
    """A message after HELO came with SMTP."""
    await peer.until_greeted()
    helo = await peer.helo()
    if helo.code != 250:
        raise Untested("HELO was not accepted", str(helo))
    # Inside TLS there is no registered word: RFC 3848 adds the S to ESMTP and LMTP alone.
    return await named(peer, "SMTP", *(("SMTPS", "ESMTPS") if peer.session.tls_active else ()))


@case("MISC-8", needs=[*NEEDS, ENDPOINT(Role.MX), TLS], after=AFTER, broken_by="received-without-tls")
async def esmtps_inside_tls(peer: Peer) -> Observation:
    """A message inside TLS came with ESMTPS."""
    await until_tls(peer)
    return await named(peer, "ESMTPS")


@case("MISC-8", needs=[*NEEDS, ENDPOINT(Role.LMTP)], after=AFTER, broken_by="received-always-esmtp")
async def lmtp_after_lhlo(peer: Peer) -> Observation:
    """A message after LHLO came with LMTP."""
    await peer.until_ready()
    return await named(peer, "LMTPS" if peer.session.tls_active else "LMTP")
