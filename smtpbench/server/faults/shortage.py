"""Faults of a server that runs short of something: only a shortage shows them.

No conformance case names them; `smtpbench crash --fault …` has to find each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from smtpbench.server.commands import Recipient
from smtpbench.server.config import ServerConfig
from smtpbench.server.dialogue import Wait
from smtpbench.server.faults.registry import fault
from smtpbench.server.receiver import ACCEPTED, Receiver, Refusal
from smtpbench.server.store import Copy

FOR_GOOD = 86_400.0  # seconds
CROWD = 60  # sessions at once


@fault("storage-full-552", "1870-3")
class Full552(Receiver):
    """A message that cannot be stored for the time being is refused for good."""

    def result(self, recipient: Recipient, stored: bool) -> Refusal:
        return super().result(recipient, stored) if stored else (552, "5.2.2", "Storage exceeded")


@fault("storage-full-accepts", "5321-D-29")
class FullAccepts(Receiver):
    """A message that cannot be stored is accepted all the same."""

    def result(self, recipient: Recipient, stored: bool) -> Refusal:
        return ACCEPTED


@fault("shortage-for-good", "5321-D-55")
class ForGood(Receiver):
    """Once a message could not be stored, every client is told 421, whether there is room again or not."""

    broken: ClassVar[bool] = False

    def delivered(self, outcome: Sequence[bool]) -> bytes:
        if not all(outcome):
            type(self).broken = True
        return super().delivered(outcome)

    def greeting(self) -> bytes:
        return self.shut_down() if self.broken else super().greeting()


@fault("crowd-blocks-for-good", "5321-D-55")
class CrowdBlocks(Receiver):
    """Once sixty sessions were open at a time, nobody is greeted any more, even when they have gone."""

    open: ClassVar[int] = 0
    blocked: ClassVar[bool] = False

    def __init__(self, config: ServerConfig, **session: Any) -> None:
        super().__init__(config, **session)
        kind = type(self)
        kind.open += 1
        kind.blocked = kind.blocked or kind.open >= CROWD

    def greeting(self) -> bytes:
        if not self.blocked:
            return super().greeting()
        self.action = Wait(FOR_GOOD)
        return b""

    def disconnected(self) -> tuple[Copy, ...]:
        type(self).open -= 1
        return super().disconnected()
