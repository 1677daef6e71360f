"""The files of a server as its system calls make them: what was written where, synced, renamed and removed.

Names in calls are relative, or absolute in a chroot; those of descriptors are not. So a call that renames is
matched by how a name ends. No judgement here, and no I/O: see durability.py.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from smtpbench.delivery.syscalls import Call, Descriptor, descriptor
from smtpbench.lab.hidden import NO_DISK

WRITES = frozenset({"write", "writev", "pwrite64", "pwritev", "pwritev2", "sendto", "sendmsg", "sendmmsg"})
_COPIES = {"sendfile": (1, 0), "copy_file_range": (0, 2)}  # the places of what is read and what is written
_SYNCS = frozenset({"fsync", "fdatasync"})  # not sync_file_range: it leaves metadata and the disk's cache
_EVERYTHING = frozenset({"sync", "syncfs"})  # on Linux they wait until it is done
_OPENS = frozenset({"open", "openat", "openat2", "creat"})
_RENAMES = frozenset({"rename", "renameat", "renameat2"})
_LINKS = frozenset({"link", "linkat"})
_UNLINKS = frozenset({"unlink", "unlinkat"})
_UNSEEN = {
    "io_uring_enter": "io_uring", "io_submit": "asynchronous I/O", "msync": "a mapped file",
    "splice": "splice", "vmsplice": "vmsplice", "tee": "tee",
}  # fmt: skip
_ATTRIBUTES = ("FS_IOC_SETFLAGS", "FS_IOC32_SETFLAGS", "FS_IOC_FSSETXATTR")  # chattr(1): +S is among them
_AT_ONCE = ("O_SYNC", "O_DSYNC", "RWF_SYNC", "RWF_DSYNC")
TRACED = tuple(sorted(
    WRITES | _COPIES.keys() | _SYNCS | _EVERYTHING | _OPENS | _RENAMES | _LINKS | _UNLINKS | _UNSEEN.keys()
    | {"mmap", "ioctl"}
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Named:
    """An entry of `folder` for a file, or for a directory above it: then it is not its `own`."""

    call: Call
    path: str
    folder: Thing
    own: bool


@dataclass(eq=False, slots=True)
class Thing:
    """A file or a directory, through all its names. `marked` are the writes that ended a mark; `at` is its
    path from a line on; `gone` are the calls that removed its name or gave it to another.
    """

    path: str
    at: list[tuple[int, str]]
    writes: list[Call] = field(default_factory=list)
    marked: dict[bytes, list[Call]] = field(default_factory=dict)
    syncs: list[Call] = field(default_factory=list)
    named: list[Named] = field(default_factory=list)
    gone: list[Call] = field(default_factory=list)
    tail: bytes = b""  # of what was written last: a mark may lie across two writes

    def path_at(self, line: int) -> str:
        """What it was called at a line of the trace."""
        return next((path for since, path in reversed(self.at) if since <= line), self.path)

    def paths_until(self, line: int) -> tuple[str, ...]:
        """What it was called up to a line, the last name last."""
        paths = reversed([path for since, path in self.at if since <= line])
        return tuple(reversed(dict.fromkeys(paths)))


@dataclass(frozen=True, slots=True)
class Told:
    """Marks that were written to a socket or a pipe."""

    call: Call
    to: Descriptor
    marks: frozenset[bytes]


class Replay:
    """Feed it the calls of all processes, in the order of their ends.

    `spoken` is what was written to sockets, `unseen` what may write or sync and does not show what, and
    `lasting` what does so from then on: a mapping, or attributes by which writes may be synchronous.
    """

    def __init__(self, marks: frozenset[bytes]) -> None:
        self.things: list[Thing] = []
        self.everything: list[Call] = []  # sync and syncfs
        self.unseen: list[tuple[Call, str]] = []
        self.lasting: list[tuple[Call, str]] = []
        self.spoken: list[Call] = []
        self.told: list[Told] = []
        self.ends: set[tuple[str, str]] = set()  # of the sockets that traced processes have used
        self._marks = marks
        self._tail = max(map(len, marks), default=1) - 1
        self._by_name: dict[str, Thing] = {}
        self._descriptors: dict[tuple[int, str], str] = {}
        self._at_once: set[tuple[str, str]] = set()  # number and path of descriptors with O_SYNC or O_DSYNC
        self._handlers: dict[str, Callable[[Call], None]] = {
            **dict.fromkeys(WRITES, self._written),
            **dict.fromkeys(_COPIES, self._copied),
            **dict.fromkeys(_SYNCS, self._synced),
            **dict.fromkeys(_EVERYTHING, self.everything.append),
            **dict.fromkeys(_OPENS, self._opened),
            **dict.fromkeys(_RENAMES, self._renamed),
            **dict.fromkeys(_LINKS, self._linked),
            **dict.fromkeys(_UNLINKS, self._unlinked),
            **dict.fromkeys(_UNSEEN, self._hidden),
            "mmap": self._mapped,
            "ioctl": self._controlled,
        }

    def feed(self, call: Call) -> None:
        """The next call that has ended, or that the trace ended in: then only what it wrote may count."""
        for argument in (*call.arguments[:3], call.returned):
            if (found := descriptor(argument)) is not None:
                self._descriptors[call.pid, found.number] = found.name
                if found.ends is not None:
                    self.ends.add(found.ends)
        handler = self._handlers.get(call.name)
        counts = call.succeeded or (call.result is None and call.name in WRITES) or call.name in _UNSEEN
        if handler is not None and counts:
            handler(call)

    def syncs(self, thing: Thing) -> list[Call]:
        """All that has synced `thing`."""
        return [*thing.syncs, *self.everything]

    # writes and syncs

    def _written(self, call: Call) -> None:
        to = call.descriptor()
        if to is None or to.name.startswith(NO_DISK):
            return
        octets = call.octets
        if not to.is_file:
            self.spoken.append(call)
            if found := self._found(octets):
                self.told.append(Told(call, to, found))
            return
        thing = self._thing(to.name)
        self._mark(thing, call, self._found(octets, after=thing.tail))
        thing.tail = (thing.tail + octets)[-self._tail :] if self._tail else b""
        if call.has(*_AT_ONCE) or (to.number, to.name) in self._at_once:
            thing.syncs.append(call)
        if call.truncated:
            self.unseen.append((call, f"a long write to {to.name}"))

    def _found(self, octets: bytes, after: bytes = b"") -> frozenset[bytes]:
        """The marks that end in `octets`; they may begin in what was written before."""
        joined = after + octets
        ends = {mark: at + len(mark) for mark in self._marks if (at := joined.rfind(mark)) >= 0}
        return frozenset(mark for mark, end in ends.items() if end > len(after))

    @staticmethod
    def _mark(thing: Thing, call: Call, marks: frozenset[bytes]) -> None:
        thing.writes.append(call)
        for mark in marks:
            thing.marked.setdefault(mark, []).append(call)

    def _copied(self, call: Call) -> None:
        """What the kernel copies from a file: no octets are shown, but they are those of the file."""
        source, to = (call.descriptor(place) for place in _COPIES[call.name])
        if source is None or to is None or not source.is_file:
            return
        marks = frozenset(self._thing(source.name).marked)
        if to.is_file:
            self._mark(self._thing(to.name), call, marks)
        elif marks:
            self.told.append(Told(call, to, marks))

    def _synced(self, call: Call) -> None:
        on = call.descriptor()
        if on is not None and on.is_file:
            self._thing(on.name).syncs.append(call)

    def _hidden(self, call: Call) -> None:
        self.unseen.append((call, _UNSEEN[call.name]))

    def _mapped(self, call: Call) -> None:
        on = call.descriptor(4)
        if on is None or not on.is_file or on.name.startswith(NO_DISK):
            return
        if call.has("MAP_SHARED") and call.has("PROT_WRITE"):
            self.lasting.append((call, f"{on.name}, which is mapped into memory"))

    def _controlled(self, call: Call) -> None:
        on = call.descriptor()
        if on is not None and on.is_file and call.has(*_ATTRIBUTES):
            self.lasting.append((call, f"{on.name}, whose attributes were set"))

    # names

    def _opened(self, call: Call) -> None:
        got = descriptor(call.returned)
        if got is None or not got.is_file or got.name.startswith(NO_DISK):
            return
        if call.has(*_AT_ONCE):
            self._at_once.add((got.number, got.name))
        else:
            self._at_once.discard((got.number, got.name))
        if call.name == "creat" or call.has("O_CREAT"):
            known = self._by_name.get(got.name)
            if known is None or known.gone or call.has("O_EXCL"):
                self._name(call, self._new(got.name), got.name)

    def _thing(self, path: str) -> Thing:
        return self._by_name.get(path) or self._new(path)

    def _new(self, path: str) -> Thing:
        thing = Thing(path, [(-1, path)])
        self.things.append(thing)
        self._by_name[path] = thing
        return thing

    def _name(self, call: Call, thing: Thing, path: str) -> None:
        """An entry of its own. What had the name before has lost it."""
        before = self._by_name.get(path)
        if before is not None and before is not thing:
            before.gone.append(call)
        self._entry(call, thing, path, self._thing(posixpath.dirname(path)), own=True)

    def _entry(self, call: Call, thing: Thing, path: str, folder: Thing, *, own: bool) -> None:
        self._by_name[path] = thing
        thing.path = path
        thing.at.append((call.done, path))
        thing.named.append(Named(call, path, folder, own))

    def _renamed(self, call: Call) -> None:
        old, new = _two_names(call)
        if (was := self._whole(old)) is None:
            return
        becomes = _beside(was, old, new)
        for path, thing in [*self._by_name.items()]:
            if path == was:
                del self._by_name[path]
                self._name(call, thing, becomes)
            elif path.startswith(f"{was}/"):
                del self._by_name[path]
                above = self._thing(posixpath.dirname(becomes))
                self._entry(call, thing, becomes + path.removeprefix(was), above, own=False)

    def _linked(self, call: Call) -> None:
        old, new = _two_names(call)
        if old.startswith("/proc/self/fd/"):  # a file without a name gets one
            old = self._descriptors.get((call.pid, posixpath.basename(old)), old)
        if (was := self._whole(old)) is not None and was in self._by_name:
            self._name(call, self._by_name[was], _beside(was, old, new))

    def _unlinked(self, call: Call) -> None:
        path = self._whole(_name_at(call, 0 if call.name == "unlink" else 1))
        if path is not None and (thing := self._by_name.get(path)) is not None and thing.path == path:
            thing.gone.append(call)

    def _whole(self, name: str) -> str | None:
        """The path of something known that `name` stands for in a call, or of a directory above it."""
        if name in self._by_name:
            return name
        ending = "/" + name.lstrip("/")
        known: Sequence[str] = [path for path in self._by_name if path.endswith(ending)]
        if known:
            return known[-1]
        below = [path for path in self._by_name if f"{ending}/" in path]
        return below[-1][: below[-1].rindex(f"{ending}/") + len(ending)] if below else None


def _two_names(call: Call) -> tuple[str, str]:
    first, second = (0, 1) if call.name in ("rename", "link") else (1, 3)
    return _name_at(call, first), _name_at(call, second)


def _name_at(call: Call, place: int) -> str:
    """The name that is argument `place`; from the descriptor before it, if there is one."""
    name, above = call.text(place), call.descriptor(place - 1) if place else None
    if above is not None and above.is_file and not name.startswith("/"):
        return posixpath.normpath(posixpath.join(above.name, name))
    return posixpath.normpath(name)


def _beside(was: str, old: str, new: str) -> str:
    """The whole path of `new`, where `old` in the same call stands for `was`."""
    inside = old.lstrip("/")
    if was == old or not was.endswith(inside):
        return new
    return posixpath.normpath(posixpath.join(was[: len(was) - len(inside)], new.lstrip("/")))
