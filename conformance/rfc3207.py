"""RFC 3207, STARTTLS: what TLS must make a server forget, and what it must not say inside it."""

from __future__ import annotations

import ssl

from smtpbench.conformance import (
    AUTH,
    ENDPOINT,
    EXTENSION,
    RECIPIENT,
    TLS,
    Answer,
    Expectation,
    Observation,
    Outcome,
    Peer,
    Role,
    Untested,
    all_of,
    any_reply,
    case,
    closed,
    closed_with_421,
    codes,
    expect,
    near,
    not_codes,
    not_severity,
    severity,
    silence,
    that,
)

not_listed: Expectation[str] = that("no STARTTLS", lambda listed: "STARTTLS" not in listed.split())
HIDDEN = ("SCRAM-SHA-256", "CRAM-MD5")  # mechanisms that do not show the password to who listens
silent: Expectation[Answer] = that("no reply", lambda answer: not answer.replies)
nothing_said: Expectation[Answer] = that("no reply inside TLS", lambda answer: not answer.replies)


async def until_offered(peer: Peer) -> None:
    """EHLO in clear, with STARTTLS on offer."""
    await peer.until_greeted()
    if peer.session.tls_active:
        raise Untested("TLS is active from the start")
    answer = await peer.ehlo()
    if "STARTTLS" not in peer.extensions:
        raise Untested("STARTTLS is not offered in clear", str(answer))


