"""RFC 5321 §3.8, §4.2, §4.3: one proper reply to each command, and a connection that stays."""

from __future__ import annotations

from smtpbench.conformance import (
    RECIPIENT,
    Answer,
    Expectation,
    Observation,
    Peer,
    Untested,
    all_of,
    any_reply,
    case,
    closed,
    codes,
    expect,
    not_codes,
    put_off,
    severity,
    silence,
    that,
)

NOTHING_MORE: Expectation[Answer] = that("nothing more", lambda answer: not answer.replies)
UNKNOWN = (b"FROBNICATE", b"BLURT", b"QWERTY", b"FROBNICATE")  # verbs of no RFC

# A command for each keyword that stands for one; none of them changes anything.
LISTED = {
    "HELP": b"HELP",
    "VRFY": b"VRFY postmaster",
    "EXPN": b"EXPN postmaster",
    "ETRN": b"ETRN example.com",
    "AUTH": b"AUTH X-NO-SUCH-MECHANISM",
    "STARTTLS": b"STARTTLS now",
}
OPTIONAL = ("HELP", "EXPN", "ETRN")


@case("5321-A-20", broken_by="two-replies-to-noop")
async def every_command_gets_one_reply(peer: Peer) -> Observation:
    """Each command of a session is answered once: when all are answered, nothing more comes."""
    await peer.until_ready()
    lines = (b"NOOP", b"RSET", b"VRFY postmaster", b"EXPN postmaster", b"HELP", b"MAIL", b"RCPT", b"DATA")
    last = await last_word(peer, *lines)
    return all_of(expect(last, any_reply, untested=closed), expect(await peer.settle(), NOTHING_MORE))


@case("5321-A-30", broken_by=("noop-not-recognised", "rset-not-recognised"))
async def required_commands_are_recognised(peer: Peer) -> Observation:
    """No command of the required minimum is answered as one that is not known; VRFY has its own case."""
    mail = b"MAIL FROM:<%s>" % peer.sender.encode()
    answers = []
    for line in (b"NOOP", b"RSET", mail, b"RCPT TO:<postmaster>", b"DATA", b"QUIT"):
        session = peer.new_session()
        await session.until_ready()
        answers.append(await session.command(line))
    none = closed | silence  # whether there is an answer at all is asked of each command elsewhere
    return all_of(*(expect(answer, not_codes(500, 502), untested=put_off | none) for answer in answers))


@case("5321-A-27", broken_by=("unknown-verb-accepted", "unknown-verb-502"))
async def unknown_verb_is_answered_500(peer: Peer) -> Observation:
    """A verb that the server does not know is answered 500."""
    await peer.until_ready()
    return expect(await peer.command(UNKNOWN[0]), codes(500), near=severity(5), untested=put_off)


@case("5321-A-35", broken_by="x-verb-accepted")
async def unknown_private_verb_is_answered_500(peer: Peer) -> Observation:
    """A private verb, one that begins with X, is answered 500 if the server does not know it."""
    await peer.until_ready()
    answer = await peer.command(b"XSMTPBENCH-NO-SUCH-VERB")
    return expect(answer, codes(500), near=severity(5), untested=put_off)


async def last_word(peer: Peer, *lines: bytes) -> Answer:
    """The reply to the last of `lines`, or the 421 or the close that came before it."""
    answer = Answer(b"", ())
    for line in lines:
        answer = await peer.command(line)
        if answer.closed or answer.code == 421:
            break
    return answer


@case("5321-A-36", "5321-A-37", broken_by="unknown-verb-closes")
async def unknown_verbs_keep_the_connection(peer: Peer) -> Observation:
    """Verbs that the server does not know are no reason to close the connection."""
    await peer.until_ready()
    return expect(await last_word(peer, *UNKNOWN), not_codes(421), stricter=codes(421))


@case("5321-A-37", broken_by="closes-after-each-command", about_connection=True)
async def connection_stays_open_between_commands(peer: Peer) -> Observation:
    """After a command has been answered the connection stays open for the next."""
    await peer.until_greeted()
    stays: Expectation[Answer] = that("the connection open", lambda answer: not answer.closed)
    return expect(await last_word(peer, b"NOOP", b"NOOP", b"RSET"), stays, untested=codes(421))


@case("5321-A-37", broken_by="syntax-error-closes")
async def syntax_errors_keep_the_connection(peer: Peer) -> Observation:
    """Commands with a syntax error are no reason to close the connection."""
    await peer.until_ready()
    answer = await last_word(peer, b"MAIL FROM:<", b"RCPT", b"VRFY", b"MAIL FROM:<")
    return expect(answer, not_codes(421), stricter=codes(421))


@case("5321-A-32", needs=[RECIPIENT], broken_by="data-accepts-argument")
async def data_with_an_argument(peer: Peer) -> Observation:
    """DATA takes no argument."""
    await peer.until_rcpt()
    return expect(await peer.command(b"DATA now"), codes(501), near=severity(5), untested=put_off)


@case("5321-A-28", broken_by=("lists-help-but-502", "vrfy-not-recognised"))
async def listed_commands_are_implemented(peer: Peer) -> Observation:
    """No command that the EHLO reply lists is answered 500 or 502."""
    await peer.until_ready()
    lines = [line for keyword, line in LISTED.items() if keyword in peer.extensions]
    if not lines:
        raise Untested("EHLO lists no keyword that stands for a command")
    answers = [await peer.command(line) for line in lines]
    return all_of(*(expect(answer, not_codes(500, 502), untested=put_off) for answer in answers))


@case("5321-B-6", "5321-B-41", broken_by="ehlo-hides-expn")
async def implemented_commands_are_listed(peer: Peer) -> Observation:
    """A command beyond the required minimum that the server carries out is in its EHLO reply."""
    await peer.until_ready()
    hidden = [LISTED[keyword] for keyword in OPTIONAL if keyword not in peer.extensions]
    if not hidden:
        raise Untested("EHLO lists every command that could be hidden")
    return all_of(*[expect(await peer.command(line), severity(4, 5)) for line in hidden])


@case("5321-B-48", "5321-B-6", broken_by="obsolete-verbs-accepted")
async def obsolete_verbs_are_not_there(peer: Peer) -> Observation:
    """SEND, SOML and SAML are not carried out by a server whose EHLO reply does not list them."""
    await peer.until_allowed()
    verbs = [verb for verb in ("SEND", "SOML", "SAML") if verb not in peer.extensions]
    answers = [await peer.command(f"{verb} FROM:<{peer.sender}>".encode()) for verb in verbs]
    return all_of(*(expect(answer, severity(4, 5)) for answer in answers))
