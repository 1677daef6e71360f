"""Faults of the trace header: Received and Return-Path (RFC 5321 §4.4)."""

from __future__ import annotations

import re

from smtpbench.server.commands import Recipient, Transaction
from smtpbench.server.faults.registry import fault
from smtpbench.server.receiver import Receiver
from smtpbench.server.trace import Stamp, return_path


def _received(name: str, summary: str, pattern: bytes, replacement: bytes, *rows: str) -> None:
    """Register a fault that replaces `pattern` in the Received line that is added."""

    class Stamped(Receiver):
        def received(self, stamp: Stamp, transaction: Transaction, recipient: Recipient) -> bytes:
            line = super().received(stamp, transaction, recipient)
            return re.sub(pattern, replacement, line, count=1)

    Stamped.__doc__ = summary
    fault(name, *rows)(Stamped)


_received("no-received", "No Received line is added.", rb"(?s).*", b"", "5321-D-34")
_received(
    "received-without-from",
    "The Received line has no FROM clause.",
    rb"from [^\r\n]*\r\n\t",
    b"",
    "5321-D-35",
)
_received(
    "received-without-by", "The Received line has no BY clause.", rb"\r\n\tby \S+ ", b"\r\n\t", "5321-D-36"
)
_received(
    "received-two-digit-year",
    "The Received date has a year of two digits.",
    rb"( [A-Z][a-z]{2} )\d\d(\d\d )",
    rb"\1\2",
    "5321-D-37",
)
_received(
    "received-named-zone",
    "The Received date names its zone.",
    rb"[+-]\d{4}\r\n$",
    b"GMT\r\n",
    "5321-D-38",
)


_received(
    "received-without-authentication",
    "The WITH clause does not say that the client was authenticated.",
    rb"with ESMTPSA ",
    b"with ESMTPS ",
    "4954-25",
)
_received(
    "received-without-tls", "The WITH clause does not say TLS.", rb"with ESMTPS ", b"with ESMTP ", "MISC-8"
)
_received(
    "received-always-smtp",
    "The WITH clause names SMTP, whatever was spoken.",
    rb"with \S+ ",
    b"with SMTP ",
    "MISC-8",
    "4954-25",
    "6531-14",
)
_received(
    "received-always-esmtp",
    "The WITH clause names ESMTP, whatever was spoken.",
    rb"with \S+ ",
    b"with ESMTP ",
    "MISC-8",
    "4954-25",
    "6531-14",
)


@fault("received-for-two-paths", "5321-D-39", "5321-D-40")
class ReceivedForTwoPaths(Receiver):
    """The FOR clause names all recipients."""

    def received(self, stamp: Stamp, transaction: Transaction, recipient: Recipient) -> bytes:
        return stamp.line(b">,<".join(other.address for other in transaction.recipients))


@fault("received-at-bottom", "5321-D-34")
class ReceivedAtBottom(Receiver):
    """The Received line is added below the header."""

    def traced(self, transaction: Transaction, recipient: Recipient, stamp: Stamp, content: bytes) -> bytes:
        header, separator, body = content.partition(b"\r\n\r\n")
        received = self.received(stamp, transaction, recipient)
        return self.return_path(transaction) + header + b"\r\n" + received + separator[2:] + body


@fault("no-return-path", "5321-D-42")
class NoReturnPath(Receiver):
    """No Return-Path is added."""

    def return_path(self, transaction: Transaction) -> bytes:
        return b""


@fault("two-return-paths", "5321-D-42")
class TwoReturnPaths(Receiver):
    """Return-Path is added twice."""

    def return_path(self, transaction: Transaction) -> bytes:
        return super().return_path(transaction) * 2


@fault("return-path-wrong", "5321-D-42")
class ReturnPathWrong(Receiver):
    """Return-Path names another sender."""

    def return_path(self, transaction: Transaction) -> bytes:
        return return_path(b"postmaster@example.com")
