"""RFC 4954, AUTH: the exchange, and when it may not come."""

from __future__ import annotations

import base64

from smtpbench.conformance import (
    AUTH,
    ENDPOINT,
    TLS,
    Observation,
    Peer,
    Role,
    Untested,
    all_of,
    case,
    codes,
    expect,
    put_off,
    reply_that,
    severity,
)

SUBMISSION = [ENDPOINT(Role.SUBMISSION), AUTH]
WRONG_PASSWORD = "not-the-password"  # noqa: S105 - nobody's


async def until_offered(peer: Peer, mechanism: str | None = None) -> None:
    """EHLO accepted with AUTH on offer, `mechanism` among its own; inside TLS if need be."""
    await peer.until_ready()
    if "AUTH" not in peer.extensions and "STARTTLS" in peer.extensions:
        if (await peer.starttls()).code != 220:
            raise Untested("AUTH is not offered in clear, and STARTTLS was not accepted")
        await peer.until_ready()
    if "AUTH" not in peer.extensions:
        raise Untested("AUTH is not offered")
    if mechanism and mechanism not in peer.extensions.auth_mechanisms:
        raise Untested(f"AUTH {mechanism} is not offered")


async def challenged(peer: Peer) -> None:
    """AUTH PLAIN without its initial response, answered 334."""
    await until_offered(peer, "PLAIN")
    answer = await peer.command(b"AUTH PLAIN")
    if answer.code != 334:
        raise Untested("AUTH PLAIN was not answered 334", str(answer))


@case("4954-2", needs=SUBMISSION, broken_by="auth-twice-accepted")
async def auth_after_success_is_refused(peer: Peer) -> Observation:
    """After AUTH has succeeded, a second one is out of sequence."""
    await until_offered(peer)
    first = await peer.auth()
    if first.code != 235:
        raise Untested("AUTH was not accepted", str(first))
    return expect(await peer.auth(), codes(503), near=severity(5), untested=severity(4))


@case("4954-3", needs=[AUTH, TLS], broken_by="auth-in-transaction-accepted")
async def auth_in_a_transaction_is_refused(peer: Peer) -> Observation:
    """AUTH after MAIL is out of sequence."""
    await until_offered(peer)
    mail = await peer.command(b"MAIL FROM:<%s>" % peer.sender.encode())
    if mail.code != 250:
        raise Untested("MAIL was not accepted without AUTH", str(mail))
    mechanism = peer.extensions.auth_mechanisms[:1]
    answer = await peer.command(b"AUTH " + "".join(mechanism or ("PLAIN",)).encode())
    return expect(answer, codes(503), near=severity(5), untested=severity(4))


@case("4954-4", needs=SUBMISSION, broken_by="auth-unknown-mechanism-535")
async def an_unknown_mechanism_is_refused(peer: Peer) -> Observation:
    """AUTH with a mechanism that does not exist is answered 504."""
    await until_offered(peer)
    return expect(await peer.command(b"AUTH X-SMTPBENCH"), codes(504), near=severity(5), untested=severity(4))


@case("4954-6", needs=SUBMISSION, broken_by="auth-cancel-535")
async def an_asterisk_cancels(peer: Peer) -> Observation:
    """A single asterisk in place of a response cancels the exchange."""
    await challenged(peer)
    return expect(await peer.command(b"*"), codes(501), near=severity(5), untested=severity(4))


@case("4954-7", needs=SUBMISSION, broken_by="auth-ignores-foreign-characters")
async def what_is_not_base64_is_refused(peer: Peer) -> Observation:
    """A response with a character outside the base64 alphabet is rejected, and the character not ignored."""
    user = peer.credentials
    message = b"\0%s\0%s" % (user.username.encode(), user.password().encode())
    token = base64.b64encode(message)
    seen = []
    for response in (token[:4] + b"!" + token[4:], b"=AAA"):
        session = peer.new_session()
        await challenged(session)
        await session.send(response + b"\r\n")  # not `command`: the report would repeat the password
        answer = await session.read()
        seen.append(expect(answer, codes(501), near=severity(5), untested=severity(4)))
    return all_of(*seen)


@case("4954-8", "4954-9", needs=SUBMISSION, broken_by="auth-challenge-with-text")
async def an_empty_challenge_is_334_and_a_space(peer: Peer) -> Observation:
    """The challenge of PLAIN has no data: the code, one space, and the line's end."""
    await until_offered(peer, "PLAIN")
    answer = await peer.command(b"AUTH PLAIN")
    bare = reply_that("334 and one space", lambda reply: reply.raw == b"334 \r\n")
    without_space = reply_that("334 alone", lambda reply: reply.raw == b"334\r\n")
    return expect(answer, bare, near=without_space, untested=severity(4, 5))


@case("4954-10", needs=SUBMISSION, broken_by="auth-ignores-initial-response")
async def an_initial_response_out_of_turn_is_refused(peer: Peer) -> Observation:
    """CRAM-MD5, in which the server speaks first, takes no initial response."""
    await until_offered(peer, "CRAM-MD5")
    answer = await peer.command(b"AUTH CRAM-MD5 AAAA")
    return expect(answer, codes(501), near=severity(5), untested=severity(4))


@case("4954-14", needs=SUBMISSION, broken_by="auth-accepts-any-password")
async def a_wrong_password_is_refused(peer: Peer) -> Observation:
    """AUTH with a wrong password is answered 535."""
    await until_offered(peer)
    answer = await peer.auth(password=WRONG_PASSWORD)
    return expect(answer, codes(535), near=severity(5), untested=severity(4))


@case("4954-21", needs=[AUTH, TLS], broken_by="mail-refuses-auth-parameter")
async def mail_takes_the_auth_parameter(peer: Peer) -> Observation:
    """Where AUTH is offered, MAIL with AUTH=<> is accepted from a client that has not authenticated."""
    mail = b"MAIL FROM:<%s>" % peer.sender.encode()
    without = peer.new_session()
    await until_offered(without)
    plain = await without.command(mail)
    if plain.code != 250:
        raise Untested("MAIL was not accepted without AUTH", str(plain))
    await until_offered(peer)
    return expect(await peer.command(mail + b" AUTH=<>"), codes(250), untested=put_off)
