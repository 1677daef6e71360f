"""RFC 5321 §3.1, §4.2, §4.3.1: the greeting, and the name by which the server calls itself."""

from __future__ import annotations

from smtpbench.conformance import (
    REFUSING,
    Anomaly,
    Observation,
    Peer,
    Untested,
    all_of,
    any_reply,
    case,
    closed,
    codes,
    expect,
    put_off,
    reply_that,
    severity,
    text_matches,
    that,
)

# Domain and address-literal of §4.1.2 and §4.1.3, then a space or the end of the line.
LABEL = rb"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
LITERAL = rb"\[[!-Z^-~]+\]"
NAME = rb"(?:%s(?:\.%s)*|%s)(?: |$)" % (LABEL, LABEL, LITERAL)
QUALIFIED = rb"(?:%s(?:\.%s)+|%s)(?: |$)" % (LABEL, LABEL, LITERAL)


@case("5321-A-17", "5321-A-20", broken_by="greeting-waits-for-client", about_connection=True)
async def server_speaks_first(peer: Peer) -> Observation:
    """The greeting comes without the client having sent anything."""
    await peer.connect_only()
    return expect(await peer.connect(), any_reply)


@case(
    "5321-A-18",
    "5321-A-14",
    broken_by=("greeting-code-250", "greeting-codes-differ"),
    after=server_speaks_first,
)
async def greeting_is_220_or_554(peer: Peer) -> Observation:
    """A server opens with 220, or with 554 if it takes no mail at all."""
    return expect(
        await peer.connect(), codes(220), choice=codes(554, 521), near=severity(5), untested=put_off
    )


@case("5321-A-18", broken_by="greeting-without-domain")
async def greeting_begins_with_the_servers_name(peer: Peer) -> Observation:
    """The first word of the greeting is a domain name or an address literal."""
    return expect(await peer.until_greeted(), text_matches(NAME, "a domain or an address literal first"))


@case("5321-A-19", broken_by="greeting-codes-differ", after=server_speaks_first)
async def greeting_lines_have_one_form(peer: Peer) -> Observation:
    """Every line of the greeting has its code, a hyphen on all but the last and a space on the last."""
    broken = {Anomaly.CODE_MISMATCH, Anomaly.BAD_CODE, Anomaly.BAD_SEPARATOR}
    well_formed = reply_that("the same code on each line", lambda reply: not broken & reply.anomalies)
    return expect(await peer.connect(), well_formed)


@case(
    "5321-A-39",
    broken_by="greeting-single-label",
    after=(greeting_begins_with_the_servers_name, "rfc5321.ehlo.ehlo-reply-begins-with-a-domain"),
)
async def servers_name_is_fully_qualified(peer: Peer) -> Observation:
    """The server calls itself by a fully qualified name, in the greeting and in its answer to EHLO.

    A single label can be a top-level domain, so one is not held against the server as a breach.
    """
    qualified = text_matches(QUALIFIED, "a fully qualified domain or an address literal")
    label = text_matches(LABEL + rb"(?: |$)", "a single label")
    greeting = expect(await peer.until_greeted(), qualified, near=label)
    return all_of(greeting, expect(await peer.ehlo(), qualified, near=label, untested=severity(4, 5)))


async def turned_away(peer: Peer) -> None:
    """Greeted with 554; for 521 another document has other rules (RFC 7504)."""
    greeting = await peer.connect()
    if greeting.code != 554:
        raise Untested("the greeting was not 554", str(greeting))


@case("5321-A-15", needs=[REFUSING], broken_by="greeting-554-then-close", about_connection=True)
async def server_that_takes_no_mail_waits_for_quit(peer: Peer) -> Observation:
    """After a 554 greeting the connection stays open until the client has said QUIT."""
    await turned_away(peer)
    await peer.command(b"NOOP")
    return expect(await peer.command(b"QUIT"), any_reply)


@case("5321-A-16", needs=[REFUSING], broken_by="greeting-554-then-close", about_connection=True)
async def server_that_takes_no_mail_answers_503(peer: Peer) -> Observation:
    """After a 554 greeting every command before QUIT is answered 503."""
    await turned_away(peer)
    return expect(await peer.command(b"MAIL FROM:<>"), codes(503), near=severity(5) | closed)


@case("5321-A-12", broken_by="no-8bitmime")
async def eight_bit_mime_is_offered(peer: Peer) -> Observation:
    """8BITMIME is among the extensions."""
    await peer.until_ready()
    offered = "EHLO lists " + (", ".join(peer.extensions) or "nothing")
    return expect(offered, that("8BITMIME among the keywords", lambda _: "8BITMIME" in peer.extensions))
