"""Faults of the transaction: order of commands, mailboxes, limits, what is kept and what is cleared."""

from __future__ import annotations

import dataclasses

from smtpbench.server.commands import Recipient, Transaction
from smtpbench.server.config import ServerConfig
from smtpbench.server.faults.registry import fault
from smtpbench.server.receiver import Receiver, Refusal
from smtpbench.server.store import Copy
from smtpbench.wire.grammar import NULL_PATH, Path
from smtpbench.wire.parse import Command, CommandError
from smtpbench.wire.state import State, Verb

# Order (§4.1.4)


@fault("rcpt-needs-no-mail", "5321-C-1")
class RcptNeedsNoMail(Receiver):
    """RCPT is accepted before the session's first MAIL."""

    mailed = False

    def do_mail(self, command: Command) -> None:
        self.mailed = True
        super().do_mail(command)

    def out_of_order(self, verb: Verb) -> Refusal | None:
        if verb is Verb.RCPT and self.state is State.READY and not self.mailed:
            self.transaction = Transaction(NULL_PATH)
            self.state = State.MAIL
        return super().out_of_order(verb)


@fault("early-rcpt-locks-session", "5321-C-2")
class EarlyRcptLocksSession(Receiver):
    """After a RCPT out of order every MAIL is refused."""

    locked = False

    def out_of_order(self, verb: Verb) -> Refusal | None:
        refusal = super().out_of_order(verb)
        if verb is Verb.RCPT and refusal:
            self.locked = True
        if verb is Verb.MAIL and self.locked:
            return 503, "5.5.1", "Bad sequence of commands"
        return refusal


@fault("bad-mail-starts-transaction", "5321-C-3")
class BadMailStartsTransaction(Receiver):
    """A MAIL that is refused with 501 starts a transaction."""

    def refuse(self, error: CommandError) -> None:
        if error.verb is Verb.MAIL and error.code == 501 and self.state is State.READY:
            self.transaction = Transaction(NULL_PATH)
            self.state = State.MAIL
        super().refuse(error)


@fault("nested-mail-merges", "5321-C-4", "5321-C-5")
class NestedMailMerges(Receiver):
    """A second MAIL is accepted and the recipients are kept."""

    def out_of_order(self, verb: Verb) -> Refusal | None:
        nested = verb is Verb.MAIL and self.state in (State.MAIL, State.RCPT)
        return None if nested else super().out_of_order(verb)

    def do_mail(self, command: Command) -> None:
        kept = self.transaction.recipients if self.transaction else []
        super().do_mail(command)
        if self.transaction is not None:
            self.transaction.recipients = kept


@fault("one-transaction-only", "5321-C-50")
class OneTransactionOnly(Receiver):
    """A second transaction in a session is refused."""

    done = False

    def end_transaction(self) -> None:
        self.done = True
        super().end_transaction()

    def check_sender(self, command: Command) -> Refusal | None:
        if self.done:
            return 554, "5.5.0", "One message for each session, please"
        return super().check_sender(command)


@fault("transaction-kept-after-data", "5321-C-51", "5321-D-27")
class TransactionKeptAfterData(Receiver):
    """The transaction goes on after the end of data."""

    def end_transaction(self) -> None:
        kept = self.transaction
        super().end_transaction()
        if kept is not None:
            self.transaction = dataclasses.replace(kept, content=[], size=0)
            self.state = State.RCPT


# Senders and mailboxes


@fault("null-sender-refused", "5321-C-13")
class NullSenderRefused(Receiver):
    """MAIL FROM:<> is refused."""

    def check_sender(self, command: Command) -> Refusal | None:
        if command.path == NULL_PATH:
            return 550, "5.1.7", "Who are you?"
        return super().check_sender(command)


@fault("local-part-case-lowered", "5321-A-8")
class LocalPartCaseLowered(Receiver):
    """The local-part is delivered in lower case."""

    def address_of(self, path: Path) -> bytes:
        local, at, domain = super().address_of(path).rpartition(b"@")
        return local.lower() + at + domain


@fault("domain-case-sensitive", "5321-A-9")
class DomainCaseSensitive(Receiver):
    """The domain of a recipient is compared with its case."""

    def is_local(self, domain: bytes) -> bool:
        return domain == domain.lower() and super().is_local(domain)


@fault("bare-postmaster-refused", "5321-C-15")
class BarePostmasterRefused(Receiver):
    """RCPT TO:<Postmaster> is refused."""

    def resolve(self, path: Path) -> Recipient | Refusal:
        return super().resolve(path) if path.domain else (550, "5.1.3", "A domain is needed")


