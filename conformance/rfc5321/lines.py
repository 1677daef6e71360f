"""RFC 5321 §2.3.8, §2.4, §4.1.1: how a command line ends, begins and is spelt."""

from __future__ import annotations

from smtpbench.conformance import (
    EXTENSION,
    RECIPIENT,
    Observation,
    Peer,
    Untested,
    all_of,
    case,
    codes,
    expect,
    instead_of_mail,
    instead_of_rcpt,
    put_off,
    severity,
    silence,
    single,
)

NOOP = "rfc5321.noop.noop-is-answered-250"
NOT_SPLIT = single(severity(2, 4, 5))  # two commands with something between them that is no line end


@case("5321-A-1", broken_by="accepts-lf-as-line-end")
async def bare_lf_does_not_end_a_command(peer: Peer) -> Observation:
    """A bare LF between two commands does not end the first."""
    await peer.until_ready()
    return expect(await peer.command(b"NOOP\nNOOP", extra=True), NOT_SPLIT)


@case("5321-A-2", broken_by="accepts-cr-as-line-end")
async def bare_cr_does_not_end_a_command(peer: Peer) -> Observation:
    """A bare CR between two commands does not end the first."""
    await peer.until_ready()
    return expect(await peer.command(b"NOOP\rNOOP", extra=True), NOT_SPLIT)


@case("5321-A-4", broken_by="accepts-crcrlf-as-line-end")
async def cr_crlf_is_not_a_line_end(peer: Peer) -> Observation:
    """The first CR of CR CR LF belongs to the line, where it is an invalid character.

    Many servers drop any CR before an LF; in a command that does no harm.
    """
    answer = await instead_of_mail(peer, b"MAIL FROM:<%s>\r" % peer.sender.encode())
    return expect(answer, severity(5), near=severity(2), untested=put_off)


@case("5321-A-5", broken_by="acts-before-crlf", after=NOOP)
async def nothing_happens_before_crlf(peer: Peer) -> Observation:
    """A command is answered when its CRLF has come, and not before."""
    await peer.until_ready()
    early = expect(await peer.probe(b"NOOP"), silence)
    return all_of(early, expect(await peer.command(b""), severity(2)))


@case("5321-B-45", broken_by="trailing-space-refused", after=NOOP)
async def white_space_before_crlf_is_tolerated(peer: Peer) -> Observation:
    """A space between a command and its CRLF does no harm."""
    mail = await instead_of_mail(peer, b"MAIL FROM:<%s> " % peer.sender.encode())
    await peer.until_ready()
    return all_of(
        expect(mail, codes(250), untested=put_off),
        expect(await peer.command(b"NOOP "), codes(250), untested=put_off),
    )


@case("5321-B-46", "5321-A-20", broken_by=("empty-line-ignored", "empty-line-closes"))
async def empty_line_is_answered_as_an_error(peer: Peer) -> Observation:
    """A line with nothing on it gets one error reply, and the session goes on."""
    await peer.until_ready()
    first = expect(await peer.command(b""), severity(5), untested=put_off)
    return all_of(first, expect(await peer.command(b"", extra=True), single(severity(5)), untested=put_off))


@case("5321-B-47", accuses=False)
async def white_space_before_the_verb(peer: Peer) -> Observation:
    """A line that begins with a space does not begin with a verb."""
    await peer.until_ready()
    return expect(await peer.command(b" NOOP"), severity(5), choice=codes(250), untested=put_off)


@case("5321-A-6", broken_by="verbs-case-sensitive")
async def verbs_mean_the_same_in_any_case(peer: Peer) -> Observation:
    """A verb in small or mixed letters is answered as it is in capitals."""
    seen = []
    for line in (b"NOOP", b"RSET", b"VRFY postmaster", b"HELP", b"DATA", b"QUIT"):
        capitals = await peer.new_session().command(line)
        mixed = await peer.new_session().command(line.capitalize())
        seen.append(expect(mixed, codes(capitals.code), untested=put_off))
    return all_of(*seen)


@case("5321-A-7", needs=[RECIPIENT], broken_by="keywords-case-sensitive")
async def from_and_to_mean_the_same_in_any_case(peer: Peer) -> Observation:
    """FROM: and TO: in small or mixed letters are the same words."""
    mail = await instead_of_mail(peer, b"MAIL from:<%s>" % peer.sender.encode())
    rcpt = await instead_of_rcpt(peer, b"RCPT tO:<%s>" % peer.recipient.encode())
    return all_of(*(expect(answer, codes(250, 251), untested=put_off) for answer in (mail, rcpt)))


@case("5321-A-7", needs=[EXTENSION("SIZE")], broken_by="keywords-case-sensitive")
async def parameter_names_mean_the_same_in_any_case(peer: Peer) -> Observation:
    """The name of an extension parameter in small letters is the same name."""
    await peer.new_session().until_mail(SIZE="100")
    answer = await instead_of_mail(peer, b"MAIL FROM:<%s> size=100" % peer.sender.encode())
    return expect(answer, codes(250), untested=put_off)


@case("5321-A-10", broken_by="non-ascii-envelope-accepted")
async def non_ascii_address_needs_an_extension(peer: Peer) -> Observation:
    """An address with octets above 127 is refused where no extension is in use that allows it."""
    if (await peer.helo()).code != 250:  # after HELO none is in use, whatever the server offers
        raise Untested("HELO was not accepted")
    answer = await peer.command("MAIL FROM:<jörg@example.org>".encode())
    return expect(answer, severity(5), untested=put_off)
