"""RFC 4954: what authentication changes in a session, what ends it, and the AUTH parameter of MAIL."""

from __future__ import annotations

from smtpbench.conformance import (
    AUTH,
    AUTH_OFFERED,
    DELIVERED,
    ENDPOINT,
    MECHANISM,
    RECIPIENT,
    SLOW,
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
    codes,
    expect,
    instead_of_mail,
    not_codes,
    plain_message,
    put_off,
    received_line,
    severity,
    that,
    unknown_user,
    until_auth_offered,
    with_clause,
)

SUBMISSION = [ENDPOINT(Role.SUBMISSION), AUTH]
IN_CLEAR = frozenset({"PLAIN", "LOGIN"})
ATTEMPTS = 6


async def authenticated(peer: Peer) -> None:
    """AUTH accepted."""
    await until_auth_offered(peer)
    answer = await peer.auth()
    if answer.code != 235:
        raise Untested("AUTH was not accepted", str(answer))


async def mail_refused(peer: Peer) -> Observation:
    """MAIL without AUTH, and whether it is answered 530; untested where AUTH is not what is missing."""
    await until_auth_offered(peer)
    answer = await peer.command(b"MAIL FROM:<%s>" % peer.sender.encode())
    if answer.severity == 2:
        raise Untested("MAIL needs no authentication", str(answer))
    await peer.new_session().until_mail()  # accepted after AUTH, or untested
    return expect(answer, codes(530), near=severity(5), untested=severity(4))


@case("4954-22", needs=SUBMISSION, broken_by="mail-refuses-auth-mailbox")
async def auth_parameter_takes_a_mailbox(peer: Peer) -> Observation:
    """MAIL takes AUTH= with a mailbox in xtext."""
    line = b"MAIL FROM:<%s> AUTH=e+3Dmc2@example.com" % peer.sender.encode()
    return expect(await instead_of_mail(peer, line), codes(250), untested=put_off)


@case("4954-22", needs=SUBMISSION, broken_by="mail-takes-any-auth-parameter")
async def auth_parameter_that_is_no_xtext(peer: Peer) -> Observation:
    """MAIL with AUTH= and something that is no xtext is a syntax error."""
    line = b"MAIL FROM:<%s> AUTH=bad+G1@example.com" % peer.sender.encode()
    answer = await instead_of_mail(peer, line)
    # The RFC gives the grammar and no order to enforce it: who ignores the value harms nobody.
    return expect(answer, codes(501), near=severity(2, 5), untested=put_off | codes(555))


@case("4954-23", needs=SUBMISSION, broken_by="auth-required-answered-550")
async def mail_that_needs_authentication_gets_530(peer: Peer) -> Observation:
    """MAIL that is refused because AUTH has not been is answered 530."""
    return await mail_refused(peer)


@case(
    "4954-23", needs=SUBMISSION, broken_by="auth-required-for-noop", after="rfc5321.noop.noop-is-answered-250"
)
async def noop_rset_and_ehlo_need_no_authentication(peer: Peer) -> Observation:
    """Where MAIL needs authentication, NOOP, RSET and EHLO are not answered 530."""
    await mail_refused(peer)
    answers = [await peer.command(b"NOOP"), await peer.command(b"RSET"), await peer.ehlo()]
    return all_of(*(expect(answer, not_codes(530), untested=severity(4)) for answer in answers))


@case(
    "4954-25",
    needs=[*SUBMISSION, RECIPIENT, DELIVERED],
    after="rfc5321.trace.received-line-on-top",
    broken_by="received-without-authentication",
)
async def received_says_that_the_client_was_authenticated(peer: Peer) -> Observation:
    """The Received line of a message from an authenticated client says ESMTPA, or inside TLS ESMTPSA."""
    await peer.until_allowed()  # AUTH accepted
    protocol = "ESMTPSA" if peer.session.tls_active else "ESMTPA"
    line = await received_line(peer)
    named: Expectation[str] = that(f"with {protocol}", lambda seen: with_clause(seen) == protocol)
    other: Expectation[str] = that("the other of the two", lambda seen: with_clause(seen)[-1:] == "A")
    return expect(line, named, near=other)


@case(
    "4954-26",
    "5321-B-28",
    needs=SUBMISSION,
    after="rfc4954.auth-after-success-is-refused",
    broken_by="rset-forgets-authentication",
)
async def rset_keeps_authentication(peer: Peer) -> Observation:
    """After RSET the client is still authenticated: a further AUTH is answered 503."""
    await authenticated(peer)
    rset = await peer.command(b"RSET")
    if rset.code != 250:
        raise Untested("RSET was not accepted", str(rset))
    return expect(await peer.auth(), codes(503), near=severity(5), untested=severity(4))


@case(
    "4954-27",
    needs=[ENDPOINT(Role.SUBMISSION), MECHANISM("PLAIN"), SLOW],
    broken_by="auth-accepts-any-password",
    deadline=300.0,
)
async def many_failures(peer: Peer) -> Observation:
    """What the server does after six failed attempts to authenticate."""
    await until_auth_offered(peer, "PLAIN")
    answer = None
    for _ in range(ATTEMPTS):
        answer = await begin_auth(peer, "PLAIN", plain_message(unknown_user(), "wrong"))
        if answer.code != 535 or answer.closed:
            break
    assert answer is not None
    told: Expectation[Answer] = that(
        "a 4yz or 5yz reply, not a close without one", lambda seen: seen.severity in (4, 5)
    )
    return expect(answer, told)


@case("3207-23", needs=[ENDPOINT(Role.SUBMISSION), AUTH_OFFERED], broken_by="auth-plain-in-clear")
async def no_password_in_clear(peer: Peer) -> Observation:
    """A submission port offers neither PLAIN nor LOGIN before TLS, and begins no exchange of PLAIN."""
    await peer.until_greeted()
    if peer.session.tls_active:
        raise Untested("TLS is active from the start")
    ehlo = await peer.ehlo()
    if ehlo.severity != 2:
        raise Untested("EHLO in clear was not accepted", str(ehlo))
    listed = " ".join(peer.extensions.auth_mechanisms)
    none: Expectation[str] = that("neither PLAIN nor LOGIN", lambda seen: not IN_CLEAR & {*seen.split()})
    begun = await peer.command(b"AUTH PLAIN")
    return all_of(expect(listed, none), expect(begun, severity(4, 5), stricter=closed))
