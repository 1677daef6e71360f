"""Faults of a queue that is on disk too late, or not for sure: a crash shows the one, system calls show both.

No conformance case names them; `smtpbench crash` has to find each.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from smtpbench.server.faults.registry import fault
from smtpbench.server.outbound import Outbound
from smtpbench.server.relay import Relay
from smtpbench.server.spool import Spool


@fault("queue-stores-after-the-250", "5321-D-29")
class StoresLate(Relay):
    """A message is acknowledged when it is in memory, and stored and sent on a moment later."""

    late: ClassVar[float] = 0.5  # seconds

    def accept(self, message: Outbound) -> bool:
        self._loop.call_soon_threadsafe(self._loop.call_later, self.late, super().accept, message)
        return True


@fault("queue-does-not-sync", "5321-D-29")
class DoesNotSync(Relay):
    """A message is stored before it is acknowledged, and neither its file nor the folder is synced."""

    def open_spool(self, folder: Path) -> Spool:
        return Spool(folder, sync=False)
