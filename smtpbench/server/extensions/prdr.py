"""PRDR, replies for each recipient after the content (draft-hall-prdr)."""

from __future__ import annotations

from smtpbench.server.commands import Refusal, Transaction
from smtpbench.server.extensions.hooks import Hooks


class Prdr(Hooks):
    """Where the client asked for it, and there is more than one recipient to speak of."""

    def answers_each(self, transaction: Transaction) -> bool:
        """One recipient has its reply anyhow."""
        return "PRDR" in transaction.parameters and len(transaction.recipients) > 1

    def answer_each(self, results: list[Refusal]) -> None:
        """353, a reply for each recipient, and one for all."""
        self.reply(353, "", "Content analysis has started")
        for result in results:
            self.reply(*result)
        accepted = [result for result in results if result[0] < 400]
        self.reply(*(accepted or results)[0])
