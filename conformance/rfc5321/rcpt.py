"""RFC 5321 §3.3, §3.6.2, §4.1.1.3, §4.1.1.11, §4.5.1: RCPT, its path, and who is accepted."""

from __future__ import annotations

from smtpbench.conformance import (
    DELIVERED,
    FOREIGN_RECIPIENT,
    LOCAL_DOMAIN,
    RECIPIENT,
    UNKNOWN_RECIPIENT,
    Answer,
    Delivery,
    Expectation,
    Observation,
    Peer,
    Role,
    Untested,
    all_of,
    any_reply,
    case,
    codes,
    expect,
    instead_of_rcpt,
    near,
    put_off,
    severity,
    text_matches,
    that,
)

ACCEPTED = codes(250, 251)
# A syntax error is 501; §3.3 and the table have 550 and 553 for mailboxes that cannot be.
REFUSED = codes(501, 550, 553) | near(severity(5))
NO_SUCH_USER = codes(550, 551, 553)
MX = (Role.MX, Role.LMTP)  # a submission server relays for its users


async def answers(peer: Peer, *lines: bytes) -> list[Answer]:
    """The reply to each of `lines` in place of RCPT, with ``%s`` for the fixture's recipient."""
    recipient = peer.recipient.encode()
    return [await instead_of_rcpt(peer, line.replace(b"%s", recipient)) for line in lines]


@case("5321-C-7", needs=[RECIPIENT], broken_by="rcpt-needs-no-brackets")
async def path_without_brackets(peer: Peer) -> Observation:
    """The forward-path of RCPT stands in angle brackets."""
    (answer,) = await answers(peer, b"RCPT TO:%s")
    return expect(answer, REFUSED, near=ACCEPTED, untested=put_off)


@case("5321-C-8", needs=[RECIPIENT], broken_by="space-around-colon-accepted")
async def space_around_the_colon(peer: Peer) -> Observation:
    """There is no space before or after the colon of RCPT TO:."""
    seen = await answers(peer, b"RCPT TO: <%s>", b"RCPT TO :<%s>")
    return all_of(*(expect(answer, REFUSED, near=ACCEPTED, untested=put_off) for answer in seen))


@case("5321-C-10", needs=[RECIPIENT], broken_by="rcpt-needs-no-argument")
async def rcpt_without_to(peer: Peer) -> Observation:
    """RCPT without TO: and a path is a syntax error."""
    seen = await answers(peer, b"RCPT", b"RCPT TO", b"RCPT TO:", b"RCPT FROM:<%s>")
    return all_of(*(expect(answer, codes(501), near=severity(5), untested=put_off) for answer in seen))


@case("5321-C-11", needs=[RECIPIENT], broken_by="junk-after-path-accepted")
async def text_directly_after_the_path(peer: Peer) -> Observation:
    """What follows the closing bracket of the path directly is a syntax error."""
    (answer,) = await answers(peer, b"RCPT TO:<%s>junk")
    return expect(answer, codes(555) | REFUSED, untested=put_off)


@case("5321-C-12", needs=[RECIPIENT], broken_by="unbalanced-brackets-accepted")
async def unbalanced_brackets(peer: Peer) -> Observation:
    """A path whose brackets do not match is a syntax error."""
    seen = await answers(peer, b"RCPT TO:<%s", b"RCPT TO:%s>", b"RCPT TO:<<%s>>")
    return all_of(*(expect(answer, REFUSED, near=ACCEPTED, untested=put_off) for answer in seen))


@case("5321-C-14", needs=[RECIPIENT], broken_by="null-recipient-accepted")
async def null_path_is_no_recipient(peer: Peer) -> Observation:
    """The empty path is a sender and no recipient."""
    (answer,) = await answers(peer, b"RCPT TO:<>")
    return expect(answer, REFUSED, untested=put_off)


@case("5321-C-45", needs=[RECIPIENT], broken_by="rcpt-parameter-ignored")
async def unknown_rcpt_parameter(peer: Peer) -> Observation:
    """RCPT with a parameter that the server does not know is answered 555."""
    (answer,) = await answers(peer, b"RCPT TO:<%s> XSMTPBENCH=1")
    return expect(answer, codes(555), near=severity(5), untested=put_off)


# Postmaster ---------------------------------------------------------------------------------------


@case("5321-C-15", broken_by=("bare-postmaster-refused", "postmaster-case-sensitive"))
async def postmaster_without_a_domain(peer: Peer) -> Observation:
    """RCPT TO:<Postmaster> is accepted in any mixture of case."""
    await peer.until_mail()
    names = (b"Postmaster", b"postmaster", b"POSTMASTER")
    seen = [await peer.command(b"RCPT TO:<%s>" % name) for name in names]
    return all_of(*(expect(answer, ACCEPTED, untested=put_off) for answer in seen))


@case("5321-C-16", needs=[LOCAL_DOMAIN], broken_by=("postmaster-unknown", "postmaster-case-sensitive"))
async def postmaster_of_each_local_domain(peer: Peer) -> Observation:
    """The mailbox postmaster of each local domain is accepted, in any mixture of case."""
    await peer.until_mail()
    names = [
        f"{name}@{domain}" for domain in peer.fixtures.local_domains for name in ("postmaster", "PostMaster")
    ]
    seen = [await peer.command(f"RCPT TO:<{name}>".encode()) for name in names]
    return all_of(*(expect(answer, ACCEPTED, untested=put_off) for answer in seen))


