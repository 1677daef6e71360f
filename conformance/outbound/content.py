"""What a relay sends after DATA: a message at its next hop (RFC 5321 §2.3.8, §3.6.3, §4.4, §4.5.2)."""

from __future__ import annotations

import re

from smtpbench.conformance import (
    DELIVERED,
    EXTENSION,
    RECIPIENT,
    RELAY,
    HopScript,
    HopTransaction,
    Message,
    Observation,
    Peer,
    case,
    choice,
    each_transaction,
    escape,
    expect,
    next_hop,
    that,
)

LONE = re.compile(rb"\r(?!\n)|(?<!\r)\n")


def message_of(seen: HopTransaction) -> Message:
    """The content that came, as a message whose trace fields are told from the rest."""
    return Message(seen.content or b"")


class Octets:
    """What came after DATA, shown by the first CR or LF in it that stands alone."""

    def __init__(self, sent: bytes) -> None:
        self.lone = LONE.search(sent)
        at = self.lone.start() if self.lone else 0
        self.shown = escape(sent[max(0, at - 20) : at + 20])

    def __str__(self) -> str:
        return f"sent …{self.shown}…" if self.lone else "every CR and LF in a pair"


def raw_lines(seen: HopTransaction) -> list[bytes]:
    """The lines between DATA and the end of data as they came, dots and all."""
    return (seen.raw or b"").removesuffix(b"\r\n.\r\n").split(b"\r\n")


@case("5321-E-1", needs=[RELAY], broken_by=("relay-stuffs-no-dots", "relay-stuffs-lone-dots-only"))
async def dots_at_the_beginning_of_lines_are_doubled(peer: Peer) -> Observation:
    """A line that begins with a period is sent with one more."""
    content = peer.marked_body(b".\r\n.one\r\n..two\r\nmid.dle\r\n.\r\nlast\r\n")
    async with next_hop(peer, HopScript().without("CHUNKING")) as hop:
        await hop.send(content, hop.recipient())
        lines = [b"..", b"..one", b"...two", b"mid.dle", b"..", b"last"]
        return expect(
            await hop.relayed(),
            each_transaction("lines with their dots doubled", lambda seen: raw_lines(seen)[-6:] == lines),
        )


@case("5321-E-2", needs=[RELAY], broken_by="relay-passes-bare-line-ends")
async def lone_cr_and_lf_are_never_sent(peer: Peer) -> Observation:
    """A message that came with a lone CR or LF goes on without one, or not at all."""
    content = peer.marked_body(b"lone\nLF, lone\rCR\r\n")
    async with next_hop(peer, HopScript().without("CHUNKING", "BINARYMIME")) as hop:
        await hop.send(content, hop.recipient())  # a refusal is as good, and is judged where mail comes in
        sent = b"".join(one.raw or b"" for one in (await hop.relayed()).complete)
        return expect(Octets(sent), that("CR LF alone at the ends of lines", lambda seen: not seen.lone))


@case("5321-E-2", needs=[RELAY], broken_by="relay-ends-lines-with-lf")
async def lines_end_with_cr_lf(peer: Peer) -> Observation:
    """Every line that a relay sends ends with CR LF, commands and content alike."""
    async with next_hop(peer, HopScript().without("CHUNKING")) as hop:
        await hop.send(peer.marked_body(b"one\r\n\r\nthree\r\n"), hop.recipient())
        return expect(
            await hop.relayed(),
            that(
                "no lone CR or LF in commands or content",
                lambda seen: (
                    not any(
                        LONE.search(octets)
                        for session in seen.sessions
                        for octets in (
                            *(line.octets for line in session.commands),
                            *(one.raw or b"" for one in session.transactions),
                        )
                    )
                ),
            ),
        )


@case("5321-D-34", needs=[RELAY], broken_by=("no-received", "received-at-bottom"))
async def a_received_line_is_added_on_top(peer: Peer) -> Observation:
    """A message that is relayed has one more Received line, as its first."""
    old = b"Received: from a.example by b.example; Thu, 01 Jan 2026 00:00:00 +0000\r\n"
    content = old + peer.marked_body(b"x\r\n")
    async with next_hop(peer) as hop:
        await hop.send(content, hop.recipient())
        return expect(
            await hop.relayed(),
            each_transaction(
                "a new Received line above what was sent",
                lambda seen: (
                    (seen.content or b"")[:9].lower() == b"received:"
                    and not (seen.content or b"").startswith(old)
                ),
            ),
        )


@case(
    "5321-E-14",
    "5321-A-13",
    needs=[RELAY],
    broken_by=("rewrites-subject", "relay-wraps-lines"),
    after=a_received_line_is_added_on_top,
)
async def content_goes_on_unchanged(peer: Peer) -> Observation:
    """Below its own trace lines a relay sends what it was given, octet for octet."""
    odd = b"X-Odd:value\r\nX-Empty:\r\nX-Folded: a\r\n\tb"
    content = peer.marked_body(b"\r\ntrailing blank \r\n" + b"x" * 900 + b"\r\n\x01\x7f\r\n\r\n", odd)
    async with next_hop(peer) as hop:
        await hop.send(content, hop.recipient())
        return expect(
            await hop.relayed(),
            each_transaction("the content as it was sent", lambda seen: message_of(seen).same_as(content)),
        )


