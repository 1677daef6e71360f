"""Faults of the less usual extensions, and of commands that no extension offers."""

from __future__ import annotations

from smtpbench.server.commands import Recipient
from smtpbench.server.faults.registry import fault
from smtpbench.server.receiver import Receiver, Refusal
from smtpbench.server.store import RELAYED
from smtpbench.wire.grammar import Path
from smtpbench.wire.parse import Command, CommandError
from smtpbench.wire.state import State, Verb

# RFC 1985


@fault("etrn-in-a-transaction", "MISC-1")
class EtrnInATransaction(Receiver):
    """ETRN is done in a transaction."""

    def out_of_order(self, verb: Verb) -> Refusal | None:
        inside = verb is Verb.ETRN and self.state is not State.START
        return None if inside else super().out_of_order(verb)


@fault("etrn-answers-550", "MISC-2")
class EtrnAnswers550(Receiver):
    """A node that is not allowed is answered 550."""

    def do_etrn(self, command: Command) -> None:
        if b"example." in command.argument:
            super().do_etrn(command)
        else:
            self.reply(550, "5.7.1", "Node not allowed")


@fault("etrn-needs-no-name", "MISC-3")
class EtrnNeedsNoName(Receiver):
    """ETRN without a name starts all queues."""

    def parse(self, line: bytes) -> Command | CommandError:
        return super().parse(b"ETRN " + self.config.name.encode() if line == b"ETRN" else line)


@fault("etrn-knows-no-subdomains", "MISC-4")
class EtrnKnowsNoSubdomains(Receiver):
    """An at-sign before the node name of ETRN is a syntax error."""

    def do_etrn(self, command: Command) -> None:
        if command.argument.startswith(b"@"):
            self.reply(501, "5.5.4", "Syntax: ETRN domain")
        else:
            super().do_etrn(command)


# RFC 2034


@fault("hello-begins-with-a-code", "2034-7", "5321-B-4")
class HelloBeginsWithACode(Receiver):
    """The replies to EHLO and HELO begin with an enhanced status code."""

    def hello_text(self) -> str:
        return f"2.0.0 {super().hello_text()}"


# relaying and proxies


@fault("percent-sign-is-relayed", "MISC-39")
class PercentSignIsRelayed(Receiver):
    """A local-part with a percent sign is an address to relay to."""

    def resolve(self, path: Path) -> Recipient | Refusal:
        if b"%" in path.local and self.is_local(path.domain):
            return Recipient(path, path.local.strip(b'"').replace(b"%", b"@"), RELAYED)
        return super().resolve(path)


@fault("xclient-trusts-everybody", "MISC-38")
class XclientTrustsEverybody(Receiver):
    """Any client may say with XCLIENT who it is."""

    def do_xclient(self, command: Command) -> None:
        self.reset_session()
        self.output.append(self.greeting())


@fault("xforward-trusts-everybody", "MISC-38")
class XforwardTrustsEverybody(Receiver):
    """Any client may say with XFORWARD whom it forwards for."""

    def do_xforward(self, command: Command) -> None:
        self.reply(250, "2.0.0", "OK")
