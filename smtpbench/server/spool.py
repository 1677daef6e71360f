"""The queue of the reference server on disk: one file for each message that is to be sent on.

A file is written beside its place, fsynced and moved there, and the folder is fsynced, all before the 250:
what was accepted outlives the process, and a loss of power. It is removed when the message is settled for
every recipient, so one that was settled just before a crash is sent once more.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from smtpbench.server.outbound import Outbound
from smtpbench.server.store import fsync_folder


class Spool:
    """The files in `folder`, which is made if need be. `sync`: fsync, as a server has to."""

    def __init__(self, folder: Path, *, sync: bool = True) -> None:
        self._folder = folder
        self._sync = sync
        folder.mkdir(parents=True, exist_ok=True)

    def keep(self, message: Outbound) -> str:
        """Write `message` to a file; its name. Raises OSError."""
        name = secrets.token_hex(12)
        temporary = self._folder / f"{name}.tmp"
        try:
            with temporary.open("wb") as file:
                file.write(json.dumps(_plain(message)).encode() + b"\n" + message.content)
                file.flush()
                if self._sync:
                    os.fsync(file.fileno())
            temporary.rename(self._folder / name)
        except OSError:
            with suppress(OSError):
                temporary.unlink()
            raise
        if self._sync:
            fsync_folder(self._folder)
        return name

    def forget(self, name: str) -> None:
        """The message is settled."""
        (self._folder / name).unlink(missing_ok=True)

    def load(self) -> list[tuple[str, Outbound]]:
        """What a process before this one left; a file that was not finished was never acknowledged."""
        found = []
        for path in sorted(self._folder.iterdir()):
            if path.suffix == ".tmp":
                path.unlink()
            else:
                found.append((path.name, _read(path.read_bytes())))
        return found


def _plain(message: Outbound) -> dict[str, Any]:
    return {
        "mailbox": message.mailbox, "sender": _text(message.sender),
        "recipients": [_text(one) for one in message.recipients],
        "mail": dict(message.mail), "rcpt": [dict(one) for one in message.rcpt],
        "arrival": message.arrival.isoformat(),
    }  # fmt: skip


def _read(octets: bytes) -> Outbound:
    head, _, content = octets.partition(b"\n")
    plain = json.loads(head)
    return Outbound(
        plain["mailbox"], _octets(plain["sender"]), tuple(map(_octets, plain["recipients"])), content,
        plain["mail"], tuple(plain["rcpt"]), datetime.fromisoformat(plain["arrival"]),
    )  # fmt: skip


def _text(octets: bytes) -> str:
    return base64.b64encode(octets).decode("ascii")


def _octets(text: str) -> bytes:
    return base64.b64decode(text)
