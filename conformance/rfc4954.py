"""RFC 4954, AUTH: the exchange, and when it may not come."""

from __future__ import annotations

import base64
import re

from smtpbench.conformance import (
    AUTH,
    AUTH_OFFERED,
    ENDPOINT,
    MECHANISM,
    TLS,
    Answer,
    Expectation,
    Observation,
    Peer,
    Role,
    Untested,
    all_of,
    begin_auth,
    case,
    closed,
    closed_with_421,
    closed_with_refusal,
    codes,
    expect,
    plain_message,
    put_off,
    reply_that,
    respond,
    respond_raw,
    severity,
    that,
    unknown_user,
    until_auth_offered,
    until_challenged,
    until_tls,
)

SUBMISSION = [ENDPOINT(Role.SUBMISSION), AUTH]
ANYBODY = [ENDPOINT(Role.SUBMISSION), AUTH_OFFERED]  # no credentials are needed
PLAIN = [ENDPOINT(Role.SUBMISSION), MECHANISM("PLAIN")]
WRONG_PASSWORD = "not-the-password"  # noqa: S105 - nobody's


@case("4954-2", needs=SUBMISSION, broken_by="auth-twice-accepted")
async def auth_after_success_is_refused(peer: Peer) -> Observation:
    """After AUTH has succeeded, a second one is out of sequence."""
    await until_auth_offered(peer)
    first = await peer.auth()
    if first.code != 235:
        raise Untested("AUTH was not accepted", str(first))
    return expect(await peer.auth(), codes(503), near=severity(5), untested=severity(4))


@case("4954-3", needs=[AUTH, TLS], broken_by="auth-in-transaction-accepted")
async def auth_in_a_transaction_is_refused(peer: Peer) -> Observation:
    """AUTH after MAIL is out of sequence."""
    await until_auth_offered(peer)
    mail = await peer.command(b"MAIL FROM:<%s>" % peer.sender.encode())
    if mail.code != 250:
        raise Untested("MAIL was not accepted without AUTH", str(mail))
    mechanism = peer.extensions.auth_mechanisms[:1]
    answer = await peer.command(b"AUTH " + "".join(mechanism or ("PLAIN",)).encode())
    return expect(answer, codes(503), near=severity(5), untested=severity(4))


@case("4954-4", needs=SUBMISSION, broken_by="auth-unknown-mechanism-535")
async def an_unknown_mechanism_is_refused(peer: Peer) -> Observation:
    """AUTH with a mechanism that does not exist is answered 504."""
    await until_auth_offered(peer)
    return expect(await peer.command(b"AUTH X-SMTPBENCH"), codes(504), near=severity(5), untested=severity(4))


@case("4954-6", needs=SUBMISSION, broken_by="auth-cancel-535")
async def an_asterisk_cancels(peer: Peer) -> Observation:
    """A single asterisk in place of a response cancels the exchange."""
    await until_challenged(peer)
    return expect(await peer.command(b"*"), codes(501), near=severity(5), untested=severity(4))


@case("4954-7", needs=SUBMISSION, broken_by="auth-ignores-foreign-characters")
async def what_is_not_base64_is_refused(peer: Peer) -> Observation:
    """A response with a character outside the base64 alphabet is rejected, and the character not ignored."""
    user = peer.credentials
    token = base64.b64encode(plain_message(user.username, user.password()))
    seen = []
    for response in (token[:4] + b"!" + token[4:], b"=AAA"):
        session = peer.new_session()
        await until_challenged(session)
        answer = await respond_raw(session, response)
        seen.append(expect(answer, codes(501), near=severity(5), untested=severity(4)))
    return all_of(*seen)


@case("4954-8", "4954-9", needs=SUBMISSION, broken_by="auth-challenge-with-text")
async def an_empty_challenge_is_334_and_a_space(peer: Peer) -> Observation:
    """The challenge of PLAIN has no data: the code, one space, and the line's end."""
    await until_auth_offered(peer, "PLAIN")
    answer = await peer.command(b"AUTH PLAIN")
    bare = reply_that("334 and one space", lambda reply: reply.raw == b"334 \r\n")
    without_space = reply_that("334 alone", lambda reply: reply.raw == b"334\r\n")
    return expect(answer, bare, near=without_space, untested=severity(4, 5))


