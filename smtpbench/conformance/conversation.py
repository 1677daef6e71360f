"""One session with the server under test, below `Peer`: the steps that ask, and what they need."""

from __future__ import annotations

import asyncio
import secrets
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from smtpbench.conformance.answer import Answer, Ending
from smtpbench.conformance.needs import Facts
from smtpbench.conformance.observation import Untested
from smtpbench.conformance.pulse import Pulse
from smtpbench.delivery.hop import Hop
from smtpbench.delivery.observers import Observer
from smtpbench.errors import ConnectionLost, DeadlineExceeded, NotSmtp, SessionError, TlsFailed
from smtpbench.session import Session
from smtpbench.target import Endpoint, Fixtures, Role, Target
from smtpbench.transcript import Transcript
from smtpbench.wire.commands import CRLF
from smtpbench.wire.ehlo import Extensions
from smtpbench.wire.replies import Reply
from smtpbench.witness import Witness

MAX_STRAY = 1_000  # replies collected from one probe; more says nothing new
REST = 0.2  # seconds before a connection is tried again


class TryAgain(Exception):
    """A connection ended or fell silent on the first attempt: the case is run once more."""


class TurnedAway(Exception):
    """No connection, one that ended before its greeting (twice), or one that was greeted with 4yz."""


@dataclass
class Surroundings:
    """What all sessions of one run of a case share."""

    facts: Facts
    observer: Observer | None
    transcript: Transcript | None
    endpoint: Endpoint
    role: Role
    last_attempt: bool = True
    marker: bytes = field(default_factory=lambda: b"smtpbench-" + secrets.token_hex(8).encode())
    hop: Hop | None = None
    limit: asyncio.Timeout | None = None  # the case's time
    sessions: list[Session] = field(default_factory=list)
    witnesses: list[Witness] = field(default_factory=list)  # of all sessions, closed ones too
    pulse: Pulse = field(default_factory=Pulse)
    alone: bool = False  # the case wants to see how a connection is turned away
    reconnected: list[str] = field(default_factory=list)  # why a connection was tried again
    waits: list[float] = field(default_factory=list)  # seconds that replies took
    troubled: bool = False  # a connection ended, or a reply or a message did not come


