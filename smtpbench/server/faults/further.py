"""Faults of the less usual extensions, and of commands that no extension offers."""

from __future__ import annotations

from smtpbench.server.commands import Recipient, Transaction
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


# RFC 4468


@fault("burl-needs-no-recipient", "MISC-10", "MISC-11")
class BurlNeedsNoRecipient(Receiver):
    """BURL is accepted at any time, and thrown away where there is no transaction."""

    def out_of_order(self, verb: Verb) -> Refusal | None:
        return None if verb is Verb.BURL else super().out_of_order(verb)

    def do_burl(self, command: Command) -> None:
        if self.transaction is not None and self.transaction.recipients:
            super().do_burl(command)
        else:
            self.reply(250, "2.0.0", "OK")


@fault("burl-of-nothing-is-accepted", "MISC-10")
class BurlOfNothingIsAccepted(Receiver):
    """A URL that cannot be fetched stands for no octets."""

    def fetch(self, url: bytes) -> bytes | Refusal:
        found = super().fetch(url)
        return found if isinstance(found, bytes) else b""


@fault("burl-after-bdat-is-refused", "MISC-11")
class BurlAfterBdatIsRefused(Receiver):
    """BURL is out of order where a BDAT has come before."""

    def out_of_order(self, verb: Verb) -> Refusal | None:
        if verb is Verb.BURL and self.state is State.CHUNKS:
            return 503, "5.5.1", "Bad sequence of commands"
        return super().out_of_order(verb)


# draft-hall-prdr


@fault("prdr-ends-early", "MISC-37")
class PrdrEndsEarly(Receiver):
    """The replies for each recipient are not followed by one for all."""

    def answer_each(self, results: list[Refusal]) -> None:
        super().answer_each(results)
        self.output.pop()


# RFC 6729


@fault("state-without-a-word", "MISC-19")
class StateWithoutAWord(Receiver):
    """The Received line has a STATE clause with a number for its word."""

    def clauses(self, transaction: Transaction) -> tuple[str, ...]:
        return (*super().clauses(transaction), "STATE 0/1")


# RFC 7504


@fault("greeting-521-takes-mail", "MISC-22", "MISC-23")
class Greeting521TakesMail(Receiver):
    """The greeting is 521, and then the server takes mail like any other."""

    def greeting(self) -> bytes:
        return super().greeting().replace(b"220", b"521", 1)
