"""Extensions that refuse an address: RRVS (RFC 7293) and the null MX (RFC 7505)."""

from __future__ import annotations

from smtpbench.server.commands import Recipient, Refusal
from smtpbench.server.extensions.hooks import Hooks
from smtpbench.wire.grammar import Path
from smtpbench.wire.parameters import parse_rrvs
from smtpbench.wire.parse import Command


class Rrvs(Hooks):
    """A mailbox that has changed hands since the client knew its owner is refused."""

    def check_rcpt(self, command: Command, recipient: Recipient) -> Refusal | None:
        """RFC 7293 §5: only where we know since when the mailbox has had its owner."""
        wanted = parse_rrvs(command.parameters.get("RRVS") or "")
        since = self.config.owners_since.get(recipient.mailbox)
        if wanted is not None and since is not None and since > wanted[0]:
            return 550, "5.7.17", "Mailbox owner has changed"
        return super().check_rcpt(command, recipient)


class NullMx(Hooks):
    """A domain that says it takes no mail gets none, and sends none that could be answered."""

    def has_null_mx(self, path: Path | None) -> bool:
        """Whether the domain of `path` has declared that."""
        return path is not None and path.domain.decode("utf-8", "replace").lower() in self.config.null_mx

    def check_mail(self, command: Command) -> Refusal | None:
        """RFC 7505 §4.2."""
        if self.has_null_mx(command.path):
            return 550, "5.7.27", "The sender's domain takes no mail"
        return super().check_mail(command)

    def check_rcpt(self, command: Command, recipient: Recipient) -> Refusal | None:
        """RFC 7505 §4.1."""
        if self.has_null_mx(command.path):
            return 556, "5.1.10", "The recipient's domain takes no mail"
        return super().check_rcpt(command, recipient)