@case("5321-D-46", needs=[RELAY], after=content_goes_on_unchanged, accuses=False)
async def an_incomplete_message_stays_incomplete(peer: Peer) -> Observation:
    """A relay adds no Message-ID, Date or From; a site may take us for a client whose mail it completes."""
    content = b"X-Smtpbench: " + peer.marker + b"\r\nSubject: no more than this\r\n\r\nx\r\n"
    async with next_hop(peer) as hop:
        await hop.send(content, hop.recipient())
        return expect(
            await hop.relayed(),
            each_transaction(
                "no field added",
                lambda seen: (
                    message_of(seen).same_as(content)
                    and {name for name, _ in message_of(seen).trace} <= {"received", "return-path"}
                ),
            ),
            choice=each_transaction("completed", lambda seen: seen.content is not None),
        )


@case("5321-D-41", needs=[RELAY], broken_by=("received-removed", "received-reordered"))
async def received_lines_that_were_there_stay(peer: Peer) -> Observation:
    """Received lines from before are sent on unchanged and in their order."""
    old = b"".join(
        b"Received: from h%d.example by h%d.example;\r\n\tThu, 01 Jan 2026 00:00:0%d +0000\r\n"
        % (n + 1, n, n)
        for n in (3, 2, 1)
    )
    content = old + peer.marked_body(b"x\r\n")
    async with next_hop(peer) as hop:
        await hop.send(content, hop.recipient())
        return expect(
            await hop.relayed(),
            each_transaction("the three lines as they were", lambda seen: old in (seen.content or b"")),
        )


@case("5321-E-19", needs=[RELAY])
async def a_return_path_that_was_there(peer: Peer) -> Observation:
    """A relay leaves a Return-Path field that a message brings, or removes it."""
    field = b"Return-Path: <other@example.org>\r\n"
    content = field + peer.marked_body(b"x\r\n")
    async with next_hop(peer) as hop:
        await hop.send(content, hop.recipient())
        return expect(
            await hop.relayed(),
            choice(
                each_transaction("it went on", lambda seen: field in (seen.content or b""))
                | each_transaction("it was removed", lambda seen: field not in (seen.content or b""))
            ),
        )


@case(
    "6152-4",
    needs=[RELAY, EXTENSION("8BITMIME")],
    broken_by="strips-eighth-bit",
    after=content_goes_on_unchanged,
)
async def eight_bit_content_goes_on_whole(peer: Peer) -> Observation:
    """Content with octets above 127 keeps all its bits on the way to a hop that offers 8BITMIME."""
    kind = b'Content-Type: text/plain; charset="utf-8"\r\nContent-Transfer-Encoding: 8bit'
    content = peer.marked_body("grün ü \xff\r\n".encode(), b"MIME-Version: 1.0", kind)
    async with next_hop(peer) as hop:
        await hop.send(content, hop.recipient(), mail={"BODY": "8BITMIME"})
        return expect(
            await hop.relayed(),
            each_transaction("the content as it was sent", lambda seen: message_of(seen).same_as(content)),
        )


@case(
    "6152-7", needs=[RELAY, RECIPIENT, DELIVERED, EXTENSION("8BITMIME")], broken_by="relay-sends-8bit-anyway"
)
async def eight_bit_content_for_a_seven_bit_hop(peer: Peer) -> Observation:
    """8-bit content is not sent to a hop that does not offer 8BITMIME: it is converted, or returned."""
    kind = b'Content-Type: text/plain; charset="utf-8"\r\nContent-Transfer-Encoding: 8bit'
    content = peer.marked_body("grün\r\n".encode(), b"MIME-Version: 1.0", kind)
    async with next_hop(peer, HopScript().without("8BITMIME", "BINARYMIME", "CHUNKING", "SMTPUTF8")) as hop:
        to = hop.recipient()
        await hop.send(content, to, sender=peer.recipient, mail={"BODY": "8BITMIME"})
        return expect(
            await hop.settled(to),
            that(
                "nothing but 7-bit content at the next hop",
                lambda found: all((one.raw or b"").isascii() for one in found.complete),
            ),
        )


@case(
    "6531-15",
    "6531-20",
    needs=[RELAY, RECIPIENT, DELIVERED, EXTENSION("SMTPUTF8")],
    broken_by="relay-sends-utf8-anyway",
)
async def utf8_header_for_a_hop_without_smtputf8(peer: Peer) -> Observation:
    """A message with UTF-8 in its header is not sent to a hop that does not offer SMTPUTF8."""
    content = peer.marked_body(b"x\r\n", "X-Note: grün".encode())
    async with next_hop(peer, HopScript().without("SMTPUTF8")) as hop:
        to = hop.recipient()
        await hop.send(content, to, sender=peer.recipient, mail={"BODY": "8BITMIME", "SMTPUTF8": None})
        return expect(
            await hop.settled(to),
            that(
                "no UTF-8 in a header at the next hop",
                lambda found: all(
                    (one.content or b"").partition(b"\r\n\r\n")[0].isascii() for one in found.complete
                ),
            ),
        )
