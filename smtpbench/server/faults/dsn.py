"""Faults of the DSN extension: its parameters, and who is notified (RFC 3461)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from email.utils import parseaddr

from smtpbench.server.commands import Recipient, Transaction
from smtpbench.server.faults.registry import fault
from smtpbench.server.faults.rewriting import Lenient, Picky
from smtpbench.server.receiver import Receiver
from smtpbench.server.reports import Action, Outcome
from smtpbench.server.store import Copy
from smtpbench.server.trace import header_of
from smtpbench.wire.grammar import Path, decode_xtext, parse_reverse_path
from smtpbench.wire.parse import Command
from smtpbench.wire.state import Verb


def _value(command: Command, name: str) -> str:
    return command.parameters.get(name) or ""


def _notify(recipient: Recipient) -> str:
    return (recipient.parameters.get("NOTIFY") or "").upper()


# Parameters


@fault("notify-delay-refused", "3461-1", "3461-3", "3461-11", "3461-25")
class NotifyDelayRefused(Picky):
    """NOTIFY with DELAY in it is answered 501."""

    def objection(self, command: Command) -> str | None:
        return "bad value of NOTIFY" if "DELAY" in _value(command, "NOTIFY").upper() else None


@fault("notify-case-matters", "3461-3", "3461-1", "3461-11")
class NotifyCaseMatters(Picky):
    """NOTIFY in lower case is answered 501."""

    def objection(self, command: Command) -> str | None:
        value = _value(command, "NOTIFY")
        return "bad value of NOTIFY" if value != value.upper() else None


@fault("notify-never-for-all", "3461-1")
class NotifyNeverForAll(Receiver):
    """After a recipient with NOTIFY=NEVER none with another NOTIFY is accepted."""

    def do_rcpt(self, command: Command) -> None:
        recipients = self.transaction.recipients if self.transaction else []
        other = _value(command, "NOTIFY").upper() not in ("", "NEVER")
        if other and any(_notify(item) == "NEVER" for item in recipients):
            self.reply(501, "5.5.4", "NEVER goes with no other NOTIFY")
        else:
            super().do_rcpt(command)


class _Repaired(Lenient):
    """Takes a parameter that is wrong as if it were not there; two that are wrong it leaves alone."""

    wrong = re.compile(rb"(?!)")

    def repair(self, line: bytes) -> bytes:
        return self.wrong.sub(b"", line) if len(self.wrong.findall(line)) == 1 else line


@fault("notify-never-with-others", "3461-2")
class NotifyNeverWithOthers(_Repaired):
    """NOTIFY=NEVER,SUCCESS is accepted."""

    wrong = re.compile(rb"(?i) NOTIFY=[A-Z,]*NEVER[A-Z,]*")


@fault("orcpt-unchecked", "3461-4")
class OrcptUnchecked(_Repaired):
    """Any value of ORCPT is accepted."""

    wrong = re.compile(rb"(?i) ORCPT=\S*")


@fault("ret-unchecked", "3461-6")
class RetUnchecked(_Repaired):
    """Any value of RET is accepted."""

    wrong = re.compile(rb"(?i) RET=\S*")


@fault("envid-unchecked", "3461-7")
class EnvidUnchecked(_Repaired):
    """Any value of ENVID is accepted."""

    wrong = re.compile(rb"(?i) ENVID=\S*")


@fault("mail-parameters-repeated", "3461-8")
class MailParametersRepeated(_Repaired):
    """A second ENVID or RET is ignored."""

    wrong = re.compile(rb"(?i)(?<= )(ENVID|RET)=\S+ (?=\1=)")


@fault("rcpt-parameters-repeated", "3461-9")
class RcptParametersRepeated(_Repaired):
    """A second NOTIFY or ORCPT is ignored."""

    wrong = re.compile(rb"(?i)(?<= )(NOTIFY|ORCPT)=\S+ (?=\1=)")


@fault("orcpt-limited-to-256", "3461-5", "3461-25")
class OrcptLimited(Picky):
    """An ORCPT of more than 256 characters is answered 501."""

    def objection(self, command: Command) -> str | None:
        return "ORCPT is too long" if len(_value(command, "ORCPT")) > 256 else None


@fault("envid-refused", "3461-10")
class EnvidRefused(Picky):
    """MAIL with a long ENVID is answered 501."""

    def objection(self, command: Command) -> str | None:
        return "ENVID is too long" if len(_value(command, "ENVID")) > 80 else None


@fault("orcpt-must-be-the-recipient", "3461-11")
class OrcptMustBeTheRecipient(Picky):
    """RCPT with an ORCPT that is another address is answered 501."""

    def objection(self, command: Command) -> str | None:
        kind, _, address = _value(command, "ORCPT").partition(";")
        if command.verb is not Verb.RCPT or not kind or len(address) > 256:
            return None
        same = command.path is not None and decode_xtext(address.encode()) == command.path.mailbox
        return None if same else "ORCPT is not the recipient"


@fault("line-limit-512", "3461-25", "3461-5")
class LineLimit512(Receiver):
    """A RCPT line of more than 512 octets is too long, with parameters as without."""

    def line_limit(self) -> int:
        return 512 if bytes(self.input[:4]).upper() == b"RCPT" else super().line_limit()


# Notifications


@fault("success-not-reported", "3461-17")
class SuccessNotReported(Receiver):
    """NOTIFY=SUCCESS brings no report of a delivery."""

    def is_due(self, outcome: Outcome) -> bool:
        return outcome.action is not Action.DELIVERED and super().is_due(outcome)


@fault("success-reported-as-failed", "3461-17")
class SuccessReportedAsFailed(Receiver):
    """A delivery that succeeded is reported as failed."""

    def outcome(self, recipient: Recipient) -> Outcome:
        outcome = super().outcome(recipient)
        if outcome.action is Action.FAILED:
            return outcome
        asked = "SUCCESS" in (outcome.notify or "").upper()
        return replace(outcome, action=Action.FAILED, notify="FAILURE" if asked else "NEVER")


@fault("success-reported-unasked", "3461-18")
class SuccessReportedUnasked(Receiver):
    """Every delivery is reported, except with NOTIFY=NEVER."""

    def is_due(self, outcome: Outcome) -> bool:
        delivered = outcome.action is Action.DELIVERED and outcome.notify != "NEVER"
        return delivered or super().is_due(outcome)


@fault("failure-not-reported", "3461-19")
class FailureNotReported(Receiver):
    """A delivery that failed is reported only where NOTIFY=FAILURE asks for it."""

    def is_due(self, outcome: Outcome) -> bool:
        return outcome.notify is not None and super().is_due(outcome)


@fault("failure-reported-unasked", "3461-19")
class FailureReportedUnasked(Receiver):
    """Every delivery that failed is reported, NOTIFY=NEVER or not."""

    def is_due(self, outcome: Outcome) -> bool:
        return outcome.action is Action.FAILED or super().is_due(outcome)


@fault("null-sender-reported", "3461-20")
class NullSenderReported(Receiver):
    """Where the reverse-path is null, the author in the header is notified."""

    def reports(
        self, transaction: Transaction, recipients: Iterable[Recipient], content: bytes, now: datetime
    ) -> tuple[Copy, ...]:
        if not transaction.sender.mailbox:
            transaction = replace(transaction, sender=_author(content) or transaction.sender)
        return super().reports(transaction, recipients, content, now)


def _author(content: bytes) -> Path | None:
    found = re.search(rb"(?mi)^From:(.*)$", header_of(content))
    address = parseaddr(found[1].decode("latin-1"))[1] if found else ""
    parsed = parse_reverse_path(f"<{address}>".encode()) if address else None
    return parsed[0] if parsed else None


@fault("report-has-a-sender", "3461-21")
class ReportHasASender(Receiver):
    """Reports come from the postmaster's address in place of the null reverse-path."""

    def report_sender(self) -> bytes:
        return b"postmaster@" + self.config.domains[0].encode()


@fault("report-to-postmaster", "3461-21")
class ReportToPostmaster(Receiver):
    """Reports go to the postmaster in place of the sender."""

    def report_to(self, transaction: Transaction) -> Path | None:
        sender = super().report_to(transaction)
        return None if sender is None else Path(b"postmaster", self.config.domains[0].encode())
