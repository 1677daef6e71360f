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
    codes,
    each_message,
    expect,
    put_off,
    refused,
    severity,
    taken,
    that,
)

SIZE = EXTENSION("SIZE")
DIGITS_20 = "9" * 20


def mail(peer: Peer, parameters: str) -> bytes:
    """A MAIL line with `parameters`."""
    return f"MAIL FROM:<{peer.sender}> {parameters}".encode()


async def fixed_maximum(peer: Peer) -> int:
    """The maximum that EHLO states; untested if there is none."""
    limit = (await peer.until_ready()).size_limit
    if not limit:
        raise Untested("no fixed maximum is stated")
    return limit


@case("1870-1", needs=[SIZE])
async def keyword_has_at_most_a_number(peer: Peer) -> Observation:
    """The SIZE keyword stands alone or has one number of at most 20 digits behind it."""
    values = (await peer.until_ready())["SIZE"]
    number: Expectation[str] = that(
        "SIZE or SIZE with a number", lambda seen: re.fullmatch(r"SIZE( \d{1,20})?", seen) is not None
    )
    return expect(" ".join(("SIZE", *values)), number)


@case("1870-11", needs=[SIZE])
async def size_parameter_is_accepted(peer: Peer) -> Observation:
    """MAIL with a SIZE within the limits is accepted."""
    await peer.until_ready()
    return expect(await peer.command(mail(peer, "SIZE=100")), codes(250), untested=put_off)


@case("1870-2", needs=[SIZE], broken_by="size-parameter-ignored")
async def declared_size_over_the_maximum(peer: Peer) -> Observation:
    """MAIL with a declared size above the fixed maximum is answered with 552."""
    limit = await fixed_maximum(peer)
    answer = await peer.command(mail(peer, f"SIZE={limit + 1}"))
    return expect(answer, codes(552), near=severity(5), untested=put_off)


@case("1870-4", needs=[SIZE])
async def two_sizes(peer: Peer) -> Observation:
    """MAIL with two SIZE parameters, which no client may send: refused or accepted."""
    await peer.until_ready()
    answer = await peer.command(mail(peer, "SIZE=100 SIZE=200"))
    return expect(answer, severity(5), choice=codes(250), untested=put_off)


@case("1870-5", needs=[SIZE], broken_by="parameter-syntax-unchecked")
async def size_that_is_no_number(peer: Peer) -> Observation:
    """A SIZE that is no decimal number is refused as a syntax error."""
    await peer.until_ready()
    answers = [await peer.command(mail(peer, parameter)) for parameter in ("SIZE=abc", "SIZE=-1", "SIZE=")]
    lenient = severity(5) | codes(250)  # to read it leniently breaks no MUST
    return all_of(*(expect(x, codes(501), near=lenient, untested=put_off) for x in answers))


@case("1870-6", needs=[SIZE], broken_by="size-parameter-ignored")
async def size_of_twenty_digits(peer: Peer) -> Observation:
    """A SIZE of 20 digits is read as the number it is: above the fixed maximum."""
    await fixed_maximum(peer)
    answer = await peer.command(mail(peer, f"SIZE={DIGITS_20}"))
    return expect(answer, codes(552), near=severity(5), untested=put_off)


@case("1870-12", needs=[SIZE])
async def zero_means_no_maximum(peer: Peer) -> Observation:
    """Where EHLO says SIZE 0, no declared size is above the maximum."""
    if (await peer.until_ready()).size_limit != 0:
        raise Untested("the keyword is not SIZE 0")
    return expect(await peer.command(mail(peer, "SIZE=1000000000")), codes(250), untested=put_off)


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


@case("1870-8", needs=[SIZE, RECIPIENT, DELIVERED])
async def message_of_the_declared_size(peer: Peer) -> Observation:
    """A message that is as large as declared is not refused with 552."""
    content = peer.marked_body((b"x" * 62 + b"\r\n") * 500)
    await peer.until_mail(SIZE=str(len(content)))
    fits: Expectation[Delivery] = that("any reply but 552", lambda delivery: delivery.code != 552)
    return expect(await peer.delivered(content), fits)
