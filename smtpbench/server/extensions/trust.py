"""What depends on who the client is and how it is connected: REQUIRETLS (RFC 8689), XCLIENT, XFORWARD."""

from __future__ import annotations

from smtpbench.server.extensions.hooks import Hooks
from smtpbench.wire.parse import Command


class RequireTls(Hooks):
    """REQUIRETLS is on offer inside TLS only; keeping it when the message goes on is the relay's part."""

    def offers(self, keyword: str) -> bool:
        """RFC 8689 §2: after STARTTLS."""
        return self.tls_active if keyword == "REQUIRETLS" else super().offers(keyword)


class Xclient(Hooks):
    """Nobody is trusted to say who somebody else is, and so neither command is on offer."""

    def do_xclient(self, command: Command) -> None:
        """Refused."""
        self.reply(550, "5.7.0", "Not authorized")

    def do_xforward(self, command: Command) -> None:
        """Refused."""
        self.do_xclient(command)
