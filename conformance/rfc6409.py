"""RFC 6409, message submission: who may submit, what has no place there, and what is done to messages."""

from __future__ import annotations

import re

from smtpbench.conformance import (
    AUTH,
    DELIVERED,
    ENDPOINT,
    FOREIGN_RECIPIENT,
    RECIPIENT,
    Answer,
    Delivery,
    Ending,
    Expectation,
    Message,
    Observation,
    Peer,
    Role,
    Untested,
    all_of,
    case,
    choice,
    codes,
    each_message,
    expect,
    instead_of_mail,
    instead_of_rcpt,
    near,
    not_codes,
    put_off,
    refused,
    severity,
    taken,
    that,
    untested,
)

SUBMISSION = ENDPOINT(Role.SUBMISSION)
USER = (SUBMISSION, AUTH)
SUBMITTED = (SUBMISSION, AUTH, RECIPIENT, DELIVERED)
UNQUALIFIED = "smtpbench-unqualified"  # one label, and no top-level domain: RFC 5321 §2.3.5 allows those
LIMIT = 120.0  # seconds: §5.3
ATOMS = rb"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+"
MESSAGE_ID = re.compile(rb"<%s@(?:%s|\[[!-Z^-~]*\])>" % (ATOMS, ATOMS))  # RFC 5322 §3.6.4


def values(message: Message, name: bytes) -> list[bytes]:
    """Values of the header fields called `name`, unfolded, wherever in the header they stand."""
    header = re.split(rb"\r?\n\r?\n", message.raw, maxsplit=1)[0]
    unfolded = re.sub(rb"\r?\n(?=[ \t])", b"", header)
    return [value.strip() for value in re.findall(rb"(?mi)^%s[ \t]*:(.*?)\r?$" % name, unfolded)]


def has(what: str, name: bytes, pattern: bytes = rb".*") -> Expectation[Delivery]:
    """Each message delivered has one field `name`, and `pattern` is all of its value."""

    def one(message: Message) -> bool:
        found = values(message, name)
        return len(found) == 1 and re.fullmatch(pattern, found[0], re.DOTALL) is not None

    return each_message(what, that(what, one))


def written(peer: Peer, *fields: bytes) -> bytes:
    """A message with the marker and `fields` in its header, and no field besides."""
    lines = (b"X-Smtpbench: " + peer.marker, *fields, b"", b"text", b"")
    return b"\r\n".join(lines)


def usual(peer: Peer, *without: bytes) -> list[bytes]:
    """The fields that a message should have, without those whose names are given."""
    fields = {
        b"From": b"<%s>" % peer.sender.encode(),
        b"To": b"<%s>" % peer.recipient.encode(),
        b"Date": b"Thu, 01 Jan 2026 00:00:00 +0000",
        b"Message-ID": b"<%s@example.org>" % peer.marker,
    }
    return [name + b": " + value for name, value in fields.items() if name not in without]


# Who may submit


async def recognised(peer: Peer) -> bool:
    """Whether this client, which has not authenticated, may relay: "unless … independently established"."""
    rcpt = b"RCPT TO:<%s>" % peer.foreign_recipient.encode()
    return (await peer.command(rcpt)).severity != 5


@case("6409-1", needs=[*USER, FOREIGN_RECIPIENT], broken_by="submission-needs-no-auth")
async def mail_needs_authentication(peer: Peer) -> Observation:
    """MAIL from a client that has not authenticated is refused, not only what follows it."""
    await peer.until_ready()
    answer = await peer.command(b"MAIL FROM:<%s>" % peer.sender.encode())
    expected = codes(530) | near(severity(2, 5)) | untested(severity(4))
    if answer.severity == 2 and await recognised(peer):
        raise Untested("the client is recognised without AUTH", str(answer))
    return expect(answer, expected)