@case("4954-10", needs=SUBMISSION, broken_by="auth-ignores-initial-response")
async def an_initial_response_out_of_turn_is_refused(peer: Peer) -> Observation:
    """CRAM-MD5, in which the server speaks first, takes no initial response."""
    await until_auth_offered(peer, "CRAM-MD5")
    answer = await peer.command(b"AUTH CRAM-MD5 AAAA")
    return expect(answer, codes(501), near=severity(5), untested=severity(4))


@case("4954-14", needs=SUBMISSION, broken_by="auth-accepts-any-password")
async def a_wrong_password_is_refused(peer: Peer) -> Observation:
    """AUTH with a wrong password is answered 535."""
    await until_auth_offered(peer)
    simple = [name for name in ("PLAIN", "LOGIN", "CRAM-MD5") if name in peer.extensions.auth_mechanisms]
    if not simple:  # in SCRAM our client can end the exchange before the server does
        raise Untested("neither PLAIN nor LOGIN nor CRAM-MD5 is offered")
    answer = await peer.auth(simple[0], password=WRONG_PASSWORD)
    return expect(answer, codes(535), near=severity(5), untested=severity(4) | codes(504))


@case("4954-21", needs=[AUTH, TLS], broken_by="mail-refuses-auth-parameter")
async def mail_takes_the_auth_parameter(peer: Peer) -> Observation:
    """Where AUTH is offered, MAIL with AUTH=<> is accepted from a client that has not authenticated."""
    mail = b"MAIL FROM:<%s>" % peer.sender.encode()
    without = peer.new_session()
    await until_auth_offered(without)
    plain = await without.command(mail)
    if plain.code != 250:
        raise Untested("MAIL was not accepted without AUTH", str(plain))
    await until_auth_offered(peer)
    return expect(await peer.command(mail + b" AUTH=<>"), codes(250), untested=put_off)


MECHANISMS = re.compile(r"(?i:AUTH)(?: [A-Z0-9_-]{1,20})+")  # RFC 4422 §3.1
ROUGHLY = re.compile(r"(?i:AUTH)[ =]*(?:[A-Za-z0-9_-]+ *)*")  # and the AUTH= of drafts before RFC 2554


def _each(what: str, pattern: re.Pattern[str]) -> Expectation[str]:
    return that(what, lambda lines: all(pattern.fullmatch(line) for line in lines.split(" · ")))


@case("4954-1", needs=ANYBODY, broken_by="auth-mechanisms-with-commas")
async def the_keyword_lists_mechanisms(peer: Peer) -> Observation:
    """AUTH in the reply to EHLO is followed by names of mechanisms, a space before each."""
    await until_auth_offered(peer)
    lines = [line.decode("latin-1") for line in (await peer.ehlo()).lines[1:]]
    listed = " · ".join(line for line in lines if re.match("(?i:AUTH)(?![A-Za-z0-9-])", line))
    listing = _each("AUTH and names in capitals, a space before each", MECHANISMS)
    return expect(listed, listing, near=_each("an AUTH= line, or other spaces or letters", ROUGHLY))


@case("4954-5", needs=ANYBODY, broken_by="auth-needs-no-mechanism")
async def auth_needs_a_mechanism(peer: Peer) -> Observation:
    """AUTH alone is refused, as a syntax error or for want of a valid mechanism."""
    await until_auth_offered(peer)
    return expect(await peer.command(b"AUTH"), codes(501, 504), near=severity(5), untested=severity(4))


@case("4954-11", needs=PLAIN, broken_by=("auth-equals-sign-is-no-base64", "auth-equals-sign-ignored"))
async def an_equals_sign_is_an_empty_response(peer: Peer) -> Observation:
    """AUTH PLAIN = is answered as an empty line after AUTH PLAIN is."""
    await until_challenged(peer)
    empty = await respond_raw(peer, b"")
    if empty.severity != 5:
        raise Untested("an empty response was not refused", str(empty))
    session = peer.new_session()
    await until_auth_offered(session, "PLAIN")
    answer = await session.command(b"AUTH PLAIN =")
    return expect(answer, codes(empty.code), near=severity(5), untested=severity(4))


