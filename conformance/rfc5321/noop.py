"""RFC 5321 §4.1.1.9: NOOP."""

from __future__ import annotations

from smtpbench.conformance import (
    RECIPIENT,
    Observation,
    Peer,
    any_reply,
    case,
    closed,
    closed_with_421,
    codes,
    expect,
    put_off,
    single,
)

DATA = "rfc5321.data.data-is-answered-354"


@case(
    "5321-B-21",
    "5321-A-29",
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
    """NOOP is answered 250."""
    await peer.until_ready()
    return expect(await peer.command(b"NOOP"), codes(250), untested=put_off)


@case("5321-A-20", broken_by=("two-replies-to-noop", "noop-not-answered"))
async def noop_gets_one_reply(peer: Peer) -> Observation:
    """NOOP is answered once."""
    await peer.until_ready()
    return expect(await peer.command(b"NOOP", extra=True), single(any_reply), untested=closed_with_421)


@case("5321-B-22", broken_by="noop-refuses-argument", after=noop_is_answered_250)
async def noop_ignores_an_argument(peer: Peer) -> Observation:
    """NOOP takes a string and makes nothing of it."""
    await peer.until_ready()
    return expect(await peer.command(b"NOOP hello"), codes(250), untested=put_off)


@case("5321-B-23", needs=[RECIPIENT], broken_by="noop-resets", after=(noop_gets_one_reply, DATA))
async def noop_keeps_the_transaction(peer: Peer) -> Observation:
    """NOOP between RCPT and DATA changes nothing."""
    await peer.until_rcpt()
    await peer.command(b"NOOP")
    return expect(await peer.command(b"DATA"), codes(354), untested=put_off | closed)
