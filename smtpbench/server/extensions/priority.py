"""MT-PRIORITY (RFC 6710)."""

from __future__ import annotations

from smtpbench.server.commands import Transaction
from smtpbench.server.extensions.hooks import Hooks

POLICY = "MIXER"  # RFC 6710 §9.2 and appendix A: the default policy


class MtPriority(Hooks):
    """The priority is granted to users and recorded; others may only lower it."""

    def keyword_value(self, keyword: str) -> str:
        """The name of the policy."""
        return f" {POLICY}" if keyword == "MT-PRIORITY" else super().keyword_value(keyword)

    def asked(self, transaction: Transaction) -> int | None:
        """The priority that the client wants."""
        value = transaction.parameters.get("MT-PRIORITY")
        return None if value is None else int(value)

    def granted(self, asked: int) -> int:
        """§4.1: no positive priority for a client that we do not know."""
        return asked if self.authenticated is not None else min(asked, 0)

    def mail_accepted(self, transaction: Transaction) -> None:
        """§4.1: a priority that was changed is named."""
        asked = self.asked(transaction)
        if asked is not None and self.granted(asked) != asked:
            self.reply(250, "2.3.6", f"{self.granted(asked)} is the new priority: only users may raise it")
        else:
            super().mail_accepted(transaction)

    def clauses(self, transaction: Transaction) -> tuple[str, ...]:
        """§4.1(2)."""
        asked = self.asked(transaction)
        granted = () if asked is None else (f"PRIORITY {self.granted(asked)}",)
        return (*granted, *super().clauses(transaction))
