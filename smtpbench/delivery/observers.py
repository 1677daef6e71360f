"""Observers: read back what a target delivered, from where it delivers to.

    maildir:PATH       a Maildir, or a folder with Maildirs below it
    mbox:PATH          an mbox file, or a folder of them (one for each user)
    sink:HOST:PORT     we listen there, and the target has been told to relay to it

    async with open_observer(url) as observer:
        found = await observer.fetch(marker, at_least=1, within=5.0)

What was there before the observer was opened is not ours and is never read again.
"""

from __future__ import annotations

import asyncio
import mailbox
import os
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import Literal, Protocol, Self

from smtpbench.errors import UsageError
from smtpbench.server import MemoryStore, Server, ServerConfig

FIRST_POLL = 0.01  # seconds; doubled after each look that was in vain …
LAST_POLL = 0.1  # … up to this: a delivery is seen soon, a long wait costs little
MAX_DEPTH = 4  # folders below PATH in which a Maildir is looked for: domain / user / Maildir and one more


@dataclass(frozen=True, slots=True)
class Delivered:
    """One delivered message.

    `content` is what the mailbox holds, octet for octet, with the line ends that `line_ends` names.
    `sender` and `recipients` are addresses without brackets, as far as the mailbox tells them (from
    Return-Path and Delivered-To, or the envelope in a sink); `where` is the file or the sink.
    """

    content: bytes
    line_ends: Literal["crlf", "lf"]
    sender: str | None
    recipients: tuple[str, ...]
    where: str


class Observer(Protocol):
    """Sees deliveries while it is entered."""

    async def start(self) -> None:
        """Begin: what is there already does not count."""

    async def stop(self) -> None:
        """End, and release what was held."""

    async def fetch(self, marker: bytes, at_least: int, within: float) -> list[Delivered]:
        """All messages that hold `marker`; waits up to `within` seconds for `at_least` of them."""

    async def __aenter__(self) -> Self:
        """Start."""

    async def __aexit__(self, *exc: object) -> None:
        """Stop."""


def open_observer(url: str) -> Observer:
    """The observer of a URL, not started yet. Raises UsageError for a URL that names none."""
    scheme, _, rest = url.partition(":")
    if scheme in _NOT_YET:
        raise UsageError(f"{url}: reading deliveries by {scheme} is not there yet, use maildir, mbox or sink")
    if scheme not in _OPENERS or not rest:
        raise UsageError(f"{url}: expected maildir:PATH, mbox:PATH or sink:HOST:PORT")
    return _OPENERS[scheme](rest)


class _Polling(ABC):
    """An observer that has to look again and again."""

    @abstractmethod
    async def start(self) -> None:
        """Begin."""

    @abstractmethod
    async def stop(self) -> None:
        """End."""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def fetch(self, marker: bytes, at_least: int, within: float) -> list[Delivered]:
        """Look, at growing intervals, until `at_least` were found or the time is out."""
        deadline = time.monotonic() + within
        interval = FIRST_POLL
        while True:
            found = await self._look(marker)
            remaining = deadline - time.monotonic()
            if len(found) >= at_least or remaining <= 0:
                return found
            await asyncio.sleep(min(interval, remaining))
            interval = min(interval * 2, LAST_POLL)

    @abstractmethod
    async def _look(self, marker: bytes) -> list[Delivered]:
        """All messages with `marker` that are there now."""


class _FileObserver(_Polling):
    """Keeps the content of every message that arrived since `start`, by a key that does not change."""

    final = True  # whether a message is complete when it is first seen

    def __init__(self, path: Path) -> None:
        self._path = path
        self._old: frozenset[str] = frozenset()
        self._seen: dict[str, Delivered] = {}

    async def start(self) -> None:
        """Note what is there already. Raises UsageError where the path cannot come into being either.

        A mailbox may be made by its first delivery, so only the folder it is in must exist.
        """
        if not await asyncio.to_thread(self._path.parent.is_dir):
            raise UsageError(f"{self._path}: no such file or folder to observe")
        self._old = frozenset(await asyncio.to_thread(self._keys))

    async def stop(self) -> None:
        """Forget what was read."""
        self._seen.clear()

    async def _look(self, marker: bytes) -> list[Delivered]:
        await asyncio.to_thread(self._update)
        return [message for message in self._seen.values() if marker in message.content]

    def _keys(self) -> set[str]:
        return {key for key, _ in self._messages()}

    def _update(self) -> None:
        for key, read in self._messages():
            if key in self._old or (self.final and key in self._seen):
                continue
            content = read()
            if content is not None:
                self._seen[key] = _stored(content, key)

    @abstractmethod
    def _messages(self) -> Iterator[tuple[str, Callable[[], bytes | None]]]:
        """A key for each message there is, and what reads it (None: it is gone)."""


