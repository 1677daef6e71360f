"""RFC 6531, SMTPUTF8: addresses in UTF-8, and what is said and written about them."""

from __future__ import annotations

import re

from smtpbench.conformance import (
    DELIVERED,
    EXTENSION,
    RECIPIENT,
    UNKNOWN_RECIPIENT,
    UTF8_RECIPIENT,
    Anomaly,
    Answer,
    Delivery,
    Expectation,
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
    reply_that,
    severity,
    taken,
    that,
)

UTF8 = EXTENSION("SMTPUTF8")
LOCAL = "δοκιμή"  # "test" in Greek
DOMAIN = "bücher.example"  # a U-label; its A-label is xn--bcher-kva
A_LABEL = "xn--bcher-kva.example"
POLICY = codes(550, 553, 554)  # not the syntax, but this address: what a server takes is its own affair
SWITCHED_OFF = codes(500, 502)  # RFC 5321 §3.5.3: VRFY or EXPN is not there
PATH = 256  # RFC 5321 §4.5.3.1.3

ascii_only = reply_that("ASCII only", lambda reply: Anomaly.NON_ASCII not in reply.anomalies)


def mail(local: str, domain: str, parameters: str = " SMTPUTF8") -> bytes:
    """A MAIL line."""
    return f"MAIL FROM:<{local}@{domain}>{parameters}".encode()


def sender_domain(peer: Peer) -> str:
    """The domain of the sender that the server is known to accept."""
    return peer.sender.rpartition("@")[2]


def non_ascii_refusal(peer: Peer, code: int) -> Expectation[Answer]:
    """`code`, with the enhanced code X.6.7 where the session has such codes."""
    if "ENHANCEDSTATUSCODES" not in peer.extensions:
        return codes(code)
    return codes(code) & reply_that("X.6.7", lambda reply: (reply.enhanced or (0, 0, 0))[1:] == (6, 7))


# What is offered


@case("6531-1", needs=[UTF8], broken_by="smtputf8-keyword-with-value")
async def keyword_has_no_parameter(peer: Peer) -> Observation:
    """The SMTPUTF8 keyword stands alone."""
    values = (await peer.until_ready())["SMTPUTF8"]
    alone: Expectation[str] = that("SMTPUTF8", lambda seen: seen == "SMTPUTF8")
    return expect(" ".join(("SMTPUTF8", *values)), alone)


@case("6531-2", needs=[UTF8], broken_by="no-8bitmime")
async def eight_bit_mime_is_offered_too(peer: Peer) -> Observation:
    """EHLO that lists SMTPUTF8 lists 8BITMIME."""
    listed = " ".join(await peer.until_ready())
    return expect(listed, that("8BITMIME among the keywords", lambda seen: "8BITMIME" in seen.split()))


@case("6531-13", needs=[UTF8], broken_by="ehlo-domain-in-utf8")
async def ehlo_reply_names_the_server_in_ascii(peer: Peer) -> Observation:
    """The domain in the reply to EHLO is in ASCII, as A-labels if it is international."""
    await peer.until_ready()
    answer = await peer.ehlo()
    name = answer.lines[0].split(b" ")[0] if answer.lines else b""
    if answer.code != 250 or not name:
        raise Untested("the reply to EHLO names no domain", str(answer))
    return expect(answer, that("a domain in ASCII", lambda _: name.isascii()))


# The parameter of MAIL


@case("6531-3", needs=[UTF8], broken_by=("smtputf8-parameter-with-value", "parameter-syntax-unchecked"))
async def parameter_takes_no_value(peer: Peer) -> Observation:
    """MAIL with SMTPUTF8=1 is refused."""
    answer = await instead_of_mail(peer, b"MAIL FROM:<%s> SMTPUTF8=1" % peer.sender.encode())
    return expect(answer, severity(5), untested=put_off)


@case("6531-17", needs=[UTF8], broken_by="smtputf8-excludes-body")
async def parameter_goes_with_body(peer: Peer) -> Observation:
    """MAIL takes SMTPUTF8 together with BODY=8BITMIME, and with BODY=BINARYMIME where that is offered."""
    bodies = ["8BITMIME", *({"BINARYMIME"} & set(await peer.until_ready()))]
    lines = [b"MAIL FROM:<%s> SMTPUTF8 BODY=%s" % (peer.sender.encode(), body.encode()) for body in bodies]
    answers = [await instead_of_mail(peer, line) for line in lines]
    return all_of(*(expect(answer, codes(250), untested=put_off) for answer in answers))


@case("6531-18", needs=[UTF8], broken_by="mail-line-limit-270")
async def line_may_be_longer_by_the_parameter(peer: Peer) -> Observation:
    """A MAIL with a path of 256 octets, if it is accepted, is accepted with SMTPUTF8 behind it too."""
    labels = ".".join(
        ("b" * 63, "c" * 63, "d" * (PATH - 64 - 3 - 128 - len("example.org") - 1), "example.org")
    )
    without = await instead_of_mail(peer, mail("a" * 64, labels, ""))
    if without.code != 250:
        raise Untested("a path of 256 octets is not accepted without the parameter", str(without))
    answer = await instead_of_mail(peer, mail("a" * 64, labels))
    return expect(answer, codes(250), untested=put_off)