@fault("postmaster-case-sensitive", "5321-C-15", "5321-C-16")
class PostmasterCaseSensitive(Receiver):
    """Only lower-case postmaster is known."""

    def mailbox_of(self, path: Path) -> str | None:
        other_case = path.local != b"postmaster" and path.local.lower() == b"postmaster"
        return None if other_case else super().mailbox_of(path)


@fault("postmaster-unknown", "5321-C-16")
class PostmasterUnknown(Receiver):
    """postmaster@ a local domain is refused."""

    def mailbox_of(self, path: Path) -> str | None:
        hit = bool(path.domain) and path.local.lower() == b"postmaster"
        return None if hit else super().mailbox_of(path)


@fault("source-route-kept", "5321-C-19")
class SourceRouteKept(Receiver):
    """A source route is kept in the delivered envelope."""

    def address_of(self, path: Path) -> bytes:
        route = b",".join(b"@" + hop for hop in path.route)
        return (route + b":" if route else b"") + super().address_of(path)


@fault("quoted-forms-differ", "5321-C-23")
class QuotedFormsDiffer(Receiver):
    """A mailbox is not found by the quoted form of its name."""

    def mailbox_of(self, path: Path) -> str | None:
        return None if path.local.startswith(b'"') else super().mailbox_of(path)


@fault("unknown-recipient-accepted", "5321-C-41")
class UnknownRecipientAccepted(Receiver):
    """A recipient who does not exist is accepted, and the message for it is lost."""

    def copies(self, transaction: Transaction, content: bytes) -> tuple[Copy, ...]:
        return tuple(copy for copy in super().copies(transaction, content) if copy.mailbox != "unknown")

    def resolve(self, path: Path) -> Recipient | Refusal:
        recipient = super().resolve(path)
        if not isinstance(recipient, Recipient) and self.is_local(path.domain):
            return Recipient(path, self.address_of(path), "unknown")
        return recipient


@fault("open-relay", "5321-C-42")
class OpenRelay(Receiver):
    """Any recipient of any domain is accepted."""

    def may_relay(self) -> bool:
        return True


@fault("failed-rcpt-poisons", "5321-C-48")
class FailedRcptPoisons(Receiver):
    """One refused recipient makes DATA fail."""

    poisoned = False

    def do_mail(self, command: Command) -> None:
        self.poisoned = False
        super().do_mail(command)

    def resolve(self, path: Path) -> Recipient | Refusal:
        recipient = super().resolve(path)
        self.poisoned = self.poisoned or not isinstance(recipient, Recipient)
        return recipient

    def do_data(self, command: Command) -> None:
        if self.poisoned:
            self.reply(554, "5.5.1", "A recipient was refused")
        else:
            super().do_data(command)


@fault("duplicate-recipient-refused", "5321-C-49")
class DuplicateRecipientRefused(Receiver):
    """The same recipient twice is refused."""

    def add_recipient(self, recipient: Recipient) -> None:
        known = self.transaction.recipients if self.transaction else []
        if any(other.address == recipient.address for other in known):
            self.reply(550, "5.1.0", "Recipient named already")
        else:
            super().add_recipient(recipient)


# Limits (§4.5.3.1.8, §4.5.3.1.10)


@fault("recipient-limit-10", "5321-C-37")
class RecipientLimit10(Receiver):
    """The 11th recipient is refused."""

    def configure(self, config: ServerConfig) -> ServerConfig:
        return dataclasses.replace(super().configure(config), max_recipients=10)


class _Beyond120(Receiver):
    def do_rcpt(self, command: Command) -> None:
        if self.transaction is not None and len(self.transaction.recipients) >= 120:
            self.beyond(self.transaction)
        else:
            super().do_rcpt(command)

    def beyond(self, transaction: Transaction) -> None:
        """Answer one RCPT too many."""
        raise NotImplementedError


@fault("recipient-limit-drops-all", "5321-C-38")
class RecipientLimitDropsAll(_Beyond120):
    """After a recipient too many, those accepted before get nothing, without a word about it."""

    dropped = False

    def beyond(self, transaction: Transaction) -> None:
        self.dropped = True
        self.reply(452, "4.5.3", "Too many recipients")

    def copies(self, transaction: Transaction, content: bytes) -> tuple[Copy, ...]:
        return () if self.dropped else super().copies(transaction, content)


@fault("recipient-limit-550", "5321-C-39")
class RecipientLimit550(_Beyond120):
    """Beyond 120 recipients the reply is 550."""

    def beyond(self, transaction: Transaction) -> None:
        self.reply(550, "5.5.3", "Too many recipients")
