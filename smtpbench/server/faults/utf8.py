"""Faults of SMTPUTF8 (RFC 6531) and of header fields in UTF-8 (RFC 6532)."""

from __future__ import annotations

import dataclasses

from smtpbench.server.commands import Recipient, Transaction
from smtpbench.server.faults.registry import fault
from smtpbench.server.faults.rewriting import Lenient, Picky, syntax_error
from smtpbench.server.receiver import Receiver, Refusal
from smtpbench.server.trace import Stamp, header_of
from smtpbench.wire.grammar import Path
from smtpbench.wire.parse import Command, CommandError
from smtpbench.wire.state import Verb

NAME = "δοκιμή"


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


# What is offered


@fault("smtputf8-keyword-with-value", "6531-1")
class Smtputf8KeywordWithValue(Receiver):
    """SMTPUTF8 is listed with a value."""

    def keyword_value(self, keyword: str) -> str:
        return " 1" if keyword == "SMTPUTF8" else super().keyword_value(keyword)


@fault("ehlo-domain-in-utf8", "6531-13", "5321-A-24", "5321-B-4")
class EhloDomainInUtf8(Receiver):
    """The reply to EHLO names the server in U-labels."""

    def hello_text(self) -> str:
        return f"bücher.example greets {self.helo}"


# MAIL and its parameter


@fault("smtputf8-parameter-with-value", "6531-3")
class Smtputf8ParameterWithValue(Lenient):
    """SMTPUTF8=… is taken for SMTPUTF8."""

    def repair(self, line: bytes) -> bytes:
        return line.replace(b" SMTPUTF8=1", b" SMTPUTF8")


@fault("smtputf8-excludes-body", "6531-17")
class Smtputf8ExcludesBody(Picky):
    """SMTPUTF8 together with BODY is refused."""

    def objection(self, command: Command) -> str | None:
        both = {"SMTPUTF8", "BODY"} <= set(command.parameters)
        return "SMTPUTF8 goes without BODY" if both else None


@fault("mail-line-limit-270", "6531-18")
class MailLineLimit270(Receiver):
    """A MAIL line of more than 270 octets is refused, with no allowance for its parameters."""

    def parse(self, line: bytes) -> Command | CommandError:
        parsed = super().parse(line)
        long = isinstance(parsed, Command) and parsed.verb is Verb.MAIL and len(line) > 270
        return CommandError(500, "5.5.6", "Line too long", Verb.MAIL) if long else parsed


@fault("utf8-path-refused", "6531-4", "6531-5", "6531-9")
class Utf8PathRefused(Picky):
    """A path in UTF-8 is a syntax error, with SMTPUTF8 too."""

    def objection(self, command: Command) -> str | None:
        return "Bad address" if command.path is not None and command.path.is_utf8 else None


@fault("utf8-mailbox-unknown", "6531-4")
class Utf8MailboxUnknown(Receiver):
    """A mailbox in UTF-8 is not found."""

    def mailbox_of(self, path: Path) -> str | None:
        return super().mailbox_of(path) if path.local.isascii() else None


@fault("invalid-utf8-accepted", "6531-8")
class InvalidUtf8Accepted(Lenient):
    """An address that is no valid UTF-8 is taken for one in Latin-1."""

    def repair(self, line: bytes) -> bytes:
        return line if _is_utf8(line) else line.decode("latin-1").encode()


@fault("invalid-utf8-closes", "6531-8")
class InvalidUtf8Closes(Receiver):
    """A command line that is no valid UTF-8 ends the session."""

    def on_line(self, line: bytes) -> None:
        if _is_utf8(line):
            super().on_line(line)
        else:
            self.close()


@fault("non-ascii-refused-with-501", "6531-6", "6531-7")
class NonAsciiRefusedWith501(Receiver):
    """A UTF-8 address without SMTPUTF8 is answered 501."""

    def refuse(self, error: CommandError) -> None:
        other = error.enhanced == "5.6.7" and error.verb is not None
        super().refuse(syntax_error(error.verb, "Bad address") if other and error.verb else error)


@fault("orcpt-utf8-refused", "6531-16")
class OrcptUtf8Refused(Picky):
    """ORCPT does not know the address type utf-8."""

    def objection(self, command: Command) -> str | None:
        orcpt = command.parameters.get("ORCPT") or ""
        return "Unknown address type" if orcpt.lower().startswith("utf-8;") else None


# Replies


@fault("vrfy-without-smtputf8", "6531-10")
class VrfyWithoutSmtputf8(Receiver):
    """VRFY and EXPN take SMTPUTF8 for a part of the name."""

    def verify_argument(self, argument: bytes) -> tuple[bytes, bool]:
        return argument, False


@fault("vrfy-utf8-unasked", "6531-11")
class VrfyUtf8Unasked(Receiver):
    """VRFY and EXPN name a mailbox in UTF-8 to any client."""

    def unspeakable(self, mailbox: str) -> Refusal:
        return 250, "2.1.5", self.verified(mailbox)


@fault("moved-551-in-utf8", "6531-12", "5321-A-24")
class Moved551InUtf8(Receiver):
    """Who asks for an unknown mailbox is sent to one in UTF-8."""

    def resolve(self, path: Path) -> Recipient | Refusal:
        recipient = super().resolve(path)
        unknown = not isinstance(recipient, Recipient) and recipient[:2] == (550, "5.1.1")
        return (551, "5.1.6", f"Try <{NAME}@example.com>") if unknown else recipient


# The message


@fault("received-with-esmtp", "6531-14")
class ReceivedWithEsmtp(Receiver):
    """The Received line says ESMTP of a message that came with SMTPUTF8."""

    def stamp(self, transaction: Transaction) -> Stamp:
        return super().stamp(dataclasses.replace(transaction, utf8=False))


@fault("utf8-header-lost", "6531-19")
class Utf8HeaderLost(Receiver):
    """Octets above 127 in the header section become question marks."""

    def stored(self, content: bytes) -> bytes:
        content = super().stored(content)
        header = header_of(content)
        return bytes(octet if octet < 128 else ord("?") for octet in header) + content[len(header) :]
