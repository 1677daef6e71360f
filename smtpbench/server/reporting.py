"""What a receiver reports to senders after local delivery (RFC 3461 §5.2.3, §5.2.6).

A mailbox that is listed as bouncing is accepted by RCPT and fails afterwards. In LMTP it fails before the
reply to the content, which tells the client instead (RFC 2033 §4.2).
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from datetime import datetime

from smtpbench.server.commands import Recipient, SessionCommands, Transaction
from smtpbench.server.reports import Action, Original, Outcome, is_due, is_returnable, report
from smtpbench.server.store import RELAYED, Copy
from smtpbench.server.trace import return_path
from smtpbench.wire.grammar import Path

BOUNCED = (550, "5.2.1", "Mailbox disabled")


class Reporting(SessionCommands):
    """Makes the reports of one message; a fault overrides one of these methods."""

    def bounces(self, recipient: Recipient) -> bool:
        """Whether delivery to this recipient fails after it was accepted."""
        return recipient.mailbox in self.config.bouncing

    def reports(
        self, transaction: Transaction, recipients: Iterable[Recipient], content: bytes, now: datetime
    ) -> tuple[Copy, ...]:
        """The report on a message that was accepted for `recipients`: one, or none. It covers those who
        are local and whose NOTIFY asks for it (§5.2.8)."""
        local = {item.address.lower(): item for item in recipients if item.mailbox != RELAYED}
        outcomes = [outcome for outcome in map(self.outcome, local.values()) if self.is_due(outcome)]
        sender = self.report_to(transaction)
        if sender is None or not outcomes:
            return ()
        parameters = transaction.parameters
        original = Original(sender.mailbox, content, now, parameters.get("ENVID"), parameters.get("RET"))
        return self.addressed(sender, self.write_report(original, outcomes, now))

    def outcome(self, recipient: Recipient) -> Outcome:
        """What became of the message for a local recipient."""
        failed = self.bounces(recipient)
        code, status, text = BOUNCED
        return Outcome(
            recipient.address,
            Action.FAILED if failed else Action.DELIVERED,
            status if failed else "2.0.0",
            notify=recipient.parameters.get("NOTIFY"),
            orcpt=recipient.parameters.get("ORCPT"),
            diagnostic=f"{code} {status} {text}" if failed else None,
        )

    def is_due(self, outcome: Outcome) -> bool:
        """Whether the sender asked for a report of this."""
        return is_due(outcome.notify, outcome.action)

    def report_to(self, transaction: Transaction) -> Path | None:
        """Whom to report to: the reverse-path, and nobody if it is null."""
        return transaction.sender if is_returnable(transaction.sender.mailbox) else None

    def write_report(self, original: Original, outcomes: list[Outcome], now: datetime) -> bytes:
        """The octets of a report, without the header lines of its delivery."""
        return report(original, outcomes, mta=self.config.name, now=now, ident=secrets.token_hex(8))

    def report_sender(self) -> bytes:
        """The reverse-path of a report: null (§6.1)."""
        return b""

    def addressed(self, sender: Path, content: bytes) -> tuple[Copy, ...]:
        """A report as it is stored: for a mailbox of ours. Nobody else gets one from here."""
        mailbox = self.mailbox_of(sender)
        if mailbox is None or mailbox in self.config.bouncing:
            return ()
        envelope = self.report_sender()
        return (Copy(mailbox, envelope, (sender.mailbox,), return_path(envelope) + content),)
