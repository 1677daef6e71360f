"""Faults that a case of the session needs and that belong to no single command."""

from __future__ import annotations

from smtpbench.server.faults.registry import fault
from smtpbench.server.receiver import Receiver
from smtpbench.wire.parse import CommandError


@fault("syntax-error-closes", "5321-A-37")
class SyntaxErrorCloses(Receiver):
    """A command with a syntax error closes the connection after its 501."""

    def refuse(self, error: CommandError) -> None:
        super().refuse(error)
        if error.code == 501:
            self.close()


@fault("no-8bitmime", "5321-A-12")
class No8BitMime(Receiver):
    """8BITMIME is not offered."""

    def offers(self, keyword: str) -> bool:
        return keyword != "8BITMIME" and super().offers(keyword)
