"""RFC 5321 §2.4, §4.1.1, §4.1.4: who gets a message, and when nobody does."""

from __future__ import annotations

from smtpbench.conformance import (
    DELIVERED,
    RECIPIENT,
    SECOND_RECIPIENT,
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
    messages,
    nothing_delivered,
    put_off,
    severity,
    taken,
    that,
)

NEEDS = (RECIPIENT, DELIVERED)
TWO = (RECIPIENT, SECOND_RECIPIENT, DELIVERED)
AFTER = "rfc5321.data.end-of-data-gets-one-reply"

some_message: Expectation[Delivery] = that(
    "the message accepted and delivered", lambda delivery: delivery.accepted and delivery.arrived > 0
)


async def send_now(peer: Peer) -> Delivery:
    """DATA and a message for the recipients given with RCPT commands of the case itself."""
    answer = await peer.command(b"DATA")
    if answer.code != 354:
        raise Untested("DATA was not accepted", str(answer))
    await peer.send(peer.marked_body(b"text\r\n"))
    return await peer.delivery(b".\r\n")


def parts(mailbox: str) -> tuple[bytes, bytes]:
    """Local-part and domain."""
    local, _, domain = mailbox.encode().rpartition(b"@")
    return local, domain


# Recipients


@case("5321-D-4", needs=TWO, after=AFTER, broken_by="drops-bcc-recipient")
async def every_recipient_gets_the_message(peer: Peer) -> Observation:
    """A message to two recipients, of whom its header names one, is delivered to both."""
    await peer.until_rcpt(peer.recipient, peer.second_recipient)
    await peer.until_data()
    await peer.send(peer.marked_body(b"text\r\n"))
    delivery = taken(await peer.delivery(b".\r\n", recipients=2))
    both: Expectation[Delivery] = that("a copy for each", lambda delivery: delivery.arrived >= 2)
    return expect(delivery, both)


@case("5321-C-49", needs=NEEDS, after=AFTER, broken_by="duplicate-recipient-refused")
async def same_recipient_twice(peer: Peer) -> Observation:
    """The same recipient twice is no error, and gets the message."""
    await peer.until_rcpt()
    again = await peer.command(b"RCPT TO:<%s>" % peer.recipient.encode())
    twice = expect(again, codes(250, 251), untested=put_off)
    return all_of(twice, expect(taken(await send_now(peer)), some_message))


@case("5321-C-5", needs=TWO, after=AFTER, broken_by="nested-mail-merges")
async def nested_mail_drops_the_recipients(peer: Peer) -> Observation:
    """Recipients given before a second MAIL that is accepted get nothing."""
    await peer.until_rcpt(peer.second_recipient)
    nested = await peer.command(b"MAIL FROM:<%s>" % peer.sender.encode())
    if nested.severity != 2:
        raise Untested("a second MAIL in a transaction is refused, as it may be", str(nested))
    await peer.command(b"RCPT TO:<%s>" % peer.recipient.encode())
    return expect(taken(await send_now(peer)), messages(1))


@case("5321-C-19", needs=NEEDS, after=AFTER, broken_by="source-route-kept")
async def source_route_is_stripped(peer: Peer) -> Observation:
    """A recipient with a source route gets the message, and nothing of the route is kept."""
    await peer.until_mail()
    answer = await peer.command(b"RCPT TO:<@hop.example.net:%s>" % peer.recipient.encode())
    if answer.severity != 2:
        raise Untested("a source route is refused, as it may be", str(answer))
    bare: Expectation[Message] = that(
        "no route", lambda message: not any("@hop.example.net" in value for _, value in message.trace)
    )
    delivery = taken(await send_now(peer))
    return expect(delivery, each_message("delivered without the route", bare), near=some_message)


@case("5321-C-23", needs=NEEDS, after=AFTER, broken_by="quoted-forms-differ")
async def quoted_forms_name_the_same_mailbox(peer: Peer) -> Observation:
    """A mailbox is found by its name in quotes, with and without a backslash in it."""
    local, domain = parts(peer.recipient)
    forms = (b'"%s"' % local, b'"\\%s"' % local)
    return all_of(*[await reached_by(peer.new_session(), form + b"@" + domain) for form in forms])


