"""Where messages arrive, followed: what has come since the last look, each message once, nothing kept.

The observers of conformance keep all they saw, so that a case can ask for its marker; here tens of thousands
of messages come by, and each is given out once. What was there before `start` is never given out.

A time of arrival is exact for the sink (when its reply is given) and a Maildir (when the file got its name in
new, or was written, if a reader has taken it to cur by now). For an mbox, IMAP and POP3 it is that of the
look which found the message, and `since_ns` says when the last look began that did not: it came in between.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from smtpbench.delivery.observers import open_observer
from smtpbench.delivery.observers.files import maildirs
from smtpbench.delivery.observers.model import stored
from smtpbench.delivery.observers.network import NetworkObserver
from smtpbench.errors import Inconclusive, UsageError
from smtpbench.server.sink import Sink, sink_config
from smtpbench.server.sink_receiver import Taken
from smtpbench.server.sink_script import SinkScript
from smtpbench.server.sink_scripted import ScriptedSink
from smtpbench.target import Mailbox, Observe, Target

_SEPARATOR = b"\nFrom "  # between the messages of an mbox (RFC 4155)
_READ = 8 << 20  # octets of an mbox read in one look
POLL_S = 0.1
_POLL_S = {"imap": 0.05, "pop3": 0.5}  # a look over POP3 is a login


@dataclass(frozen=True, slots=True)
class Seen:
    """One message as it arrived. `at_ns` is wall clock; `session` is that of the sink, 0 elsewhere.

    `since_ns` is the earliest that it can have come, 0 where `at_ns` is exact. The rest is as in `Delivered`.
    """

    content: bytes
    at_ns: int
    sender: str | None
    recipients: tuple[str, ...]
    session: int = 0
    since_ns: int = 0
    stated_ns: int | None = None


class Source(Protocol):
    """A place where messages arrive.

    `protocol` is by which recipients read there, "" where nobody does; looks are `poll_s` apart or more.
    `absent` says that the place has not come into being yet, "" if it has: looks in vain then prove nothing.
    """

    where: str
    protocol: str
    poll_s: float
    exact: bool  # whether `at_ns` is the time of arrival, and not that of a look
    absent: str

    async def start(self) -> None:
        """Begin: what is there already does not count. Raises SmtpbenchError."""

    async def stop(self) -> None:
        """End, and release what was held."""

    async def news(self) -> list[Seen]:
        """What has arrived since the last call. Raises SmtpbenchError."""


def open_source(target: Target, url: str | None = None) -> Source:
    """The place that `url` names (as ``--observe`` takes it), or else the one that the target names.

    Raises UsageError if there is none.
    """
    observe = target.observe
    if url is not None and (observe is None or url != observe.url):
        observe = Observe(url=url)
    if observe is None:
        raise UsageError("where does its mail arrive? expected --observe, or [relay] or observe in its file")
    scheme, _, rest = observe.url.partition(":")
    if scheme == "maildir" and rest:
        return MaildirSource(Path(rest))
    if scheme == "mbox" and rest:
        return MboxSource(Path(rest))
    return _sink(rest) if scheme == "sink" else _mailbox(observe, target)


def open_readers(target: Target) -> list[MailboxSource]:
    """Where its recipients read, but for the place that `open_source` gives. Raises UsageError."""
    observed = target.observe.mailbox.protocol if target.observe and target.observe.mailbox else ""
    opened = [_mailbox(one, target) for one in target.read]
    return [one for one in opened if one.protocol != observed]


def _mailbox(observe: Observe, target: Target) -> MailboxSource:
    observer = open_observer(observe, auth=target.auth, tls=target.tls, timeouts=target.timeouts)
    assert isinstance(observer, NetworkObserver)
    assert observe.mailbox is not None
    return MailboxSource(observer, observe.mailbox)


def _sink(rest: str) -> Source:
    host, colon, port = rest.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65_535:
        raise UsageError(f"sink:{rest}: expected sink:HOST:PORT")
    return SinkSource(host.strip("[]"), int(port))


class SinkSource:
    """We listen as the next hop of the target, and take anything, or behave as `script` says.

    `began_ns` is when we began to listen, wall clock, or were told to count again: the times of a script's
    rules count from there.
    """

    exact, protocol, poll_s, absent = True, "", POLL_S, ""

    def __init__(self, host: str, port: int, script: SinkScript | None = None) -> None:
        self._taken: list[Taken] = []
        config = sink_config(host, port)
        self._sink = (
            Sink(config, consumer=self._take)
            if script is None
            else ScriptedSink(script, config, consumer=self._take)
        )
        self.where = f"sink:{host}:{port}"
        self.began_ns = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def scripted(self) -> dict[str, int]:
        """What the script did, and how often."""
        return dict(self._sink.counts.scripted)

    def _take(self, batch: Sequence[Taken]) -> None:
        self._taken += batch

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._sink.port

    async def start(self) -> None:
        """Listen. Raises UsageError where the address cannot be bound."""
        self.began_ns, self._loop = time.time_ns(), asyncio.get_running_loop()
        await self._sink.start()

    def count_again(self) -> None:
        """The times of the rules count from now on. May be called from any thread while we listen."""
        if isinstance(self._sink, ScriptedSink) and self._loop is not None:
            self.began_ns = time.time_ns()
            self._loop.call_soon_threadsafe(self._sink.restart_rules)

    async def stop(self) -> None:
        """Stop listening."""
        await self._sink.stop()

    async def news(self) -> list[Seen]:
        """What was taken since the last call."""
        taken, self._taken = self._taken, []
        return [
            Seen(
                one.content, one.at_ns, one.sender.decode("utf-8", "replace"),
                tuple(name.decode("utf-8", "replace") for name in one.recipients), one.session,
            )
            for one in taken
        ]  # fmt: skip


class MaildirSource:
    """Every Maildir at or below a path. A message is known by its name, which it keeps when it is moved."""

    exact, protocol, poll_s = True, "", POLL_S

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: set[str] = set()
        self._looked_ns = 0
        self.where = f"maildir:{path}"
        self.absent = f"there is no Maildir at {path}, or none that we may read"

    async def start(self) -> None:
        """Note what is there. Raises UsageError where the path cannot come into being either."""
        if not await asyncio.to_thread(self._path.parent.is_dir):
            raise UsageError(f"{self._path}: no such file or folder to observe")
        self._looked_ns = time.time_ns()
        await asyncio.to_thread(lambda: list(self._unknown()))

    async def stop(self) -> None:
        """Nothing is held."""

    async def news(self) -> list[Seen]:
        """The messages with a name that was not there before."""
        return await asyncio.to_thread(self._look)

    def _look(self) -> list[Seen]:
        since, self._looked_ns = self._looked_ns, time.time_ns()
        found = []
        for key, path in self._unknown():
            seen = _read_file(path, since)
            if seen is None:  # taken to cur just now: there it is not known yet
                self._known.discard(key)
            else:
                found.append(seen)
        return found

    def _unknown(self) -> Iterator[tuple[str, str]]:
        """What each message is known by, and its file."""
        for maildir in maildirs(self._path):
            self.absent = ""
            for folder in (maildir / "new", maildir / "cur"):
                try:
                    names = os.listdir(folder)  # noqa: PTH208 - a Path for each of 50,000 names takes ten times as long
                except FileNotFoundError:  # removed between two looks
                    continue
                except PermissionError as error:
                    raise Inconclusive(f"{folder}: {error.strerror}") from None
                for name in names:
                    key = f"{maildir}/{name.partition(':')[0]}"
                    if key not in self._known:
                        self._known.add(key)
                        yield key, f"{folder}/{name}"


def _read_file(path: str, since_ns: int) -> Seen | None:
    """The message in a file that was not there at `since_ns`; None if it is gone or was moved just now."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - once for each message
            status = os.fstat(file.fileno())
            content = file.read()
    except FileNotFoundError:
        return None
    named = status.st_ctime_ns  # in new by whoever delivered it, in cur by a reader later on
    at_ns = named if "/new/" in path else min(named, max(status.st_mtime_ns, since_ns))
    return _from_mailbox(content, at_ns, path)


