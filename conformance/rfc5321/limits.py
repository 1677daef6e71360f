"""RFC 5321 §4.5.3.1: lines, contents and recipients of a size that every server must be able to take."""

from __future__ import annotations

from smtpbench.conformance import (
    DELIVERED,
    NO_EXTENSION,
    RECIPIENT,
    Answer,
    Delivery,
    Expectation,
    Message,
    Observation,
    Peer,
    Untested,
    all_of,
    case,
    choice,
    codes,
    each_message,
    expect,
    severity,
    that,
)

NEEDS = (RECIPIENT, DELIVERED)
AFTER = "rfc5321.data.accepted-message-is-delivered"
RECIPIENTS = 100  # §4.5.3.1.8
MANY_RECIPIENTS = 150  # enough to pass a limit that was set to the minimum
LARGE = 12 * 1024 * 1024  # octets; above what servers with a limit commonly allow by default, 10 MB


def lasting(answer: Answer) -> None:
    """Untested if `answer` is a refusal for now (4yz) other than 452, which names a limit."""
    if answer.severity == 4 and answer.code != 452:
        raise Untested("a temporary refusal", str(answer))


async def arrives(peer: Peer, line: bytes) -> Observation:
    """A message with `line` in its body is accepted, and delivered with it (its leading dot aside)."""
    delivery = await peer.delivered(peer.marked_body(b"first\r\n" + line + b"last\r\n"))
    lasting(delivery)
    part = line.lstrip(b".") + b"last\r\n"
    held: Expectation[Message] = that("the line", lambda message: message.holds(part))
    return expect(delivery, each_message("accepted, and the line delivered in one piece", held))


@case("5321-D-22", needs=NEEDS, after=AFTER, broken_by=("wraps-long-lines", "refuses-long-lines"))
async def line_of_1000_octets(peer: Peer) -> Observation:
    """A text line of 1000 octets, its CRLF included, is accepted and delivered in one piece."""
    return await arrives(peer, b"x" * 998 + b"\r\n")


@case("5321-D-22", needs=NEEDS, after=AFTER, broken_by=("wraps-long-lines", "refuses-long-lines"))
async def line_of_1000_octets_and_a_stuffed_dot(peer: Peer) -> Observation:
    """The dot that is added to a line of 1000 octets for transparency does not make it too long."""
    return await arrives(peer, b"." + b"x" * 997 + b"\r\n")


@case("5321-D-23", needs=NEEDS, after=AFTER, broken_by=("wraps-long-lines", "wraps-lines-over-1000"))
async def lines_over_the_limit(peer: Peer) -> Observation:
    """What becomes of lines of 2000 and of 20 000 octets: accepted, refused, or cut in pieces."""
    line = b"x" * 1998 + b"\r\n" + b"y" * 19_998 + b"\r\n"
    delivery = await peer.delivered(peer.marked_body(line))
    held: Expectation[Message] = that("the lines", lambda message: message.holds(b"\r\n" + line))
    whole = each_message("accepted, and the lines delivered in one piece", held)
    return expect(delivery, whole, choice=severity(4, 5))


@case(
    "5321-D-24",
    needs=NEEDS,
    after=(AFTER, "rfc5321.end-of-data.end-of-data-at-the-edges-of-buffers"),
    broken_by="refuses-64k",
)
async def content_of_64_kibioctets(peer: Peer) -> Observation:
    """A message of 65 536 octets, header and body together, is accepted and delivered."""
    head = peer.marked_body(b"")
    full, rest = divmod(65_536 - len(head), 64)
    lines = (b"x" * 62 + b"\r\n") * (full - 1) + b"y" * (62 + rest) + b"\r\n"
    delivery = await peer.delivered(head + lines)
    lasting(delivery)
    held: Expectation[Message] = that("all of it", lambda message: message.holds(lines))
    return expect(delivery, each_message("accepted, and all of it delivered", held))


@case("5321-D-25", needs=[RECIPIENT, NO_EXTENSION("SIZE")], after=AFTER, broken_by="size-limit-hidden")
async def limited_size_is_announced(peer: Peer) -> Observation:
    """A server that does not offer SIZE takes a message of 12 MiB."""
    lines = (b"x" * 62 + b"\r\n") * (LARGE // 64)
    answer = await peer.content_of(peer.marked_body(lines))
    lasting(answer)
    return expect(answer, severity(2))


@case("5321-C-37", needs=NEEDS, after=AFTER, broken_by="recipient-limit-10")
async def a_hundred_recipients(peer: Peer) -> Observation:
    """100 RCPT commands are accepted in one transaction, and the message is delivered."""
    await peer.until_mail()
    answer = await repeat_rcpt(peer, RECIPIENTS)
    lasting(answer)
    if answer.severity != 2:
        return expect(answer, codes(250, 251))
    return expect(await data_to_those(peer), delivered_to_some)


@case(
    "5321-C-38",
    needs=NEEDS,
    after="rfc5321.limits.a-hundred-recipients",
    broken_by="recipient-limit-drops-all",
)
async def recipients_over_the_limit_cost_no_other(peer: Peer) -> Observation:
    """A recipient too many is refused, and those accepted before still get the message."""
    await peer.until_mail()
    over = await repeat_rcpt(peer, MANY_RECIPIENTS)
    refused_data: Expectation[Delivery] = that(
        "DATA or its end refused after a recipient was",
        lambda answer: over.severity != 2 and answer.severity in (4, 5),
    )
    return all_of(
        expect(over, codes(250, 251) | severity(4, 5)),
        expect(await data_to_those(peer), delivered_to_some | choice(refused_data)),
    )


delivered_to_some: Expectation[Delivery] = that(
    "the message accepted and delivered", lambda delivery: delivery.accepted and delivery.arrived > 0
)


async def repeat_rcpt(peer: Peer, times: int) -> Answer:
    """RCPT for the same mailbox, up to `times`; the first answer that is no 2yz, or the last."""
    rcpt = b"RCPT TO:<%s>" % peer.recipient.encode()
    for number in range(times):
        answer = await peer.command(rcpt)
        if answer.severity != 2 and number < 2:
            raise Untested("the same recipient twice is refused, and others are not known", str(answer))
        if answer.severity != 2:
            break
    return answer


async def data_to_those(peer: Peer) -> Delivery:
    """DATA and a message for the recipients accepted so far."""
    answer = await peer.command(b"DATA")
    if answer.code != 354:
        return Delivery(answer.asked, answer.replies, answer.ending, answer.waited)
    await peer.send(peer.marked_body(b"text\r\n"))
    return await peer.delivery(b".\r\n")
