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
from functools import lru_cache
from pathlib import Path
from typing import IO

from smtpbench.delivery.arrival import Arrival, identify
from smtpbench.delivery.fingerprint import MASK, decoded_digest, digest
from smtpbench.errors import UsageError
from smtpbench.server.sink_receiver import Taken
from smtpbench.server.store import Copy, MaildirStore

KEPT_BODIES = 4_096  # bodies whose digests are known …
LONGEST_KEPT = 16_384  # … with the octets of the longest
KEPT_ENVELOPES = 8_192
_LINE = b'{"id":"%s","at_ns":%d,"monotonic_ns":%d,"session":%d,"ordinal":%d,%s,"octets":%d,%s,"spliced":%s}\n'


class Lines:
    """Makes the line of each message. What many messages share, body or envelope, is worked out once.

    A body is known by its octets, with the identifier masked as its digest has it, and one that was seen
    before is neither hashed nor decoded again.
    """

    def __init__(self) -> None:
        self._bodies: dict[bytes, bytes] = {}

    def of(self, message: Taken) -> bytes:
        """The line about a message."""
        content = message.content
        identifier, spliced, body = identify(content)
        masked = body.replace(identifier, MASK) if identifier else body
        digests = self._bodies.get(masked)
        if digests is None:
            digests = self._digests(content, identifier, body, masked)
        return _LINE % (
            identifier, message.at_ns, message.monotonic_ns, message.session, message.ordinal,
            _envelope(message.sender, message.recipients), len(content), digests,
            b"true" if spliced else b"false",
        )  # fmt: skip

    def _digests(self, content: bytes, identifier: bytes, body: bytes, masked: bytes) -> bytes:
        exact, decoded = digest(body, identifier), decoded_digest(content, identifier)
        digests = b'"digest":"%s","decoded":"%s"' % (exact.hex().encode(), decoded.hex().encode())
        if len(masked) <= LONGEST_KEPT:
            if len(self._bodies) >= KEPT_BODIES:
                self._bodies.clear()
            self._bodies[masked] = digests
        return digests


@lru_cache(KEPT_ENVELOPES)
def _envelope(sender: bytes, recipients: tuple[bytes, ...]) -> bytes:
    said = {
        "sender": sender.decode("utf-8", "replace"),
        "recipients": [address.decode("utf-8", "replace") for address in recipients],
    }
    return json.dumps(said, separators=(",", ":")).encode()[1:-1]


class RecordFile:
    """The file; a consumer of a sink. Raises UsageError if it cannot be made, OSError if it cannot grow."""

    def __init__(self, path: Path) -> None:
        self._lines = Lines()
        try:
            self._file: IO[bytes] = path.open("wb", buffering=0)
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}") from None

    def __call__(self, batch: Sequence[Taken]) -> None:
        """Write down `batch`, in one call of the system."""
        octets = b"".join([self._lines.of(message) for message in batch])
        while octets:  # a disk that is nearly full takes a part
            octets = octets[os.write(self._file.fileno(), octets) :]

    def close(self) -> None:
        """Close the file."""
        self._file.close()


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
