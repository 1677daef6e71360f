"""`Peer`: the server under test as a case sees it. One session, a few verbs, no judgement."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from smtpbench.conformance.answer import Answer, Ending
from smtpbench.conformance.conversation import Conversation, Surroundings
from smtpbench.conformance.deliveries import MARKER_FIELD, Delivery, Message
from smtpbench.conformance.observation import Untested
from smtpbench.conformance.survey import MECHANISMS
from smtpbench.delivery.observers import Delivered, Observer
from smtpbench.errors import ConnectionLost, DeadlineExceeded
from smtpbench.target import Credentials, Role
from smtpbench.wire import commands
from smtpbench.wire.commands import CRLF
from smtpbench.wire.content import END_OF_DATA, dot_stuff
from smtpbench.wire.ehlo import Extensions
from smtpbench.wire.replies import Reply


class Peer(Conversation):
    """One session with the server under test. It connects when first used.

    Steps that ask (`command`, `pipeline`, `probe`, …) return an `Answer`. A connection that closes or
    falls silent during one makes the whole case run again, once, and the report says so; the second
    time the close or the silence is in the Answer, for `expect` to judge.

    Steps that lead somewhere (`until_ready`, `until_mail`, `until_rcpt`, `until_data`) raise `Untested`
    with what came instead.
    """

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around)
        self._known = False  # authenticated where that comes first
        self._in_mail = False
        self._recipients = 0
        self._in_data = False

    # What is known

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
    def utf8_recipient(self) -> str:
        """A mailbox that exists and is observed, with a local-part outside ASCII. Needs UTF8_RECIPIENT."""
        return _fixture(self.fixtures.utf8_recipient, "utf8_recipient")

    @property
    def bouncing_recipient(self) -> str:
        """A mailbox that is accepted and fails at delivery. Needs BOUNCING_RECIPIENT."""
        return _fixture(self.fixtures.bouncing_recipient, "bouncing_recipient")

    @property
    def null_mx_domain(self) -> str:
        """A domain that takes no mail and says so in DNS (RFC 7505). Needs NULL_MX_DOMAIN."""
        return _fixture(self.fixtures.null_mx_domain, "null_mx_domain")

    @property
    def credentials(self) -> Credentials:
        """User name and password of the target file. Needs AUTH."""
        if self.target.auth is None:
            raise Untested("no credentials: --username is not given")
        return self.target.auth

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

    # Steps that lead somewhere

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

    async def until_greeted(self) -> Answer:
        """Greeted with 220; the greeting."""
        greeting = await self.connect()
        _must(greeting, 220, "the greeting is no 220")
        return greeting

    async def until_ready(self) -> Extensions:
        """Greeted, EHLO accepted, and STARTTLS done where the endpoint asks for it."""
        if not self._ready:
            await self.until_greeted()
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
            if self._around.facts.here.no_auth:
                raise Untested(self._around.facts.here.no_auth)
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

    async def until_rcpt(self, *recipients: str, **parameters: str | None) -> None:
        """MAIL and each of `recipients` (default: the fixture) accepted, ``NOTIFY="NEVER"`` behind it."""
        await self.until_mail()
        for recipient in recipients or (() if self._recipients else (self.recipient,)):
            answer = await self.command(commands.rcpt(recipient, parameters))
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

        Sends `end` (a true end of data unless told otherwise), then QUIT, reads all replies to the close,
        and waits for the messages: `recipients` of them if the server accepted, then for a fence.
        """
        observer = self._observer()
        ended = await self._finish(end)
        wait = self.target.timeouts.delivery
        found = []
        if ended.severity == 2:
            found = list(await observer.fetch(self.marker, recipients, wait))
            if 0 < len(found) < recipients:  # lost, or nobody looks where the second recipient's mail is
                await self.fence(recipient=self.second_recipient)
            if not found and observer.absent:  # lost, or delivered to where nobody looks
                raise Untested(observer.absent, str(ended))
            if len(found) < recipients:  # accepted and not delivered: no fence is needed to judge that
                self._around.troubled = True
                return self._as_delivery(ended, found)
        await self.fence()
        quiet = self.target.timeouts.quiet
        found = list(await observer.fetch(self.marker, len(found) + 1, quiet))
        return self._as_delivery(ended, found)

    def _observer(self) -> Observer:
        if self._around.observer is None:
            raise Untested("no observer: --observe is not given")
        return self._around.observer

    async def _finish(self, end: bytes) -> Answer:
        """QUIT waits for a reply: without PIPELINING nothing may follow the end of data (§4.3.1)."""
        first: tuple[Reply, ...] = ()
        with suppress(ConnectionLost):  # then what it said before it closed is still to be read
            await self.session.send(end)
            try:
                first = (await self.session.read_reply(),)
            except DeadlineExceeded:
                self._around.troubled = True
                return Answer(b"", (), Ending.SILENT, self.target.timeouts.reply)
            await self.session.send(b"QUIT" + CRLF)
        rest = await self.until_closed()
        return replace(rest, replies=first + rest.replies)

    @staticmethod
    def _as_delivery(ended: Answer, found: Sequence[Delivered]) -> Delivery:
        return Delivery(ended.asked, ended.replies, ended.ending, ended.waited, _messages(found))

    @property
    def observed(self) -> bool:
        """Whether somebody reads back what is delivered."""
        return self._around.observer is not None

    async def delivery_behind(self, answer: Answer) -> Delivery:
        """What was delivered of a marked message that was submitted elsewhere, and answered with `answer`.

        Without an observer, or if it was refused, the answer is all there is. No fence is sent.
        """
        found: Sequence[Delivered] = ()
        if self._around.observer is not None and answer.severity == 2:
            found = await self._around.observer.fetch(self.marker, 1, self.target.timeouts.delivery)
            if not found:
                raise Untested("the message was accepted and not delivered", str(answer))
        return self._as_delivery(answer, found)

    async def nothing_arrived(self) -> Delivery:
        """What was delivered of a transaction that was given up (dropped, quit, reset)."""
        await self.fence()
        found = list(await self._observer().fetch(self.marker, 1, self.target.timeouts.quiet))
        return self._as_delivery(Answer(b"", ()), found)

    async def arrivals(self, marker: bytes, at_least: int, within: float) -> tuple[Message, ...]:
        """Messages that hold `marker`, any octets of a case's choice; waits for `at_least`, seconds."""
        return _messages(await self._observer().fetch(marker, at_least, within))

    async def fence(self, sender: str | None = None, recipient: str | None = None) -> None:
        """Send a message of another marker and wait for it: what came before it has arrived by then.

        It is sent by `sender` (None: the fixture; "": the null path) to `recipient` (None: the fixture).
        Raises Untested if it does not arrive.
        """
        observer = self._observer()
        marker = b"smtpbench-fence-" + secrets.token_hex(8).encode()
        around = replace(self._around, transcript=None, marker=marker, last_attempt=True, sessions=[])
        fence = Peer(around)
        try:
            await fence.until_mail(sender)
            await fence.until_rcpt(recipient or self.recipient)
            answer = await fence.content_of(fence.marked_body(b"fence\r\n"))
            if answer.severity != 2:
                raise Untested("the fence message was not accepted", str(answer))
        finally:
            await fence.close()
        wait = self.target.timeouts.delivery
        if not await observer.fetch(marker, 1, wait):
            whose = f" for {recipient}" if recipient else ""
            raise Untested(f"the fence message{whose} was accepted and did not arrive within {wait:g} s")

    async def content_of(self, content: bytes) -> Answer:
        """A whole transaction with `content`, to the reply after its end of data."""
        await self.until_data()
        return await self.content(content)

    def new_session(self) -> Peer:
        """Another session with the same server; messages carry the same marker."""
        return Peer(self._around)


def _messages(found: Sequence[Delivered]) -> tuple[Message, ...]:
    return tuple(Message(item.content, item.line_ends, item.sender, item.recipients) for item in found)


def _fixture(value: str | None, key: str) -> str:
    if value is None:
        raise Untested(f"no fixture: fixtures.{key} is not set")
    return value


def _must(answer: Answer, code: int, otherwise: str) -> None:
    if answer.code != code:
        raise Untested(otherwise, str(answer))