@case("4954-12", needs=PLAIN, broken_by="auth-accepts-any-password")
async def a_response_of_12288_octets(peer: Peer) -> Observation:
    """What becomes of a response as long as the RFC finds sufficient for all mechanisms."""
    await until_challenged(peer)
    name = unknown_user()
    message = plain_message(name, "x" * (12_288 * 3 // 4 - len(name) - 2))
    beyond: Expectation[Answer] = severity(5) | closed  # PLAIN is done with far less: see 4954-28
    return expect(await respond(peer, message), codes(535), choice=beyond, untested=severity(4))


async def ended(peer: Peer, early: Answer) -> Answer:
    """`early`, once the line that it came in has ended."""
    if not early.closed:
        await peer.send(b"\r\n")
    return early


@case(
    "4954-13",
    needs=PLAIN,
    broken_by=("auth-overlong-line-two-replies", "auth-overlong-line-closes"),
    after="rfc5321.noop.noop-is-answered-250",
)
async def a_line_beyond_the_buffer_is_refused_in_step(peer: Peer) -> Observation:
    """A response of 64 KiB is answered 500, and what follows it gets its own reply."""
    await until_challenged(peer)
    await peer.send(b"A" * 65_536)
    early = await peer.settle()  # a server that answers before the line has ended must not do so again
    spoken = early.replies or early.closed
    answer = await ended(peer, early) if spoken else await respond_raw(peer, b"")
    if answer.severity == 5 and answer.code != 500:
        raise Untested("the line was not too long for the server", str(answer))
    if answer.code != 500:
        parted = closed_with_421 | closed_with_refusal
        return expect(answer, codes(500), stricter=parted, untested=severity(4))
    return expect(await peer.command(b"NOOP"), severity(2), stricter=closed, untested=put_off)


@case("4954-15", needs=SUBMISSION, broken_by="auth-success-250")
async def success_is_235(peer: Peer) -> Observation:
    """AUTH with the right password is answered 235."""
    await until_auth_offered(peer)
    return expect(await peer.auth(), codes(235), near=severity(2), untested=severity(4, 5))


@case(
    "4954-16",
    needs=[*SUBMISSION, MECHANISM("PLAIN")],
    broken_by=("auth-failure-closes", "auth-failure-is-final"),
    after="rfc5321.noop.noop-is-answered-250",
)
async def after_a_failure_the_client_can_try_again(peer: Peer) -> Observation:
    """After a failed AUTH the session goes on, and AUTH with the right password succeeds in it."""
    control = await peer.new_session().auth()
    if control.code != 235:
        raise Untested("AUTH was not accepted", str(control))
    await until_auth_offered(peer, "PLAIN")
    failed = await begin_auth(peer, "PLAIN", plain_message(unknown_user(), WRONG_PASSWORD))
    if failed.severity != 5:
        raise Untested("AUTH of a user that does not exist was not refused", str(failed))
    going_on = expect(await peer.command(b"NOOP"), severity(2), untested=put_off)
    return all_of(going_on, expect(await peer.auth(), codes(235), untested=severity(4)))


@case("4954-18", needs=[*SUBMISSION, TLS], broken_by="auth-plain-listed-only")
async def plain_works_inside_tls(peer: Peer) -> Observation:
    """Inside TLS the PLAIN mechanism is there, and authenticates."""
    await until_tls(peer)
    await until_auth_offered(peer)
    if "PLAIN" not in peer.extensions.auth_mechanisms:  # implemented or not: a site may switch it off
        listed = "AUTH " + " ".join(peer.extensions.auth_mechanisms)
        without: Expectation[str] = that(
            "a site's choice of others", lambda seen: "PLAIN" not in seen.split()
        )
        return expect(listed, that("PLAIN", lambda seen: "PLAIN" in seen.split()), choice=without)
    return expect(await peer.auth("PLAIN"), severity(2), untested=severity(4) | codes(534, 535))


@case("4954-19", needs=PLAIN, broken_by="auth-mechanism-case-sensitive")
async def mechanism_in_lower_case(peer: Peer) -> Observation:
    """The name of a mechanism is recognised in lower case."""
    await until_challenged(peer.new_session())
    await until_auth_offered(peer, "PLAIN")
    return expect(await peer.command(b"AUTH plain"), codes(334), untested=severity(4))


@case("4954-20", needs=ANYBODY, broken_by="auth-needs-no-ehlo")
async def auth_before_ehlo(peer: Peer) -> Observation:
    """Whether AUTH is possible before EHLO, inside TLS where TLS is offered."""
    await peer.until_greeted()
    if not peer.session.tls_active and (await peer.ehlo()).severity == 2 and "STARTTLS" in peer.extensions:
        await peer.starttls()  # after it nobody has said EHLO (RFC 3207 §4.2)
    elif not peer.session.tls_active:
        peer = peer.new_session()
    return expect(await peer.command(b"AUTH PLAIN"), codes(503), untested=put_off)
