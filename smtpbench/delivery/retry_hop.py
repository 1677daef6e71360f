"""A next hop that fails in a stated way for each recipient, and writes down every attempt it was made.

    hop = RetryHop("127.0.0.1", 2525, mailings)
    await hop.start()                     # … messages for the recipients of `mailings` go in at the target
    mailings[0].attempts, mailings[0].delivered, hop.reports

Each `Mailing` has an address of its own as its sender, so that a report on it comes back here and names it by
its envelope. What concerns the whole connection (a greeting of 421, no listener) holds for everybody while
it lasts. Times are seconds of the clock that never jumps, from `begun` on.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

from smtpbench.delivery.hop import NAME
from smtpbench.delivery.hop_receiver import HopReceiver
from smtpbench.delivery.hop_script import HopRecipient, HopReply, HopScript, HopSession
from smtpbench.delivery.reports import Report, parse_report
from smtpbench.server.commands import Transaction
from smtpbench.server.config import ServerConfig
from smtpbench.server.receiver import Receiver
from smtpbench.server.scripted import ACCEPT
from smtpbench.server.server import Server
from smtpbench.wire.parse import Command

Moment = Literal["mail", "rcpt", "data", "end"]
PLACES = {"mail": "MAIL", "rcpt": "RCPT", "data": "DATA", "end": "the final dot"}
SCRIPT = HopScript().without("CHUNKING", "BINARYMIME")  # so that there is a DATA to answer
UNAVAILABLE = HopReply(code=421, enhanced="4.3.2", text="Service not available", close=True)
KEPT_ATTEMPTS = 1_000  # of one recipient; a sender that does not pause makes as many as it is let
KEPT_REPORTS = 1_000


@dataclass(frozen=True, slots=True)
class Step:
    """What happens in one attempt: `reply` at `at`; everything before it is accepted."""

    at: Moment
    reply: HopReply

    @property
    def words(self) -> str:
        """As the record has it: the reply and to what."""
        place = PLACES[self.at]
        if not self.reply.code:
            return f"no reply to {place}, connection closed"
        closed = ", connection closed" if self.reply.close else ""
        return f"{self.reply.code} to {place}{closed}"


TAKEN = Step("end", ACCEPT)


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps of a recipient by attempt; then it is accepted, or, with `forever`, the last one holds.

    With `for_s` the one step holds for so long from the first attempt.
    """

    steps: tuple[Step, ...] = ()
    forever: bool = False
    for_s: float = 0.0

    def step(self, number: int, since_first_s: float) -> Step:
        """What happens in attempt `number` (from 0), so long after the first."""
        if self.for_s:
            return self.steps[0] if since_first_s < self.for_s else TAKEN
        if number < len(self.steps):
            return self.steps[number]
        return self.steps[-1] if self.forever else TAKEN


@dataclass(slots=True)
class Attempt:
    """One transaction with a recipient, begun at `at_s`; `reply` is how far it came.

    `reused`: its connection had carried another one before. A client whose transaction fails there may well
    ask at once over a connection of its own.
    """

    at_s: float
    reply: str = "the client left"
    reused: bool = False


@dataclass(slots=True)
class Mailing:
    """One recipient of one message. `sender` is "" for the null reverse-path."""

    kind: str
    sender: str
    recipient: str
    plan: Plan
    attempts: list[Attempt] = field(default_factory=list)
    delivered: list[float] = field(default_factory=list)

    def step(self, now_s: float) -> Step:
        """What happens in an attempt that begins now."""
        first = self.attempts[0].at_s if self.attempts else now_s
        return self.plan.step(len(self.attempts), now_s - first)


@dataclass(frozen=True, slots=True)
class ReportBack:
    """A message that came for a sender of ours: a report, if it is in the form of RFC 3464."""

    at_s: float
    sender: str
    to: str
    report: Report | None


