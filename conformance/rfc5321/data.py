"""RFC 5321 §3.3, §4.1.1.4, §4.1.4: the DATA command, its replies, and the state it leaves behind."""

from __future__ import annotations

from smtpbench.conformance import (
    DELIVERED,
    ENDPOINT,
    RECIPIENT,
    UNKNOWN_RECIPIENT,
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
    one_message,
    put_off,
    rcpt_line,
    refused,
    severity,
    silence,
    single,
    taken,
    that,
)

ONE_REPLY = "rfc5321.data.end-of-data-gets-one-reply"


@case("5321-D-4", needs=[RECIPIENT], broken_by="data-250")
async def data_is_answered_354(peer: Peer) -> Observation:
    """DATA is answered with 354 once a recipient has been accepted."""
    await peer.until_rcpt()
    return expect(await peer.command(b"DATA"), codes(354), untested=put_off)


@case("5321-D-26", "5321-A-20", needs=[RECIPIENT], broken_by="two-replies-after-data")
async def end_of_data_gets_one_reply(peer: Peer) -> Observation:
    """The end of data is answered once, with an OK or a failure reply."""
    answer = await peer.content_of(peer.marked_body(b"text\r\n"))
    return all_of(expect(answer, severity(2, 4, 5)), expect(await peer.settle(), silence))


@case(
    "5321-D-4",
    needs=[RECIPIENT, DELIVERED],
    after=ONE_REPLY,
    broken_by=("accepts-and-loses", "delivers-twice"),
)
async def accepted_message_is_delivered(peer: Peer) -> Observation:
    """A message that was accepted with 250 reaches the mailbox, once."""
    delivery = await peer.delivered(peer.marked_body(b"text\r\n"))
    return expect(delivery, one_message, untested=refused)


@case("5321-D-1", needs=[RECIPIENT], broken_by="data-needs-no-rcpt")
async def data_without_rcpt(peer: Peer) -> Observation:
    """DATA without RCPT is refused with 503 or 554, or let in and refused after the end of data."""
    await peer.until_mail()
    return await data_in_vain(peer)


@case("5321-D-2", broken_by="data-needs-no-mail")
async def data_without_mail(peer: Peer) -> Observation:
    """DATA without MAIL is refused with 503 or 554, or let in and refused after the end of data."""
    await peer.until_ready()
    return await data_in_vain(peer)


@case("5321-D-3", needs=[UNKNOWN_RECIPIENT], broken_by="data-needs-no-rcpt")
async def data_after_refused_recipients(peer: Peer) -> Observation:
    """DATA after all recipients were refused is refused itself, or let in and refused after its end."""
    await peer.until_mail()
    answer = await peer.command(rcpt_line(peer.unknown_recipient))
    if answer.severity not in (4, 5):
        raise Untested("the unknown recipient was not refused", str(answer))
    return await data_in_vain(peer)


async def data_in_vain(peer: Peer) -> Observation:
    """DATA where no recipient is known; what is let in is ended at once."""
    answer = await peer.command(b"DATA")
    if answer.code == 354:
        return expect(await peer.command(b"."), severity(4, 5))
    return expect(answer, codes(503, 554), near=severity(4, 5))


@case(
    "5321-D-17",
    "5321-D-18",
    needs=[RECIPIENT],
    after=ONE_REPLY,
    broken_by=("empty-message-hangs", "data-ends-across-crlf"),
)
async def dot_as_the_first_line_ends_the_data(peer: Peer) -> Observation:
    """A dot as the first line after DATA ends data that have no content; there is one reply to that."""
    await peer.until_data()
    ended = await peer.command(b".")
    in_step = expect(await peer.command(b"MAIL FROM:<>", extra=True), single(any_reply))
    return all_of(expect(ended, severity(2, 4, 5)), in_step)


@case(
    "5321-C-51",
    "5321-D-27",
    needs=[RECIPIENT],
    after=ONE_REPLY,
    broken_by="transaction-kept-after-data",
)
async def end_of_data_ends_the_transaction(peer: Peer) -> Observation:
    """After an accepted message there is no transaction: RCPT is answered with 503."""
    await accepted(peer)
    return expect(await peer.command(rcpt_line(peer.recipient)), codes(503), near=severity(4, 5))


@case(
    "5321-C-50",
    needs=[RECIPIENT, DELIVERED],
    after="rfc5321.data.accepted-message-is-delivered",
    broken_by=("one-transaction-only", "transaction-kept-after-data"),
)
async def two_transactions_in_a_session(peer: Peer) -> Observation:
    """A session can hold one transaction after the other, and the messages of both are delivered."""
    await accepted(peer)
    mail = b"MAIL FROM:<%s>" % peer.sender.encode()
    for line, code in ((mail, 250), (rcpt_line(peer.recipient), 250), (b"DATA", 354)):
        answer = await peer.command(line)
        if answer.code != code:
            return expect(answer, codes(code), untested=put_off)
    await peer.send(peer.marked_body(b"second\r\n"))
    bodies = (b"\r\n\r\ntext\r\n", b"\r\n\r\nsecond\r\n")
    both: Expectation[Delivery] = that(
        "both messages delivered",
        lambda delivery: all(any(item.holds(body) for item in delivery.messages) for body in bodies),
    )
    return expect(taken(await peer.delivery(b".\r\n")), both)


async def accepted(peer: Peer) -> None:
    """Send a message that is accepted."""
    answer = await peer.content_of(peer.marked_body(b"text\r\n"))
    if answer.severity != 2:
        raise Untested("the message was not accepted", str(answer))


@case("5321-D-31", needs=[RECIPIENT, ENDPOINT(Role.MX)], after=ONE_REPLY, broken_by="refuses-without-date")
async def defects_of_a_message_are_no_reason_to_refuse_it(peer: Peer) -> Observation:
    """A message without Date, with two Subjects or with broken MIME is not refused for that."""
    await accepted(peer)
    marker = b"X-Smtpbench: %s\r\n" % peer.marker
    defective = (
        marker + b"From: <%s>\r\nSubject: no date\r\n\r\ntext\r\n" % peer.sender.encode(),
        peer.marked_body(b"text\r\n", b"Subject: another"),
        peer.marked_body(b"--no\r\n", b"MIME-Version: 1.0", b'Content-Type: multipart/mixed; boundary="b"'),
    )
    return all_of(*[expect(await peer.content_of(text), severity(2), untested=put_off) for text in defective])


@case("5321-D-32", needs=[RECIPIENT], after=ONE_REPLY, broken_by="refuses-resent-mismatch")
async def resent_fields_need_not_match(peer: Peer) -> Observation:
    """A message with Resent-To and neither Resent-From nor Resent-Date is not refused."""
    await accepted(peer)
    answer = await peer.content_of(peer.marked_body(b"text\r\n", b"Resent-To: <someone@example.net>"))
    return expect(answer, severity(2), untested=put_off)


@case("5321-D-33", needs=[RECIPIENT], after=ONE_REPLY, broken_by="refuses-odd-received")
async def trace_of_any_format_is_let_in(peer: Peer) -> Observation:
    """A message is not refused for Received fields that no grammar knows."""
    await accepted(peer)
    odd = (b"Received: (qmail 4711 invoked by uid 0); 1 Jan 99", b"Received: by a fax machine", b"Received:")
    answer = await peer.content_of(peer.marked_body(b"text\r\n", *odd))
    return expect(answer, severity(2), untested=put_off)
