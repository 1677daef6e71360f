"""RFC 5321 §3.5, §4.1.1.6, §4.1.1.7: VRFY and EXPN."""

from __future__ import annotations

import re

from smtpbench.conformance import (
    RECIPIENT,
    UNKNOWN_RECIPIENT,
    Answer,
    Observation,
    Peer,
    Untested,
    all_of,
    case,
    closed,
    codes,
    expect,
    near,
    not_codes,
    put_off,
    reply_that,
    severity,
)

DATA = "rfc5321.data.data-is-answered-354"
SWITCHED_OFF = codes(500, 502)  # §3.5.3: what a server answers that cannot verify anything
NOWHERE = b"smtpbench@no-such-host.invalid"  # RFC 2606: no mailbox there can be verified
# §3.5.1: [User Name] <local-part@domain>, or local-part@domain; after an enhanced status code, if any.
ADDRESS = r"(?:@[^\s<>:]+:)?[^\s<>@]+@[A-Za-z0-9.-]+"
NAMED = re.compile(rf"(?:\d\.\d+\.\d+ )?(?:(?:.* )?<{ADDRESS}>|{ADDRESS})\Z")
ROUTE = re.compile(r"<@[^>]*:[^>]*>")


async def verified(peer: Peer) -> Answer:
    """The 250 to VRFY of a mailbox that exists."""
    await peer.until_ready()
    answer = await peer.command(b"VRFY " + peer.recipient.encode())
    if answer.code != 250:
        raise Untested("VRFY did not verify the recipient", str(answer))
    return answer


@case("5321-B-34", "5321-A-29", "5321-A-30", broken_by="vrfy-not-recognised")
async def vrfy_is_supported(peer: Peer) -> Observation:
    """VRFY is a command that the server carries out.

    A site may switch it off (§3.5.2); such a server is "not in full compliance" (§3.5.3), and no worse.
    """
    await peer.until_ready()
    answer = await peer.command(b"VRFY postmaster")
    return expect(answer, codes(250, 251, 252, 550, 551, 553, 504), near=severity(5), untested=put_off)


@case("5321-B-35", broken_by="vrfy-accepts-all")
async def vrfy_of_what_cannot_be_verified(peer: Peer) -> Observation:
    """VRFY of an address in a domain that cannot exist is not answered 250."""
    await peer.until_ready()
    return expect(await peer.command(b"VRFY " + NOWHERE), not_codes(250, 251), untested=put_off)


@case("5321-B-35", needs=[UNKNOWN_RECIPIENT], broken_by="vrfy-accepts-all")
async def vrfy_of_an_unknown_user(peer: Peer) -> Observation:
    """VRFY of a mailbox that does not exist is not answered 250."""
    await peer.until_ready()
    answer = await peer.command(b"VRFY " + peer.unknown_recipient.encode())
    return expect(answer, not_codes(250, 251), untested=put_off)


@case("5321-B-35", broken_by="expn-accepts-all")
async def expn_of_what_cannot_be_verified(peer: Peer) -> Observation:
    """EXPN of an address in a domain that cannot exist is not answered 250."""
    await peer.until_ready()
    return expect(await peer.command(b"EXPN " + NOWHERE), not_codes(250, 251), untested=put_off)


@case("5321-B-36", broken_by="vrfy-accepts-all")
async def vrfy_of_a_foreign_address(peer: Peer) -> Observation:
    """VRFY of an address that can only be verified elsewhere is answered 252, unless it is refused."""
    await peer.until_ready()
    answer = await peer.command(b"VRFY somebody@elsewhere.example")
    return expect(answer, codes(252), choice=severity(5), untested=put_off)


@case("5321-B-37", needs=[RECIPIENT], broken_by="vrfy-without-mailbox")
async def vrfy_names_the_mailbox(peer: Peer) -> Observation:
    """A 250 to VRFY gives the mailbox, alone or in angle brackets after the user's name."""
    form = reply_that(
        "a mailbox in one of the two forms", lambda reply: bool(NAMED.match(last_line(reply.lines)))
    )
    other = reply_that("a mailbox among other text", lambda reply: "@" in last_line(reply.lines))
    return expect(await verified(peer), form, near=other)


def last_line(lines: tuple[bytes, ...]) -> str:
    """The last line of a reply's text."""
    return lines[-1].decode("latin-1").rstrip() if lines else ""


@case("5321-B-38", needs=[RECIPIENT], broken_by="vrfy-source-route")
async def vrfy_gives_no_source_route(peer: Peer) -> Observation:
    """A 250 to VRFY or EXPN gives mailboxes, and no source route."""
    answers = (await verified(peer), await peer.command(b"EXPN " + peer.recipient.encode()))
    plain = reply_that("no source route", lambda reply: not ROUTE.search(reply.text))
    return all_of(*(expect(answer, plain) for answer in answers))


@case("5321-B-40", broken_by="vrfy-needs-no-argument")
async def vrfy_without_an_argument(peer: Peer) -> Observation:
    """VRFY needs an argument."""
    await peer.until_ready()
    answer = await peer.command(b"VRFY")
    return expect(
        answer, codes(501) | near(codes(252)), choice=SWITCHED_OFF, near=severity(5), untested=put_off
    )


@case("5321-B-39", needs=[RECIPIENT], broken_by="vrfy-resets", after=DATA)
async def vrfy_keeps_the_transaction(peer: Peer) -> Observation:
    """VRFY between RCPT and DATA changes nothing."""
    await peer.until_rcpt()
    await peer.command(b"VRFY postmaster")
    return expect(await peer.command(b"DATA"), codes(354), untested=put_off | closed)


@case("5321-B-42", needs=[RECIPIENT], broken_by="expn-resets", after=DATA)
async def expn_keeps_the_transaction(peer: Peer) -> Observation:
    """EXPN between RCPT and DATA changes nothing."""
    await peer.until_rcpt()
    await peer.command(b"EXPN postmaster")
    return expect(await peer.command(b"DATA"), codes(354), untested=put_off | closed)