class RetryHop:
    """Listens on `host`:`port` between `start` and `stop`, which may be repeated (port 0 at first only)."""

    def __init__(self, host: str, port: int, mailings: Sequence[Mailing] = ()) -> None:
        self.script = SCRIPT
        self.begun = time.monotonic()
        self.mailings = list(mailings)
        self.reports: list[ReportBack] = []
        self.greeted: list[float] = []  # when a connection was greeted with 421
        self._config = ServerConfig(host=host, port=port, name=NAME, sink=True)
        self._server: Server | None = None
        self._sessions = 0

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._config.port

    async def start(self) -> None:
        """Listen. Raises UsageError where the address cannot be bound."""
        self._server = Server(self._config, receiver=partial(RetryReceiver, hop=self))
        await self._server.start()
        self._config = replace(self._config, port=self._server.port)

    async def stop(self) -> None:
        """Stop listening: connections are refused."""
        if self._server is not None:
            await self._server.stop()
            self._server = None

    def greet(self, reply: HopReply | None) -> None:
        """From here on connections are greeted with `reply`; those that are open get 421 and end."""
        self.script = replace(SCRIPT, greeting=reply)
        if self._server is not None:
            for connection in list(self._server.connections):
                connection.shut_down()

    def now(self) -> float:
        """Seconds since `begun`."""
        return time.monotonic() - self.begun

    # what its receivers ask and write down

    def open_session(self) -> HopSession:
        """A connection was made."""
        self._sessions += 1
        if self.script.greeting is not None:
            self.greeted.append(self.now())
        return HopSession(self._sessions)

    def reply_for(self, address: bytes, what: str) -> HopReply:
        """Not asked: `RetryReceiver` has its own."""
        return ACCEPT

    def changed(self) -> None:
        """Nobody waits for lines here."""

    def sent_by(self, sender: bytes) -> Mailing | None:
        """The mailing that has this sender to itself."""
        found = [item for item in self.mailings if item.sender and item.sender.encode() == sender.lower()]
        return found[0] if len(found) == 1 else None

    def sent_to(self, recipient: bytes) -> Mailing | None:
        """The mailing for this recipient."""
        wanted = recipient.lower()
        return next((item for item in self.mailings if item.recipient.encode() == wanted), None)

    def reported(self, sender: bytes, to: bytes, content: bytes) -> None:
        """A message that is none of the mailings was taken."""
        if len(self.reports) < KEPT_REPORTS:
            address, back = to.decode("utf-8", "replace").lower(), sender.decode("utf-8", "replace")
            self.reports.append(ReportBack(self.now(), back, address, parse_report(content)))


class RetryReceiver(HopReceiver):
    """A session in which each recipient is treated as its mailing plans it."""

    def __init__(
        self, config: ServerConfig, *, hop: RetryHop, client: str = "127.0.0.1", tls: bool = False
    ) -> None:
        self._hop = hop
        self._begun_s, self._mails = 0.0, 0
        self._mine: list[tuple[Mailing, Attempt, Step]] = []  # of the transaction under way
        super().__init__(config, book=hop, client=client, tls=tls)

    def do_mail(self, command: Command) -> None:
        """A transaction begins; for a sender whose plan says so it ends here."""
        assert command.path is not None
        self._begun_s, self._mine = self._hop.now(), []
        self._mails += 1
        reply, mailing = ACCEPT, self._hop.sent_by(command.path.mailbox)
        if mailing is not None and mailing.step(self._begun_s).at == "mail":
            reply = self._attempt(mailing).reply
        self.answer(reply, partial(super().do_mail, command))

    def do_rcpt(self, command: Command) -> None:
        """One recipient, perhaps one of ours."""
        assert command.path is not None
        address = self.address_of(command.path)
        mailing = self._hop.sent_to(address)
        reply = ACCEPT
        if mailing is not None:
            step = self._attempt(mailing)
            reply = step.reply if step.at == "rcpt" else ACCEPT
            if step.at == "rcpt":
                self._mine.pop()
        self.record.transactions[-1].recipients.append(HopRecipient(self._last_line, address, reply.code))
        self.answer(reply, partial(Receiver.do_rcpt, self, command))

    def do_data(self, command: Command) -> None:
        """354, or what the plan of a recipient has in its place."""
        steps = [step for _, _, step in self._mine if step.at == "data"]
        self.answer(self._settle(steps[0]) if steps else ACCEPT, partial(super().do_data, command))

    def _verdict(self, transaction: Transaction) -> HopReply:
        if not self._mine:
            content = b"".join(transaction.content)
            for recipient in transaction.recipients:
                self._hop.reported(transaction.sender.mailbox, recipient.address, content)
            return ACCEPT
        steps = [step for _, _, step in self._mine]
        return self._settle(next((step for step in steps if not step.reply.positive), steps[0]))

    def _attempt(self, mailing: Mailing) -> Step:
        """An attempt for `mailing`: what happens in it."""
        step = mailing.step(self._begun_s)
        attempt = Attempt(self._begun_s, reused=self._mails > 1)
        if step.at in ("mail", "rcpt"):
            attempt.reply = step.words
        if len(mailing.attempts) < KEPT_ATTEMPTS:
            mailing.attempts.append(attempt)
        if step.at != "mail":
            self._mine.append((mailing, attempt, step))
        return step

    def _settle(self, step: Step) -> HopReply:
        """The transaction ends for all its recipients as `step` says."""
        for mailing, attempt, _ in self._mine:
            attempt.reply = step.words
            if step.at == "end" and step.reply.positive:
                mailing.delivered.append(self._hop.now())
        self._mine = []
        return step.reply