@case("6409-10", needs=[SUBMISSION, FOREIGN_RECIPIENT], broken_by="submission-without-auth")
async def auth_is_offered(peer: Peer) -> Observation:
    """EHLO on a submission port lists AUTH, in clear or inside TLS."""
    listed = set(await peer.until_ready())
    if "AUTH" not in listed and "STARTTLS" in listed:
        if (await peer.starttls()).code != 220:
            raise Untested("AUTH is not offered in clear, and STARTTLS was not accepted")
        listed = set(await peer.until_ready())
    mail = b"MAIL FROM:<%s>" % peer.sender.encode()
    if "AUTH" not in listed and (await peer.command(mail)).severity == 2 and await recognised(peer):
        raise Untested("the client is recognised without AUTH")
    return expect(" ".join(sorted(listed)), that("AUTH", lambda seen: "AUTH" in seen.split()))


@case("6409-6", needs=USER)
async def sender_of_somebody_else(peer: Peer) -> Observation:
    """MAIL with an address that is not the user's: refused, or accepted."""
    answer = await instead_of_mail(peer, b"MAIL FROM:<smtpbench-somebody-else@example.net>")
    return expect(answer, codes(550), near=severity(5), choice=severity(2), untested=put_off)


@case("6409-7", needs=[*USER, RECIPIENT, FOREIGN_RECIPIENT])
async def recipient_elsewhere(peer: Peer) -> Observation:
    """RCPT of an authenticated user for a foreign domain: refused, or accepted."""
    line = b"RCPT TO:<%s>" % peer.foreign_recipient.encode()
    answer = await instead_of_rcpt(peer, line)
    return expect(answer, codes(550), near=severity(5), choice=severity(2), untested=put_off)


@case("6409-9", needs=[SUBMISSION])
async def postmaster_without_authentication(peer: Peer) -> Observation:
    """Mail to postmaster from a client that has not authenticated: refused as other mail is, or accepted."""
    await peer.until_ready()
    answer = await peer.command(b"MAIL FROM:<%s>" % peer.sender.encode())
    if answer.severity == 2:
        answer = await peer.command(b"RCPT TO:<Postmaster>")
    return expect(answer, codes(250, 251), choice=severity(5), untested=severity(4))


# What is offered, and what is not


@case(
    "6409-11",
    needs=USER,
    broken_by=("submission-without-dsn", "no-8bitmime"),
)
async def useful_extensions_are_offered(peer: Peer) -> Observation:
    """EHLO lists PIPELINING, ENHANCEDSTATUSCODES, 8BITMIME and DSN."""
    await peer.until_allowed()
    before = set(peer.extensions)
    await peer.ehlo()  # some list more to those they know
    listed = " ".join(sorted(before | set(peer.extensions)))
    wanted = {"PIPELINING", "ENHANCEDSTATUSCODES", "8BITMIME", "DSN"}
    return expect(listed, that(", ".join(sorted(wanted)), lambda seen: wanted <= set(seen.split())))


@case("6409-12", "6409-13", needs=[SUBMISSION], broken_by="submission-offers-etrn")
async def etrn_and_atrn_are_not_offered(peer: Peer) -> Observation:
    """EHLO on a submission port lists neither ETRN nor ATRN."""
    listed = " ".join(await peer.until_ready())
    neither: Expectation[str] = that(
        "neither ETRN nor ATRN", lambda seen: not {"ETRN", "ATRN"}.intersection(seen.split())
    )
    return expect(listed, neither)


@case("6409-14", needs=[SUBMISSION], broken_by="submission-refuses-with-521")
async def reply_521_is_not_used(peer: Peer) -> Observation:
    """No reply on a submission port is 521, be it the greeting or a refusal."""
    answers = [await peer.connect()]
    if answers[0].code == 220:
        await peer.until_ready()
        sender = b"MAIL FROM:<%s>" % peer.sender.encode()
        lines = (sender, b"RCPT TO:<nobody@example.net>", b"DATA", b"VRFY nobody", b"XNOSUCH", b"QUIT")
        answers += [await peer.command(line) for line in lines]
    replied = [answer for answer in answers if answer.replies]
    if not replied:
        raise Untested("no reply came", str(answers[0]))
    return all_of(*(expect(answer, not_codes(521)) for answer in replied))


