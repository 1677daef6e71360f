"""Faults of command lines: their ends, their case, verbs that are unknown or take no argument."""

from __future__ import annotations

import re

from smtpbench.server.faults.registry import fault
from smtpbench.server.faults.rewriting import Lenient, Picky, is_unknown_verb, verb_of
from smtpbench.server.receiver import Receiver
from smtpbench.wire.parse import OBSOLETE, Command, CommandError
from smtpbench.wire.state import Verb

# Line ends (§2.3.8)


@fault("accepts-lf-as-line-end", "5321-A-1")
class AcceptsLf(Receiver):
    """A bare LF ends a command line."""

    def find_line_end(self) -> tuple[int, int] | None:
        end = self.input.find(b"\n")
        if end < 0:
            return None
        return (end - 1 if self.input[end - 1 : end] == b"\r" else end), end + 1


@fault("accepts-cr-as-line-end", "5321-A-2")
class AcceptsCr(Receiver):
    """A bare CR ends a command line."""

    cr_was_last = False

    def find_line_end(self) -> tuple[int, int] | None:
        if self.cr_was_last and self.input[:1] == b"\n":
            del self.input[:1]
        self.cr_was_last = False
        match = re.search(rb"\r(?!\r)", self.input)  # CR CR LF is the matter of another fault
        if match is None:
            return None
        end = match.start()
        self.cr_was_last = end + 1 == len(self.input)
        return end, (end + 2 if self.input[end + 1 : end + 2] == b"\n" else end + 1)


@fault("accepts-crcrlf-as-line-end", "5321-A-4")
class AcceptsCrCrLf(Receiver):
    """CR CR LF is taken for a clean line end."""

    def on_line(self, line: bytes) -> None:
        super().on_line(line.rstrip(b"\r"))


@fault("acts-before-crlf", "5321-A-5")
class ActsBeforeCrlf(Receiver):
    """NOOP is answered before its CRLF has come."""

    early = False

    def find_line_end(self) -> tuple[int, int] | None:
        if self.early and self.input.startswith(b"\r\n"):
            del self.input[:2]
            self.early = False
        if bytes(self.input).upper() == b"NOOP":
            self.early = True
            return len(self.input), len(self.input)
        return super().find_line_end()


@fault("trailing-space-refused", "5321-B-45")
class TrailingSpaceRefused(Receiver):
    """White space before CRLF is a syntax error."""

    def parse(self, line: bytes) -> Command | CommandError:
        if line.endswith((b" ", b"\t")):
            return CommandError(501, "5.5.4", "Trailing white space")
        return super().parse(line)


@fault("empty-line-ignored", "5321-B-46")
class EmptyLineIgnored(Receiver):
    """An empty line gets no reply."""

    def on_line(self, line: bytes) -> None:
        if line:
            super().on_line(line)


@fault("empty-line-closes", "5321-B-46")
class EmptyLineCloses(Receiver):
    """An empty line closes the connection."""

    def on_line(self, line: bytes) -> None:
        if line:
            super().on_line(line)
        else:
            self.close()


# Case (§2.4)


@fault("verbs-case-sensitive", "5321-A-6")
class VerbsCaseSensitive(Receiver):
    """Only upper-case verbs are recognised."""

    def parse(self, line: bytes) -> Command | CommandError:
        if line.split(b" ", 1)[0] != verb_of(line):
            return CommandError(500, "5.5.2", "Command not recognized")
        return super().parse(line)


@fault("keywords-case-sensitive", "5321-A-7")
class KeywordsCaseSensitive(Picky):
    """FROM, TO and parameter names must be in upper case."""

    def objection(self, command: Command) -> str | None:
        if command.path is None:
            return None
        keyword = command.argument.partition(b":")[0]
        names = re.findall(rb" ([A-Za-z0-9-]+)(?==| |$)", command.argument.rpartition(b">")[2])
        lower = any(word != word.upper() for word in (keyword, *names))
        return "Keywords must be in upper case" if lower else None


# Unknown and obsolete verbs (§4.2.4, §4.1.5)


class _UnknownVerb(Receiver):
    def on_line(self, line: bytes) -> None:
        if self._exchange is None and self.concerns(line):
            self.on_unknown()
        else:
            super().on_line(line)

    def concerns(self, line: bytes) -> bool:
        """Whether the line has a verb that this fault is about."""
        return is_unknown_verb(line)

    def on_unknown(self) -> None:
        """Answer such a line."""
        self.reply(250, "2.0.0", "OK")


