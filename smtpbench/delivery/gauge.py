"""What an engine is in the middle of, told to other processes while it happens: two numbers in a file.

    RUN.gauge   sessions that are open, and messages whose content is out and not answered; 8 octets each

Written by the engine's thread through a shared mapping, without a system call; read by whoever looks on, who
may see it an instant late.
"""

from __future__ import annotations

import mmap
import os
import struct
from dataclasses import dataclass
from pathlib import Path

from smtpbench.errors import UsageError

_FORM = struct.Struct("<qq")


class Gauge:
    """Writes the gauge of `run` into `folder`. `change` takes what is added to each number."""

    def __init__(self, folder: Path, run: bytes) -> None:
        path = folder / f"{run.decode()}.gauge"
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise UsageError(f"{path}: cannot be written: {error.strerror}") from None
        try:
            os.ftruncate(file, _FORM.size)
            self._map = mmap.mmap(file, _FORM.size)
        finally:
            os.close(file)
        self._sessions = self._unanswered = 0

    def change(self, sessions: int, unanswered: int) -> None:
        """Add."""
        self._sessions += sessions
        self._unanswered += unanswered
        _FORM.pack_into(self._map, 0, self._sessions, self._unanswered)

    def close(self) -> None:
        """Nothing is open any more."""
        _FORM.pack_into(self._map, 0, 0, 0)
        self._map.close()


@dataclass(frozen=True, slots=True)
class Reading:
    """Sessions open, and messages whose content was sent and that have no reply yet, over all engines."""

    sessions: int = 0
    unanswered: int = 0


def read_gauges(folder: Path) -> Reading:
    """The sum of the gauges in `folder`."""
    sessions = unanswered = 0
    for path in folder.glob("*.gauge"):
        octets = path.read_bytes()
        if len(octets) == _FORM.size:  # else it is being made
            one = _FORM.unpack(octets)
            sessions, unanswered = sessions + one[0], unanswered + one[1]
    return Reading(sessions, unanswered)