@case("6409-5", needs=[*USER, RECIPIENT], deadline=8 * LIMIT, accuses=False)
async def every_command_is_answered_in_two_minutes(peer: Peer) -> Observation:
    """Each step of a session, the end of data too, is answered in less than two minutes.

    Asked as far as `timeouts.reply` reaches; a server that has not answered by then may be in time yet. A
    server that takes longer is recorded and not accused: so long a wait cannot be proven with a fault.
    """
    wait = min(LIMIT, peer.target.timeouts.reply)
    await peer.until_rcpt()
    answers = [await peer.command(line, timeout=wait) for line in (b"NOOP", b"DATA")]
    if answers[-1].code == 354:
        await peer.send(peer.marked_body(b"text\r\n.\r\n"))
        answers.append(await peer.read(timeout=wait))
    silent = [answer for answer in answers if answer.ending is Ending.SILENT]
    if silent and wait < LIMIT:
        raise Untested(f"no reply within {wait:g} s; timeouts.reply = {LIMIT:g} would tell", str(silent[0]))
    in_time: Expectation[Answer] = that("a reply in time", lambda answer: answer.ending is not Ending.SILENT)
    return all_of(*(expect(answer, in_time) for answer in answers))


# The envelope


@case("6409-2", needs=[*USER, RECIPIENT], accuses=False)
async def improper_domain_is_refused_with_554(peer: Peer) -> Observation:
    """RCPT with a domain of one label, if it is refused, is answered 554, or by a code more precise."""
    answer = await instead_of_rcpt(peer, f"RCPT TO:<smtpbench@{UNQUALIFIED}>".encode())
    if answer.severity == 2:
        raise Untested("a domain of one label is not refused", str(answer))
    return expect(answer, codes(554), choice=severity(5), untested=put_off)


@case("6409-3", needs=SUBMITTED, broken_by="unqualified-domains-accepted")
async def sender_domain_is_fully_qualified(peer: Peer) -> Observation:
    """A sender whose domain is one label is refused, or does not leave the server like that."""
    answer = await instead_of_mail(peer, f"MAIL FROM:<smtpbench@{UNQUALIFIED}>".encode())
    if answer.severity != 2:
        return expect(answer, severity(5), untested=put_off)
    await peer.until_mail(f"smtpbench@{UNQUALIFIED}")
    answer = await peer.command(b"RCPT TO:<%s>" % peer.recipient.encode())
    if answer.severity != 2:
        return expect(answer, severity(5), untested=put_off)
    if (await peer.command(b"DATA")).code != 354:
        raise Untested("DATA was not accepted")
    await peer.send(written(peer, *usual(peer)))
    delivery = await peer.delivery(b".\r\n")
    paths = [path for message in delivery.messages for path in message.traces("return-path")]
    if delivery.accepted and not paths:
        raise Untested("no Return-Path shows the sender as it went on", str(delivery))
    # Near, although it is a MUST: one label is fully qualified if it is a top-level domain.
    kept: Expectation[Delivery] = that(
        "passed on as it was", lambda _: any(f"@{UNQUALIFIED}>" in path for path in paths)
    )
    completed: Expectation[Delivery] = that("completed", lambda _: bool(paths))
    return expect(delivery, refused | near(kept) | completed)


@case("6409-3", needs=[*USER, RECIPIENT], accuses=False)
async def recipient_domain_is_fully_qualified(peer: Peer) -> Observation:
    """A recipient whose domain is one label is refused; if not, it may be completed, or returned later."""
    answer = await instead_of_rcpt(peer, f"RCPT TO:<smtpbench@{UNQUALIFIED}>".encode())
    return expect(answer, severity(5), choice=severity(2), untested=put_off)


