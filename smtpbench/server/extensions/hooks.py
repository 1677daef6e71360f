"""Where an extension can have its say in a session; the default of each hook is silence.

An extension is a mixin of `Hooks` that overrides some of them and calls `super()` for the others'
sake. What a keyword brings (commands, parameters, roles) is in the tables of `brings.py` and `config.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from smtpbench.server.commands import Recipient, Refusal, SessionCommands, Transaction
from smtpbench.wire.parse import Command


class Hooks(SessionCommands):
    """The moments of a transaction at which the receiver asks its extensions."""

    _now: Callable[[], datetime]

    def check_mail(self, command: Command) -> Refusal | None:
        """Why a MAIL with parameters of good form is refused, if it is."""
        return None

    def mail_accepted(self, transaction: Transaction) -> None:
        """Answer a MAIL that is accepted."""
        self.reply(250, "2.1.0", "Sender OK")

    def check_rcpt(self, command: Command, recipient: Recipient) -> Refusal | None:
        """Why a RCPT for a recipient that we would take is refused, if it is."""
        return None

    def hold(self, transaction: Transaction) -> float:
        """Seconds for which the message is kept before it is delivered."""
        return 0.0

    def clauses(self, transaction: Transaction) -> tuple[str, ...]:
        """Additional clauses of the Received line."""
        return ()

    def answers_each(self, transaction: Transaction) -> bool:
        """Whether the end of data has replies for each recipient although this is not LMTP."""
        return False

    def answer_each(self, results: list[Refusal]) -> None:
        """Give these replies; only asked where `answers_each` said so."""
        raise NotImplementedError
