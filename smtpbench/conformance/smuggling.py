"""The smuggling matrix: what looks like the end of data, going in at a server and coming out of it.

A message is smuggled between two servers that disagree on where its data end. Neither need be wrong by
itself: one lets a sequence through, the next takes it for the end. So for each variant of the sequence the
matrix has three answers: does the target end the data there, what does it send on to its next hop, and,
given that, does another server end the data there?

What goes to the other server is what the target did send, octet for octet: nothing is supposed.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from enum import StrEnum

from smtpbench.conformance.conversation import Surroundings
from smtpbench.conformance.needs import Facts
from smtpbench.conformance.nexthop import next_hop
from smtpbench.conformance.observation import Untested
from smtpbench.conformance.peer import Peer
from smtpbench.conformance.survey import survey
from smtpbench.delivery.hop import Hop
from smtpbench.delivery.hop_script import HopTransaction
from smtpbench.errors import ConnectionLost, DeadlineExceeded
from smtpbench.target import Target
from smtpbench.wire import commands
from smtpbench.wire.content import END_OF_DATA
from smtpbench.wire.replies import Reply

BEFORE, AFTER = b"text before", b"MAIL FROM:<smuggled@example.com>"  # what stands about the variant

VARIANTS: dict[str, bytes] = {
    "LF . LF": b"\n.\n",
    "LF . CRLF": b"\n.\r\n",
    "CRLF . LF": b"\r\n.\n",
    "CR . CR": b"\r.\r",
    "CRLF . CR": b"\r\n.\r",
    "CR . CRLF": b"\r.\r\n",
    "LF . CR": b"\n.\r",
    "CR . LF": b"\r.\n",
    "CRCRLF . CRCRLF": b"\r\r\n.\r\r\n",
    "CRLF . CRCRLF": b"\r\n.\r\r\n",
    "CRLF NUL . CRLF": b"\r\n\0.\r\n",
    "CRLF . NUL CRLF": b"\r\n.\0\r\n",
    "CRLF .. CRLF": b"\r\n..\r\n",  # a proper line of one dot: it has to stay one
}


class Inbound(StrEnum):
    """What a server did with a message that has a variant inside."""

    WHOLE = "whole"  # one message, as the RFC has it
    SPLIT = "split"  # it ended the data at the variant, and took what follows for commands
    REFUSED = "refused"  # the whole message, with 4yz or 5yz
    CLOSED = "closed"  # no reply to the message
    UNKNOWN = "unknown"  # it never came so far


@dataclass(frozen=True)
class Seen:
    """What a server did, and the replies from the end of data on."""

    inbound: Inbound
    replies: str


@dataclass(frozen=True)
class Row:
    """One variant: in at the target, out of it, and in at the other server.

    `outbound` has the octets that came to the next hop in the variant's place, one entry a message; None if
    there is no next hop or nothing came. `onward` is what the other server did with them.
    """

    variant: str
    target: Seen
    outbound: tuple[bytes, ...] | None = None
    onward: Seen | None = None

    @property
    def smuggled(self) -> bool:
        """Whether one message became two: at the target, or at the other server."""
        at_next = self.onward is not None and self.onward.inbound is Inbound.SPLIT
        return self.target.inbound is Inbound.SPLIT or at_next


@dataclass(frozen=True)
class Matrix:
    """All variants of a target, and of the server behind it if there is one."""

    target: str
    beyond: str | None = None
    relays: bool = False
    rows: tuple[Row, ...] = field(default=())

    @property
    def smuggled(self) -> tuple[Row, ...]:
        """The variants that make two messages of one."""
        return tuple(row for row in self.rows if row.smuggled)


async def smuggling_matrix(target: Target, beyond: Target | None = None) -> Matrix:
    """Every variant at `target`, and what it sends on at `beyond`.

    Raises SessionError where a server cannot be reached. What is not possible is left out: without
    ``[relay]`` there is no outbound side.
    """
    async with AsyncExitStack() as stack:
        hop = None
        if target.relay is not None:
            host, port = target.relay.address
            hop = await stack.enter_async_context(Hop(host, port, certificate=target.relay.certificate))
        first = await _facts(target)
        second = await _facts(beyond) if beyond is not None else None
        rows = [await _row(name, first, hop, second) for name in VARIANTS]
    return Matrix(target.name, beyond.name if beyond is not None else None, hop is not None, tuple(rows))


async def _facts(target: Target) -> Facts:
    return await survey(target, observable=False)


def _peer(facts: Facts, hop: Hop | None = None) -> Peer:
    return Peer(Surroundings(facts, None, None, facts.endpoint, facts.role, hop=hop))


async def _row(name: str, first: Facts, hop: Hop | None, second: Facts | None) -> Row:
    peer = _peer(first, hop)
    try:
        if hop is None:
            return Row(name, await _inbound(peer, peer.recipient, _bait(peer, VARIANTS[name])))
        return await _relayed(name, peer, second)
    except Untested as untested:
        return Row(name, Seen(Inbound.UNKNOWN, f"{untested.reason}: {untested.observed}".rstrip(": ")))
    finally:
        await peer.close()


async def _relayed(name: str, peer: Peer, second: Facts | None) -> Row:
    async with next_hop(peer) as hop:
        recipient = hop.recipient()
        seen = await _inbound(peer, recipient, _bait(peer, VARIANTS[name], recipient))
        if seen.inbound not in (Inbound.WHOLE, Inbound.SPLIT):
            return Row(name, seen)
        sent = (await hop.seen(recipient, number=1 + (seen.inbound is Inbound.SPLIT))).complete
    if not sent:
        return Row(name, seen)
    outbound = tuple(_in_place(one) for one in sent)
    onward = None if second is None else await _onward(second, sent[0])
    return Row(name, seen, outbound, onward)


def _bait(peer: Peer, variant: bytes, recipient: str | None = None) -> bytes:
    """A message with `variant` in its body and the commands of another message behind it, no end of data."""
    envelope = (
        AFTER,
        commands.rcpt(recipient or peer.recipient),
        b"DATA",
        b"Subject: smuggled",
        b"",
        b"text",
    )
    return peer.marked_body(BEFORE + variant + b"\r\n".join(envelope))


async def _inbound(peer: Peer, recipient: str, content: bytes) -> Seen:
    """Send `content` as it is, then a true end of data and QUIT; judge by the replies between them."""
    session = peer.new_session()
    await session.until_mail()
    await session.until_rcpt(recipient)
    await session.until_data()
    return await _replies(session, content)


async def _replies(session: Peer, content: bytes) -> Seen:
    replies: list[Reply] = []
    try:
        await session.session.send(content + END_OF_DATA)
        replies.append(await session.session.read_reply())
        await session.session.send(b"QUIT\r\n")
    except (ConnectionLost, DeadlineExceeded):
        pass  # what was said before the close is still to be read
    replies += (await session.until_closed()).replies
    return Seen(_judge(replies), " · ".join(map(str, replies)) or "no reply")


def _judge(replies: list[Reply]) -> Inbound:
    """One reply to the data and one to QUIT: anything more answers commands that were content.

    So it does where the first message was refused: what follows it was taken for commands all the same.
    """
    said = [reply for reply in replies if reply.code not in (221, 421)]
    if len(said) > 1:
        return Inbound.SPLIT
    if not said:
        return Inbound.REFUSED if any(reply.code == 421 for reply in replies) else Inbound.CLOSED
    return Inbound.WHOLE if said[0].severity == 2 else Inbound.REFUSED


def _in_place(sent: HopTransaction) -> bytes:
    """What stands between the text before the variant and the commands behind it, as it was sent."""
    raw = sent.raw or b""
    _, found, rest = raw.partition(BEFORE)
    return rest.partition(AFTER)[0] if found else b""


async def _onward(facts: Facts, sent: HopTransaction) -> Seen:
    """What the server beyond does with the octets that the target sent, end of data and all."""
    peer = _peer(facts)
    try:
        session = peer.new_session()
        await session.until_rcpt(session.recipient)
        await session.until_data()
        return await _replies(session, (sent.raw or b"").removesuffix(b".\r\n").removesuffix(b"\r\n"))
    except Untested as untested:
        return Seen(Inbound.UNKNOWN, f"{untested.reason}: {untested.observed}".rstrip(": "))
    finally:
        await peer.close()
