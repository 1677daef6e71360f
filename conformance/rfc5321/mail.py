"""RFC 5321 §3.3, §4.1.1.2, §4.1.1.11, §4.1.2: MAIL, its path and its parameters."""

from __future__ import annotations

from smtpbench.conformance import (
    Answer,
    Observation,
    Peer,
    Role,
    Untested,
    all_of,
    any_reply,
    case,
    closed_with_421,
    codes,
    expect,
    instead_of_mail,
    near,
    put_off,
    severity,
)

# §4.1.4 has 501; §3.3 says that failures of the mailbox specification normally produce 550 or 553.
REFUSED = codes(501, 550, 553) | near(severity(5))
LENIENT = codes(250)  # what robust servers make of a slip that leaves no doubt about the address


async def answers(peer: Peer, *lines: bytes) -> list[Answer]:
    """The reply to each of `lines` in place of MAIL, with ``%s`` for the fixture's sender."""
    sender = peer.sender.encode()
    return [await instead_of_mail(peer, line.replace(b"%s", sender)) for line in lines]


@case("5321-C-6", broken_by="mail-needs-no-brackets")
async def path_without_brackets(peer: Peer) -> Observation:
    """The reverse-path of MAIL stands in angle brackets."""
    (answer,) = await answers(peer, b"MAIL FROM:%s")
    return expect(answer, REFUSED, near=LENIENT, untested=put_off)


@case("5321-C-8", broken_by="space-around-colon-accepted")
async def space_around_the_colon(peer: Peer) -> Observation:
    """There is no space before or after the colon of MAIL FROM:."""
    seen = await answers(peer, b"MAIL FROM: <%s>", b"MAIL FROM :<%s>")
    return all_of(*(expect(answer, REFUSED, near=LENIENT, untested=put_off) for answer in seen))


@case("5321-C-9", broken_by="mail-needs-no-argument")
async def mail_without_from(peer: Peer) -> Observation:
    """MAIL without FROM: and a path is a syntax error."""
    seen = await answers(peer, b"MAIL", b"MAIL FROM", b"MAIL FROM:", b"MAIL TO:<%s>")
    return all_of(*(expect(answer, codes(501), near=severity(5), untested=put_off) for answer in seen))


@case("5321-C-11", broken_by="junk-after-path-accepted")
async def text_directly_after_the_path(peer: Peer) -> Observation:
    """What follows the closing bracket of the path directly is a syntax error."""
    (answer,) = await answers(peer, b"MAIL FROM:<%s>junk")
    return expect(answer, codes(555) | REFUSED, untested=put_off)


@case("5321-C-12", broken_by="unbalanced-brackets-accepted")
async def unbalanced_brackets(peer: Peer) -> Observation:
    """A path whose brackets do not match is a syntax error."""
    seen = await answers(peer, b"MAIL FROM:<%s", b"MAIL FROM:%s>", b"MAIL FROM:<<%s>>")
    return all_of(*(expect(answer, REFUSED, near=LENIENT, untested=put_off) for answer in seen))


@case("5321-C-13", broken_by="null-sender-refused")
async def null_sender_is_accepted(peer: Peer) -> Observation:
    """The empty reverse-path, in which notifications are sent, is accepted."""
    if {Role.MX, Role.LMTP}.isdisjoint(peer.target.endpoints):
        raise Untested("a submission server may ask its users for a sender")
    await peer.until_allowed()
    return expect(await peer.command(b"MAIL FROM:<>"), codes(250), untested=put_off)


@case("5321-C-21", "5321-A-37", broken_by="sender-source-route-closes")
async def source_route_in_the_sender(peer: Peer) -> Observation:
    """A reverse-path with a source route is accepted or declined, and the connection stays."""
    await peer.until_allowed()
    answer = await peer.command(b"MAIL FROM:<@a.example,@b.example:%s>" % peer.sender.encode())
    return expect(answer, any_reply, stricter=closed_with_421)


@case("5321-C-44", broken_by="mail-parameter-ignored")
async def unknown_mail_parameter(peer: Peer) -> Observation:
    """MAIL with a parameter that the server does not know is answered 555."""
    (answer,) = await answers(peer, b"MAIL FROM:<%s> XSMTPBENCH=1")
    return expect(answer, codes(555), near=severity(5), untested=put_off)


@case("5321-C-46", broken_by="parameter-syntax-unchecked")
async def malformed_mail_parameters(peer: Peer) -> Observation:
    """A parameter with no keyword, no value after its equals sign, or two such signs is refused."""
    seen = await answers(peer, b"MAIL FROM:<%s> =1", b"MAIL FROM:<%s> SIZE=", b"MAIL FROM:<%s> SIZE==1")
    refused = codes(501, 555) | near(severity(5) | codes(250))  # to read it leniently breaks no MUST
    return all_of(*(expect(answer, refused, untested=put_off) for answer in seen))


@case(
    "5321-C-47",
    broken_by="parameters-after-helo",
    after=(unknown_mail_parameter, "rfc5321.ehlo.helo-gets-no-extension-list"),
)
async def mail_parameters_after_helo(peer: Peer) -> Observation:
    """After HELO no extension is in use, and a server need not recognise the parameter of one."""
    if (await peer.helo()).code != 250:
        raise Untested("HELO was not accepted")
    answer = await peer.command(b"MAIL FROM:<%s> SIZE=100" % peer.sender.encode())
    return expect(answer, severity(5), untested=put_off)
