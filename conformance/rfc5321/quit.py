"""RFC 5321 §4.1.1.5, §4.1.1.10: QUIT, and the connection that ends without it."""

from __future__ import annotations

from smtpbench.conformance import (
    DELIVERED,
    RECIPIENT,
    Delivery,
    Expectation,
    Observation,
    Peer,
    Untested,
    case,
    closed,
    codes,
    expect,
    nothing_delivered,
    put_off,
    severity,
    that,
)


@case("5321-B-29", "5321-A-29", "5321-A-30", broken_by=("quit-250", "quit-without-reply"))
async def quit_is_answered_221(peer: Peer) -> Observation:
    """QUIT is answered 221."""
    await peer.until_ready()
    return expect(await peer.command(b"QUIT"), codes(221), near=severity(2))


@case("5321-B-29", broken_by="quit-stays-open")
async def quit_closes_the_connection(peer: Peer) -> Observation:
    """After QUIT the server closes the connection."""
    await peer.until_ready()
    await peer.send(b"QUIT\r\n")
    return expect(await peer.until_closed(), closed)


@case("5321-B-30", broken_by="quit-without-reply")
async def quit_is_answered_before_the_close(peer: Peer) -> Observation:
    """The server does not close the connection before it has answered QUIT."""
    await peer.until_ready()
    await peer.send(b"QUIT\r\n")
    return expect(await peer.until_closed(), that("a reply", lambda answer: bool(answer.replies)))


@case("5321-B-31", broken_by=("quit-without-reply", "quit-250"))
async def quit_as_first_command(peer: Peer) -> Observation:
    """QUIT can come before EHLO."""
    await peer.until_greeted()
    return expect(await peer.command(b"QUIT"), codes(221), near=severity(2))


@case(
    "5321-B-31",
    needs=[RECIPIENT],
    broken_by=("quit-refused-in-transaction", "quit-without-reply", "quit-250"),
)
async def quit_inside_a_transaction(peer: Peer) -> Observation:
    """QUIT can come inside a transaction."""
    await peer.until_rcpt()
    return expect(await peer.command(b"QUIT"), codes(221), near=severity(2))


@case("5321-A-33", broken_by="quit-accepts-argument")
async def quit_with_an_argument(peer: Peer) -> Observation:
    """QUIT takes no argument."""
    await peer.until_ready()
    return expect(await peer.command(b"QUIT now"), codes(501), near=severity(5), untested=put_off)


@case("5321-B-31", needs=[RECIPIENT, DELIVERED], broken_by="quit-delivers")
async def quit_gives_the_transaction_up(peer: Peer) -> Observation:
    """What MAIL and RCPT began is given up by QUIT: nothing is delivered."""
    domain = peer.sender.rpartition("@")[2]
    await peer.until_mail(f"{peer.marker.decode()}@{domain}")  # the marker is in the Return-Path at least
    await peer.until_rcpt()
    await peer.command(b"QUIT")
    return expect(await peer.nothing_arrived(), nothing_delivered)


@case("5321-B-32", "5321-B-33", needs=[RECIPIENT, DELIVERED], broken_by="disconnect-delivers")
async def message_cut_off_by_a_reset(peer: Peer) -> Observation:
    """A message whose connection is reset before the end of data is not delivered."""
    await peer.until_data()
    await peer.send(peer.marked_body(b"cut off\r\n"))
    await peer.settle()
    peer.drop()
    return expect(await peer.nothing_arrived(), nothing_delivered)


@case("5321-B-32", "5321-B-33", needs=[RECIPIENT, DELIVERED], broken_by="disconnect-delivers")
async def message_cut_off_by_a_close(peer: Peer) -> Observation:
    """A message whose connection is closed before the end of data is not delivered."""
    await peer.until_data()
    await peer.send(peer.marked_body(b"cut off\r\n"))
    await peer.settle()
    await peer.disconnect()
    return expect(await peer.nothing_arrived(), nothing_delivered)


@case(
    "5321-B-32",
    needs=[RECIPIENT, DELIVERED],
    broken_by="disconnect-delivers",
    after="rfc5321.data.accepted-message-is-delivered",
)
async def reset_keeps_what_was_complete(peer: Peer) -> Observation:
    """A reset in the second transaction takes nothing from the first, which was complete."""
    complete = await peer.content_of(peer.marked_body(b"complete\r\n"))
    if complete.code != 250:
        raise Untested("the first message was not accepted", str(complete))
    await peer.until_data()
    await peer.send(peer.marked_body(b"cut off\r\n"))
    peer.drop()
    first_alone: Expectation[Delivery] = that(
        "the first message alone delivered", lambda seen: seen.arrived == 1
    )
    return expect(await peer.nothing_arrived(), first_alone, untested=nothing_delivered)  # it may yet come
