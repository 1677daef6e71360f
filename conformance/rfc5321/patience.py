"""RFC 5321 §3.8, §4.5.3.2, §7.8: time. How long a server waits, how fast it answers, how many it bears."""

from __future__ import annotations

import asyncio

from smtpbench.conformance import (
    RECIPIENT,
    SLOW,
    Expectation,
    Observation,
    Peer,
    Untested,
    any_reply,
    case,
    closed,
    closed_with_421,
    codes,
    expect,
    sequence,
    severity,
    silence,
    that,
)

PAUSE = 0.05  # seconds between octets that shall be read one by one, on a loopback or a local network
CLIENTS = 30  # connections at once: more than most sites allow one client, and no flood
DATA_SHARE = 0.6  # §4.5.3.2.5 asks for three minutes inside the data where it asks for five between commands
MINUTES = 900.0  # seconds that such a case may take: twice the five minutes, and room


@case(
    "5321-D-50",
    needs=[SLOW],
    deadline=MINUTES,
    broken_by="idle-cut-off",
    after="rfc5321.noop.noop-is-answered-250",
)
async def silence_between_commands_is_borne(peer: Peer) -> Observation:
    """A client that is silent for almost five minutes after a command is still served."""
    await peer.until_ready()
    await peer.command(b"NOOP")
    early = await peer.settle(within=peer.target.timeouts.idle)
    if early.replies or early.closed:
        return expect(early, silence)
    return expect(await peer.command(b"NOOP"), severity(2), untested=severity(4))


@case("5321-D-51", needs=[SLOW, RECIPIENT], deadline=MINUTES, broken_by="data-cut-off")
async def silence_inside_the_data_is_borne(peer: Peer) -> Observation:
    """A client that is silent for almost three minutes in the middle of the data is still served."""
    await peer.until_data()
    content = peer.marked_body(b"text\r\n")
    await peer.send(content[:20])
    early = await peer.settle(within=peer.target.timeouts.idle * DATA_SHARE)
    if early.replies or early.closed:
        return expect(early, silence)
    await peer.send(content[20:] + b".\r\n")
    return expect(await peer.read(), severity(2), untested=severity(4, 5))


@case("5321-D-52", needs=[SLOW], deadline=MINUTES)
async def the_end_of_a_silent_session(peer: Peer) -> Observation:
    """A server that gives up a silent client can say 421 before it closes, or say nothing."""
    await peer.until_ready()
    answer = await peer.until_closed(timeout=2 * peer.target.timeouts.idle)
    if not answer.closed:
        raise Untested(f"the server is still there after {2 * peer.target.timeouts.idle:g} s")
    return expect(answer, closed_with_421, choice=closed)


@case("5321-D-53", after="rfc5321.noop.noop-is-answered-250")
async def command_that_comes_octet_by_octet(peer: Peer) -> Observation:
    """A NOOP whose octets come one at a time is answered once it has its CRLF."""
    await peer.until_ready()
    for octet in b"NOOP\r":
        early = await peer.probe(bytes([octet]), within=PAUSE)
        if early.replies or early.closed:
            return expect(early, silence, choice=any_reply | closed)
    await peer.send(b"\n")
    return expect(await peer.read(), codes(250), choice=any_reply)


@case("5321-D-54")
async def client_that_speaks_first(peer: Peer) -> Observation:
    """An EHLO that comes before the greeting: served after it, refused, or the connection closed."""
    await peer.connect_only()
    await peer.session.send(b"EHLO %s\r\n" % peer.target.client_name.encode())
    answer = await peer.read(2)
    served = sequence(codes(220), codes(250))
    return expect(answer, served, choice=any_reply | closed | silence)


@case("5321-D-55")
async def many_connections_at_once(peer: Peer) -> Observation:
    """Each of thirty connections is greeted, or told with 421, 4yz or 554 that it is one too many."""
    sessions = [peer.new_session() for _ in range(CLIENTS)]
    answers = await asyncio.gather(*(session.connect() for session in sessions))
    told: Expectation[str] = that("a reply to each", lambda seen: all(answer.replies for answer in answers))
    kinds = sorted({str(answer.code) if answer.replies else "no reply" for answer in answers})
    silently: Expectation[str] = that("some turned away without a reply", lambda seen: True)
    return expect(" · ".join(kinds), told, choice=silently)


@case("5321-A-34")
async def time_to_answer(peer: Peer) -> Observation:
    """NOOP is answered within the five minutes that a client waits; how fast is left open."""
    await peer.until_ready()
    return expect(await peer.command(b"NOOP"), any_reply, choice=silence)
