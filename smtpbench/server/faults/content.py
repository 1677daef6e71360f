"""Faults of content: damage before the mailbox, refusals without a reason, losses (RFC 5321 §4.4, §6)."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

from smtpbench.server.commands import Transaction
from smtpbench.server.config import ServerConfig
from smtpbench.server.faults.registry import fault
from smtpbench.server.receiver import ACCEPTED, TOO_LARGE, Receiver, Refusal
from smtpbench.server.store import Copy
from smtpbench.server.trace import header_of
from smtpbench.wire.grammar import NULL_PATH
from smtpbench.wire.parse import Command
from smtpbench.wire.state import State, Verb

# DATA out of order (§3.3)


class _DataAnyway(Receiver):
    """DATA without a recipient goes through; there is nobody to deliver to."""

    def conclude(self, results: list[Refusal]) -> None:
        super().conclude(results or [ACCEPTED])

    def do_data(self, command: Command) -> None:
        super().do_data(command)
        self.state = State.CONTENT


@fault("data-needs-no-rcpt", "5321-D-1", "5321-D-3", "2920-2")
class DataNeedsNoRcpt(_DataAnyway):
    """DATA without RCPT is accepted with 354 and 250."""

    def out_of_order(self, verb: Verb) -> Refusal | None:
        if verb is Verb.DATA and self.state is State.MAIL:
            return None
        return super().out_of_order(verb)


@fault("data-needs-no-mail", "5321-D-2")
class DataNeedsNoMail(_DataAnyway):
    """DATA is accepted before the session's first MAIL."""

    mailed = False

    def do_mail(self, command: Command) -> None:
        self.mailed = True
        super().do_mail(command)

    def out_of_order(self, verb: Verb) -> Refusal | None:
        if verb is Verb.DATA and self.state is State.READY and not self.mailed:
            self.transaction = Transaction(NULL_PATH)
            return None
        return super().out_of_order(verb)


@fault("data-250", "5321-D-4")
class Data250(Receiver):
    """DATA is answered 250 instead of 354."""

    def do_data(self, command: Command) -> None:
        super().do_data(command)
        self.output[-1] = self.output[-1].replace(b"354", b"250", 1)


@fault("empty-message-hangs", "5321-D-18")
class EmptyMessageHangs(Receiver):
    """An empty message gets no reply."""

    def on_content_end(self) -> None:
        if self.transaction is not None and self.transaction.size:
            super().on_content_end()


@fault("two-replies-after-data", "5321-D-26", "5321-A-20")
class TwoRepliesAfterData(Receiver):
    """The end of data is answered twice."""

    def conclude(self, results: list[Refusal]) -> None:
        super().conclude(results)
        self.reply(*ACCEPTED)


# Damage


def _damage(name: str, summary: str, change: Callable[[bytes], bytes], *rows: str) -> None:
    """Register a fault that stores `change(content)`."""

    class Damage(Receiver):
        def stored(self, content: bytes) -> bytes:
            return change(super().stored(content))

    Damage.__doc__ = summary
    fault(name, *rows)(Damage)


def _wrapped(limit: int) -> Callable[[bytes], bytes]:
    pattern = re.compile(rb"([^\r\n]{%d})(?=[^\r\n])" % limit)
    return lambda content: pattern.sub(rb"\1\r\n", content)


def _received_fields(content: bytes) -> list[bytes]:
    return re.findall(rb"(?mi)^Received:.*\r\n(?:[ \t].*\r\n)*", header_of(content) + b"\r\n")


def _reordered(content: bytes) -> bytes:
    fields = _received_fields(content)
    for number, field in enumerate(fields):
        content = content.replace(field, b"\0%d\0" % number, 1)
    for number, field in enumerate(reversed(fields)):
        content = content.replace(b"\0%d\0" % number, field, 1)
    return content


def _without_received(content: bytes) -> bytes:
    for field in _received_fields(content):
        content = content.replace(field, b"", 1)
    return content


def _with_message_id(content: bytes) -> bytes:
    if re.search(rb"(?mi)^Message-ID:", header_of(content)):
        return content
    return b"Message-ID: <added@mx.example.com>\r\n" + content


_LOW_BITS = bytes(octet & 0x7F for octet in range(256))

