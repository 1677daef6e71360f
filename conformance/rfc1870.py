"""RFC 1870, SIZE: the declared size of a message."""

from __future__ import annotations

import re

from smtpbench.conformance import (
    DELIVERED,
    EXTENSION,
    RECIPIENT,
    Delivery,
    Expectation,
    Message,
    Observation,
    Peer,
    Untested,
    all_of,
    case,
    closed,
    codes,
    each_message,
    expect,
    mail_line,
    not_codes,
    put_off,
    refused,
    severity,
    single,
    taken,
    that,
)

SIZE = EXTENSION("SIZE")
DIGITS_20 = "9" + "0" * 18 + "1"  # above every maximum, and what is left of it is 1 if it is cut or overflows
LARGEST_TRIED = 64 * 1024 * 1024  # octets that a case sends at most
ENVELOPE = 1_024  # octets that a server may count beside the content (Postfix does)


async def fixed_maximum(peer: Peer) -> int:
    """The maximum that EHLO states; untested if there is none."""
    limit = (await peer.until_ready()).size_limit
    if not limit:
        raise Untested("no fixed maximum is stated")
    return limit


@case("1870-1", needs=[SIZE], broken_by="size-keyword-with-unit")
async def keyword_has_at_most_a_number(peer: Peer) -> Observation:
    """The SIZE keyword stands alone or has one number of at most 20 digits behind it."""
    values = (await peer.until_ready())["SIZE"]
    number: Expectation[str] = that(
        "SIZE or SIZE with a number", lambda seen: re.fullmatch(r"SIZE( \d{1,20})?", seen) is not None
    )
    return expect(" ".join(("SIZE", *values)), number)


@case("1870-11", needs=[SIZE], broken_by="size-parameter-refused")
async def size_parameter_is_accepted(peer: Peer) -> Observation:
    """MAIL with a SIZE within the limits is accepted."""
    await peer.until_ready()
    return expect(await peer.command(mail_line(peer.sender, "SIZE=100")), codes(250), untested=put_off)


@case("1870-2", needs=[SIZE], after=size_parameter_is_accepted, broken_by="size-parameter-ignored")
async def declared_size_over_the_maximum(peer: Peer) -> Observation:
    """MAIL with a declared size above the fixed maximum is answered with 552."""
    limit = await fixed_maximum(peer)
    answer = await peer.command(mail_line(peer.sender, f"SIZE={limit + 1}"))
    return expect(answer, codes(552), near=severity(5), untested=put_off)


@case("1870-4", needs=[SIZE], broken_by="repeated-parameter-closes")
async def two_sizes(peer: Peer) -> Observation:
    """MAIL with two SIZE parameters, which no client may send: refused or accepted."""
    await peer.until_ready()
    answer = await peer.command(mail_line(peer.sender, "SIZE=100 SIZE=200"))
    return expect(answer, severity(5), choice=codes(250), untested=put_off)


@case("1870-5", needs=[SIZE], broken_by="parameter-syntax-unchecked")
async def size_that_is_no_number(peer: Peer) -> Observation:
    """A SIZE that is no decimal number is refused as a syntax error."""
    await peer.until_ready()
    answers = [
        await peer.command(mail_line(peer.sender, parameter))
        for parameter in ("SIZE=abc", "SIZE=-1", "SIZE=")
    ]
    lenient = severity(5) | codes(250)  # to read it leniently breaks no MUST
    return all_of(*(expect(x, codes(501), near=lenient, untested=put_off) for x in answers))


@case("1870-6", needs=[SIZE], after=declared_size_over_the_maximum, broken_by="size-parameter-overflows")
async def size_of_twenty_digits(peer: Peer) -> Observation:
    """A SIZE of 20 digits is read as the number it is: above the fixed maximum."""
    await fixed_maximum(peer)
    answer = await peer.command(mail_line(peer.sender, f"SIZE={DIGITS_20}"))
    return expect(answer, codes(552), near=severity(5), untested=put_off)


@case("1870-12", needs=[SIZE], broken_by="size-zero-is-a-limit")
async def zero_means_no_maximum(peer: Peer) -> Observation:
    """Where EHLO says SIZE 0, no declared size is above the maximum."""
    if (await peer.until_ready()).size_limit != 0:
        raise Untested("the keyword is not SIZE 0")
    return expect(await peer.command(mail_line(peer.sender, "SIZE=1000000000")), codes(250), untested=put_off)


