"""What a sink takes, written down: a file of arrivals that the ledger can read, and a Maildir to look into.

A line of the file is one message in JSON:

    {"id": "1f0c…-000000001", "at_ns": …, "monotonic_ns": …, "session": 1, "ordinal": 1, "sender": "…",
     "recipients": ["…"], "octets": 1024, "digest": "…", "decoded": "…", "spliced": false}

`id` is empty for a message that is none of ours; the digests are those of `fingerprint.py`, in hex. A line is
with the system before its message is acknowledged, so it outlives the sink; it is not synced to the disk.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO

from smtpbench.delivery.arrival import Arrival, read_arrival
from smtpbench.errors import UsageError
from smtpbench.server.sink_receiver import Taken
from smtpbench.server.store import Copy, MaildirStore

KEPT_DIGESTS = 10_000  # contents whose decoded form is known


class Arrivals:
    """Makes an `Arrival` of each message. A body that was seen before is not decoded again."""

    def __init__(self) -> None:
        self._decoded: dict[bytes, bytes] = {}

    def of(self, message: Taken) -> Arrival:
        """The arrival that a message is."""
        arrival = read_arrival(
            message.content,
            message.at_ns,
            sender=message.sender.decode("utf-8", "replace"),
            recipients=tuple(address.decode("utf-8", "replace") for address in message.recipients),
            session=message.session,
            known=self._decoded,
        )
        if arrival.decoded:
            if len(self._decoded) >= KEPT_DIGESTS:
                self._decoded.clear()
            self._decoded[arrival.digest] = arrival.decoded
            return arrival
        return replace(arrival, decoded=self._decoded[arrival.digest])


class RecordFile:
    """The file; a consumer of a sink. Raises UsageError if it cannot be made, OSError if it cannot grow."""

    def __init__(self, path: Path) -> None:
        self._arrivals = Arrivals()
        try:
            self._file: IO[bytes] = path.open("wb", buffering=0)
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}") from None

    def __call__(self, batch: Sequence[Taken]) -> None:
        """Write down `batch`, in one call of the system."""
        octets = b"".join([_line(message, self._arrivals.of(message)) for message in batch])
        while octets:  # a disk that is nearly full takes a part
            octets = octets[os.write(self._file.fileno(), octets) :]

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _line(message: Taken, arrival: Arrival) -> bytes:
    plain = {
        "id": arrival.identifier.decode(),
        "at_ns": message.at_ns,
        "monotonic_ns": message.monotonic_ns,
        "session": message.session,
        "ordinal": message.ordinal,
        "sender": arrival.sender,
        "recipients": arrival.recipients,
        "octets": len(message.content),
        "digest": arrival.digest.hex(),
        "decoded": arrival.decoded.hex(),
        "spliced": arrival.spliced,
    }
    return json.dumps(plain, separators=(",", ":")).encode() + b"\n"


def read_record(path: Path) -> Iterator[Arrival]:
    """The arrivals in a file, in order. A last line that is not whole is left out: the sink was killed.

    Raises UsageError for a file that cannot be read or that is none.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.endswith(b"\n"):
                    yield _arrival(line, f"{path}: line {number}")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None


def _arrival(line: bytes, where: str) -> Arrival:
    try:
        plain = json.loads(line)
        return Arrival(
            identifier=plain["id"].encode(),
            at_ns=int(plain["at_ns"]),
            sender=plain["sender"],
            recipients=tuple(plain["recipients"]),
            digest=bytes.fromhex(plain["digest"]),
            decoded=bytes.fromhex(plain["decoded"]),
            spliced=bool(plain["spliced"]),
            session=int(plain["session"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(f"{where}: no record of a sink") from None


class KeepingMaildir:
    """Writes each message to a Maildir, as it came, below its envelope; a consumer of a sink."""

    def __init__(self, path: Path) -> None:
        self._store = MaildirStore(path.parent, sync=False)
        self._name = path.name
        try:
            (path / "new").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}") from None

    def __call__(self, batch: Sequence[Taken]) -> None:
        """Write `batch`. Raises OSError where the file system refuses."""
        for message in batch:
            head = b"Return-Path: <%s>\r\n" % message.sender
            head += b"".join(b"Delivered-To: %s\r\n" % address for address in message.recipients)
            copy = Copy(self._name, message.sender, message.recipients, head + message.content)
            if self._store.deliver([copy]) != [True]:
                raise OSError(f"{self._store.root / self._name}: a message could not be written")
