"""Faults of EHLO, HELO, NOOP, RSET, QUIT, VRFY, EXPN and HELP (RFC 5321 §3.5, §4.1.1, §4.1.4)."""

from __future__ import annotations

from smtpbench.server.faults.registry import fault
from smtpbench.server.faults.rewriting import Lenient, Picky
from smtpbench.server.receiver import Receiver, Refusal
from smtpbench.server.store import Copy
from smtpbench.wire.parse import Command, CommandError
from smtpbench.wire.state import State, Verb

_NOT_RECOGNIZED = (500, "5.5.2", "Command not recognized")
_NOT_IMPLEMENTED = (502, "5.5.1", "Command not implemented")
_BAD_SEQUENCE = (503, "5.5.1", "Bad sequence of commands")

# EHLO and HELO


@fault("ehlo-not-recognised", "5321-B-1")
class EhloNotRecognised(Receiver):
    """EHLO is answered 500."""

    def do_ehlo(self, command: Command) -> None:
        self.reply(*_NOT_RECOGNIZED)


@fault("helo-not-recognised", "5321-B-2")
class HeloNotRecognised(Receiver):
    """HELO is answered 500."""

    def do_helo(self, command: Command) -> None:
        self.reply(*_NOT_RECOGNIZED)


@fault("helo-lists-extensions", "5321-B-3")
class HeloListsExtensions(Receiver):
    """HELO is answered with the list of extensions."""

    def do_helo(self, command: Command) -> None:
        self.do_ehlo(command)


@fault("ehlo-without-domain", "5321-B-4")
class EhloWithoutDomain(Receiver):
    """The first line of the EHLO reply begins with no domain."""

    def hello_text(self) -> str:
        return f"-- Hello {self.helo}" if self.extended else super().hello_text()


@fault("ehlo-keyword-malformed", "5321-B-5")
class EhloKeywordMalformed(Receiver):
    """EHLO lists a keyword that is not one (AUTH=LOGIN)."""

    def keywords(self) -> list[str]:
        return [*super().keywords(), "AUTH=LOGIN"]


@fault("ehlo-hides-expn", "5321-B-6", "5321-B-41")
class EhloHidesExpn(Receiver):
    """EXPN works and is not listed."""

    def offers(self, keyword: str) -> bool:
        return keyword != "EXPN" and super().offers(keyword)


@fault("lists-help-but-502", "5321-A-28")
class ListsHelpBut502(Receiver):
    """EHLO lists HELP, and HELP is answered 502."""

    def do_help(self, command: Command) -> None:
        self.reply(*_NOT_IMPLEMENTED)


@fault("ehlo-refuses-address-literal", "5321-B-8")
class EhloRefusesAddressLiteral(Picky):
    """EHLO with an address literal is refused."""

    def objection(self, command: Command) -> str | None:
        literal = command.verb is Verb.EHLO and command.argument.startswith(b"[")
        return "EHLO needs a domain" if literal else None


@fault("ehlo-accepts-untagged-ipv6", "5321-B-9")
class EhloAcceptsUntaggedIpv6(Lenient):
    """EHLO [::1] is accepted."""

    def repair(self, line: bytes) -> bytes:
        return line.replace(b"[", b"[IPv6:", 1) if line[:6].upper() == b"EHLO [" else line


@fault("ehlo-name-must-match", "5321-B-10")
class EhloNameMustMatch(Receiver):
    """MAIL is refused because the EHLO name is not the client's."""

    def check_sender(self, command: Command) -> Refusal | None:
        if self.helo.endswith("client.example.org") or self.helo == self.client:
            return super().check_sender(command)
        return 550, "5.7.1", "The EHLO name is not that of your address"


class _KeepsTransaction(Receiver):
    verb = Verb.EHLO

    def hello(self, command: Command, *, extended: bool) -> None:
        kept = self.transaction, self.state
        super().hello(command, extended=extended)
        if command.verb is self.verb and kept[0] is not None:
            self.transaction, self.state = kept


