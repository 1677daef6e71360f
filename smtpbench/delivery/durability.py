"""Was a message on disk when the 250 was sent? Told from the system calls of the server's processes.

A message is known by its marks: octets of its header and of its body, one of them at its very end. A mark is
safe where a file that holds it was synced after it was written there and before the 250 was begun. A server
may keep header and body in two files (Exim does), and may write copies that it does not sync: for each mark
the best file counts.

That the *name* of the file is on disk too is another fact (POSIX; fsync(2)): its directory was synced after
the file was created in it or moved to it, or that is left to the file system.

No judgement here, and no I/O. What a trace cannot show (mapped memory, io_uring, what is said to a process
that is not traced) is told as `blind`: then that nothing was seen proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from smtpbench.delivery.replay import WRITES, Named, Replay, Thing, Told
from smtpbench.delivery.syscalls import Call

MAX_STEPS = 24


class Kept(IntEnum):
    """How a file held the message when the 250 was sent; a greater value is safer."""

    NOT_SYNCED = 0
    WRITTEN_AGAIN = 1  # synced with the content in it, and written to once more
    MOVED_AFTER = 2  # synced, and then given its name; its directory was not synced
    FILE = 3  # synced under its name; its directory was not
    WHOLE = 4  # and its directory


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that was accepted: its marks, the port it came from, when we had the reply (wall clock, s),
    and the octets of that.
    """

    marks: tuple[bytes, ...]
    port: int
    replied_at: float
    reply: bytes


@dataclass(frozen=True, slots=True)
class Step:
    """One call that mattered. It ended `before_s` before the 250 was begun (less than 0: after that)."""

    before_s: float
    pid: int
    call: str
    path: str


@dataclass(slots=True)
class Fate:
    """What the trace shows of one message.

    `replied`: the reply was seen; without it nothing can be told. `kept` is None if no file held all of the
    message before it; `late_s` is then how long after it the missing part was first written to a file, None
    if that was never seen. `names` are the paths that each of the files has had, the first first, and
    `folders` the directories that were synced for them; `synced_s` is how long before the 250 the last of the
    files was synced.
    """

    replied: bool = False
    kept: Kept | None = None
    late_s: float | None = None
    names: tuple[tuple[str, ...], ...] = ()
    folders: tuple[str, ...] = ()
    synced_s: float | None = None
    blind: tuple[str, ...] = ()
    steps: list[Step] = field(default_factory=list)

    @property
    def paths(self) -> tuple[str, ...]:
        """The files, as they were called when the 250 was begun."""
        return tuple(names[-1] for names in self.names)


def follow(calls: Iterable[Call], sent: Sequence[Sent], hidden: Sequence[str] = ()) -> list[Fate]:
    """What became of each message that was sent, by the calls of all processes of the server. `hidden` are
    ways of theirs, known beforehand, to write without a call.
    """
    replay = Replay(frozenset(mark for one in sent for mark in one.marks))
    for call in calls:
        replay.feed(call)
    return [_fate(replay, one, tuple(hidden)) for one in sent]


def _fate(replay: Replay, sent: Sent, hidden: tuple[str, ...]) -> Fate:
    reply = _reply(replay, sent)
    if reply is None:
        return Fate()
    fate = _At(replay, sent, reply).fate()
    fate.blind = tuple(dict.fromkeys((*hidden, *fate.blind)))
    return fate


def _reply(replay: Replay, sent: Sent) -> Call | None:
    """What was said last on the connection before we had the reply. Where the tracer could not name the
    socket (it is in another network namespace, say) it is known by its octets.
    """
    before = [call for call in replay.spoken if call.at <= sent.replied_at]
    ours = [call for call in before if _remote_port(call) == str(sent.port)] or [
        call for call in before if call.octets == sent.reply != b""
    ]
    return max(ours, key=lambda call: call.began, default=None)


def _remote_port(call: Call) -> str:
    to = call.descriptor()
    ends = to.ends if to is not None else None
    return ends[1].rpartition(":")[2] if ends else ""