_damage("adds-crlf", "An empty line is added to the end.", lambda c: c + b"\r\n", "5321-D-19")
_damage(
    "drops-control-characters",
    "Control characters are dropped from the content.",
    lambda c: re.sub(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", b"", c),
    "5321-D-20",
)
_damage(
    "loses-trailing-blanks",
    "Blanks at the ends of lines are lost.",
    lambda c: re.sub(rb"[ \t]+(?=\r\n)", b"", c),
    "5321-D-21",
)
_damage(
    "escapes-from-lines",
    'Lines that begin with "From " gain a >.',
    lambda c: re.sub(rb"(?m)^From ", b">From ", c),
    "5321-D-21",
)
_damage(
    "wraps-long-lines", "Lines of more than 500 octets are wrapped.", _wrapped(500), "5321-D-22", "5321-D-23"
)
_damage("wraps-lines-over-1000", "Lines of more than 1000 octets are wrapped.", _wrapped(1000), "5321-D-23")
_damage("received-reordered", "Received lines that were there are reversed.", _reordered, "5321-D-41")
_damage("received-removed", "Received lines that were there are removed.", _without_received, "5321-D-41")
_damage("adds-message-id", "A message without Message-ID gains one.", _with_message_id, "5321-D-46")
_damage(
    "rewrites-subject",
    "The Subject line is changed.",
    lambda c: re.sub(rb"(?m)^Subject: ", b"Subject: [checked] ", c, count=1),
    "5321-A-13",
    "5321-D-46",
)
_damage(
    "strips-eighth-bit",
    "The high bit of octets is cleared.",
    lambda c: c.translate(_LOW_BITS),
    "6152-4",
    "5321-A-11",
)


# Refusals


def _refuses(name: str, summary: str, objection: Callable[[bytes], bool], *rows: str) -> None:
    """Register a fault that refuses what there is an `objection` to, after the end of data."""

    class Refuses(Receiver):
        def check_content(self, transaction: Transaction, content: bytes) -> Refusal | None:
            if objection(content):
                return 554, "5.6.0", "I do not like this message"
            return super().check_content(transaction, content)

    Refuses.__doc__ = summary
    fault(name, *rows)(Refuses)


def _has_field(name: bytes) -> Callable[[bytes], bool]:
    pattern = re.compile(rb"(?mi)^" + name + rb"[ \t]*:")
    return lambda content: bool(pattern.search(header_of(content)))


_has_date, _has_resent_to, _has_resent_from = (
    _has_field(name) for name in (b"Date", b"Resent-To", b"Resent-From")
)

_refuses(
    "refuses-long-lines",
    "A line of more than 500 octets is refused.",
    lambda c: bool(re.search(rb"[^\r\n]{501}", c)),
    "5321-D-22",
)
_refuses("refuses-64k", "A message of 64 KiB is refused.", lambda c: len(c) >= 65_000, "5321-D-24")
_refuses(
    "refuses-without-date", "A message without Date is refused.", lambda c: not _has_date(c), "5321-D-31"
)
_refuses(
    "refuses-resent-mismatch",
    "A message with Resent-To and no Resent-From is refused.",
    lambda c: _has_resent_to(c) and not _has_resent_from(c),
    "5321-D-32",
)
_refuses(
    "refuses-odd-received",
    "A message with a Received line without a date is refused.",
    lambda c: any(b";" not in field for field in _received_fields(c)),
    "5321-D-33",
)


@fault("size-limit-hidden", "5321-D-25")
class SizeLimitHidden(Receiver):
    """Messages over 100 KiB are refused, and SIZE is not offered."""

    def configure(self, config: ServerConfig) -> ServerConfig:
        config = super().configure(config)
        return dataclasses.replace(config, extensions=config.extensions - {"SIZE"}, max_size=102_400)


@fault("size-parameter-ignored", "1870-2")
class SizeParameterIgnored(Receiver):
    """A declared size beyond the limit is accepted at MAIL."""

    def check_sender(self, command: Command) -> Refusal | None:
        refusal = super().check_sender(command)
        return None if refusal == TOO_LARGE else refusal


@fault("size-parameter-overflows", "1870-6")
class SizeParameterOverflows(Receiver):
    """Of a declared size the last 16 digits count."""

    def check_sender(self, command: Command) -> Refusal | None:
        size = command.parameters.get("SIZE")
        if size is None or len(size) <= 16:
            return super().check_sender(command)
        cut = {**command.parameters, "SIZE": str(int(size) % 10**16)}
        return super().check_sender(dataclasses.replace(command, parameters=cut))


@fault("size-truncates", "1870-7")
class SizeTruncates(Receiver):
    """The content is cut at the declared size."""

    declared: int | None = None

    def do_mail(self, command: Command) -> None:
        size = command.parameters.get("SIZE")
        self.declared = int(size) if size else None
        super().do_mail(command)

    def stored(self, content: bytes) -> bytes:
        return super().stored(content)[: self.declared]


@fault("loop-limit-30", "5321-D-44")
class LoopLimit30(Receiver):
    """A message with 30 Received lines is refused as a loop."""

    def configure(self, config: ServerConfig) -> ServerConfig:
        return dataclasses.replace(super().configure(config), max_hops=29)


@fault("no-loop-limit", "5321-D-45")
class NoLoopLimit(Receiver):
    """No number of Received lines is taken for a loop."""

    def is_loop(self, content: bytes) -> bool:
        return False


# Losses and doubles (§6.1)


@fault("delivers-after-refusal", "5321-D-28")
class DeliversAfterRefusal(Receiver):
    """A message refused after the final dot is delivered all the same."""

    refusal: Refusal | None = None

    def check_content(self, transaction: Transaction, content: bytes) -> Refusal | None:
        self.refusal = super().check_content(transaction, content)
        return None

    def conclude(self, results: list[Refusal]) -> None:
        super().conclude([self.refusal] * len(results) if self.refusal else results)


@fault("accepts-and-loses", "5321-D-29", "5321-D-4")
class AcceptsAndLoses(Receiver):
    """Accepted messages are lost."""

    def copies(self, transaction: Transaction, content: bytes) -> tuple[Copy, ...]:
        return ()


@fault("delivers-twice", "5321-D-4")
class DeliversTwice(Receiver):
    """Accepted messages are delivered twice."""

    def copies(self, transaction: Transaction, content: bytes) -> tuple[Copy, ...]:
        return super().copies(transaction, content) * 2


@fault("drops-bcc-recipient", "5321-D-4")
class DropsBccRecipient(Receiver):
    """Only the first recipient gets the message."""

    def copies(self, transaction: Transaction, content: bytes) -> tuple[Copy, ...]:
        return super().copies(transaction, content)[:1]
