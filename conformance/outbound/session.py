"""How a relay conducts a session with its next hop (RFC 5321 §3.2, §4.1.1, §4.3.1; RFC 3207)."""

from __future__ import annotations

import re

from smtpbench.conformance import (
    RELAY,
    Expectation,
    HopReply,
    HopScript,
    HopSession,
    Observation,
    Peer,
    Relayed,
    Untested,
    Verb,
    case,
    choice,
    each_session,
    expect,
    next_hop,
    that,
)

LATE = 0.3  # seconds; who waits for a reply waits longer than this
PLAIN = HopScript(extensions=frozenset({"8BITMIME", "SIZE"}))
DOMAIN = rb"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*"
HELLO = re.compile(rb"(?:EHLO|HELO) (?:" + DOMAIN + rb"|\[[!-Z^-~]+\]) *", re.IGNORECASE)
SYNTAX_OR_ORDER = (b"500", b"501", b"503", b"555")


async def one_message(peer: Peer, script: HopScript) -> Relayed:
    """A message on its way through a hop that follows `script`, to the end of the session."""
    async with next_hop(peer, script) as hop:
        await hop.send(peer.marked_body(b"x\r\n"), hop.recipient())
        return await hop.ended(await hop.relayed())


def hellos(seen: HopSession) -> list[bytes]:
    """The words EHLO and HELO of a session, as they came."""
    return [verb for verb in seen.verbs() if verb in (b"EHLO", b"HELO")]


@case("5321-E-4", needs=[RELAY])
async def ehlo_comes_first(peer: Peer) -> Observation:
    """A session is opened with EHLO, or with HELO."""
    return expect(
        await one_message(peer, PLAIN),
        choice(
            each_session("EHLO first", lambda seen: hellos(seen)[:1] == [b"EHLO"])
            | each_session("HELO first", lambda seen: hellos(seen)[:1] == [b"HELO"])
        ),
    )


@case("5321-E-3", needs=[RELAY], broken_by="relay-knows-no-helo")
async def helo_follows_an_ehlo_that_is_not_recognised(peer: Peer) -> Observation:
    """After a 500 to EHLO the client says HELO and goes on."""
    script = HopScript(replies={Verb.EHLO: HopReply(code=500, text="Command not recognized")})
    async with next_hop(peer, script) as hop:
        since = hop.sessions_so_far()
        await hop.send(peer.marked_body(b"x\r\n"), hop.recipient())
        seen = await hop.a_session(since)
        return expect(
            seen, that("HELO after EHLO", lambda said: any(b"HELO" in one.verbs() for one in said.sessions))
        )


@case("5321-E-15", needs=[RELAY], broken_by="relay-says-a-bad-name")
async def the_client_names_itself_properly(peer: Peer) -> Observation:
    """EHLO and HELO have a domain name or an address literal."""

    def named(seen: HopSession) -> bool:
        hellos = [line.octets for line in seen.commands if line.octets[:4].upper() in (b"EHLO", b"HELO")]
        return bool(hellos) and all(HELLO.fullmatch(line) for line in hellos)

    return expect(await one_message(peer, PLAIN), each_session("a domain or a literal", named))


@case("5321-E-17", needs=[RELAY], broken_by=("relay-writes-a-space-after-the-colon", "relay-omits-brackets"))
async def commands_are_well_formed_and_in_order(peer: Peer) -> Observation:
    """No command of the client deserves a 500, 501, 503 or 555."""

    def flawless(seen: HopSession) -> bool:
        replies = [line.octets for line in seen.lines if line.sender == "server"]
        return not any(reply.startswith(SYNTAX_OR_ORDER) for reply in replies)

    async with next_hop(peer, PLAIN) as hop:
        since = hop.sessions_so_far()
        await hop.send(peer.marked_body(b"x\r\n"), hop.recipient())
        return expect(
            await hop.a_session(since),
            that("no command refused as wrong", lambda said: all(map(flawless, said.sessions))),
        )


@case("5321-E-6", needs=[RELAY], broken_by="relay-pipelines-unasked")
async def nothing_is_pipelined_that_was_not_offered(peer: Peer) -> Observation:
    """To a hop without PIPELINING the client sends one command at a time."""
    return expect(
        await one_message(peer, PLAIN),
        each_session(
            "nothing sent before the reply to the command before",
            lambda seen: not any(line.ahead for line in seen.commands),
        ),
    )