def _from_mailbox(content: bytes, at_ns: int, where: str, since_ns: int = 0) -> Seen:
    message = stored(content, where)
    return Seen(content, at_ns, message.sender, message.recipients, since_ns=since_ns)


class MboxSource:
    """An mbox file, or all in a folder: what is appended, once the file has not grown between two looks.

    The last message of a file that grows may not be whole, so it waits for the next one, or for the end.
    """

    exact, protocol, poll_s = False, "", POLL_S

    def __init__(self, path: Path) -> None:
        self._path = path
        self._looked_ns = (0, 0)  # the last look and the one before, which may be what gives a message out
        self._done: dict[Path, int] = {}  # octets given out
        self._size: dict[Path, int] = {}  # at the last look
        self.where = f"mbox:{path}"
        self.absent = f"there is no mbox at {path}"

    async def start(self) -> None:
        """Note what is there. Raises UsageError where the path cannot come into being either."""
        if not await asyncio.to_thread(self._path.parent.is_dir):
            raise UsageError(f"{self._path}: no such file or folder to observe")
        self._looked_ns = (time.time_ns(),) * 2
        self._done = await asyncio.to_thread(lambda: {file: file.stat().st_size for file in self._files()})

    async def stop(self) -> None:
        """Nothing is held."""

    async def news(self) -> list[Seen]:
        """The messages that are whole."""
        return await asyncio.to_thread(self._look)

    def _files(self) -> list[Path]:
        files = sorted(self._path.iterdir()) if self._path.is_dir() else [self._path]
        there = [file for file in files if file.is_file()]
        self.absent = "" if there else self.absent
        return there

    def _look(self) -> list[Seen]:
        now, (last, since) = time.time_ns(), self._looked_ns
        self._looked_ns = (now, last)
        return [seen for file in self._files() for seen in self._appended(file, now, since)]

    def _appended(self, file: Path, now: int, since: int) -> Iterator[Seen]:
        size, done = file.stat().st_size, self._done.get(file, 0)
        settled, self._size[file] = self._size.get(file) == size, size
        if size <= done:
            return
        with file.open("rb") as stream:
            stream.seek(done)
            octets = stream.read(_READ)
        whole = len(octets) if settled and done + len(octets) == size else octets.rfind(_SEPARATOR) + 1
        self._done[file] = done + whole
        for message in octets[:whole].removesuffix(b"\n").split(_SEPARATOR):
            _, _, content = message.partition(b"\n")  # the line that begins with "From "
            if content:
                yield _from_mailbox(content, now, str(file), since)


class MailboxSource:
    """A mailbox on an IMAP or POP3 server."""

    exact, absent = False, ""

    def __init__(self, observer: NetworkObserver, mailbox: Mailbox) -> None:
        self._observer = observer
        self._looked_ns = 0
        self.where = str(mailbox)
        self.protocol: str = mailbox.protocol
        self.poll_s = _POLL_S[mailbox.protocol]

    async def start(self) -> None:
        """Log in and note what is there. Raises SmtpbenchError."""
        self._looked_ns = time.time_ns()
        await self._observer.start()

    async def stop(self) -> None:
        """Log out."""
        await self._observer.stop()

    async def news(self) -> list[Seen]:
        """What a look found that no look before had found."""
        begun = time.time_ns()
        found = await self._observer.news()
        since, self._looked_ns = self._looked_ns, begun
        return [
            Seen(
                one.content, one.read_ns, one.sender, one.recipients,
                since_ns=since, stated_ns=one.stated_ns,
            )
            for one in found
        ]  # fmt: skip
