"""ETRN, remote queue processing (RFC 1985)."""

from __future__ import annotations

from smtpbench.server.extensions.hooks import Hooks
from smtpbench.wire.parse import Command


class Etrn(Hooks):
    """We keep no mail for others, so there is never any to start."""

    def do_etrn(self, command: Command) -> None:
        """§5.1: nothing is waiting for a domain of ours, others are not allowed, queues have no names."""
        node = command.argument.decode("utf-8", "replace")
        if node.startswith("#"):
            self.reply(458, "4.3.0", f"Unable to queue messages for node {node}")
        elif self.is_local(node.removeprefix("@").encode()):
            self.reply(251, "2.0.0", f"OK, no messages waiting for node {node}")
        else:
            self.reply(459, "4.7.1", f"Node {node} not allowed: not a domain of ours")
