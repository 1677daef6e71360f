"""Faults of sizes, of time, of old TLS (RFC 1870, RFC 5321 §4.5.3, RFC 8314), and small ones of delivery."""

from __future__ import annotations

import ssl
import warnings

from smtpbench.server.commands import Recipient, Transaction
from smtpbench.server.config import ServerConfig
from smtpbench.server.faults.registry import fault
from smtpbench.server.receiver import TOO_LARGE, Receiver, Refusal
from smtpbench.server.store import Copy
from smtpbench.server.trace import Stamp, return_path
from smtpbench.target import Role
from smtpbench.wire.content import dot_stuff
from smtpbench.wire.parse import Command
from smtpbench.wire.state import State

IMPATIENT = 0.1  # seconds: longer than any case but those about patience is silent in these states
FIRST = 64  # octets: the beginning of a message
SHORT_LINE = 280  # octets: less than the longest path and a SIZE of 20 digits
LARGE = 100 * 1024  # octets


@fault("declared-size-refused-at-the-end", "1870-8")
class DeclaredSizeRefusedAtTheEnd(Receiver):
    """A message that is as large as it was declared is refused as too large."""

    declared = 0

    def do_mail(self, command: Command) -> None:
        self.declared = int(command.parameters.get("SIZE") or 0)
        super().do_mail(command)

    def check_content(self, transaction: Transaction, content: bytes) -> Refusal | None:
        if self.declared and transaction.size == self.declared:
            return TOO_LARGE
        return super().check_content(transaction, content)


@fault("large-size-put-off", "1870-3")
class LargeSizePutOff(Receiver):
    """A declared size within the maximum, and large, is answered 451."""

    def check_sender(self, command: Command) -> Refusal | None:
        size = int(command.parameters.get("SIZE") or 0)
        put_off = LARGE < size <= self.config.max_size
        return (451, "4.3.0", "Try again later") if put_off else super().check_sender(command)


@fault("mail-line-limit-without-parameters", "1870-13")
class MailLineLimitWithoutParameters(Receiver):
    """A MAIL line may be no longer than a path needs."""

    def line_limit(self) -> int:
        return SHORT_LINE if bytes(self.input[:5]).upper() == b"MAIL " else super().line_limit()


@fault("size-counts-stuffed-dots", "1870-9")
class SizeCountsStuffedDots(Receiver):
    """The size of a message is that of its octets on the wire."""

    def check_content(self, transaction: Transaction, content: bytes) -> Refusal | None:
        if self.content_receiver is not None and len(dot_stuff(content)) - 3 > self.config.max_size:
            return TOO_LARGE
        return super().check_content(transaction, content)


@fault("oversize-501", "1870-14")
class Oversize501(Receiver):
    """A message over the maximum is refused with 501."""

    def check_content(self, transaction: Transaction, content: bytes) -> Refusal | None:
        refusal = super().check_content(transaction, content)
        return (501, "5.3.4", "Too large") if refusal == TOO_LARGE else refusal


class _Impatient(Receiver):
    """A silent client is cut off at once while `hasty` is true."""

    hasty = False

    def idle_limit(self) -> float:
        return IMPATIENT if self.hasty else super().idle_limit()


@fault("idle-cut-off", "5321-D-50")
class IdleCutOff(_Impatient):
    """A client that is silent after NOOP is cut off at once."""

    def on_line(self, line: bytes) -> None:
        self.hasty = line.upper() == b"NOOP"
        super().on_line(line)


@fault("data-cut-off", "5321-D-51")
class DataCutOff(_Impatient):
    """A client that is silent at the beginning of its message is cut off at once."""

    def idle_limit(self) -> float:
        transaction = self.transaction if self.state is State.CONTENT else None
        begun = transaction is not None and 0 < transaction.size < FIRST
        return IMPATIENT if begun else super().idle_limit()


@fault("old-tls-accepted", "3207-21")
class OldTlsAccepted(Receiver):
    """Old versions of TLS are good enough."""

    def configure(self, config: ServerConfig) -> ServerConfig:
        if config.tls is not None:
            config.tls.set_ciphers("ALL:@SECLEVEL=0")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                config.tls.minimum_version = ssl.TLSVersion.TLSv1
        return super().configure(config)


@fault("submissions-greets-500", "3207-20")
class SubmissionsGreets500(Receiver):
    """The endpoint with TLS from the start takes no mail."""

    def greeting(self) -> bytes:
        if self.config.role is Role.SUBMISSIONS:
            return self.format_reply(500, [f"{self.config.name} no service here"])
        return super().greeting()


@fault("data-354-with-enhanced-code", "2034-2")
class Data354WithEnhancedCode(Receiver):
    """The 354 has an enhanced code."""

    def reply(self, code: int, enhanced: str, *text: str) -> None:
        super().reply(code, "2.0.0" if code == 354 else enhanced, *text)


@fault("lmtp-second-copy-lost", "2033-6")
class LmtpSecondCopyLost(Receiver):
    """In LMTP the copy of the second recipient is lost, and its reply is positive."""

    def copies(self, transaction: Transaction, content: bytes) -> tuple[Copy, ...]:
        copies = super().copies(transaction, content)
        return copies[:1] if self.lmtp else copies


@fault("return-path-lowered", "5321-A-8")
class ReturnPathLowered(Receiver):
    """The local-part of the sender is taken to lower case."""

    def return_path(self, transaction: Transaction) -> bytes:
        return return_path(transaction.sender.mailbox.lower())


@fault("drops-tildes", "5321-D-20")
class DropsTildes(Receiver):
    """Tildes do not reach the mailbox."""

    def traced(self, transaction: Transaction, recipient: Recipient, stamp: Stamp, content: bytes) -> bytes:
        kept = content if transaction.binary else content.replace(b"~", b"")
        return super().traced(transaction, recipient, stamp, kept)