@case("5321-E-7", needs=[RELAY], broken_by="relay-does-not-wait-for-the-greeting")
async def the_client_waits_for_the_greeting(peer: Peer) -> Observation:
    """Nothing is sent before a greeting that comes late."""
    script = HopScript(greeting=HopReply(code=220, delay_s=LATE))
    return expect(
        await one_message(peer, script),
        each_session("nothing before the greeting", lambda seen: not seen.early),
    )


@case("5321-E-8", needs=[RELAY], broken_by="relay-says-no-quit")
async def the_client_says_quit(peer: Peer) -> Observation:
    """The client closes a connection after QUIT, and not before."""
    seen = await one_message(peer, PLAIN)
    if any(session.ended is None for session in seen.sessions):
        raise Untested("the connection was still open when the wait was over", str(seen))
    return expect(seen, each_session("QUIT before the end", lambda session: session.ended == "quit"))


@case("5321-E-9", needs=[RELAY], after=the_client_says_quit, accuses=False)
async def the_client_waits_for_the_reply_to_quit(peer: Peer) -> Observation:
    """The connection is still there when a late reply to QUIT is sent.

    Where it is not, the client may have closed its own half only, and still listen: no verdict rests on it.
    """
    script = HopScript(extensions=PLAIN.extensions, replies={Verb.QUIT: HopReply(code=221, delay_s=LATE)})
    seen = await one_message(peer, script)
    if not all(b"QUIT" in session.verbs() for session in seen.sessions):
        raise Untested("no QUIT came", str(seen))
    return expect(
        seen,
        each_session("still connected at the 221", lambda session: session.ended == "quit"),
        choice=each_session("closed, or half closed, before it", lambda session: session.ended is not None),
        untested=that("the session goes on", lambda found: any(one.ended is None for one in found.sessions)),
    )


@case("5321-E-5", needs=[RELAY], broken_by="relay-sends-orcpt-anyway")
async def no_rcpt_parameter_is_sent_that_was_not_offered(peer: Peer) -> Observation:
    """To a hop that offers nothing, RCPT goes without parameters."""
    return expect(
        await one_message(peer, HopScript(extensions=frozenset())),
        that(
            "no parameter",
            lambda seen: (
                not any(b"> " in item.line.rstrip() for one in seen.transactions for item in one.recipients)
            ),
        ),
    )


@case("3207-26", needs=[RELAY])
async def tls_where_it_is_offered(peer: Peer) -> Observation:
    """A hop that offers STARTTLS gets the message inside TLS, or in clear."""
    script = HopScript(extensions=PLAIN.extensions | {"STARTTLS"})
    inside: Expectation[Relayed] = that("inside TLS", lambda seen: all(one.tls for one in seen.complete))
    in_clear: Expectation[Relayed] = that("in clear", lambda seen: not all(one.tls for one in seen.complete))
    return expect(await one_message(peer, script), choice(inside | in_clear))


@case("3207-25", needs=[RELAY], broken_by="relay-says-no-ehlo-inside-tls")
async def ehlo_is_said_again_inside_tls(peer: Peer) -> Observation:
    """The first command after the handshake is EHLO."""
    seen = await one_message(peer, HopScript(extensions=PLAIN.extensions | {"STARTTLS"}))
    if not any(one.tls for one in seen.transactions):
        raise Untested("the client did not use TLS", str(seen))

    def again(session: HopSession) -> bool:
        inside = [line.octets[:4].upper() for line in session.commands if line.tls]
        return not inside or inside[0] == b"EHLO"

    return expect(seen, each_session("EHLO first inside TLS", again))


@case("3207-24", needs=[RELAY], broken_by="relay-remembers-extensions-from-before-tls")
async def extensions_from_before_tls_are_forgotten(peer: Peer) -> Observation:
    """What was offered in clear and is not offered inside TLS is not used there."""
    script = HopScript(extensions=PLAIN.extensions | {"STARTTLS", "DSN"}, inside_tls=frozenset())
    seen = await one_message(peer, script)
    if not any(one.tls for one in seen.transactions):
        raise Untested("the client did not use TLS", str(seen))
    return expect(
        seen,
        that(
            "no parameter inside TLS",
            lambda found: not any(b"> " in one.mail.rstrip() for one in found.transactions if one.tls),
        ),
    )
