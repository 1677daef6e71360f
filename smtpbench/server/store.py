"""Where accepted messages go: memory, or Maildirs whose files are on disk before the 250."""

from __future__ import annotations

import itertools
import os
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol

RELAYED = "relayed"  # the mailbox of messages that are not for a domain of ours


@dataclass(frozen=True, slots=True)
class Copy:
    """One message for one mailbox.

    `sender` and `recipients` are the envelope as octets without brackets; `content` is exactly what is
    stored, trace header and CRLF line ends included.
    """

    mailbox: str
    sender: bytes
    recipients: tuple[bytes, ...]
    content: bytes


class Store(Protocol):
    """Takes copies and says of each whether it is safe now. `blocking`: call it from a thread."""

    blocking: ClassVar[bool]

    def deliver(self, copies: Sequence[Copy]) -> list[bool]:
        """Store `copies`; the answer has one value each, in order."""


@dataclass
class MemoryStore:
    """Keeps what was delivered in `messages`, in order."""

    blocking: ClassVar[bool] = False
    messages: list[Copy] = field(default_factory=list)

    def deliver(self, copies: Sequence[Copy]) -> list[bool]:
        """Append `copies`."""
        self.messages.extend(copies)
        return [True] * len(copies)


class NullStore:
    """Takes every message and keeps none: for load without a mailbox to fill."""

    blocking: ClassVar[bool] = False

    def deliver(self, copies: Sequence[Copy]) -> list[bool]:
        """Say yes."""
        return [True] * len(copies)


class MaildirStore:
    """One Maildir for each mailbox below `root`. Octets are written as they are, CRLF included.

    A file is written in ``tmp``, fsynced, moved to ``new``, and ``new`` is fsynced, so that a reply of
    250 is safe against a loss of power (unless `sync` is False). A message that cannot be stored leaves
    nothing behind.
    """

    blocking: ClassVar[bool] = True

    def __init__(self, root: Path, *, sync: bool = True) -> None:
        self.root = root
        self._sync = sync
        self._serial = itertools.count()

    def deliver(self, copies: Sequence[Copy]) -> list[bool]:
        """Write each copy; False for one that the file system refused."""
        return [self._deliver_one(copy) for copy in copies]

    def _deliver_one(self, copy: Copy) -> bool:
        maildir = self.root / copy.mailbox
        unique = f"{time.time_ns()}.P{os.getpid()}Q{next(self._serial)}.{socket.gethostname()}"
        temporary = maildir / "tmp" / unique
        try:
            for folder in ("tmp", "new", "cur"):
                (maildir / folder).mkdir(parents=True, exist_ok=True)
            with temporary.open("xb") as file:
                file.write(copy.content)
                file.flush()
                if self._sync:
                    os.fsync(file.fileno())
            temporary.rename(maildir / "new" / unique)
            if self._sync:
                fsync_folder(maildir / "new")
        except OSError:
            with suppress(OSError):
                temporary.unlink()
            return False
        return True


def fsync_folder(path: Path) -> None:
    """Its entries are on disk when this returns."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