class MaildirObserver(_FileObserver):
    """Reads ``new`` and ``cur`` of every Maildir at or below a path."""

    def _messages(self) -> Iterator[tuple[str, Callable[[], bytes | None]]]:
        for maildir in _maildirs(self._path):
            for folder in (maildir / "new", maildir / "cur"):
                for name in _listing(folder):
                    # a message keeps its name up to the colon when it is moved to cur and flagged
                    yield str(maildir / name.partition(":")[0]), _reader(folder / name)


def _maildirs(root: Path) -> Iterator[Path]:
    for folder, names, _ in os.walk(root):
        path = Path(folder)
        if "new" in names and "cur" in names:
            yield path
        names[:] = [name for name in names if name not in ("new", "cur", "tmp")]
        if len(path.relative_to(root).parts) >= MAX_DEPTH:
            names.clear()


def _listing(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in folder.iterdir())
    except FileNotFoundError:  # removed between two looks
        return []


def _reader(path: Path) -> Callable[[], bytes | None]:
    def read() -> bytes | None:
        try:
            return path.read_bytes()
        except FileNotFoundError:  # moved from new to cur just now: the next look finds it there
            return None

    return read


class MboxObserver(_FileObserver):
    """Reads an mbox file, or all in a folder. A message is known by its place: mail is only appended.

    A file is read when it has not changed between two looks, and again when it has changed since.
    """

    final = False

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._last: dict[Path, tuple[int, int]] = {}
        self._read: dict[Path, tuple[int, int]] = {}

    async def start(self) -> None:
        """Note what is there already."""
        await asyncio.to_thread(self._keys)  # the first of two looks
        await super().start()

    def _messages(self) -> Iterator[tuple[str, Callable[[], bytes | None]]]:
        for file in self._settled():
            box = mailbox.mbox(file, create=False)
            try:
                for key in box.keys():  # noqa: SIM118 - iterating a Mailbox gives messages, not keys
                    yield f"{file}#{key}", _mbox_reader(box, key)
            finally:
                box.close()

    def _settled(self) -> Iterator[Path]:
        """The files to read: changed since they were read, and not changed since the last look."""
        if not self._path.exists():
            return
        for file in sorted(self._path.iterdir()) if self._path.is_dir() else [self._path]:
            status = file.stat()
            state = status.st_size, status.st_mtime_ns
            if file.is_file() and self._last.get(file) == state != self._read.get(file):
                self._read[file] = state
                yield file
            self._last[file] = state


def _mbox_reader(box: mailbox.mbox, key: str) -> Callable[[], bytes | None]:
    return lambda: box.get_bytes(key)


class SinkObserver(_Polling):
    """Listens as the next hop of the target: accepts anything, keeps it in memory with its envelope."""

    def __init__(self, host: str, port: int) -> None:
        self._store = MemoryStore()
        extensions = ServerConfig.extensions - {"STARTTLS", "AUTH"}
        config = ServerConfig(host=host, port=port, name="sink.example.org", extensions=extensions, sink=True)
        self._server = Server(config, store=self._store)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._server.port

    async def start(self) -> None:
        """Listen. Raises UsageError where the address cannot be bound."""
        await self._server.start()

    async def stop(self) -> None:
        """Stop listening."""
        await self._server.stop()

    async def _look(self, marker: bytes) -> list[Delivered]:
        where = f"sink:{self._server.config.host}:{self.port}"
        return [
            Delivered(
                copy.content,
                "crlf",
                copy.sender.decode("utf-8", "replace"),
                tuple(address.decode("utf-8", "replace") for address in copy.recipients),
                where,
            )
            for copy in self._store.messages
            if marker in copy.content
        ]


_FOR = re.compile(r"\bfor\s+<([^<>\s]+)>")


def _stored(content: bytes, where: str) -> Delivered:
    """A message from a mailbox file; its first line tells which line ends the file has."""
    first, newline, _ = content.partition(b"\n")
    line_ends: Literal["crlf", "lf"] = "crlf" if newline and first.endswith(b"\r") else "lf"
    header = BytesHeaderParser().parsebytes(content)
    return_path = header.get("Return-Path")
    recipients = [str(value).strip().strip("<>") for value in header.get_all("Delivered-To", [])[:1]]
    if not recipients:
        recipients = _FOR.findall(str(header.get("Received", "")))
    sender = None if return_path is None else str(return_path).strip().strip("<>")
    return Delivered(content, line_ends, sender, tuple(recipients), where)


def _sink(rest: str) -> Observer:
    host, colon, port = rest.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65_535:
        raise UsageError(f"sink:{rest}: expected sink:HOST:PORT")
    return SinkObserver(host.strip("[]"), int(port))


_OPENERS: dict[str, Callable[[str], Observer]] = {
    "maildir": lambda rest: MaildirObserver(Path(rest)),
    "mbox": lambda rest: MboxObserver(Path(rest)),
    "sink": _sink,
}
_NOT_YET: Sequence[str] = ("imap", "imaps", "pop3", "pop3s")
