"""RFC 5321 §4.5.3.1: the sizes that a server can receive at least, and what comes above them."""

from __future__ import annotations

from smtpbench.conformance import (
    DELIVERED,
    RECIPIENT,
    SECOND_RECIPIENT,
    Answer,
    Delivery,
    Expectation,
    Observation,
    Peer,
    Untested,
    case,
    choice,
    closed,
    codes,
    expect,
    instead_of_mail,
    near,
    put_off,
    severity,
    single,
    that,
)

POLICY = codes(550, 554)  # not the length, but the address
LOCAL_PART, PATH, COMMAND, RECIPIENTS = 64, 256, 512, 100  # §4.5.3.1.1, .3, .4, .8
MOST_RECIPIENTS = 1_200  # asked for in search of a limit; Postfix and Sendmail have 1 000 and 100
FAR_TOO_LONG = 100_000  # octets of a command line, beyond the buffer of any server that has one


@case("5321-C-31", broken_by="local-part-limit-32")
async def local_part_of_64_octets(peer: Peer) -> Observation:
    """A local-part of 64 octets can be received."""
    answer = await instead_of_mail(peer, b"MAIL FROM:<%s@example.org>" % (b"a" * LOCAL_PART))
    return expect(answer, codes(250), choice=POLICY, near=codes(553), untested=put_off)


@case("5321-C-32")
async def local_part_of_65_octets(peer: Peer) -> Observation:
    """A local-part of more than 64 octets is accepted or rejected, as the server likes."""
    answer = await instead_of_mail(peer, b"MAIL FROM:<%s@example.org>" % (b"a" * (LOCAL_PART + 1)))
    return expect(answer, severity(2, 5), untested=put_off)


@case("5321-C-35", "5321-A-30", broken_by="command-limit-256")
async def command_line_of_512_octets(peer: Peer) -> Observation:
    """A command line of 512 octets, its CRLF counted, is answered as a short one is."""
    await peer.until_ready()
    short = await peer.command(b"NOOP x")
    longest = await peer.command(b"NOOP ".ljust(COMMAND - len(b"\r\n"), b"x"))
    return expect(longest, codes(short.code), untested=put_off)


@case(
    "5321-C-34",
    broken_by="path-limit-128",
    after=(local_part_of_64_octets, command_line_of_512_octets, "rfc5321.ehlo.ehlo-takes-the-longest-domain"),
)
async def path_of_256_octets(peer: Peer) -> Observation:
    """A path of 256 octets, its brackets and separators counted, can be received."""
    labels = b".".join([b"b" * 63, b"c" * 63, b"d" * 49, b"example.org"])
    path = b"<%s@%s>" % (b"a" * (PATH - len(labels) - 3), labels)
    answer = await instead_of_mail(peer, b"MAIL FROM:" + path)
    return expect(answer, codes(250), choice=POLICY, near=codes(553), untested=put_off)


@case("5321-C-36", "5321-A-20", broken_by="overlong-command-desync")
async def overlong_command_line(peer: Peer) -> Observation:
    """A command line far beyond the limit gets one reply, or the connection is closed."""
    await peer.until_ready()
    answer = await peer.command(b"NOOP ".ljust(FAR_TOO_LONG, b"x"), extra=True)
    return expect(answer, single(severity(4, 5)), choice=single(codes(250)) | closed)


# Recipients ---------------------------------------------------------------------------------------


async def accepted(peer: Peer, number: int, *recipients: str) -> tuple[int, Answer]:
    """Ask for `number` recipients, `recipients` in turn; how many were accepted, and the last answer."""
    await peer.until_mail()
    answer = Answer(b"", ())
    for count in range(number):
        answer = await peer.command(f"RCPT TO:<{recipients[count % len(recipients)]}>".encode())
        if answer.severity != 2:
            return count, answer
    return number, answer


async def beyond_the_limit(peer: Peer, *recipients: str) -> Answer:
    """The refusal of the first recipient that was too many."""
    count, answer = await accepted(peer, MOST_RECIPIENTS, *recipients)
    if answer.severity == 2:
        raise Untested(f"no limit within {MOST_RECIPIENTS} recipients")
    if count < RECIPIENTS:
        raise Untested(f"recipient {count + 1} was refused, which says more of the recipient", str(answer))
    return answer


@case(
    "5321-C-37",
    needs=[RECIPIENT],
    broken_by="recipient-limit-10",
    after="rfc5321.rcpt.recipient-given-twice",
)
async def a_hundred_recipients(peer: Peer) -> Observation:
    """A transaction can hold 100 recipients."""
    _, answer = await accepted(peer, RECIPIENTS, peer.recipient)
    return expect(answer, codes(250, 251), untested=put_off & that("no 452", lambda seen: seen.code != 452))


@case("5321-C-39", needs=[RECIPIENT], broken_by="recipient-limit-552")
async def recipient_beyond_the_limit(peer: Peer) -> Observation:
    """One recipient too many is answered 452, or 5yz where the site has set the limit; 552 is of RFC 821."""
    answer = await beyond_the_limit(peer, peer.recipient)
    return expect(answer, codes(452) | near(codes(552)) | choice(severity(5)), untested=put_off)


@case(
    "5321-C-38",
    needs=[RECIPIENT, SECOND_RECIPIENT, DELIVERED],
    broken_by="recipient-limit-drops-all",
    after=("rfc5321.data.accepted-message-is-delivered", "rfc5321.delivery.every-recipient-gets-the-message"),
)
async def recipients_before_the_limit_are_kept(peer: Peer) -> Observation:
    """After one recipient too many, the message still goes to those that were accepted before."""
    await beyond_the_limit(peer, peer.recipient, peer.second_recipient)
    data = await peer.command(b"DATA")
    if data.code != 354:
        return expect(data, choice(severity(5)), untested=severity(2, 3, 4))  # §4.5.3.1.10: "reasonable"
    await peer.send(peer.marked_body(b"to many\r\n"))
    both: Expectation[Delivery] = that("a message for each of the two", lambda seen: seen.arrived >= 2)
    said: Expectation[Delivery] = that("a refusal of the message", lambda seen: seen.severity != 2)
    return expect(await peer.delivery(b".\r\n", recipients=2), both, choice=said)
