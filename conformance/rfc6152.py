"""RFC 6152, 8BITMIME: content of eight bits."""

from __future__ import annotations

from smtpbench.conformance import (
    DELIVERED,
    EXTENSION,
    RECIPIENT,
    Expectation,
    Message,
    Observation,
    Peer,
    all_of,
    case,
    codes,
    each_message,
    expect,
    mail_line,
    put_off,
    severity,
    taken,
    that,
)

EIGHT_BIT = EXTENSION("8BITMIME")
MIME = (
    b"MIME-Version: 1.0",
    b"Content-Type: text/plain; charset=iso-8859-1",
    b"Content-Transfer-Encoding: 8bit",
)


async def preserved(peer: Peer, lines: bytes) -> Observation:
    """A message with BODY=8BITMIME and `lines` in it is delivered with all bits of them."""
    await peer.until_mail(BODY="8BITMIME")
    delivery = taken(await peer.delivered(peer.marked_body(lines, *MIME)))
    held: Expectation[Message] = that("every octet", lambda message: message.holds(lines))
    return expect(delivery, each_message("every octet as it was sent", held))


@case("6152-6", needs=[EIGHT_BIT], broken_by="8bitmime-keyword-with-word")
async def keyword_has_no_parameter(peer: Peer) -> Observation:
    """The 8BITMIME keyword stands alone."""
    values = (await peer.until_ready())["8BITMIME"]
    alone: Expectation[str] = that("8BITMIME", lambda seen: seen == "8BITMIME")
    return expect(" ".join(("8BITMIME", *values)), alone)


@case("6152-1", needs=[EIGHT_BIT], broken_by="body-7bit-refused")
async def body_values_are_accepted(peer: Peer) -> Observation:
    """MAIL with BODY=8BITMIME and with BODY=7BIT is accepted."""
    answers = []
    for value in ("8BITMIME", "7BIT"):
        session = peer.new_session()
        await session.until_ready()
        answers.append(await session.command(mail_line(peer.sender, f"BODY={value}")))
    return all_of(*(expect(answer, codes(250), untested=put_off) for answer in answers))


@case("6152-2", needs=[EIGHT_BIT], broken_by=("body-parameter-unchecked", "parameter-syntax-unchecked"))
async def unknown_body_value_is_refused(peer: Peer) -> Observation:
    """MAIL with a BODY value that no extension knows is refused."""
    await peer.until_ready()
    return expect(await peer.command(mail_line(peer.sender, "BODY=9BIT")), severity(5), untested=put_off)


@case("6152-3", needs=[EIGHT_BIT], broken_by="repeated-parameter-closes")
async def two_body_parameters(peer: Peer) -> Observation:
    """MAIL with two BODY parameters, which no client may send: refused or accepted."""
    await peer.until_ready()
    answer = await peer.command(mail_line(peer.sender, "BODY=7BIT BODY=8BITMIME"))
    return expect(answer, severity(5), choice=codes(250), untested=put_off)


@case("6152-4", needs=[EIGHT_BIT, RECIPIENT, DELIVERED], broken_by="strips-eighth-bit")
async def all_eight_bits_are_preserved(peer: Peer) -> Observation:
    """All octets above 127 are delivered as they were sent."""
    lines = b"\r\n".join((b"", bytes(range(0x80, 0xC0)), bytes(range(0xC0, 0x100)), b""))
    return await preserved(peer, lines)


@case("6152-5", needs=[EIGHT_BIT, RECIPIENT, DELIVERED], broken_by=("wraps-long-lines", "strips-eighth-bit"))
async def line_of_1000_octets_of_eight_bits(peer: Peer) -> Observation:
    """A line of 1000 octets, its CRLF included, is taken in 8-bit content too."""
    return await preserved(peer, b"\r\n" + b"x\xe9" * 499 + b"\r\nlast\r\n")