# Addresses


@case("6531-4", needs=[UTF8], broken_by="utf8-path-refused")
async def sender_with_a_local_part_in_utf8(peer: Peer) -> Observation:
    """MAIL with SMTPUTF8 takes a mailbox with UTF-8 in its local-part."""
    answer = await instead_of_mail(peer, mail(LOCAL, sender_domain(peer)))
    return expect(answer, codes(250), choice=POLICY, untested=put_off)


@case("6531-4", needs=[UTF8, UTF8_RECIPIENT, DELIVERED], broken_by="utf8-mailbox-unknown")
async def recipient_with_a_local_part_in_utf8(peer: Peer) -> Observation:
    """A mailbox with UTF-8 in its local-part gets the message that is sent to it with SMTPUTF8."""
    await peer.until_mail(SMTPUTF8=None)
    answer = await peer.command(b"RCPT TO:<%s>" % peer.utf8_recipient.encode())
    if answer.severity != 2:
        return expect(answer, codes(250, 251), untested=put_off)
    await peer.command(b"DATA")
    await peer.send(peer.marked_body(b"text\r\n"))
    delivered: Expectation[Delivery] = that("the message delivered", lambda delivery: delivery.arrived > 0)
    return expect(taken(await peer.delivery(b".\r\n")), delivered)


@case("6531-5", needs=[UTF8], broken_by="utf8-path-refused")
async def sender_with_a_domain_in_utf8(peer: Peer) -> Observation:
    """MAIL with SMTPUTF8 takes a domain in U-labels as it takes one in A-labels."""
    plain = await instead_of_mail(peer, mail("smtpbench", A_LABEL))
    if plain.code != 250:
        raise Untested("a sender in the same domain, in A-labels, is refused", str(plain))
    answer = await instead_of_mail(peer, mail("smtpbench", DOMAIN))
    return expect(answer, codes(250), choice=POLICY, untested=put_off)


@case("6531-5", needs=[UTF8, RECIPIENT], broken_by="utf8-path-refused")
async def recipient_with_a_domain_in_utf8(peer: Peer) -> Observation:
    """RCPT with a domain in U-labels is no syntax error; whether mail for it is taken is another question."""
    line = f"RCPT TO:<smtpbench@{DOMAIN}>".encode()
    answer = await instead_of_rcpt(peer, line, SMTPUTF8=None)
    fine: Expectation[Answer] = that(
        "2yz, or a refusal that is no syntax error",
        lambda answer: answer.severity in (2, 5) and answer.code not in (500, 501, 555),
    )
    return expect(answer, fine, untested=put_off)


@case("6531-9", needs=[UTF8], broken_by="utf8-path-refused")
async def quoted_local_part_in_utf8(peer: Peer) -> Observation:
    """A quoted local-part may have UTF-8 in it."""
    plain = await instead_of_mail(peer, mail('"smtp bench"', sender_domain(peer)))
    if plain.code != 250:
        raise Untested("a quoted local-part in ASCII is not accepted", str(plain))
    answer = await instead_of_mail(peer, mail(f'"{LOCAL} {LOCAL}"', sender_domain(peer)))
    return expect(answer, codes(250), choice=POLICY, untested=put_off)


@case("6531-8", needs=[UTF8], broken_by=("invalid-utf8-accepted", "invalid-utf8-closes"))
async def octets_that_are_no_utf8_are_refused(peer: Peer) -> Observation:
    """An address with octets that are no valid UTF-8 is refused, and the session goes on."""
    line = b"MAIL FROM:<a\xff\xfe@%s> SMTPUTF8" % sender_domain(peer).encode()
    answer = await instead_of_mail(peer, line)
    # No MUST asks a server to look at each octet; the grammar has no such address all the same.
    return expect(answer, severity(5), near=codes(250), untested=put_off)


@case("6531-6", needs=[UTF8], broken_by=("non-ascii-envelope-accepted", "non-ascii-refused-with-501"))
async def sender_in_utf8_without_the_parameter(peer: Peer) -> Observation:
    """MAIL with a UTF-8 mailbox and no SMTPUTF8 is answered 550, with X.6.7 among enhanced codes."""
    await peer.until_ready()
    answer = await instead_of_mail(peer, mail(LOCAL, sender_domain(peer), ""))
    # Accepted: RFC 5321 §2.4 has servers refuse what the client had no leave to send, with a SHOULD.
    return expect(answer, non_ascii_refusal(peer, 550), near=severity(2, 5), untested=put_off)


@case(
    "6531-7",
    needs=[UTF8, RECIPIENT, UTF8_RECIPIENT],
    broken_by=("non-ascii-envelope-accepted", "non-ascii-refused-with-501"),
    after=recipient_with_a_local_part_in_utf8,
)
async def recipient_in_utf8_without_the_parameter(peer: Peer) -> Observation:
    """RCPT of a UTF-8 mailbox in a transaction without SMTPUTF8 is answered 553, with X.6.7."""
    await peer.until_ready()
    answer = await instead_of_rcpt(peer, b"RCPT TO:<%s>" % peer.utf8_recipient.encode())
    return expect(answer, non_ascii_refusal(peer, 553), near=severity(2, 5), untested=put_off)


