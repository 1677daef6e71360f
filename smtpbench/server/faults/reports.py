"""Faults in the form of delivery status notifications (RFC 3464)."""

from __future__ import annotations

import re
from datetime import datetime

from smtpbench.server.faults.registry import fault
from smtpbench.server.receiver import Receiver
from smtpbench.server.reports import Original, Outcome


class _Edited(Receiver):
    """Changes the octets of each report: what matches `pattern` becomes `instead`."""

    pattern = re.compile(rb"(?!)")
    instead = b""

    def write_report(self, original: Original, outcomes: list[Outcome], now: datetime) -> bytes:
        """The right report, edited."""
        return self.pattern.sub(self.instead, super().write_report(original, outcomes, now))


@fault("report-is-plain-text", "3461-22")
class ReportIsPlainText(_Edited):
    """A report is one part of text."""

    pattern = re.compile(rb"multipart/report; report-type=delivery-status;")
    instead = b"text/plain;"


@fault("report-without-reporting-mta", "3461-22")
class ReportWithoutReportingMta(_Edited):
    """A report has no Reporting-MTA."""

    pattern = re.compile(rb"Reporting-MTA: .*\r\n")


@fault("report-without-final-recipient", "3461-22")
class ReportWithoutFinalRecipient(_Edited):
    """A report has no Final-Recipient."""

    pattern = re.compile(rb"Final-Recipient: .*\r\n")


@fault("report-without-status", "3461-22")
class ReportWithoutStatus(_Edited):
    """A report has no Status."""

    pattern = re.compile(rb"Status: \d.*\r\n")


@fault("report-status-of-one-number", "3461-22")
class ReportStatusOfOneNumber(_Edited):
    """The Status of a report is a reply code."""

    pattern = re.compile(rb"(Status: )(\d)\.\d+\.\d+")
    instead = rb"\g<1>\g<2>50"


@fault("report-without-action", "3461-23", "3461-17", "3461-19")
class ReportWithoutAction(_Edited):
    """A report has no Action."""

    pattern = re.compile(rb"Action: .*\r\n")


@fault("report-action-unknown", "3461-23", "3461-17", "3461-19")
class ReportActionUnknown(_Edited):
    """The Action of a report is none of those there are."""

    pattern = re.compile(rb"Action: .*")
    instead = b"Action: processed\r"


@fault("report-envid-not-decoded", "3461-24")
class ReportEnvidNotDecoded(Receiver):
    """Original-Envelope-Id is the ENVID as it was sent, in xtext."""

    def write_report(self, original: Original, outcomes: list[Outcome], now: datetime) -> bytes:
        right = super().write_report(original, outcomes, now)
        sent = (original.envid or "").encode("ascii", "replace")
        return re.sub(rb"(Original-Envelope-Id: ).*\r", lambda match: match[1] + sent + b"\r", right)


@fault("report-envid-lower-case", "3461-24")
class ReportEnvidLowerCase(Receiver):
    """Original-Envelope-Id is in lower case."""

    def write_report(self, original: Original, outcomes: list[Outcome], now: datetime) -> bytes:
        right = super().write_report(original, outcomes, now)
        return re.sub(rb"Original-Envelope-Id: .*", lambda match: match[0].lower(), right)