class _At:
    """The files as they were when the reply to one message was begun."""

    def __init__(self, replay: Replay, sent: Sent, reply: Call) -> None:
        self._replay, self._sent, self._reply = replay, sent, reply
        self._steps: dict[int, Step] = {}

    def fate(self) -> Fate:
        """All of it."""
        fate = Fate(replied=True, blind=self._blind())
        best = {mark: self._best(mark) for mark in self._sent.marks}
        found = [one for one in best.values() if one is not None]
        if len(found) == len(best):
            fate.kept = min(kept for kept, _ in found)
        else:
            fate.late_s = self._late([mark for mark, one in best.items() if one is None])
        for thing in dict.fromkeys(thing for _, thing in found):
            self._tell(fate, thing)
        self._step(self._reply, f"port {self._sent.port}")
        fate.steps = [self._steps[began] for began in sorted(self._steps)][-MAX_STEPS:]
        return fate

    def _before(self, calls: Iterable[Call]) -> list[Call]:
        """Those that were done."""
        return [call for call in calls if call.done < self._reply.began]

    def _begun(self, calls: Iterable[Call]) -> list[Call]:
        return [call for call in calls if call.began < self._reply.began]

    def _named(self, thing: Thing) -> list[Named]:
        """The last name that the file was given, and what was renamed above it since."""
        named = [one for one in thing.named if one.call.done < self._reply.began]
        own = max((place for place, one in enumerate(named) if one.own), default=0)
        return named[own:]

    def _blind(self) -> tuple[str, ...]:
        """Only what came after the reply before, which asked for the content, can be about it."""
        since = max((call.began for call in self._begun(self._said())), default=-1)
        reasons = [why for call, why in self._replay.lasting if call.began < self._reply.began]
        reasons += [
            why for call, why in self._replay.unseen if since < call.done and call.began < self._reply.began
        ]
        away = [
            one for one in self._replay.told if one.call.began < self._reply.began and self._untraced(one)
        ]
        if {mark for told in away for mark in told.marks} >= {*self._sent.marks}:
            reasons += [f"{told.to.name}, whose other end is not traced" for told in away]
        return tuple(dict.fromkeys(reasons))

    def _said(self) -> list[Call]:
        """What was said on the connection."""
        return [call for call in self._replay.spoken if call.arguments[0] == self._reply.arguments[0]]

    def _untraced(self, told: Told) -> bool:
        """Whether it was told to somebody whose calls are not seen."""
        ends = told.to.ends
        return ends is None or (ends[1], ends[0]) not in self._replay.ends

    def _best(self, mark: bytes) -> tuple[Kept, Thing] | None:
        holders = [
            thing for thing in self._replay.things
            if self._begun(thing.marked.get(mark, ())) and not self._before(thing.gone)
        ]  # fmt: skip
        found = [(self._kept(thing, mark), thing) for thing in holders]
        return max(found, key=lambda one: one[0], default=None)

    def _kept(self, thing: Thing, mark: bytes) -> Kept:
        syncs = self._before(self._replay.syncs(thing))
        content, last = (
            max(calls, key=lambda call: call.done)
            for calls in (self._begun(thing.marked[mark]), self._begun(thing.writes))
        )
        if not any(_covers(sync, content) for sync in syncs):
            return Kept.NOT_SYNCED
        if not any(_covers(sync, last) for sync in syncs):
            return Kept.WRITTEN_AGAIN
        named = self._named(thing)
        if all(self._entry_syncs(one) for one in named):
            return Kept.WHOLE
        return Kept.FILE if any(sync.began > named[-1].call.done for sync in syncs) else Kept.MOVED_AFTER

    def _entry_syncs(self, named: Named) -> list[Call]:
        """What has synced the directory since the entry was made."""
        return [
            sync for sync in self._before(self._replay.syncs(named.folder)) if sync.began > named.call.done
        ]

    def _late(self, missing: Sequence[bytes]) -> float | None:
        """How long after the reply it was written first. It may be several files."""
        late = []
        for mark in missing:
            found = [(call, thing) for thing in self._replay.things for call in thing.marked.get(mark, ())]
            if not found:
                return None
            call, thing = min(found, key=lambda one: one[0].began)
            self._step(call, thing.path_at(call.began))
            late.append(call.at - self._reply.at)
        return max(late, default=None)

    def _tell(self, fate: Fate, thing: Thing) -> None:
        """The steps of one file, and what they come to."""
        fate.names += (thing.paths_until(self._reply.began),)
        for one in thing.named:
            if one.call.done < self._reply.began:
                self._step(one.call, one.path)
        for call in {call for mark in self._sent.marks for call in self._begun(thing.marked.get(mark, ()))}:
            self._step(call, thing.path_at(call.began))
        if syncs := self._before(self._replay.syncs(thing)):
            last = max(syncs, key=lambda sync: sync.done)
            self._step(last, thing.path_at(last.began))
            ago = self._reply.at - last.ended
            fate.synced_s = ago if fate.synced_s is None else min(fate.synced_s, ago)
        for one in self._named(thing):
            if after := self._entry_syncs(one):
                self._step(after[0], one.folder.path)
                fate.folders = tuple(dict.fromkeys((*fate.folders, one.folder.path)))

    def _step(self, call: Call, path: str) -> None:
        ended = call.at if call is self._reply else call.ended
        self._steps[call.began] = Step(self._reply.at - ended, call.pid, call.name, path)


def _covers(sync: Call, written: Call) -> bool:
    """Whether `sync` came after `written` was done; a write that is synchronous covers itself."""
    return sync.began > written.done or (sync.name in WRITES and sync is written)