class Conversation:
    """Sends and reads; judges nothing and expects nothing."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._session: Session | None = None
        self._greeting: Answer | None = None
        self._ready = False  # an EHLO or HELO was accepted, since TLS if there is TLS
        self._authenticating = False  # what was sent last is part of an AUTH exchange

    @property
    def target(self) -> Target:
        """The target as configured."""
        return self._around.facts.target

    @property
    def role(self) -> Role:
        """What the endpoint at hand is for."""
        return self._around.role

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint at hand."""
        return self._around.endpoint

    @property
    def seed(self) -> int:
        """Where a case draws at random: the same seed, the same draw (`conform --seed`)."""
        return self._around.facts.seed

    @property
    def fixtures(self) -> Fixtures:
        """The mailboxes that the target's administrator prepared."""
        return self.target.fixtures

    @property
    def extensions(self) -> Extensions:
        """What the last accepted EHLO of this session offered."""
        return self.session.extensions

    @property
    def hop(self) -> Hop | None:
        """The next hop that we are; `next_hop` is how a case uses it."""
        return self._around.hop

    @property
    def observer(self) -> Observer:
        """Who sees deliveries. Needs DELIVERED."""
        assert self._around.observer is not None
        return self._around.observer

    @contextmanager
    def time_stopped(self) -> Iterator[None]:
        """Meanwhile the case's time stands still: it waits for its turn, and not for the server."""
        limit = self._around.limit
        due = limit.when() if limit is not None else None
        if limit is None or due is None:
            yield
            return
        clock = asyncio.get_running_loop().time
        left = due - clock()
        limit.reschedule(None)
        try:
            yield
        finally:
            limit.reschedule(clock() + left)

    def note(self, text: str) -> None:
        """Add a line to the transcript of the case."""
        if self._around.transcript is not None:
            self._around.transcript.add_note(text)

    @property
    def session(self) -> Session:
        """The session beneath, for what this class has no verb for. Connect first."""
        if self._session is None:
            raise RuntimeError("not connected yet: await peer.connect() first")
        return self._session

    def seen_again(self, answer: Answer) -> Answer:
        """`answer`, if its connection stands or this is the last attempt; else the case is run once more."""
        if answer.ending is not Ending.OPEN and not self._around.last_attempt:
            raise TryAgain(str(answer))
        return answer

    # Steps that ask

    async def connect(self) -> Answer:
        """Connect (once) and read the greeting."""
        if self._greeting is None:
            if self._session is None:
                await self._open()
            self._greeting = await self._greeted()
        return self._greeting

    async def connect_only(self) -> None:
        """Connect and do not read the greeting; `connect` reads it later."""
        if self._session is None:
            await self._open()

    async def _open(self) -> None:
        """Connect; once more if that fails. Raises TurnedAway, or TlsFailed."""
        around, target = self._around, self.target
        for last in (False, True):
            try:
                self._session = await Session.open(
                    around.endpoint,
                    tls=target.tls,
                    timeouts=target.timeouts,
                    transcript=around.transcript,
                    witness=self._witness(),
                )
                around.sessions.append(self._session)
                return
            except SessionError as error:
                await self._missed(error, last=last)

    async def _greeted(self) -> Answer:
        """The greeting; a connection that ends before it is tried once more. Raises TurnedAway."""
        around = self._around
        for last in (False, True):
            try:
                reply = await self.session.read_reply()
                break
            except ConnectionLost as error:
                if around.alone or self.session.pending:
                    return self._trouble(error)
                await self._missed(error, last=last)
                await self._open()
            except DeadlineExceeded as error:
                if not around.facts.here.speaks_second:
                    around.pulse.miss(str(error))
                return self._trouble(error)
        if reply.severity == 4 and not around.alone:
            around.pulse.miss(str(reply))
            raise TurnedAway(f"greeted with {reply}")
        around.pulse.beat()
        return Answer(b"", (reply,))

    async def _missed(self, error: SessionError, *, last: bool) -> None:
        """Note a connection that came to nothing; rest before the next. Raises TurnedAway or TlsFailed."""
        around = self._around
        around.pulse.miss(str(error))
        if last or around.alone:
            raise error if isinstance(error, TlsFailed) or around.alone else TurnedAway(str(error)) from error
        around.reconnected.append(str(error))
        if around.transcript is not None:
            around.transcript.add_note(f"{error}: connecting once more")
        await asyncio.sleep(REST)

    def _witness(self) -> Witness:
        witness = Witness(lmtp=self._around.role is Role.LMTP)
        self._around.witnesses.append(witness)
        return witness

    async def command(self, line: bytes, *, timeout: float | None = None, extra: bool = False) -> Answer:
        """Send `line` and CRLF, read one reply. With `extra`, also what follows within `timeouts.quiet`."""
        await self.connect()
        answer = await self._ask(line + CRLF, 1, timeout)
        if extra and answer.ending is Ending.OPEN:
            more = await self.settle()
            answer = Answer(line, answer.replies + more.replies, more.ending if more.closed else Ending.OPEN)
        return answer

    async def pipeline(self, *lines: bytes, timeout: float | None = None) -> Answer:
        """Send all `lines` (CRLF added to each) in one write, read as many replies."""
        await self.connect()
        return await self._ask(b"".join(line + CRLF for line in lines), len(lines), timeout)

    async def send(self, octets: bytes, *, secret: bool = False) -> None:
        """Send exactly `octets` and read nothing. The transcript has `secret` ones redacted."""
        await self.connect()
        self._note_auth(octets)
        try:
            await self.session.send(octets, secret=secret)
        except SessionError as error:
            self._trouble(error)

    async def read(self, count: int = 1, *, timeout: float | None = None) -> Answer:
        """Read `count` replies to what was sent before."""
        return await self._collect(b"", count, timeout)

    async def probe(self, octets: bytes, *, within: float | None = None) -> Answer:
        """Send exactly `octets`; every reply that comes until there is quiet for `within` seconds.

        For questions whose good answer is silence. `within` defaults to `timeouts.quiet`.
        """
        await self.connect()
        try:
            await self.session.send(octets)
        except ConnectionLost:
            self._around.troubled = True
            return Answer(octets, (), Ending.CLOSED)
        return await self._until_quiet(octets, within)

    async def settle(self, *, within: float | None = None) -> Answer:
        """Replies that nobody asked for: all that come until there is quiet. None is the good answer."""
        return await self._until_quiet(b"", within)

    async def until_closed(self, *, timeout: float | None = None) -> Answer:
        """All replies until the server closes; SILENT if it does not within `timeout` (`timeouts.reply`)."""
        wait = self.target.timeouts.reply if timeout is None else timeout
        replies = tuple(await self.session.until_eof(wait))
        self._around.troubled = True
        return Answer(b"", replies, Ending.CLOSED if self.session.eof else Ending.SILENT, wait)

    async def ehlo(self, name: str | None = None) -> Answer:
        """EHLO (LHLO on an LMTP endpoint); a positive reply sets `extensions`."""
        return await self._hello("LHLO" if self._around.role is Role.LMTP else "EHLO", name)

    async def helo(self, name: str | None = None) -> Answer:
        """HELO."""
        return await self._hello("HELO", name)

    async def _hello(self, verb: str, name: str | None) -> Answer:
        await self.connect()
        argument = self.target.client_name if name is None else name
        asked = f"{verb} {argument}".encode()
        try:
            reply = await self.session.ehlo(argument, verb)
        except SessionError as error:
            return self._trouble(error, asked)
        self._ready = self._ready or reply.severity == 2
        return Answer(asked, (reply,))

    async def starttls(self) -> Answer:
        """STARTTLS, and the handshake after a 220. What EHLO said is forgotten: say it again."""
        await self.connect()
        try:
            reply = await self.session.starttls()
        except (ConnectionLost, DeadlineExceeded) as error:
            return self._trouble(error, b"STARTTLS")
        if reply.code == 220:
            self._ready = False
        return Answer(b"STARTTLS", (reply,))

    async def handshake(self, context: ssl.SSLContext | None = None) -> bool:
        """Begin TLS after a 220 to a STARTTLS that was sent as octets; whether it succeeded.

        `context` takes the place of the target's own, for other versions or an unchecked certificate.
        """
        try:
            await self.session.begin_tls(context)
        except (TlsFailed, DeadlineExceeded):
            return False
        self._ready = False
        return True

    # The end

    def drop(self) -> None:
        """Break the connection off with a TCP reset, saying nothing."""
        self.session.abort()

    async def disconnect(self) -> None:
        """Close the connection in an orderly way at the TCP level, without QUIT."""
        await self.session.close()

    async def close(self) -> None:
        """Close every session of the case. The runner calls this."""
        for session in self._around.sessions:
            self._around.waits += session.waits
            await session.close()
        self._around.sessions.clear()

    # Below

    def _note_auth(self, octets: bytes) -> None:
        self._authenticating = octets[:5].upper() == b"AUTH " or self.session.challenged

    async def _ask(self, octets: bytes, count: int, timeout: float | None) -> Answer:
        self._note_auth(octets)
        try:
            await self.session.send(octets)
        except SessionError as error:
            return self._trouble(error, octets)
        return await self._collect(octets, count, timeout)

    async def _collect(self, asked: bytes, count: int, timeout: float | None) -> Answer:
        replies: list[Reply] = []
        try:
            while len(replies) < count:
                replies.append(await self.session.read_reply(timeout))
        except NotSmtp:
            raise
        except SessionError as error:
            return self._trouble(error, asked, tuple(replies), timeout)
        return Answer(asked, tuple(replies))

    def _trouble(
        self,
        error: SessionError,
        asked: bytes = b"",
        replies: tuple[Reply, ...] = (),
        wait: float | None = None,
    ) -> Answer:
        """A close or a silence: run again the first time, the Answer the second time."""
        if not isinstance(error, ConnectionLost | DeadlineExceeded):
            raise error
        if isinstance(error, DeadlineExceeded) and (self._authenticating or asked[:5].upper() == b"AUTH "):
            # Many servers hold the answer back after a failure, some for longer than we wait.
            raise Untested(f"AUTH is not answered: {error}")
        self._around.troubled = True
        if not self._around.last_attempt:
            raise TryAgain(str(error)) from error
        waited = self.target.timeouts.reply if wait is None else wait
        ending = Ending.CLOSED if isinstance(error, ConnectionLost) else Ending.SILENT
        return Answer(asked, replies, ending, waited)

    async def _until_quiet(self, asked: bytes, within: float | None) -> Answer:
        wait = self.target.timeouts.quiet if within is None else within
        replies: list[Reply] = []
        try:
            while len(replies) < MAX_STRAY:
                replies.append(await self.session.read_reply(wait))
        except DeadlineExceeded:
            pass
        except ConnectionLost:
            self._around.troubled = True
            return Answer(asked, tuple(replies), Ending.CLOSED)
        self._around.troubled |= not replies
        return Answer(asked, tuple(replies), Ending.OPEN if replies else Ending.SILENT, wait)
