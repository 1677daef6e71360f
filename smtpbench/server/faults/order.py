"""Faults of what is said when: replies that nobody asked for, and codes of another command (§4.2, §4.3)."""

from __future__ import annotations

from smtpbench.server.faults.registry import fault
from smtpbench.server.receiver import ACCEPTED, Receiver
from smtpbench.wire.parse import Command


@fault("noop-252", "5321-A-29")
class Noop252(Receiver):
    """NOOP is answered 252, which is a code of VRFY."""

    def do_noop(self, command: Command) -> None:
        self.reply(252, "2.0.0", "OK")


@fault("stray-octets-after-quit", "5321-A-20")
class StrayOctetsAfterReply(Receiver):
    """Octets that are no reply follow the one to QUIT."""

    def do_quit(self, command: Command) -> None:
        super().do_quit(command)
        self.output.append(b"(none)")


@fault("replies-before-the-end-of-data", "5321-A-20", "5321-D-26")
class RepliesBeforeTheEndOfData(Receiver):
    """In SMTP a message is answered as soon as its first line is there, and again at its end."""

    def begin_content(self) -> None:
        super().begin_content()
        self.answered = False

    def on_content(self, data: bytes) -> None:
        super().on_content(data)
        if self.content_receiver is not None and not self.answered and not self.lmtp:
            self.answered = True
            self.reply(*ACCEPTED)
