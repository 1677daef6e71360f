"""RFC 5321 §4.1.1.8: HELP."""

from __future__ import annotations

from smtpbench.conformance import RECIPIENT, Observation, Peer, case, closed, codes, expect, put_off

DATA = "rfc5321.data.data-is-answered-354"


@case("5321-B-43", "5321-A-29", broken_by=("help-not-implemented", "lists-help-but-502"))
async def help_is_supported(peer: Peer) -> Observation:
    """HELP without an argument is answered 211 or 214."""
    await peer.until_ready()
    return expect(await peer.command(b"HELP"), codes(211, 214), near=codes(250), untested=put_off)


@case("5321-B-44", needs=[RECIPIENT], broken_by="help-resets", after=DATA)
async def help_keeps_the_transaction(peer: Peer) -> Observation:
    """HELP between RCPT and DATA changes nothing."""
    await peer.until_rcpt()
    await peer.command(b"HELP")
    return expect(await peer.command(b"DATA"), codes(354), untested=put_off | closed)
