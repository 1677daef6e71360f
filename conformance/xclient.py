"""XCLIENT and XFORWARD of Postfix, by which a trusted proxy says who its client is."""

from __future__ import annotations

from smtpbench.conformance import Observation, Peer, case, expect, severity, untested


@case("MISC-38", broken_by="xclient-trusts-everybody")
async def xclient_is_refused(peer: Peer) -> Observation:
    """XCLIENT is refused from a client that nobody has declared a proxy."""
    await peer.until_ready()
    answer = await peer.command(b"XCLIENT NAME=client.example.org ADDR=192.0.2.1")
    return expect(answer, severity(5) | untested(severity(4)))


@case("MISC-38", broken_by="xforward-trusts-everybody")
async def xforward_is_refused(peer: Peer) -> Observation:
    """XFORWARD is refused from a client that nobody has declared a proxy."""
    await peer.until_ready()
    answer = await peer.command(b"XFORWARD NAME=client.example.org ADDR=192.0.2.1")
    return expect(answer, severity(5) | untested(severity(4)))