@fault("unknown-verb-accepted", "5321-A-27")
class UnknownVerbAccepted(_UnknownVerb):
    """An unknown verb is answered 250."""


@fault("unknown-verb-502", "5321-A-27")
class UnknownVerb502(_UnknownVerb):
    """An unknown verb is answered 502."""

    def on_unknown(self) -> None:
        self.reply(502, "5.5.1", "Command not implemented")


@fault("unknown-verb-closes", "5321-A-36", "5321-A-37")
class UnknownVerbCloses(_UnknownVerb):
    """An unknown verb closes the connection."""

    def on_unknown(self) -> None:
        self.reply(500, "5.5.2", "Command not recognized")
        self.close()


@fault("closes-after-each-command", "5321-A-37")
class ClosesAfterEachCommand(Receiver):
    """A command is answered, and then the connection is closed."""

    def perform(self, command: Command) -> None:
        super().perform(command)
        if self.action is None:
            self.close()


@fault("x-verb-accepted", "5321-A-35")
class XVerbAccepted(_UnknownVerb):
    """An unknown verb that begins with X is answered 250."""

    def concerns(self, line: bytes) -> bool:
        return verb_of(line).startswith(b"X")


@fault("obsolete-verbs-accepted", "5321-B-48")
class ObsoleteVerbsAccepted(_UnknownVerb):
    """SEND, SOML, SAML and TURN are answered 250."""

    def concerns(self, line: bytes) -> bool:
        return verb_of(line) in OBSOLETE


# Arguments (§4.3.2)


class _IgnoresArgument(Lenient):
    verb = b""

    def repair(self, line: bytes) -> bytes:
        return self.verb if verb_of(line) == self.verb else line


@fault("rset-accepts-argument", "5321-A-31")
class RsetAcceptsArgument(_IgnoresArgument):
    """RSET with an argument is answered 250."""

    verb = b"RSET"


@fault("data-accepts-argument", "5321-A-32")
class DataAcceptsArgument(_IgnoresArgument):
    """DATA with an argument is answered 354."""

    verb = b"DATA"


@fault("quit-accepts-argument", "5321-A-33")
class QuitAcceptsArgument(_IgnoresArgument):
    """QUIT with an argument is answered 221."""

    verb = b"QUIT"


@fault("noop-refuses-argument", "5321-B-22")
class NoopRefusesArgument(Picky):
    """NOOP with an argument is answered 501."""

    def objection(self, command: Command) -> str | None:
        return "NOOP takes no argument" if command.verb is Verb.NOOP and command.argument else None


class _NeedsNoArgument(Lenient):
    verb = b""
    argument = b"unknown"

    def repair(self, line: bytes) -> bytes:
        return self.verb + b" " + self.argument if line.strip().upper() == self.verb else line


@fault("ehlo-needs-no-argument", "5321-B-7")
class EhloNeedsNoArgument(_NeedsNoArgument):
    """EHLO without an argument is accepted."""

    verb = b"EHLO"


@fault("helo-needs-no-argument", "5321-B-7")
class HeloNeedsNoArgument(_NeedsNoArgument):
    """HELO without an argument is accepted."""

    verb = b"HELO"


@fault("vrfy-needs-no-argument", "5321-B-40")
class VrfyNeedsNoArgument(_NeedsNoArgument):
    """VRFY without an argument is answered 252."""

    verb = b"VRFY"
    argument = b"somebody@elsewhere.example"


@fault("control-characters-accepted", "5321-C-30")
class ControlCharactersAccepted(Lenient):
    """Control characters in arguments are accepted."""

    def repair(self, line: bytes) -> bytes:
        return re.sub(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", b"", line)


# Length (§4.5.3.1.4)


@fault("command-limit-256", "5321-C-35")
class CommandLimit256(Receiver):
    """A command line of more than 256 octets is refused."""

    def line_limit(self) -> int:
        return 256 if super().line_limit() == self.config.max_line else super().line_limit()


@fault("overlong-command-desync", "5321-C-36")
class OverlongCommandDesync(Receiver):
    """The rest of an over-long command line is read as a command."""

    def read_line(self) -> bool:
        limit = self.line_limit()
        found = self.find_line_end()
        if (found[1] if found else len(self.input)) <= limit:
            return super().read_line()
        del self.input[:limit]
        self.on_overlong_line()
        return True
