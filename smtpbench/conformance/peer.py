"""`Peer`: the server under test as a case sees it. One session, a few verbs, no judgement."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from smtpbench.conformance.answer import Answer, Ending
from smtpbench.conformance.deliveries import MARKER_FIELD, Delivery, Message
from smtpbench.conformance.needs import Facts
from smtpbench.conformance.observation import Untested
from smtpbench.delivery.observers import Delivered, Observer
from smtpbench.errors import ConnectionLost, DeadlineExceeded, NotSmtp, SessionError
from smtpbench.session import Session
from smtpbench.target import Credentials, Endpoint, Fixtures, Role, Target
from smtpbench.transcript import Transcript
from smtpbench.wire import commands
from smtpbench.wire.commands import CRLF
from smtpbench.wire.content import END_OF_DATA, dot_stuff
from smtpbench.wire.ehlo import Extensions
from smtpbench.wire.replies import Reply

MAX_STRAY = 1_000  # replies collected from one probe; more says nothing new
MECHANISMS = ("SCRAM-SHA-256", "PLAIN", "CRAM-MD5", "LOGIN")  # in the order in which we choose


class TryAgain(Exception):
    """A connection ended or fell silent on the first attempt: the case is run once more."""


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
    sessions: list[Session] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)


class Peer:
    """One session with the server under test. It connects when first used.

    Steps that ask (`command`, `pipeline`, `probe`, …) return an `Answer`. A connection that closes or
    falls silent during one makes the whole case run again, once, and the report says so; the second
    time the close or the silence is in the Answer, for `expect` to judge.

    Steps that lead somewhere (`until_ready`, `until_mail`, `until_rcpt`, `until_data`) raise `Untested`
    with what came instead.
    """

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._session: Session | None = None
        self._greeting: Answer | None = None
        self._ready = False
        self._known = False
        self._in_mail = False
        self._recipients = 0
        self._in_data = False

    # What is known

    @property
    def target(self) -> Target:
        """The target as configured."""
        return self._around.facts.target

    @property
    def fixtures(self) -> Fixtures:
        """The mailboxes that the target's administrator prepared."""
        return self.target.fixtures

    @property
    def sender(self) -> str:
        """The reverse-path to use."""
        return self.fixtures.sender

    @property
    def recipient(self) -> str:
        """A mailbox that exists and is observed. Needs RECIPIENT."""
        return _fixture(self.fixtures.recipient, "recipient")

    @property
    def second_recipient(self) -> str:
        """Another mailbox that exists and is observed. Needs SECOND_RECIPIENT."""
        return _fixture(self.fixtures.second_recipient, "second_recipient")

    @property
    def unknown_recipient(self) -> str:
        """A mailbox of a local domain that does not exist. Needs UNKNOWN_RECIPIENT."""
        return _fixture(self.fixtures.unknown_recipient, "unknown_recipient")

    @property
    def foreign_recipient(self) -> str:
        """A mailbox of a domain that the server may not relay to. Needs FOREIGN_RECIPIENT."""
        return _fixture(self.fixtures.foreign_recipient, "foreign_recipient")

    @property
    def credentials(self) -> Credentials:
        """User name and password of the target file. Needs AUTH."""
        if self.target.auth is None:
            raise Untested("no credentials: --username is not given")
        return self.target.auth

    @property
    def extensions(self) -> Extensions:
        """What the last accepted EHLO of this session offered."""
        return self.session.extensions

    @property
    def session(self) -> Session:
        """The session beneath, for what this class has no verb for. Connect first."""
        if self._session is None:
            raise RuntimeError("not connected yet: await peer.connect() first")
        return self._session

    @property
    def marker(self) -> bytes:
        """What marks the messages of this case; a message is found if its content holds this."""
        return self._around.marker

    # Messages

    def header(self, *lines: bytes) -> bytes:
        """A complete header with the marker on top, then `lines`; each ends with CRLF, no empty line."""
        fields = [
            MARKER_FIELD + b": " + self.marker,
            b"From: <%s>" % self.sender.encode(),
            b"To: <%s>" % (self.fixtures.recipient or "nobody@example.org").encode(),
            b"Subject: smtpbench",
            b"Date: Thu, 01 Jan 2026 00:00:00 +0000",
            b"Message-ID: <%s@example.org>" % self.marker,
            *lines,
        ]
        return b"".join(line + CRLF for line in fields)

    def marked_body(self, body: bytes, *lines: bytes) -> bytes:
        """`header(*lines)`, the empty line, and `body` as it is: no dot stuffed, no CRLF added."""
        return self.header(*lines) + CRLF + body

    def smuggled(self) -> bytes:
        """Commands and a marked message that a server executes if it ended the data too early."""
        inner = MARKER_FIELD + b": " + self.marker + b"\r\nSubject: smuggled\r\n\r\nsmuggled"
        envelope = [commands.mail("smuggled@example.com"), commands.rcpt(self.recipient), b"DATA"]
        return b"".join(line + CRLF for line in envelope) + inner

    # Steps that ask

    async def connect(self) -> Answer:
        """Connect (once) and read the greeting."""
        if self._greeting is not None:
            return self._greeting
        if self._session is None:
            await self._open()
        answer = await self._collect(b"", 1, None)
        self._greeting = answer
        return answer

    async def connect_only(self) -> None:
        """Connect and do not read the greeting; `connect` reads it later."""
        if self._session is None:
            await self._open()

    async def _open(self) -> None:
        target = self.target
        self._session = await Session.open(
            self._around.endpoint,
            tls=target.tls,
            timeouts=target.timeouts,
            transcript=self._around.transcript,
        )
        self._around.sessions.append(self._session)

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

    async def send(self, octets: bytes) -> None:
        """Send exactly `octets` and read nothing."""
        await self.connect()
        try:
            await self.session.send(octets)
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
            return Answer(octets, (), Ending.CLOSED)
        return await self._until_quiet(octets, within)

    async def settle(self, *, within: float | None = None) -> Answer:
        """Replies that nobody asked for: all that come until there is quiet. None is the good answer."""
        return await self._until_quiet(b"", within)

    async def until_closed(self, *, timeout: float | None = None) -> Answer:
        """All replies until the server closes; SILENT if it does not within `timeout` (`timeouts.reply`)."""
        wait = self.target.timeouts.reply if timeout is None else timeout
        replies = tuple(await self.session.until_eof(wait))
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

    async def auth(self, mechanism: str | None = None, *, password: str | None = None) -> Answer:
        """One AUTH exchange with the target's credentials, to its last reply."""
        await self.until_ready()
        user = self.credentials
        chosen = mechanism or self._mechanism()
        secret = user.password() if password is None else password
        asked = f"AUTH {chosen}".encode()
        try:
            return Answer(asked, (await self.session.auth(chosen, user.username, secret),))
        except (ConnectionLost, DeadlineExceeded) as error:
            return self._trouble(error, asked)

    def _mechanism(self) -> str:
        offered = self.extensions.auth_mechanisms
        for mechanism in MECHANISMS:
            if mechanism in offered:
                return mechanism
        raise Untested(f"no mechanism that we know is offered: AUTH {' '.join(offered)}")

    # Steps that lead somewhere

    async def until_ready(self) -> Extensions:
        """Greeted, EHLO accepted, and STARTTLS done where the endpoint asks for it."""
        if not self._ready:
            _must(await self.connect(), 220, "the greeting is no 220")
            _must(await self.ehlo(), 250, "EHLO was not accepted")
            if self._around.endpoint.tls == "starttls" and not self.session.tls_active:
                _must(await self.starttls(), 220, "STARTTLS was not accepted")
                _must(await self.ehlo(), 250, "EHLO inside TLS was not accepted")
        return self.extensions

    async def until_allowed(self) -> None:
        """Ready for MAIL: as `until_ready`, and on a submission endpoint with credentials AUTH accepted."""
        await self.until_ready()
        submission = self._around.role in (Role.SUBMISSION, Role.SUBMISSIONS)
        if submission and self.target.auth is not None and not self._known:
            _must(await self.auth(), 235, "AUTH was not accepted")
            self._known = True

    async def until_mail(self, sender: str | None = None, **parameters: str | None) -> None:
        """MAIL accepted: `sender` (None: the fixture; "": the null path), ``SIZE="100"``, ``SMTPUTF8=None``.

        On a submission endpoint with credentials AUTH comes first.
        """
        if self._in_mail:
            return
        await self.until_allowed()
        path = self.sender if sender is None else sender
        _must(await self.command(commands.mail(path, parameters)), 250, "MAIL was not accepted")
        self._in_mail = True

    async def until_rcpt(self, *recipients: str) -> None:
        """MAIL and every one of `recipients` (default: the fixture) accepted."""
        await self.until_mail()
        for recipient in recipients or (() if self._recipients else (self.recipient,)):
            answer = await self.command(commands.rcpt(recipient))
            if answer.code not in (250, 251):
                raise Untested("RCPT was not accepted", str(answer))
            self._recipients += 1

    async def until_data(self) -> None:
        """DATA answered with 354, after `until_rcpt`."""
        if self._in_data:
            return
        await self.until_rcpt()
        _must(await self.command(b"DATA"), 354, "DATA was not accepted")
        self._in_data = True

    async def content(self, content: bytes) -> Answer:
        """After `until_data`: send a message, dots stuffed, with the end of data; read one reply."""
        await self.until_data()
        answer = await self._ask(dot_stuff(content), 1, None)
        self._in_mail = self._in_data = False
        self._recipients = 0
        return Answer(b"", answer.replies, answer.ending, answer.waited)

    # Delivery

    async def delivered(self, content: bytes) -> Delivery:
        """Submit `content` in a transaction of its own (dots stuffed), QUIT, and see what was delivered."""
        await self.until_data()
        await self.send(dot_stuff(content))
        return replace(await self.delivery(b""), sent=content)

    async def delivery(self, end: bytes = END_OF_DATA, *, recipients: int = 1) -> Delivery:
        """End the data that was sent raw and see what was delivered.

        Sends `end` (a true end of data unless told otherwise) and QUIT, reads all replies to the close,
        and waits for the messages: `recipients` of them if the server accepted, then for a fence.
        """
        observer = self._observer()
        ended = await self._finish(end)
        wait = self.target.timeouts.delivery
        found = []
        if ended.severity == 2:
            found = list(await observer.fetch(self.marker, recipients, wait))
            if len(found) < recipients:  # accepted and not delivered: no fence is needed to judge that
                return self._as_delivery(ended, found)
        await self._fence(observer)
        quiet = self.target.timeouts.quiet
        found = list(await observer.fetch(self.marker, len(found) + 1, quiet))
        return self._as_delivery(ended, found)

    def _observer(self) -> Observer:
        if self._around.observer is None:
            raise Untested("no observer: --observe is not given")
        return self._around.observer

    async def _finish(self, end: bytes) -> Answer:
        with suppress(ConnectionLost):  # then what it said before it closed is still to be read
            await self.session.send(end + b"QUIT" + CRLF)
        return await self.until_closed()

    @staticmethod
    def _as_delivery(ended: Answer, found: Sequence[Delivered]) -> Delivery:
        messages = tuple(
            Message(item.content, item.line_ends, item.sender, item.recipients) for item in found
        )
        return Delivery(ended.asked, ended.replies, ended.ending, ended.waited, messages)

    async def nothing_arrived(self) -> Delivery:
        """What was delivered of a transaction that was given up (dropped, quit, reset)."""
        observer = self._observer()
        await self._fence(observer)
        found = list(await observer.fetch(self.marker, 1, self.target.timeouts.quiet))
        return self._as_delivery(Answer(b"", ()), found)

    async def _fence(self, observer: Observer) -> None:
        """Send a message of another marker and wait for it: what came before it has arrived by then."""
        marker = b"smtpbench-fence-" + secrets.token_hex(8).encode()
        around = Surroundings(
            self._around.facts, observer, None, self._around.endpoint, self._around.role, marker=marker
        )
        fence = Peer(around)
        try:
            answer = await fence.content_of(fence.marked_body(b"fence\r\n"))
            if answer.severity != 2:
                raise Untested("the fence message was not accepted", str(answer))
        finally:
            await fence.close()
        wait = self.target.timeouts.delivery
        if not await observer.fetch(marker, 1, wait):
            raise Untested(f"the fence message was accepted and did not arrive within {wait:g} s")

    async def content_of(self, content: bytes) -> Answer:
        """A whole transaction with `content`, to the reply after its end of data."""
        await self.until_data()
        return await self.content(content)

    # Sessions

    def new_session(self) -> Peer:
        """Another session with the same server; messages carry the same marker."""
        return Peer(self._around)

    def drop(self) -> None:
        """Break the connection off with a TCP reset, saying nothing."""
        self.session.abort()

    async def disconnect(self) -> None:
        """Close the connection in an orderly way at the TCP level, without QUIT."""
        await self.session.close()

    async def close(self) -> None:
        """Close every session of the case. The runner calls this."""
        for session in self._around.sessions:
            self._around.replies += session.replies_seen
            await session.close()
        self._around.sessions.clear()

    # Below

    async def _ask(self, octets: bytes, count: int, timeout: float | None) -> Answer:
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
            return Answer(asked, tuple(replies), Ending.CLOSED)
        return Answer(asked, tuple(replies), Ending.OPEN if replies else Ending.SILENT, wait)


def _fixture(value: str | None, key: str) -> str:
    if value is None:
        raise Untested(f"no fixture: fixtures.{key} is not set")
    return value


def _must(answer: Answer, code: int, otherwise: str) -> None:
    if answer.code != code:
        raise Untested(otherwise, str(answer))
