"""LIMITS: what is announced is kept (RFC 9422)."""

from __future__ import annotations

from smtpbench.server.extensions.hooks import Hooks
from smtpbench.wire.parse import Command
from smtpbench.wire.state import Verb


class Limits(Hooks):
    """RCPTMAX is the limit that there is anyhow; MAILMAX counts every MAIL, whatever becomes of it."""

    mails = 0

    def keyword_value(self, keyword: str) -> str:
        """§4: the limits by name."""
        if keyword != "LIMITS":
            return super().keyword_value(keyword)
        most = self.config.max_transactions
        return f" RCPTMAX={self.config.max_recipients}" + (f" MAILMAX={most}" if most is not None else "")

    def too_many_mails(self, most: int) -> bool:
        """Whether the MAIL at hand is beyond the limit."""
        return self.mails > most

    def perform(self, command: Command) -> None:
        """§4.1: a MAIL too many is refused."""
        most = self.config.max_transactions
        if command.verb is Verb.MAIL and most is not None:
            self.mails += 1
            if self.too_many_mails(most):
                self.reply(452, "4.5.3", "Too many transactions in this session")
                return
        super().perform(command)