@fault("second-ehlo-keeps-transaction", "5321-B-11")
class SecondEhloKeepsTransaction(_KeepsTransaction):
    """A second EHLO leaves the transaction as it was."""


@fault("helo-keeps-transaction", "5321-B-14")
class HeloKeepsTransaction(_KeepsTransaction):
    """HELO in a transaction leaves it as it was."""

    verb = Verb.HELO


@fault("later-transaction-ends-at-a-syntax-error", "5321-C-2")
class LaterTransactionEndsAtASyntaxError(Receiver):
    """From the second transaction of a session on, a line that is no command ends the transaction."""

    first_is_over = False

    def end_transaction(self) -> None:
        super().end_transaction()
        self.first_is_over = True

    def refuse(self, error: CommandError) -> None:
        super().refuse(error)
        if self.first_is_over:
            self.forget_transaction()


@fault("second-ehlo-refused", "5321-B-12")
class SecondEhloRefused(Receiver):
    """A second EHLO is answered 503."""

    def out_of_order(self, verb: Verb) -> Refusal | None:
        if verb is Verb.EHLO and self.state is not State.START:
            return _BAD_SEQUENCE
        return super().out_of_order(verb)


@fault("refused-ehlo-resets", "5321-B-13")
class RefusedEhloResets(Receiver):
    """A refused EHLO resets the transaction."""

    def refuse(self, error: CommandError) -> None:
        if error.verb is Verb.EHLO:
            self.forget_transaction()
        super().refuse(error)


@fault("mail-needs-no-ehlo", "5321-B-15")
class MailNeedsNoEhlo(Receiver):
    """MAIL as the first command is accepted."""

    def out_of_order(self, verb: Verb) -> Refusal | None:
        if verb is Verb.MAIL and self.state is State.START:
            self.state = State.READY
        return super().out_of_order(verb)


def _needs_ehlo(verb: Verb, row: str) -> None:
    """Register the fault that answers `verb` before EHLO with 503."""

    class NeedsEhlo(Receiver):
        def out_of_order(self, asked: Verb) -> Refusal | None:
            if asked is verb and self.state is State.START:
                return _BAD_SEQUENCE
            return super().out_of_order(asked)

    NeedsEhlo.__doc__ = f"{verb} before EHLO is answered 503."
    fault(f"{verb.lower()}-needs-ehlo", row)(NeedsEhlo)


_needs_ehlo(Verb.NOOP, "5321-B-16")
_needs_ehlo(Verb.HELP, "5321-B-17")
_needs_ehlo(Verb.VRFY, "5321-B-18")
_needs_ehlo(Verb.EXPN, "5321-B-19")
_needs_ehlo(Verb.RSET, "5321-B-20")

# What clears the transaction and should not


@fault("noop-resets", "5321-B-23")
class NoopResets(Receiver):
    """NOOP clears the transaction."""

    def do_noop(self, command: Command) -> None:
        self.forget_transaction()
        super().do_noop(command)


@fault("vrfy-resets", "5321-B-39")
class VrfyResets(Receiver):
    """VRFY clears the transaction."""

    def do_vrfy(self, command: Command) -> None:
        self.forget_transaction()
        super().do_vrfy(command)


@fault("expn-resets", "5321-B-42")
class ExpnResets(Receiver):
    """EXPN clears the transaction."""

    def do_expn(self, command: Command) -> None:
        self.forget_transaction()
        super().do_expn(command)


@fault("help-resets", "5321-B-44")
class HelpResets(Receiver):
    """HELP clears the transaction."""

    def do_help(self, command: Command) -> None:
        self.forget_transaction()
        super().do_help(command)


# RSET


@fault("rset-not-recognised", "5321-A-30", "5321-B-24")
class RsetNotRecognised(Receiver):
    """RSET is answered 500."""

    def do_rset(self, command: Command) -> None:
        self.reply(*_NOT_RECOGNIZED)


