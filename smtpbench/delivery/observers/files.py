"""Observers of files: Maildir and mbox."""

from __future__ import annotations

import asyncio
import mailbox
import os
from abc import abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path

from smtpbench.delivery.observers.model import Delivered, Polling, stored
from smtpbench.errors import UsageError

MAX_DEPTH = 4  # folders below PATH in which a Maildir is looked for: domain / user / Maildir and one more


class _FileObserver(Polling):
    """Keeps the content of every message that arrived since `start`, by a key that does not change."""

    final = True  # whether a message is complete when it is first seen

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._old: frozenset[str] = frozenset()
        self._seen: dict[str, Delivered] = {}

    async def start(self) -> None:
        """Note what is there already. Raises UsageError where the path cannot come into being either.

        A mailbox may be made by its first delivery, so only the folder it is in must exist.
        """
        if not await asyncio.to_thread(self._path.parent.is_dir):
            raise UsageError(f"{self._path}: no such file or folder to observe")
        self._old = frozenset(await self._in_thread(self._keys))

    async def stop(self) -> None:
        """Forget what was read."""
        self._seen.clear()

    async def _look(self, marker: bytes) -> list[Delivered]:
        return await self._in_thread(lambda: self._found(marker))

    def _keys(self) -> set[str]:
        return {key for key, _ in self._messages()}

    def _found(self, marker: bytes) -> list[Delivered]:
        self._update()
        return [message for message in self._seen.values() if marker in message.content]

    def _update(self) -> None:
        for key, read in self._messages():
            if key in self._old or (self.final and key in self._seen):
                continue
            content = read()
            if content is not None:
                self._seen[key] = stored(content, key)

    @abstractmethod
    def _messages(self) -> Iterator[tuple[str, Callable[[], bytes | None]]]:
        """A key for each message there is, and what reads it (None: it is gone)."""


class MaildirObserver(_FileObserver):
    """Reads ``new`` and ``cur`` of every Maildir at or below a path."""

    @property
    def absent(self) -> str:
        """See `Observer`."""
        return "" if any(maildirs(self._path)) else f"there is no Maildir at {self._path}"

    def _messages(self) -> Iterator[tuple[str, Callable[[], bytes | None]]]:
        for maildir in maildirs(self._path):
            for folder in (maildir / "new", maildir / "cur"):
                for name in _listing(folder):
                    # a message keeps its name up to the colon when it is moved to cur and flagged
                    yield str(maildir / name.partition(":")[0]), _reader(folder / name)


def maildirs(root: Path) -> Iterator[Path]:
    """The Maildirs at or below `root`."""
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

    @property
    def absent(self) -> str:
        """See `Observer`."""
        return "" if self._path.exists() else f"there is no mbox at {self._path}"

    async def start(self) -> None:
        """Note what is there already."""
        await self._in_thread(self._keys)  # the first of two looks
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
