"""The next hop as a case sees it: mail goes in at the server under test, and comes out here.

    async with next_hop(peer) as hop:
        to = hop.recipient()
        await hop.send(peer.marked_body(b".one\\r\\n"), to)          # refused → untested
        return expect(await hop.relayed(to), each_transaction("dots doubled", lambda seen: …))

A case that sets a script of the connection (``next_hop(peer, HopScript().without("DSN"))``) has the hop to
itself meanwhile. What the hop saw is added to the case's transcript.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from smtpbench.conformance.deliveries import Message
from smtpbench.conformance.expectations import Expectation, that
from smtpbench.conformance.needs import RETRIES
from smtpbench.conformance.observation import Untested
from smtpbench.conformance.peer import Peer
from smtpbench.delivery.hop import Hop
from smtpbench.delivery.hop_script import ORDINARY, HopReply, HopScript, HopSession, HopTransaction
from smtpbench.wire import commands
from smtpbench.wire.content import dot_stuff
from smtpbench.wire.replies import escape

LOOK = 0.05  # seconds between two looks for what came here or came back
MIN_WAIT = 1.0  # seconds; a target file that is in a hurry does not mean the way through a queue
SHOWN_LINE = 160  # octets of a line that the transcript repeats
Parameters = Mapping[str, str | None]


@dataclass(frozen=True)
class Relayed:
    """What the hop saw of a message: the transactions with its recipients, oldest first.

    `sessions` are theirs, without repetition; `waited` is how long was waited (seconds).
    """

    transactions: tuple[HopTransaction, ...]
    waited: float

    @property
    def sessions(self) -> tuple[HopSession, ...]:
        """The sessions of the transactions, in order."""
        unique = {item.session.number: item.session for item in self.transactions}
        return tuple(unique.values())

    @property
    def complete(self) -> tuple[HopTransaction, ...]:
        """The transactions whose content has come."""
        return tuple(item for item in self.transactions if item.content is not None)

    def deliveries(self, recipient: str) -> int:
        """How often the hop took the message for `recipient`."""
        wanted = recipient.lower().encode()
        return sum(wanted in (a.lower() for a in item.accepted) for item in self.transactions)

    def __str__(self) -> str:
        if not self.transactions:
            return f"nothing at the next hop within {self.waited:g} s"
        return " · ".join(map(_in_words, self.transactions))


def _in_words(item: HopTransaction) -> str:
    rcpt = ", ".join(f"{escape(one.line[:SHOWN_LINE])} → {one.code or 'dropped'}" for one in item.recipients)
    end = "no content" if item.content is None else f"{len(item.content)} octets → {item.code or 'dropped'}"
    over = item.session.ended or "open"
    return f"{escape(item.mail[:SHOWN_LINE])}, {rcpt}, {end}, session {over}"


class NextHop:
    """The hop for one case: recipients of its own, and what was seen of them."""

    def __init__(self, peer: Peer, hop: Hop) -> None:
        self._peer = peer
        self._hop = hop
        self._recipients: list[str] = []

    # what goes in

    def recipient(
        self,
        name: str = "",
        *,
        rcpt: Sequence[HopReply] = (),
        content: Sequence[HopReply] = (),
    ) -> str:
        """A new mailbox of the relay domain; `rcpt` and `content` are the hop's replies by attempt."""
        relay = self._peer.target.relay
        assert relay is not None
        marker = self._peer.marker.decode("ascii")
        address = f"{name}{marker}-{len(self._recipients)}@{relay.domain}"
        self._hop.answer(address, rcpt=tuple(rcpt) or None, content=tuple(content) or None)
        self._recipients.append(address)
        return address

    async def send(
        self,
        content: bytes,
        *recipients: str,
        sender: str | None = None,
        mail: Parameters | None = None,
        rcpt: Parameters | None = None,
        tls: bool = False,
    ) -> None:
        """Submit `content`, dots stuffed, in a session of its own. Raises Untested if it is not accepted."""
        session = self._peer.new_session()
        if tls:
            await session.until_ready()
            if not session.session.tls_active:
                await session.starttls()
                await session.ehlo()
        await session.until_mail(sender, **(mail or {}))
        for recipient in recipients:
            answer = await session.command(commands.rcpt(recipient, rcpt or {}))
            if answer.severity != 2:
                raise Untested("RCPT for the relay domain was not accepted", str(answer))
        answer = await session.command(b"DATA")
        if answer.code != 354:
            raise Untested("DATA was not accepted", str(answer))
        await session.send(dot_stuff(content))
        answer = await session.read()
        if answer.severity != 2:
            raise Untested("the message was not accepted", str(answer))

    # what comes out

    async def relayed(self, *recipients: str, number: int = 1, retries: bool = False) -> Relayed:
        """Wait for `number` complete transactions for `recipients` (default: all of this case).

        Raises Untested if none began: whether mail is lost is another question. With `retries` the wait is
        long enough for another attempt.
        """
        seen = await self.seen(*recipients, number=number, retries=retries)
        if not seen.transactions:
            raise Untested("the message did not come to the next hop", str(seen))
        return seen

    async def seen(self, *recipients: str, number: int = 1, retries: bool = False) -> Relayed:
        """As `relayed`, but nothing is an answer too."""
        wanted = [address.encode() for address in recipients or self._recipients]

        def ended() -> int:
            found = self._hop.transactions_for(*wanted)
            return sum(item.code is not None or item.session.ended is not None for item in found)

        wait = self._wait(retries)
        await self._hop.until(lambda: ended() >= number, wait)
        return Relayed(tuple(self._hop.transactions_for(*wanted)), wait)

    async def settled(self, recipient: str) -> Relayed:
        """Wait until the message has come here or has come back to its sender; what came here.

        Raises Untested if it did neither.
        """
        about = recipient.encode()
        wait = self._wait(False)

        def here() -> Relayed:
            return Relayed(tuple(self._hop.transactions_for(about)), wait)

        for _ in range(max(1, round(wait / LOOK))):
            if await self._hop.until(lambda: here().complete, LOOK):
                return here()
            if (await self.came_back(within=0.0)).about(recipient):
                return here()
        raise Untested(f"the message neither went on nor came back within {wait:g} s", str(here()))

    async def tried_again(self, recipient: str) -> Relayed:
        """Wait for a second attempt for `recipient`, or for word that there will be none. Needs DELIVERED.

        The message must have been sent by a mailbox that is observed, where such word arrives.
        """
        about = recipient.encode()
        wait = self._wait(True)
        for _ in range(max(1, round(wait / LOOK))):
            if await self._hop.until(lambda: len(self._hop.transactions_for(about)) > 1, LOOK):
                return await self.seen(recipient, number=2, retries=True)
            if (await self.came_back(within=0.0)).about(recipient):
                break
        return Relayed(tuple(self._hop.transactions_for(about)), wait)

    def sessions_so_far(self) -> int:
        """The number of the last session of the hop, whoever's it was."""
        return self._hop.sessions[-1].number if self._hop.sessions else 0

    def sessions_since(self, number: int) -> list[HopSession]:
        """The sessions after that one; those of this case where it has the hop to itself."""
        return [session for session in self._hop.sessions if session.number > number]

    async def a_session(self, since: int) -> Sessions:
        """Wait for the end of a session after number `since`; all there are. For a case that is alone.

        Raises Untested if none has ended.
        """
        wait = self._wait(False)
        await self._hop.until(lambda: any(one.ended for one in self.sessions_since(since)), wait)
        ended = tuple(one for one in self.sessions_since(since) if one.ended)
        if not ended:
            raise Untested(f"no session with the next hop came to its end within {wait:g} s")
        return Sessions(ended)

    async def attempts(self, *recipients: str, number: int = 1, retries: bool = False) -> Relayed:
        """Wait for `number` transactions with a RCPT for `recipients`, whatever became of them."""
        wanted = [address.encode() for address in recipients or self._recipients]
        wait = self._wait(retries)
        await self._hop.until(lambda: len(self._hop.transactions_for(*wanted)) >= number, wait)
        return Relayed(tuple(self._hop.transactions_for(*wanted)), wait)

    async def ended(self, relayed: Relayed) -> Relayed:
        """The same, when all its sessions have ended, or the wait is over."""
        await self._hop.until(lambda: all(item.ended for item in relayed.sessions), self._wait(False))
        return relayed

    async def quiet(self, *recipients: str) -> Relayed:
        """All there is once nothing more has come for `timeouts.quiet`."""
        await self._hop.until(lambda: False, self._peer.target.timeouts.quiet)
        wanted = [address.encode() for address in recipients or self._recipients]
        return Relayed(tuple(self._hop.transactions_for(*wanted)), self._peer.target.timeouts.quiet)

    async def came_back(
        self, *, number: int = 1, retries: bool = False, within: float | None = None
    ) -> CameBack:
        """What the server sent back to a local mailbox about this case's messages: `number` or more.

        A message counts that names one of the recipients here, or holds the marker of the case.
        """
        wait = self._wait(retries) if within is None else within
        found = await self._peer.observer.fetch(self._peer.marker, number, wait)
        ours = {address.lower() for address in self._recipients}
        back = tuple(
            Message(item.content, item.line_ends, item.sender, item.recipients)
            for item in found
            if not ours & {address.lower() for address in item.recipients}
        )
        return CameBack(back, wait)

    def _wait(self, retries: bool) -> float:
        target = self._peer.target
        assert target.relay is not None
        more = RETRIES * (target.relay.retry_s or 0.0) if retries else 0.0
        return max(target.timeouts.delivery, MIN_WAIT) + more

    def evidence(self) -> list[str]:
        """The sessions of this case in words, line by line, for the transcript."""
        wanted = [address.encode() for address in self._recipients]
        sessions = {item.session.number: item.session for item in self._hop.transactions_for(*wanted)}
        return [
            f"next hop, session {number}, {line.t_s:.3f} s, {line.sender}: {escape(line.octets[:SHOWN_LINE])}"
            for number, session in sessions.items()
            for line in session.lines
        ]


