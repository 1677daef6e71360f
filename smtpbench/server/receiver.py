"""The strict receiver of one session, sans-IO: MAIL, RCPT, DATA, BDAT and what becomes of the message.

A fault (`smtpbench.server.faults`) overrides one of these methods; that is why each does one thing.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from smtpbench.server.commands import Recipient, Transaction
from smtpbench.server.commands import Refusal as Refusal  # where the faults look for it
from smtpbench.server.config import ServerConfig
from smtpbench.server.dialogue import Deliver
from smtpbench.server.extensions import Extensions
from smtpbench.server.outbound import Outbound
from smtpbench.server.reporting import BOUNCED, Reporting
from smtpbench.server.store import RELAYED, Copy
from smtpbench.server.submission import Submission
from smtpbench.server.trace import Stamp, count_received, protocol_token, return_path
from smtpbench.wire.grammar import Path
from smtpbench.wire.parse import Command
from smtpbench.wire.state import Event, State, Verb, next_state

ACCEPTED: Refusal = (250, "2.0.0", "Message accepted")
NOT_STORED: Refusal = (451, "4.3.0", "Message could not be stored")
TOO_LARGE: Refusal = (552, "5.3.4", "Message size exceeds the fixed maximum")


_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Receiver(Extensions, Reporting, Submission):
    """One SMTP or LMTP session as the reference server conducts it.

    `feed` takes octets and gives back what to send. When `action` is set afterwards, the caller sends
    first, then delivers, starts TLS or closes, and calls `delivered` or `tls_started` to go on.
    """

    _chunk: tuple[Command, Refusal | None] | None = None

    def __init__(
        self,
        config: ServerConfig,
        *,
        client: str = "127.0.0.1",
        tls: bool = False,
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        super().__init__(config, client=client, tls=tls)
        self._now = now

    # the envelope

    def do_mail(self, command: Command) -> None:
        """§4.1.1.2: begin a transaction."""
        refusal = self.check_sender(command)
        if refusal:
            self.reply(*refusal)
            return
        assert command.path is not None
        self.transaction = Transaction(
            command.path,
            utf8="SMTPUTF8" in command.parameters,
            binary=(command.parameters.get("BODY") or "").upper() == "BINARYMIME",
            parameters=command.parameters,
        )
        self.advance(Verb.MAIL)
        self.mail_accepted(self.transaction)

    def check_sender(self, command: Command) -> Refusal | None:
        """Why a MAIL is refused, if it is: its declared size (RFC 1870 §6.1), or a body we do not take."""
        if int(command.parameters.get("SIZE") or 0) > self.config.max_size:
            return 552, "5.3.4", "Message size exceeds the fixed maximum"
        body = (command.parameters.get("BODY") or "").upper()
        if body == "BINARYMIME" and not {"BINARYMIME", "CHUNKING"} <= self.config.extensions:
            return 501, "5.5.4", "BODY=BINARYMIME is not offered"
        assert command.path is not None
        return self.unqualified(command.path) or self.check_mail(command)

    def do_rcpt(self, command: Command) -> None:
        """§4.1.1.3: one more recipient."""
        assert command.path is not None
        assert self.transaction is not None
        if len(self.transaction.recipients) >= self.config.max_recipients:
            self.reply(452, "4.5.3", "Too many recipients")
            return
        recipient = self.resolve(command.path)
        refusal = self.check_rcpt(command, recipient) if isinstance(recipient, Recipient) else recipient
        if isinstance(recipient, Recipient) and refusal is None:
            recipient.parameters = command.parameters
            self.add_recipient(recipient)
        elif refusal is not None:
            self.reply(*refusal)

    def resolve(self, path: Path) -> Recipient | Refusal:
        """Who `path` means, or why mail for it is refused."""
        address = self.address_of(path)
        mailbox = self.mailbox_of(path)
        if mailbox is not None:
            return Recipient(path, address, mailbox)
        if self.is_local(path.domain) and not self.config.sink:
            return 550, "5.1.1", "No such mailbox here"
        unqualified = self.unqualified(path)
        if unqualified:
            return unqualified
        if self.may_relay() or self.is_relayed(path):
            return Recipient(path, address, RELAYED)
        return 550, "5.7.1", "Relaying denied"

    def may_relay(self) -> bool:
        """Whether this client may send to any domain."""
        return self.config.sink or self.authenticated is not None

    def is_relayed(self, path: Path) -> bool:
        """Whether `path` is in a domain whose mail we send on."""
        return self.config.relay_of(path.domain.decode("utf-8")) is not None

    def address_of(self, path: Path) -> bytes:
        """The recipient in the delivered envelope: without source route, a bare Postmaster completed."""
        return path.mailbox if path.domain else path.local + b"@" + self.config.domains[0].encode()

    def add_recipient(self, recipient: Recipient) -> None:
        """A recipient is accepted."""
        assert self.transaction is not None
        self.transaction.recipients.append(recipient)
        self.advance(Verb.RCPT)
        self.reply(250, "2.1.5", "Recipient OK")

    # the content

    def do_data(self, command: Command) -> None:
        """§4.1.1.4; RFC 3030 §3: binary content cannot come this way."""
        assert self.transaction is not None
        if self.transaction.binary:
            self.reply(503, "5.5.1", "BODY=BINARYMIME needs BDAT")
            return
        self.advance(Verb.DATA)
        self.begin_content()
        self.reply(354, "", "End data with <CR><LF>.<CR><LF>")

    def do_bdat(self, command: Command, refusal: Refusal | None) -> None:
        """RFC 3030 §2: the chunk is read first, whatever the answer."""
        self._chunk = (command, refusal)
        self.begin_chunk(command.size)

    def on_content(self, data: bytes) -> None:
        """Keep content up to the limit; count all of it."""
        if self._chunk is not None and self._chunk[1] is not None:
            return
        transaction = self.transaction
        assert transaction is not None
        transaction.size += len(data)
        if transaction.size <= self.config.max_size:
            transaction.content.append(data)
        else:
            transaction.content.clear()

    def on_chunk_end(self) -> None:
        """Answer a BDAT; a failed one ends the transaction, so that the next is refused too."""
        assert self._chunk is not None
        (command, refusal), self._chunk = self._chunk, None
        if refusal is None and self.transaction is not None and self.transaction.size > self.config.max_size:
            refusal = TOO_LARGE
            self.forget_transaction()
        if refusal:
            self.reply(*refusal)
            return
        self.advance(Verb.BDAT)
        if command.last:
            self.on_content_end()
        else:
            self.reply(250, "2.0.0", f"{command.size} octets received")

    def on_content_end(self) -> None:
        """The message is complete: refuse it or have it delivered."""
        transaction = self.transaction
        assert transaction is not None
        transaction.content = self.submitted(transaction.content, self._now())
        content = self.stored(b"".join(transaction.content))
        refusal = self.check_content(transaction, content)
        if refusal:
            self.conclude([refusal] * len(transaction.recipients))
            return
        self.action = Deliver(self.copies(transaction, content), self.hold(transaction))

    def stored(self, content: bytes) -> bytes:
        """The content as it will be delivered, before the trace header: octet for octet."""
        return content

    def check_content(self, transaction: Transaction, content: bytes) -> Refusal | None:
        """Why a complete message is refused, if it is."""
        if transaction.size > self.config.max_size:
            return TOO_LARGE
        receiver = self.content_receiver
        bare = receiver is not None and bool(receiver.bare_cr or receiver.bare_lf)
        if bare and self.config.bare_line_ends == "refuse":
            return 554, "5.6.0", "Bare CR or LF in the content"
        if not self.config.sink and self.is_loop(content):
            return 554, "5.4.6", "Too many Received lines: mail loop"
        return self.unfit(transaction, content) or self.improper(transaction, content)

    def unfit(self, transaction: Transaction, content: bytes) -> Refusal | None:
        """§2.3.8: why content cannot be sent on, if so: a lone CR or LF may not be sent, but as binary."""
        leaves = any(self.is_relayed(recipient.path) for recipient in transaction.recipients)
        if leaves and not transaction.binary and _BARE.search(content):
            return 554, "5.6.0", "Bare CR or LF in the content, which cannot be sent on"
        return None

    def is_loop(self, content: bytes) -> bool:
        """§6.3."""
        return count_received(content) > self.config.max_hops

    # delivery

    def copies(self, transaction: Transaction, content: bytes) -> tuple[Copy, ...]:
        """What to store: one copy for each distinct recipient; in a sink one for all of them."""
        sender = transaction.sender.mailbox
        if self.config.sink:
            addresses = tuple(recipient.address for recipient in transaction.recipients)
            return (Copy(RELAYED, sender, addresses, content),)
        stamp = self.stamp(transaction)
        distinct = {recipient.address.lower(): recipient for recipient in transaction.recipients}
        here = tuple(
            Copy(
                recipient.mailbox,
                sender,
                (recipient.address,),
                self.traced(transaction, recipient, stamp, content),
            )
            for recipient in distinct.values()
            if not (self.bounces(recipient) or self.is_relayed(recipient.path))
        )
        return here + self.outbound(transaction, list(distinct.values()), stamp, content)

    def outbound(
        self, transaction: Transaction, recipients: Sequence[Recipient], stamp: Stamp, content: bytes
    ) -> tuple[Outbound, ...]:
        """What is to be sent on: one copy for all recipients of a domain (§4.5.4.1)."""
        by_domain: dict[bytes, list[Recipient]] = {}
        for recipient in recipients:
            if self.is_relayed(recipient.path):
                by_domain.setdefault(recipient.path.domain.lower(), []).append(recipient)
        return tuple(
            Outbound(
                RELAYED,
                transaction.sender.mailbox,
                tuple(recipient.address for recipient in group),
                self.traced(transaction, group[0], replace(stamp, shared=len(group) > 1), content),
                transaction.parameters,
                tuple(recipient.parameters for recipient in group),
                stamp.date,
            )
            for group in by_domain.values()
        )

    def stamp(self, transaction: Transaction) -> Stamp:
        """The facts for the Received line."""
        protocol = protocol_token(
            lmtp=self.lmtp,
            extended=self.extended,
            tls=self.tls_active,
            authenticated=self.authenticated is not None,
            utf8=transaction.utf8,
        )
        ident, clauses = secrets.token_hex(8), self.clauses(transaction)
        return Stamp(self.helo, self.client, self.config.name, protocol, ident, self._now(), clauses=clauses)

    def traced(self, transaction: Transaction, recipient: Recipient, stamp: Stamp, content: bytes) -> bytes:
        """The content below its trace header: Return-Path (final delivery only), then Received."""
        final = recipient.mailbox != RELAYED
        head = self.return_path(transaction) if final else b""
        return head + self.received(stamp, transaction, recipient) + content

    def return_path(self, transaction: Transaction) -> bytes:
        """The Return-Path line."""
        return return_path(transaction.sender.mailbox)

    def received(self, stamp: Stamp, transaction: Transaction, recipient: Recipient) -> bytes:
        """The Received line of one copy; it names that copy's recipient and no other."""
        return stamp.line(recipient.address)

    def delivered(self, outcome: Sequence[bool]) -> bytes:
        """The copies of the `Deliver` action are stored (True) or not; what to send."""
        action, self.action = self.action, None
        transaction = self.transaction
        assert isinstance(action, Deliver)
        if action.answered:
            return self.run()
        assert transaction is not None
        stored = {
            address.lower(): done
            for copy, done in zip(action.copies, outcome, strict=True)
            for address in copy.recipients
        }
        results = [
            self.result(recipient, stored.get(recipient.address.lower(), True))
            for recipient in transaction.recipients
        ]
        self.conclude(results)
        self.report(transaction, results)
        return self.run()

    def result(self, recipient: Recipient, stored: bool) -> Refusal:
        """The outcome for one recipient; one who bounces can be refused in LMTP alone."""
        if self.lmtp and self.bounces(recipient):
            return BOUNCED
        return ACCEPTED if stored else NOT_STORED

    def report(self, transaction: Transaction, results: Sequence[Refusal]) -> None:
        """Deliver what the sender is told of a message that was accepted."""
        accepted = [result[0] < 400 for result in results]
        if self.config.sink or not (self.lmtp or all(accepted)):
            return
        taken = [item for item, done in zip(transaction.recipients, accepted, strict=True) if done]
        content = self.stored(b"".join(transaction.content))
        reports = self.reports(transaction, taken, content, self._now())
        if reports:
            self.action = Deliver(reports, answered=True)

    def conclude(self, results: list[Refusal]) -> None:
        """Answer the end of data: one reply, or in LMTP one for each recipient (RFC 2033 §4.2)."""
        each = self.transaction is not None and self.answers_each(self.transaction)
        self.end_transaction()
        if self.lmtp:
            for result in results:
                self.reply(*result)
        elif each:
            self.answer_each(results)
        else:
            failures = [result for result in results if result[0] >= 400]
            self.reply(*(failures or results)[0])

    def end_transaction(self) -> None:
        """§4.1.4: after the end of data there is no transaction."""
        self.transaction = None
        following = next_state(self.state, Event.END_OF_CONTENT)
        self.state = following if following is not None else State.READY

    # the end of the connection

    def idle_limit(self) -> float:
        """Seconds of silence after which the client is cut off, as of now (§4.5.3.2)."""
        return self.config.idle_timeout

    def timed_out(self) -> bytes:
        """§4.5.3.2: say 421 to a client that was silent for too long."""
        return self._goodbye("4.4.2", "Timeout, closing connection")

    def shut_down(self) -> bytes:
        """§3.8: say 421 when the server is stopped."""
        return self._goodbye("4.3.2", "Service shutting down, closing connection")

    def _goodbye(self, enhanced: str, text: str) -> bytes:
        self.reply(421, enhanced, f"{self.config.name} {text}")
        self.close()
        return self.take_output()

    def disconnected(self) -> tuple[Copy, ...]:
        """The client is gone: nothing of an unfinished transaction is delivered (§4.1.1.10)."""
        return ()