def unchecked() -> ssl.SSLContext:
    """A client context that takes any certificate: whom it names is not the question of these cases."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def into_tls(peer: Peer) -> None:
    """STARTTLS accepted and TLS active; nothing said inside it yet."""
    answer = await peer.starttls()
    if answer.code != 220:
        raise Untested("STARTTLS was not accepted", str(answer))


@case("3207-1", needs=[TLS], broken_by="starttls-keyword-with-word")
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


@case("3207-2", needs=[TLS], broken_by="starttls-closes")
async def a_handshake_follows_the_220(peer: Peer) -> Observation:
    """STARTTLS is answered 220, and the handshake after it succeeds."""
    await until_offered(peer)
    answer = await peer.command(b"STARTTLS")
    if answer.code != 220:
        return expect(answer, codes(220), near=severity(2), untested=severity(4))
    ready = await peer.handshake(unchecked())
    return expect("TLS" if ready else "220 and no TLS", that("TLS", lambda seen: seen == "TLS"))


@case("3207-17", needs=[TLS], broken_by="starttls-answered-twice")
async def the_220_is_the_only_reply(peer: Peer) -> Observation:
    """No second reply follows the 220 in clear."""
    await until_offered(peer)
    answer = await peer.command(b"STARTTLS")
    if answer.code != 220:
        raise Untested("STARTTLS was not accepted", str(answer))
    return expect(await peer.settle(), silence, stricter=closed & silent)


@case("3207-18", needs=[TLS])
async def something_else_than_a_handshake(peer: Peer) -> Observation:
    """A command in clear after the 220: the server closes, waits, or goes on in clear."""
    await until_offered(peer)
    answer = await peer.command(b"STARTTLS")
    if answer.code != 220:
        raise Untested("STARTTLS was not accepted", str(answer))
    seen = await peer.probe(b"EHLO client.example.org\r\n")
    return expect(seen, closed, choice=any_reply | silence)


@case("3207-19", needs=[TLS, EXTENSION("PIPELINING"), RECIPIENT], broken_by="starttls-lost-in-a-group")
async def starttls_ends_a_group(peer: Peer) -> Observation:
    """STARTTLS as the last command of a group is accepted, and the MAIL before it is forgotten in TLS."""
    await until_offered(peer)
    group = await peer.pipeline(b"MAIL FROM:<%s>" % peer.sender.encode(), b"STARTTLS")
    accepted: Expectation[Answer] = that(
        "a reply to MAIL, then 220", lambda answer: len(answer.replies) == 2 and answer.replies[1].code == 220
    )
    refused: Expectation[Answer] = that(
        "a refusal of STARTTLS", lambda answer: len(answer.replies) == 2 and answer.replies[1].severity == 4
    )
    first = expect(group, accepted, untested=refused)
    if first.outcome is not Outcome.CONFORMS or not await peer.handshake(unchecked()):
        return first
    rcpt = await peer.command(b"RCPT TO:<%s>" % peer.recipient.encode())
    return all_of(first, expect(rcpt, not_severity(2, 3), stricter=closed))


@case("3207-11", needs=[TLS])
async def extensions_before_and_inside_tls(peer: Peer) -> Observation:
    """The list of extensions inside TLS can be another than the one in clear."""
    await until_offered(peer)
    clear = set(peer.extensions) - {"STARTTLS"}
    await into_tls(peer)
    if (await peer.ehlo()).severity != 2:
        raise Untested("EHLO inside TLS was not accepted")
    changes = sorted(clear ^ set(peer.extensions))
    same: Expectation[str] = that("the same", lambda seen: not changes)
    other: Expectation[str] = that("another list", lambda seen: True)
    return expect(f"other inside TLS: {' '.join(changes)}" if changes else "the same", same, choice=other)


@case("3207-8", needs=[TLS, AUTH], broken_by="starttls-keeps-auth")
async def an_authentication_in_clear_is_forgotten(peer: Peer) -> Observation:
    """A client that has authenticated in clear can, and must, do so again inside TLS."""
    await until_offered(peer)
    mechanism = next((name for name in HIDDEN if name in peer.extensions.auth_mechanisms), None)
    if mechanism is None:
        raise Untested("no mechanism that hides the password is offered in clear")
    await peer.ehlo()
    if (await peer.auth(mechanism)).code != 235:
        raise Untested("AUTH in clear was not accepted")
    await into_tls(peer)
    return expect(await peer.auth(mechanism), codes(235), untested=severity(4) | codes(504, 534, 535))


DEMANDED = (b"RSET", b"VRFY postmaster", b"HELP", b"MAIL FROM:<>", b"DATA")


async def demands(peer: Peer) -> dict[bytes, Answer]:
    """The replies to `DEMANDED` in clear, each in its own session; untested unless MAIL gets a 530 for TLS.

    The same 530 5.7.0 asks for AUTH (RFC 4954 §6): which of the two is meant, only the text tells.
    """
    answers = {}
    for line in DEMANDED:
        session = peer.new_session()
        await until_offered(session)
        answers[line] = await session.command(line)
    mail = answers[b"MAIL FROM:<>"]
    if mail.code != 530 or "TLS" not in mail.text.upper():
        raise Untested("TLS is not demanded", str(mail))
    return answers


@case("3207-12", needs=[ENDPOINT(Role.SUBMISSION), TLS], broken_by="tls-demanded-for-mail-only")
async def tls_is_demanded_for_every_command(peer: Peer) -> Observation:
    """Where MAIL in clear gets a 530, so does every command but NOOP, EHLO, STARTTLS and QUIT.

    A command that the server does not have at all may be answered so.
    """
    demanded = codes(530) | codes(500, 502)
    return all_of(*(expect(answer, demanded) for answer in (await demands(peer)).values()))


@case("3207-13", needs=[ENDPOINT(Role.SUBMISSION), TLS], broken_by="tls-demand-with-other-code")
async def the_demand_has_its_enhanced_code(peer: Peer) -> Observation:
    """The 530 that demands TLS has the enhanced code 5.7.0, where such codes are in use."""
    await until_offered(peer)
    if "ENHANCEDSTATUSCODES" not in peer.extensions:
        raise Untested("ENHANCEDSTATUSCODES is not offered")
    answer = (await demands(peer))[b"MAIL FROM:<>"]
    return expect(answer, that("5.7.0", lambda seen: seen.text.startswith("5.7.0")))


@case("3207-14", needs=[ENDPOINT(Role.MX), TLS, RECIPIENT], broken_by="mx-demands-tls")
async def mail_for_local_recipients_is_taken_in_clear(peer: Peer) -> Observation:
    """Mail for a local mailbox is not refused on an MX for want of TLS.

    The rule is for servers that DNS names to everybody, which a client cannot see; so to demand TLS is no
    more than worth a look.
    """
    await until_offered(peer)
    mail = await peer.command(b"MAIL FROM:<%s>" % peer.sender.encode())
    rcpt = await peer.command(b"RCPT TO:<%s>" % peer.recipient.encode()) if mail.code == 250 else mail
    demanded = codes(530) | that("TLS asked for", lambda seen: "STARTTLS" in seen.text.upper())
    return expect(rcpt, severity(2) | near(demanded), untested=severity(4, 5))
