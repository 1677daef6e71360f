"""RFC 1985, ETRN: a client asks that mail waiting for it be sent."""

from __future__ import annotations

from smtpbench.conformance import (
    EXTENSION,
    RECIPIENT,
    Observation,
    Peer,
    all_of,
    case,
    codes,
    expect,
    severity,
)

ETRN = EXTENSION("ETRN")
DONE = codes(250, 251, 252, 253)
NOT_DONE = codes(458, 459)
NOT_RECOGNISED = codes(500, 501)
BUSY_OR_PRIVATE = codes(421, 450, 451, 454, 530, 538)


def local_domain(peer: Peer) -> bytes:
    """A domain that the server knows."""
    return peer.recipient.rpartition("@")[2].encode()


@case("MISC-1", needs=[ETRN, RECIPIENT], broken_by="etrn-in-a-transaction")
async def etrn_has_no_place_in_a_transaction(peer: Peer) -> Observation:
    """Between MAIL and the end of the data ETRN is refused."""
    await peer.until_mail()
    return expect(await peer.command(b"ETRN " + local_domain(peer)), severity(4, 5))


@case("MISC-2", needs=[ETRN, RECIPIENT], broken_by="etrn-answers-550")
async def etrn_is_answered_with_its_codes(peer: Peer) -> Observation:
    """The reply to ETRN is one of those that the extension lists, for a known domain and for another."""
    await peer.until_ready()
    expected = DONE | NOT_DONE | NOT_RECOGNISED
    answers = [
        await peer.command(b"ETRN " + domain) for domain in (local_domain(peer), b"nobody-here.example")
    ]
    return all_of(*(expect(answer, expected, untested=BUSY_OR_PRIVATE) for answer in answers))


@case("MISC-3", needs=[ETRN], broken_by="etrn-needs-no-name")
async def etrn_without_a_name_is_a_syntax_error(peer: Peer) -> Observation:
    """ETRN without a node name is answered 500 or 501."""
    await peer.until_ready()
    return expect(await peer.command(b"ETRN"), NOT_RECOGNISED, near=severity(4, 5), untested=BUSY_OR_PRIVATE)


@case("MISC-4", needs=[ETRN, RECIPIENT], broken_by="etrn-knows-no-subdomains")
async def etrn_takes_an_at_sign_for_subdomains(peer: Peer) -> Observation:
    """An at-sign before the domain is no syntax error; whether it is allowed is the server's decision."""
    await peer.until_ready()
    answer = await peer.command(b"ETRN @" + local_domain(peer))
    return expect(answer, DONE | NOT_DONE, untested=BUSY_OR_PRIVATE)


@case("MISC-4", needs=[ETRN], accuses=False)
async def etrn_takes_a_number_sign_for_a_queue(peer: Peer) -> Observation:
    """A number sign before a name asks for a queue; how queues are called is a local matter."""
    await peer.until_ready()
    answer = await peer.command(b"ETRN #uucp")
    return expect(answer, DONE | NOT_DONE, choice=severity(5), untested=BUSY_OR_PRIVATE)
