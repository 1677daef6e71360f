"""RFC 3207, STARTTLS: what TLS must make a server forget, and what it must not say inside it."""

from __future__ import annotations

from smtpbench.conformance import (
    ENDPOINT,
    RECIPIENT,
    TLS,
    Answer,
    Expectation,
    Observation,
    Peer,
    Role,
    Untested,
    case,
    closed,
    closed_with_421,
    codes,
    expect,
    not_codes,
    not_severity,
    severity,
    that,
)

not_listed: Expectation[str] = that("no STARTTLS", lambda listed: "STARTTLS" not in listed.split())
nothing_said: Expectation[Answer] = that("no reply inside TLS", lambda answer: not answer.replies)


async def until_offered(peer: Peer) -> None:
    """EHLO in clear, with STARTTLS on offer."""
    await peer.until_greeted()
    if peer.session.tls_active:
        raise Untested("TLS is active from the start")
    answer = await peer.ehlo()
    if "STARTTLS" not in peer.extensions:
        raise Untested("STARTTLS is not offered in clear", str(answer))


async def into_tls(peer: Peer) -> None:
    """STARTTLS accepted and TLS active; nothing said inside it yet."""
    answer = await peer.starttls()
    if answer.code != 220:
        raise Untested("STARTTLS was not accepted", str(answer))


@case("3207-1", needs=[TLS])
async def keyword_has_no_parameter(peer: Peer) -> Observation:
    """The STARTTLS keyword stands alone."""
    await until_offered(peer)
    alone: Expectation[str] = that("STARTTLS", lambda seen: seen == "STARTTLS")
    return expect(" ".join(("STARTTLS", *peer.extensions["STARTTLS"])), alone)


@case("3207-3", needs=[TLS], broken_by="starttls-accepts-argument")
async def starttls_with_an_argument_is_a_syntax_error(peer: Peer) -> Observation:
    """STARTTLS takes no argument."""
    await until_offered(peer)
    answer = await peer.command(b"STARTTLS now")
    return expect(answer, codes(501), near=severity(5), untested=severity(4))


@case("3207-4", "3207-5", needs=[TLS], broken_by="starttls-keeps-input")
async def input_behind_starttls_is_discarded(peer: Peer) -> Observation:
    """A command that came in clear in the segment of STARTTLS is not executed inside TLS."""
    await until_offered(peer)
    await peer.send(b"STARTTLS\r\nNOOP\r\n")
    answer = await peer.read()
    if answer.code != 220:
        return expect(answer, nothing_said, stricter=severity(4, 5) | closed)
    early = await peer.settle()
    if early.replies:
        raise Untested("the command was answered in clear", str(early))
    if early.closed or not await peer.handshake():
        return expect(early, nothing_said)  # taken for a broken handshake: it was not executed
    return expect(await peer.settle(), nothing_said, stricter=closed_with_421)


@case("3207-6", needs=[TLS], broken_by="starttls-keeps-state")
async def the_name_given_in_ehlo_is_forgotten(peer: Peer) -> Observation:
    """A server that wants EHLO before MAIL wants it again inside TLS."""
    mail = b"MAIL FROM:<%s>" % peer.sender.encode()
    before = peer.new_session()
    await before.until_greeted()
    control = await before.command(mail)
    if control.code != 503:
        raise Untested("MAIL before EHLO is not out of order here", str(control))
    await until_offered(peer)
    await into_tls(peer)
    return expect(await peer.command(mail), not_severity(2, 3), stricter=closed)


@case("3207-7", needs=[TLS, RECIPIENT], broken_by="starttls-keeps-state")
async def an_open_transaction_is_forgotten(peer: Peer) -> Observation:
    """RCPT inside TLS finds no transaction, though one was open before."""
    await until_offered(peer)
    mail = await peer.command(b"MAIL FROM:<%s>" % peer.sender.encode())
    if mail.code != 250:
        raise Untested("MAIL was not accepted in clear", str(mail))
    await into_tls(peer)
    rcpt = b"RCPT TO:<%s>" % peer.recipient.encode()
    return expect(await peer.command(rcpt), not_severity(2, 3), stricter=closed)


@case("3207-9", needs=[TLS], broken_by="starttls-offered-in-tls")
async def starttls_is_not_listed_inside_tls(peer: Peer) -> Observation:
    """EHLO inside TLS does not list STARTTLS."""
    await until_offered(peer)
    await into_tls(peer)
    answer = await peer.ehlo()
    if answer.severity != 2:
        raise Untested("EHLO inside TLS was not accepted", str(answer))
    return expect(" ".join(peer.extensions), not_listed)


@case("3207-10", needs=[TLS], broken_by="starttls-offered-in-tls")
async def starttls_inside_tls_is_refused(peer: Peer) -> Observation:
    """STARTTLS inside TLS is not answered 220."""
    await until_offered(peer)
    await into_tls(peer)
    await peer.ehlo()
    return expect(await peer.command(b"STARTTLS"), not_codes(220), stricter=closed)


@case("3207-22", needs=[ENDPOINT(Role.SUBMISSIONS)], broken_by="starttls-offered-in-tls")
async def starttls_is_not_listed_where_tls_is_implicit(peer: Peer) -> Observation:
    """EHLO on a port with TLS from the start does not list STARTTLS."""
    await peer.until_ready()
    if not peer.session.tls_active:
        raise Untested("TLS is not active from the start")
    return expect(" ".join(peer.extensions), not_listed)