@case("6409-4", needs=[*USER, RECIPIENT], broken_by="submission-repairs-addresses")
async def illegal_address_is_refused_with_501(peer: Peer) -> Observation:
    """MAIL and RCPT with an address of illegal syntax are answered 501."""
    mail = await instead_of_mail(peer, b"MAIL FROM:<smtpbench@example..org>")
    rcpt = await instead_of_rcpt(peer, b"RCPT TO:<smtpbench@example..org>")
    return all_of(
        *(expect(answer, codes(501), near=severity(5), untested=put_off) for answer in (mail, rcpt))
    )


# The message


@case("6409-8", needs=SUBMITTED)
async def message_with_faulty_syntax(peer: Peer) -> Observation:
    """A message with a line in its header that is no field: refused with 554, or accepted."""
    delivery = await peer.delivered(written(peer, *usual(peer), b"this is no header field"))
    return expect(delivery, codes(554), near=severity(5), choice=severity(2), untested=put_off)


@case("6409-15", needs=SUBMITTED)
async def missing_date_is_added(peer: Peer) -> Observation:
    """A message without Date: one is added, or it goes on as it is."""
    delivery = taken(await peer.delivered(written(peer, *usual(peer, b"Date"))))
    return expect(delivery, has("a Date field", b"Date", rb".*\d\d:\d\d.*"), choice=that("none", bool))


@case("6409-15", needs=SUBMITTED)
async def faulty_date_is_corrected(peer: Peer) -> Observation:
    """A Date field that is no date: it is corrected, or goes on as it is."""
    delivery = taken(await peer.delivered(written(peer, *usual(peer, b"Date"), b"Date: yesterday")))
    return expect(delivery, has("a date", b"Date", rb".*\d\d:\d\d.*"), choice=that("no date", bool))


@case("6409-16", "5322-6", needs=SUBMITTED, broken_by="submission-adds-no-message-id")
async def missing_message_id_is_added(peer: Peer) -> Observation:
    """A message without Message-ID gains one."""
    delivery = taken(await peer.delivered(written(peer, *usual(peer, b"Message-ID"))))
    return expect(delivery, has("one Message-ID of valid syntax", b"Message-ID", MESSAGE_ID.pattern))


@case("6409-16", needs=SUBMITTED, broken_by="submission-adds-no-message-id")
async def faulty_message_id_is_replaced(peer: Peer) -> Observation:
    """A Message-ID without angle brackets and domain is replaced by one of valid syntax."""
    fields = (*usual(peer, b"Message-ID"), b"Message-ID: smtpbench")
    delivery = taken(await peer.delivered(written(peer, *fields)))
    return expect(delivery, has("one Message-ID of valid syntax", b"Message-ID", MESSAGE_ID.pattern))


@case("6409-17", needs=SUBMITTED)
async def sender_is_added_where_from_is_somebody_else(peer: Peer) -> Observation:
    """A message whose From is not the user: Sender is added, or it goes on as it is."""
    fields = (*usual(peer, b"From"), b"From: <smtpbench-somebody-else@example.net>")
    delivery = taken(await peer.delivered(written(peer, *fields)))
    return expect(delivery, has("a Sender field", b"Sender"), choice=that("none", bool))


@case("6409-18", needs=SUBMITTED, after=missing_date_is_added, accuses=False)
async def bcc_is_not_revealed(peer: Peer) -> Observation:
    """The address in a Bcc field: removed before the message goes on, or left to the client's care.

    RFC 5322 has three ways to use Bcc, and in each it is the author's program that decides who gets what.
    """
    hidden = b"smtpbench-hidden@example.net"
    delivery = taken(await peer.delivered(written(peer, *usual(peer), b"Bcc: <%s>" % hidden)))
    gone: Expectation[Message] = that("no such address", lambda message: hidden not in message.raw)
    left: Expectation[Delivery] = that("the Bcc field as it was sent", bool)
    return expect(delivery, each_message("the address nowhere in the message", gone) | choice(left))