@dataclass(frozen=True)
class Sessions:
    """Sessions of the hop, shown by what was said in them."""

    sessions: tuple[HopSession, ...]

    def __str__(self) -> str:
        lines = [line for session in self.sessions for line in session.lines if line.sender != "note"]
        return " · ".join(escape(line.octets.partition(b"\r\n")[0][:SHOWN_LINE]) for line in lines)


@dataclass(frozen=True)
class CameBack:
    """Messages that the server sent back to the sender of what it was given."""

    messages: tuple[Message, ...]
    waited: float

    def about(self, recipient: str) -> tuple[Message, ...]:
        """Those that name `recipient`."""
        return tuple(item for item in self.messages if recipient.lower().encode() in item.raw.lower())

    def __str__(self) -> str:
        number = len(self.messages)
        if not number:
            return f"nothing came back within {self.waited:g} s"
        return f"{number} message{'s' * (number > 1)} came back"


@asynccontextmanager
async def next_hop(peer: Peer, script: HopScript = ORDINARY) -> AsyncIterator[NextHop]:
    """The hop with `script` in force. Needs RELAY."""
    if peer.hop is None:
        raise Untested("no next hop: [relay] is not set")
    async with AsyncExitStack() as stack:
        with peer.time_stopped():
            await stack.enter_async_context(peer.hop.conduct(script))
        handle = NextHop(peer, peer.hop)
        try:
            yield handle
        finally:
            for line in handle.evidence():
                peer.note(line)


def each_transaction(what: str, holds: Callable[[HopTransaction], bool]) -> Expectation[Relayed]:
    """The content came at least once, and `holds` is true of each transaction that it came in."""
    return that(what, lambda seen: bool(seen.complete) and all(map(holds, seen.complete)))


def each_session(what: str, holds: Callable[[HopSession], bool]) -> Expectation[Relayed]:
    """There was a session, and `holds` is true of each."""
    return that(what, lambda seen: bool(seen.sessions) and all(map(holds, seen.sessions)))
