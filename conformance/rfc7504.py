"""RFC 7504: a host that never takes mail says 521.

Its rows are not yet held against the text: nothing here says more than non-strict.
"""

from __future__ import annotations

from smtpbench.conformance import (
    RECIPIENT,
    REFUSING,
    Expectation,
    Observation,
    Peer,
    Untested,
    case,
    closed,
    codes,
    expect,
    that,
)


async def until_521(peer: Peer) -> None:
    """Greeted with 521; a 554 is the other way to take no mail (RFC 5321 §3.1)."""
    greeting = await peer.connect()
    if greeting.code != 521:
        raise Untested("the greeting was not 521", str(greeting))


@case("MISC-22", needs=[REFUSING], broken_by="greeting-521-takes-mail")
async def after_521_there_is_nothing_else(peer: Peer) -> Observation:
    """After a greeting of 521 the server closes, or answers 521 to what comes."""
    await until_521(peer)
    return expect(await peer.ehlo(), codes(521) | closed)


@case("MISC-23", needs=[REFUSING, RECIPIENT], broken_by="greeting-521-takes-mail")
async def a_host_that_greets_with_521_takes_no_mail(peer: Peer) -> Observation:
    """A server whose greeting is 521 accepts no recipient afterwards."""
    await until_521(peer)
    lines = (b"MAIL FROM:<%s>" % peer.sender.encode(), b"RCPT TO:<%s>" % peer.recipient.encode())
    answer = await peer.ehlo()
    for line in lines:
        if answer.severity != 2:
            break
        answer = await peer.command(line)
    none: Expectation[object] = that("no recipient accepted", lambda _: answer.severity != 2)
    return expect(answer, none)