@case("6531-16", needs=[UTF8, EXTENSION("DSN"), RECIPIENT], broken_by="orcpt-utf8-refused")
async def original_recipient_in_utf8(peer: Peer) -> Observation:
    """Where DSN is offered too, ORCPT takes an address of the type utf-8, as it is and in its ASCII form."""
    escaped = "".join(rf"\x{{{ord(letter):X}}}" for letter in LOCAL)
    forms = (f"utf-8;{LOCAL}@example.org", f"utf-8;{escaped}@example.org")
    lines = [f"RCPT TO:<{peer.recipient}> ORCPT={form}".encode() for form in forms]
    answers = [await instead_of_rcpt(peer, line, SMTPUTF8=None) for line in lines]
    return all_of(*(expect(answer, codes(250, 251), untested=put_off) for answer in answers))


# Replies


async def parameter_accepted(peer: Peer, verb: bytes) -> Observation:
    """`verb` with the recipient and SMTPUTF8 is answered as it is without SMTPUTF8."""
    await peer.until_allowed()
    line = verb + b" " + peer.recipient.encode()
    plain = await peer.command(line)
    if plain.severity != 2:
        raise Untested(f"{verb.decode()} of the recipient has no positive answer", str(plain))
    answer = await peer.command(line + b" SMTPUTF8")
    return expect(answer, codes(plain.code), near=severity(2), untested=put_off)


@case("6531-10", needs=[UTF8, RECIPIENT], broken_by="vrfy-without-smtputf8")
async def vrfy_takes_the_parameter(peer: Peer) -> Observation:
    """VRFY takes SMTPUTF8 behind its argument."""
    return await parameter_accepted(peer, b"VRFY")


@case("6531-10", needs=[UTF8, RECIPIENT], broken_by="vrfy-without-smtputf8")
async def expn_takes_the_parameter(peer: Peer) -> Observation:
    """EXPN takes SMTPUTF8 behind its argument."""
    return await parameter_accepted(peer, b"EXPN")


@case("6531-11", needs=[UTF8, UTF8_RECIPIENT], broken_by="vrfy-utf8-unasked")
async def vrfy_without_the_parameter_is_answered_in_ascii(peer: Peer) -> Observation:
    """VRFY and EXPN of a UTF-8 mailbox have no UTF-8 in their replies, unless SMTPUTF8 allowed it."""
    await peer.until_allowed()
    name = peer.utf8_recipient.encode()
    answers = [await peer.command(verb + b" " + name) for verb in (b"VRFY", b"EXPN")]
    there = [answer for answer in answers if answer.code not in (500, 502)]
    if not there:
        raise Untested("neither VRFY nor EXPN is there", str(answers[0]))
    return all_of(*(expect(answer, ascii_only, untested=put_off) for answer in there))


@case("6531-12", needs=[UTF8, RECIPIENT, UNKNOWN_RECIPIENT], broken_by="moved-551-in-utf8")
async def new_address_is_given_in_ascii(peer: Peer) -> Observation:
    """A 251 or 551 in a transaction without SMTPUTF8 gives no mailbox outside ASCII."""
    await peer.until_mail()
    lines = [b"RCPT TO:<%s>" % name.encode() for name in (peer.unknown_recipient, peer.recipient)]
    answers = [await peer.command(line) for line in lines]
    moved = [answer for answer in answers if answer.code in (251, 551)]
    if not moved:
        raise Untested("no recipient here is answered 251 or 551", "; ".join(map(str, answers)))
    return all_of(*(expect(answer, ascii_only) for answer in moved))


# Trace


@case(
    "6531-14",
    needs=[UTF8, RECIPIENT, DELIVERED],
    after="rfc5321.trace.received-line-on-top",
    broken_by="received-with-esmtp",
)
async def received_line_has_a_utf8_protocol(peer: Peer) -> Observation:
    """The WITH clause of Received names a UTF8SMTP or UTF8LMTP protocol for a message sent with SMTPUTF8."""
    await peer.until_mail(SMTPUTF8=None, BODY="8BITMIME")
    content = peer.marked_body(b"text\r\n", f"Comments: {LOCAL}".encode())
    protocol = with_clause(taken(await peer.delivered(content)))
    registered: Expectation[str] = that(
        "UTF8SMTP or UTF8LMTP, with S, A or SA",
        lambda seen: re.fullmatch(r"UTF8(SMTP|LMTP)S?A?", seen, re.IGNORECASE) is not None,
    )
    return expect(protocol, registered)


def with_clause(delivery: Delivery) -> str:
    """The word after WITH in the Received line of the server that took the message from us."""
    lines = [line for message in delivery.messages for line in message.received]
    bare = re.sub(r"\([^()]*\)", " ", lines[-1]) if lines else ""
    found = re.search(r"\swith\s+(\S+)", bare, re.IGNORECASE)
    if found is None:
        raise Untested("no Received line with a WITH clause", str(delivery))
    return found[1].rstrip(";")