@case("1870-7", needs=[SIZE, RECIPIENT, DELIVERED], broken_by="size-truncates")
async def declared_size_does_not_end_the_data(peer: Peer) -> Observation:
    """A message that is larger than declared is delivered whole or refused, and never cut."""
    lines = b"\r\nfirst\r\n" + b"x" * 60 + b"\r\nlast\r\n"
    content = peer.marked_body(lines)
    await peer.until_mail(SIZE=str(len(content) - len(lines)))
    whole: Expectation[Message] = that("all of it", lambda message: message.holds(lines))
    delivery = await peer.delivered(content)
    return expect(
        taken(delivery) if delivery.accepted else delivery,
        each_message("all of it delivered", whole) | refused,
    )


@case("1870-8", needs=[SIZE, RECIPIENT, DELIVERED], broken_by="declared-size-refused-at-the-end")
async def message_of_the_declared_size(peer: Peer) -> Observation:
    """A message that is as large as declared is not refused with 552."""
    content = peer.marked_body((b"x" * 62 + b"\r\n") * 500)
    await peer.until_mail(SIZE=str(len(content)))
    fits: Expectation[Delivery] = that("any reply but 552", lambda delivery: delivery.code != 552)
    return expect(await peer.delivered(content), fits)


async def maximum_to_try(peer: Peer) -> int:
    """The fixed maximum; untested if it is larger than what a case sends."""
    limit = await fixed_maximum(peer)
    if limit > LARGEST_TRIED:
        raise Untested(f"the maximum, {limit} octets, is more than a case sends")
    return limit


def of_size(peer: Peer, size: int, line: bytes) -> bytes:
    """A message of exactly `size` octets whose body repeats `line` (with its CRLF), the last cut short."""
    head = peer.marked_body(b"")
    body = (line * ((size - len(head)) // len(line) + 1))[: size - len(head)]
    return head + body[:-2] + b"\r\n"


@case("1870-3", needs=[SIZE], after=size_parameter_is_accepted, broken_by="large-size-put-off")
async def size_at_the_maximum_is_taken_or_finds_no_room(peer: Peer) -> Observation:
    """A declared size of the fixed maximum is accepted, or answered 452 while there is no room for it."""
    answer = await peer.command(mail_line(peer.sender, f"SIZE={await fixed_maximum(peer)}"))
    return expect(answer, codes(250, 452), near=severity(4), untested=codes(530, 538, 421))


@case("1870-10", needs=[SIZE, RECIPIENT])
async def recipient_of_a_message_of_the_maximum(peer: Peer) -> Observation:
    """A RCPT can be refused with 452 or 552 because the declared size is too much for that mailbox."""
    await peer.until_mail(SIZE=str(await fixed_maximum(peer)))
    answer = await peer.command(f"RCPT TO:<{peer.recipient}>".encode())
    return expect(answer, codes(250, 251), choice=codes(452, 552), untested=severity(4, 5))


@case("1870-13", needs=[SIZE], broken_by="mail-line-limit-without-parameters")
async def size_makes_room_on_the_line(peer: Peer) -> Observation:
    """The longest path that must be taken (256 octets) and a SIZE of 20 digits fit on one MAIL line."""
    await peer.until_allowed()
    domain = ".".join(("d" * 60, "d" * 60, "d" * 60, "example"))  # 190 octets
    path = "s" * 63 + "@" + domain
    answer = await peer.command(f"MAIL FROM:<{path}> SIZE={100:020}".encode())
    return expect(answer, not_codes(500), untested=put_off)


@case("1870-9", needs=[SIZE, RECIPIENT], broken_by="size-counts-stuffed-dots")
async def stuffed_dots_are_not_counted(peer: Peer) -> Observation:
    """A message within the maximum is not refused as too large for the dots that were added to it."""
    limit = await maximum_to_try(peer)
    content = of_size(peer, limit - ENVELOPE, b"." + b"x" * 28 + b"\r\n")
    await peer.until_mail()
    return expect(await peer.content_of(content), not_codes(552), untested=severity(4))


@case("1870-14", needs=[SIZE, RECIPIENT], broken_by="oversize-501", after="rfc5321.noop.noop-is-answered-250")
async def message_over_the_maximum(peer: Peer) -> Observation:
    """A message that turns out larger than the maximum is refused with 552, and the session goes on."""
    limit = await maximum_to_try(peer)
    refused_otherwise = severity(4) | codes(550, 554) | closed
    await peer.until_mail()
    answer = await peer.content_of(of_size(peer, limit + ENVELOPE, b"x" * 62 + b"\r\n"))
    after = await peer.command(b"NOOP", extra=True)
    return all_of(
        expect(answer, codes(552), untested=refused_otherwise, near=severity(5), choice=severity(2)),
        expect(after, single(severity(2)), untested=put_off | closed),
    )
