"""Faults that a case of the session needs and that belong to no single command."""

from __future__ import annotations

from smtpbench.server.commands import Recipient
from smtpbench.server.faults.registry import fault
from smtpbench.server.receiver import Receiver, Refusal
from smtpbench.wire.grammar import NULL_PATH, Path
from smtpbench.wire.parse import Command, CommandError


@fault("syntax-error-closes", "5321-A-37")
class SyntaxErrorCloses(Receiver):
    """The third command with a syntax error closes the connection after its 501."""

    errors = 0

    def refuse(self, error: CommandError) -> None:
        super().refuse(error)
        self.errors += error.code == 501
        if self.errors == 3:
            self.close()


@fault("no-8bitmime", "5321-A-12", "6531-2")
class No8BitMime(Receiver):
    """8BITMIME is not offered."""

    def offers(self, keyword: str) -> bool:
        return keyword != "8BITMIME" and super().offers(keyword)


@fault("expn-accepts-all", "5321-B-35")
class ExpnAcceptsAll(Receiver):
    """EXPN answers 250 to any name."""

    def do_expn(self, command: Command) -> None:
        self.reply(250, "2.1.5", self.verified("alice"))


@fault("postmaster-refuses-null-sender", "5321-C-17")
class PostmasterRefusesNullSender(Receiver):
    """Mail from the null reverse-path to postmaster is refused."""

    def resolve(self, path: Path) -> Recipient | Refusal:
        notification = self.transaction is not None and self.transaction.sender == NULL_PATH
        if notification and path.local.lower() == b"postmaster":
            return 550, "5.7.1", "No notifications here"
        return super().resolve(path)


@fault("relay-refused-with-501", "5321-C-42")
class RelayRefusedWith501(Receiver):
    """A recipient whom the server does not relay to is answered 501."""

    def resolve(self, path: Path) -> Recipient | Refusal:
        recipient = super().resolve(path)
        foreign = not isinstance(recipient, Recipient) and not self.is_local(path.domain)
        return (501, "5.7.1", "Relaying denied") if foreign else recipient


@fault("recipient-limit-552", "5321-C-39")
class RecipientLimit552(Receiver):
    """One recipient too many is answered 552, as in RFC 821."""

    def do_rcpt(self, command: Command) -> None:
        if self.transaction is not None and len(self.transaction.recipients) >= self.config.max_recipients:
            self.reply(552, "5.5.3", "Too many recipients")
        else:
            super().do_rcpt(command)