async def reached_by(peer: Peer, mailbox: bytes) -> Observation:
    """RCPT for `mailbox` is accepted, and a message to it delivered."""
    await peer.until_mail()
    answer = await peer.command(b"RCPT TO:<%s>" % mailbox)
    if answer.code in (500, 501):
        raise Untested("a quoted local-part is a syntax error here", str(answer))
    if answer.severity != 2:
        return expect(answer, severity(2), untested=put_off)
    return expect(taken(await send_now(peer)), some_message)


@case("5321-A-8", needs=NEEDS, after=AFTER, broken_by="return-path-lowered")
async def case_of_the_sender_is_kept(peer: Peer) -> Observation:
    """Upper and lower case of the sender's local-part are kept in Return-Path."""
    local, domain = (part.decode() for part in parts(peer.sender))
    mixed = f"{local.title()}.MiXeD@{domain}"
    await peer.until_mail(mixed)
    delivery = taken(await peer.delivered(peer.marked_body(b"text\r\n")))
    paths = [path for message in delivery.messages for path in message.traces("return-path")]
    named = [path for path in paths if mixed.lower() in path.lower()]
    if not named:
        raise Untested("no Return-Path names the sender", str(delivery))
    return expect(", ".join(named), that(mixed, lambda seen: mixed.partition("@")[0] in seen))


@case("5321-A-8", needs=NEEDS, after=AFTER, broken_by="local-part-case-lowered")
async def case_of_the_recipient_is_kept(peer: Peer) -> Observation:
    """Upper and lower case of the recipient's local-part are kept in the FOR clause of Received."""
    local, domain = (part.decode() for part in parts(peer.recipient))
    mixed = f"{local.swapcase()}@{domain}"
    await peer.until_rcpt(mixed)
    delivery = taken(await peer.delivered(peer.marked_body(b"text\r\n")))
    lines = [line for message in delivery.messages for line in message.received]
    named = [line for line in lines if mixed.lower() in line.lower()]
    if not named:
        raise Untested("no Received line names the recipient", str(delivery))
    other_case: Expectation[str] = that("the mailbox's name in the server's own case", bool)
    return expect("; ".join(named), that(mixed, lambda seen: local.swapcase() in seen), near=other_case)


# Transactions given up


@case("5321-B-32", "5321-B-33", needs=NEEDS, after=AFTER, broken_by="disconnect-delivers")
async def reset_inside_the_data(peer: Peer) -> Observation:
    """A connection that is reset inside the data leaves no message behind."""
    await peer.until_data()
    await peer.send(peer.marked_body(b"text\r\n"))
    peer.drop()
    return expect(await peer.nothing_arrived(), nothing_delivered)


@case("5321-B-32", "5321-B-33", needs=NEEDS, after=AFTER, broken_by="disconnect-delivers")
async def close_inside_the_data(peer: Peer) -> Observation:
    """A connection that is closed inside the data leaves no message behind."""
    await peer.until_data()
    await peer.send(peer.marked_body(b"text\r\n"))
    await peer.disconnect()
    return expect(await peer.nothing_arrived(), nothing_delivered)


@case("5321-B-32", needs=NEEDS, after=AFTER, broken_by="disconnect-delivers")
async def close_keeps_the_transactions_before(peer: Peer) -> Observation:
    """A connection that is closed inside the data takes nothing of the message before with it."""
    before = await peer.content_of(peer.marked_body(b"complete\r\n"))
    if before.severity != 2:
        raise Untested("the message was not accepted", str(before))
    await peer.until_data()
    await peer.send(peer.marked_body(b"cut off\r\n"))
    await peer.disconnect()
    complete: Expectation[Message] = that("complete", lambda message: message.holds(b"\r\ncomplete\r\n"))
    return expect(await peer.nothing_arrived(), each_message("the complete message and no other", complete))