@case("5321-C-17", broken_by="postmaster-refuses-null-sender", after=postmaster_without_a_domain)
async def postmaster_hears_from_the_null_sender(peer: Peer) -> Observation:
    """Mail to postmaster is accepted from the empty reverse-path as well."""
    await peer.until_mail("")
    return expect(await peer.command(b"RCPT TO:<Postmaster>"), ACCEPTED, untested=put_off)


# Source routes ------------------------------------------------------------------------------------


@case("5321-C-18", needs=[RECIPIENT], broken_by="source-route-refused")
async def source_route_is_recognised(peer: Peer) -> Observation:
    """A source route is no syntax error: the recipient is accepted, or relaying is declined."""
    (answer,) = await answers(peer, b"RCPT TO:<@relay.example,@hop.example:%s>")
    declined = codes(550, 551, 554)
    return expect(answer, ACCEPTED | declined, near=codes(553), untested=put_off)


# Recipients ---------------------------------------------------------------------------------------


@case("5321-A-9", needs=[RECIPIENT], broken_by="domain-case-sensitive")
async def domain_means_the_same_in_any_case(peer: Peer) -> Observation:
    """The recipient is accepted when its domain is written in capitals."""
    local, _, domain = peer.recipient.rpartition("@")
    answer = await instead_of_rcpt(peer, f"RCPT TO:<{local}@{domain.swapcase()}>".encode())
    return expect(answer, ACCEPTED, untested=put_off)


@case("5321-C-48", needs=[RECIPIENT, UNKNOWN_RECIPIENT], broken_by="failed-rcpt-poisons")
async def refused_recipient_spoils_nothing(peer: Peer) -> Observation:
    """After one recipient was refused others are accepted, and so is DATA."""
    await peer.until_mail()
    refused = await peer.command(f"RCPT TO:<{peer.unknown_recipient}>".encode())
    if refused.severity != 5:
        raise Untested("the unknown recipient was not refused", str(refused))
    again = await peer.command(f"RCPT TO:<{peer.recipient}>".encode())
    accepted = expect(again, ACCEPTED, untested=put_off)
    if again.severity != 2:
        return accepted
    return all_of(accepted, expect(await peer.command(b"DATA"), codes(354), untested=put_off))


@case("5321-C-49", needs=[RECIPIENT], broken_by="duplicate-recipient-refused")
async def recipient_given_twice(peer: Peer) -> Observation:
    """A recipient that was accepted is accepted again in the same transaction."""
    await peer.until_rcpt()
    again = await peer.command(f"RCPT TO:<{peer.recipient}>".encode())
    return expect(again, ACCEPTED, untested=put_off)


@case("5321-C-41", needs=[RECIPIENT, UNKNOWN_RECIPIENT, DELIVERED], broken_by="unknown-recipient-accepted")
async def unknown_recipient_is_refused_or_returned(peer: Peer) -> Observation:
    """A recipient who does not exist is refused with 550, or the message comes back to its sender."""
    await peer.until_mail(peer.recipient)
    answer = await peer.command(f"RCPT TO:<{peer.unknown_recipient}>".encode())
    if answer.severity != 2:
        return expect(answer, NO_SUCH_USER, choice=severity(5), untested=put_off)
    if (await peer.command(b"DATA")).code != 354:
        raise Untested("the unknown recipient was accepted, and DATA refused")
    await peer.send(peer.marked_body(b"to nobody\r\n"))
    returned: Expectation[Delivery] = that("a notice to the sender", lambda seen: seen.arrived > 0)
    refused: Expectation[Delivery] = that("a refusal of the message", lambda seen: seen.severity == 5)
    return expect(await peer.delivery(b".\r\n"), refused, choice=returned, untested=put_off)


@case("5321-C-42", needs=[FOREIGN_RECIPIENT, RECIPIENT], broken_by="relay-refused-with-501")
async def relaying_is_declined_with_550(peer: Peer) -> Observation:
    """A server that does not relay to an address says so with 550."""
    if set(MX).isdisjoint(peer.target.endpoints):
        raise Untested("a submission server relays for its users")
    answer = await instead_of_rcpt(peer, f"RCPT TO:<{peer.foreign_recipient}>".encode())
    return expect(answer, codes(550), choice=ACCEPTED, near=severity(5), untested=put_off)


@case("5321-C-43", needs=[RECIPIENT])
async def forwarding_replies_name_the_new_path(peer: Peer) -> Observation:
    """A 251 or 551 names the address that it speaks of in angle brackets."""
    await peer.until_mail()
    known = (peer.fixtures.recipient, peer.fixtures.second_recipient, peer.fixtures.unknown_recipient)
    answers = [await peer.command(f"RCPT TO:<{address}>".encode()) for address in known if address]
    moved = next((answer for answer in answers if answer.code in (251, 551)), None)
    if moved is None:
        raise Untested("no recipient was answered 251 or 551", " · ".join(map(str, answers)))
    named = text_matches(rb"[^<]*<[^<>\s]+@[^<>\s]+>", "a path in angle brackets")
    return expect(moved, named, choice=any_reply)
