"""The journal: what a server acknowledged, kept so that a kill of our own process cannot take it back.

One process of a run writes one journal, from its engine's thread. A record is packed into a shared mapping of
the file: once `note` returns, it is in the page cache, which outlives the process, however that ends. Nothing
is counted as acknowledged before. There is no system call for a message, so a record costs less than half a
microsecond; it is not meant to survive a loss of power, which would need an fsync for each.

    RUN.journal   records of `RECORD.itemsize` octets; zeros after the last
    RUN.terms     a JSON line each: the clocks first; a content or an envelope before its first record

`read_journal` gives back what there is, from a journal that is being written or was cut off, too.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smtpbench.errors import SmtpbenchError, UsageError

_FORM = struct.Struct("<QQIIIIIHBB")
RECORD = np.dtype(
    [
        ("number", "<u8"), ("at", "<u8"), ("took_us", "<u4"), ("session", "<u4"), ("ordinal", "<u4"),
        ("envelope", "<u4"), ("content", "<u4"), ("spare", "<u2"), ("outcome", "u1"), ("whole", "u1"),
    ]
)  # fmt: skip
_WHOLE = 0x5A  # the last octet that is written of a record
CHUNK = 20_480 * 200  # octets mapped at once: a multiple of the page and of a record; 100,000 records
_MAX_US = 2**32 - 1

Records = NDArray[Any]


class Outcome(IntEnum):
    """What the server said to a message whose content it was given."""

    ACCEPTED = 1
    UNKNOWN = 2  # the connection or our patience ended before the reply: it may be delivered or not
    REFUSED = 3  # 4yz or 5yz: it must not be delivered


@dataclass(frozen=True, slots=True)
class Content:
    """The digests of a content that messages are made from (see fingerprint.py)."""

    digest: bytes
    decoded: bytes


class Journal:
    """Writes the journal of `run` (eight hex digits) into `folder`. Used from one thread.

    `note` takes times of `time.perf_counter_ns`. Raises UsageError if the files cannot be made.
    """

    def __init__(self, folder: Path, run: bytes) -> None:
        self.run = run
        self._path = folder / f"{run.decode()}.journal"
        self._envelopes: dict[tuple[str, ...], int] = {}
        self._length = 0  # of the file, as far as it is mapped
        self._at = 0  # in the mapping
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._terms = os.open(self._path.with_suffix(".terms"), _NEW, 0o600)
            self._file = os.open(self._path, _NEW, 0o600)
        except OSError as error:
            raise UsageError(f"{self._path}: cannot be written: {error.strerror}") from None
        self._map = self._next_chunk()
        self._define({"run": run.decode(), "wall_ns": time.time_ns(), "clock_ns": time.perf_counter_ns()})

    def define_content(self, index: int, content: Content) -> None:
        """Say what content `index` is, before the first message made from it."""
        self._define({"content": index, "digest": content.digest.hex(), "decoded": content.decoded.hex()})

    def envelope(self, recipients: tuple[str, ...]) -> int:
        """The number of this tuple of recipients."""
        known = self._envelopes.get(recipients)
        if known is None:
            known = self._envelopes[recipients] = len(self._envelopes)
            self._define({"envelope": known, "recipients": recipients})
        return known

    def note(
        self, outcome: int, number: int, at: int, took_us: int,
        session: int, ordinal: int, envelope: int, content: int,
    ) -> None:  # fmt: skip
        """Message `number` met `outcome` at `at`, `took_us` after it was begun, as the nth of its session."""
        if self._at == CHUNK:
            self._map = self._next_chunk()
        _FORM.pack_into(
            self._map, self._at, number, at, took_us if took_us < _MAX_US else _MAX_US,
            session, ordinal, envelope, content, 0, outcome, _WHOLE,
        )  # fmt: skip
        self._at += _FORM.size

    def close(self) -> None:
        """Cut the file to what is in it."""
        self._map.close()
        os.ftruncate(self._file, self._length - CHUNK + self._at)
        os.close(self._file)
        os.close(self._terms)

    def _define(self, term: dict[str, Any]) -> None:
        octets = json.dumps(term).encode() + b"\n"
        try:
            written = os.write(self._terms, octets)
        except OSError as error:
            raise SmtpbenchError(f"{self._path}: the ledger cannot grow: {error.strerror}") from None
        if written < len(octets):
            raise SmtpbenchError(f"{self._path}: the ledger cannot grow: the disk is full")

    def _next_chunk(self) -> mmap.mmap:
        """Reserve and map the next part: a disk that is full shall be an error here, not a signal later."""
        try:
            os.posix_fallocate(self._file, self._length, CHUNK)
        except OSError as error:
            raise SmtpbenchError(f"{self._path}: the ledger cannot grow: {error.strerror}") from None
        chunk = mmap.mmap(self._file, CHUNK, offset=self._length)
        self._length += CHUNK
        self._at = 0
        return chunk


_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Terms:
    """What the records of a journal refer to. `offset_ns` added to a time of a record gives wall clock
    time.
    """

    run: bytes
    offset_ns: int
    contents: dict[int, Content]
    envelopes: dict[int, tuple[str, ...]]


def journals(folder: Path) -> list[Path]:
    """The journals in `folder`, oldest name first."""
    return sorted(folder.glob("*.journal"))


def read_journal(path: Path, first: int = 0) -> tuple[Terms, Records]:
    """The terms, and the records (of dtype `RECORD`) from record `first` on. Raises UsageError if it is
    damaged.
    """
    records = _records(path, first)  # before the terms: a term is written before the record that needs it
    return _terms(path), records


def _records(path: Path, first: int) -> Records:
    try:
        with path.open("rb") as file:
            file.seek(first * RECORD.itemsize)
            octets = file.read()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    found = np.frombuffer(octets, RECORD, len(octets) // RECORD.itemsize)
    torn = np.flatnonzero(found["whole"] != _WHOLE)
    return found[: torn[0]] if torn.size else found


def _terms(path: Path) -> Terms:
    source = path.with_suffix(".terms")
    run, offset, contents, envelopes = b"", 0, dict[int, Content](), dict[int, tuple[str, ...]]()
    try:
        for term in _lines(source):
            if "run" in term:
                run, offset = term["run"].encode(), term["wall_ns"] - term["clock_ns"]
            elif "content" in term:
                digests = bytes.fromhex(term["digest"]), bytes.fromhex(term["decoded"])
                contents[term["content"]] = Content(*digests)
            else:
                envelopes[term["envelope"]] = tuple(term["recipients"])
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{source}: not the terms of a journal: {error}") from None
    except OSError as error:
        raise UsageError(f"{source}: {error.strerror}") from None
    return Terms(run, offset, contents, envelopes)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines; one that was cut off belongs to no record."""
    for line in path.read_bytes().split(b"\n")[:-1]:
        yield json.loads(line)