@fault("rset-keeps-transaction", "5321-B-25")
class RsetKeepsTransaction(Receiver):
    """RSET clears nothing."""

    def do_rset(self, command: Command) -> None:
        self.reply(250, "2.0.0", "OK")


@fault("rset-closes", "5321-B-26")
class RsetCloses(Receiver):
    """RSET closes the connection."""

    def do_rset(self, command: Command) -> None:
        super().do_rset(command)
        self.close()


@fault("rset-refused-when-idle", "5321-B-27")
class RsetRefusedWhenIdle(Receiver):
    """RSET outside a transaction is answered 503."""

    def out_of_order(self, verb: Verb) -> Refusal | None:
        if verb is Verb.RSET and self.state is State.READY:
            return _BAD_SEQUENCE
        return super().out_of_order(verb)


# QUIT and the end of the connection


@fault("quit-250", "5321-B-29")
class Quit250(Receiver):
    """QUIT is answered 250."""

    def do_quit(self, command: Command) -> None:
        self.reply(250, "2.0.0", "Bye")
        self.close()


@fault("quit-stays-open", "5321-B-29")
class QuitStaysOpen(Receiver):
    """QUIT does not close the connection."""

    def do_quit(self, command: Command) -> None:
        super().do_quit(command)
        self.action = None


@fault("quit-without-reply", "5321-B-30", "5321-B-29")
class QuitWithoutReply(Receiver):
    """QUIT closes without a reply."""

    def do_quit(self, command: Command) -> None:
        self.close()


@fault("quit-refused-in-transaction", "5321-B-31")
class QuitRefusedInTransaction(Receiver):
    """QUIT in a transaction is answered 503."""

    def out_of_order(self, verb: Verb) -> Refusal | None:
        if verb is Verb.QUIT and self.transaction is not None:
            return _BAD_SEQUENCE
        return super().out_of_order(verb)


@fault("quit-delivers", "5321-B-31")
class QuitDelivers(Receiver):
    """QUIT after RCPT delivers an empty message."""

    left: tuple[Copy, ...] = ()

    def do_quit(self, command: Command) -> None:
        if self.transaction is not None:
            self.left = self.copies(self.transaction, b"".join(self.transaction.content))
        super().do_quit(command)

    def disconnected(self) -> tuple[Copy, ...]:
        return self.left


@fault("disconnect-delivers", "5321-B-32", "5321-B-33")
class DisconnectDelivers(Receiver):
    """A message cut off by a disconnect is delivered."""

    def disconnected(self) -> tuple[Copy, ...]:
        if self.transaction is None or self.action is not None:
            return ()
        return self.copies(self.transaction, b"".join(self.transaction.content))


# VRFY and HELP


@fault("vrfy-not-recognised", "5321-B-34")
class VrfyNotRecognised(Receiver):
    """VRFY is answered 500."""

    def do_vrfy(self, command: Command) -> None:
        self.reply(*_NOT_RECOGNIZED)


@fault("vrfy-accepts-all", "5321-B-35")
class VrfyAcceptsAll(Receiver):
    """VRFY answers 250 to any name."""

    def do_vrfy(self, command: Command) -> None:
        self.reply(250, "2.1.5", self.verified("alice"))


@fault("vrfy-without-mailbox", "5321-B-37")
class VrfyWithoutMailbox(Receiver):
    """A 250 to VRFY names no mailbox."""

    def verified(self, mailbox: str) -> str:
        return "User exists"


@fault("vrfy-source-route", "5321-B-38")
class VrfySourceRoute(Receiver):
    """A 250 to VRFY gives a source route."""

    def verified(self, mailbox: str) -> str:
        return f"<@{self.config.name}:{mailbox}@{self.config.domains[0]}>"


@fault("help-not-implemented", "5321-B-43")
class HelpNotImplemented(Receiver):
    """HELP is not listed and answered 502."""

    def offers(self, keyword: str) -> bool:
        return keyword != "HELP" and super().offers(keyword)

    def do_help(self, command: Command) -> None:
        self.reply(*_NOT_IMPLEMENTED)
