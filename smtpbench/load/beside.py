"""Runs abnormal sessions beside the measured ones: own tasks, own counts, own bound."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from smtpbench.errors import DeadlineExceeded, SessionError
from smtpbench.load.abnormal import new_counts
from smtpbench.load.arrival import Door, Refused
from smtpbench.load.behaviours import BEHAVIOURS, LOWEST_REFUSAL, Odd, OddFlow, Unrecorded
from smtpbench.load.kinds import NotOffered
from smtpbench.load.opening import close_flow, open_flow
from smtpbench.load.script import Script
from smtpbench.load.supply import Budget
from smtpbench.wire.ehlo import Extensions

CONNECTING_MAX = 16  # so many more than the measured ones may, still within the listen backlog of any server
UNANSWERED = "unanswered"
_NEED_SIZE = frozenset({"oversize", "oversize-declared"})


@dataclass(frozen=True, slots=True)
class AbnormalKind:
    """One kind of abnormal session, ready to run. `hold` gives seconds."""

    name: str
    door: Door
    script: Script
    hold: Callable[[], float]

    def check(self, extensions: Extensions) -> None:
        """Raises NotOffered where the server names no limit that could be exceeded (RFC 1870)."""
        if self.name in _NEED_SIZE and not extensions.size_limit:
            raise NotOffered(f"abnormal {self.name}: {self.door.address} announces no SIZE limit")


class Beside:
    """The abnormal sessions of an engine, at most `limit` at a time; used in the loop thread only."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._tasks: set[asyncio.Task[str]] = set()
        self._connecting = asyncio.Semaphore(CONNECTING_MAX)
        self._recorders: dict[str, Unrecorded] = {}
        self._counts: dict[str, dict[str, Any]] = {}

    def begin(self, kind: AbnormalKind) -> None:
        """One session of `kind`, unless there are too many already."""
        if len(self._tasks) >= self._limit:
            self._count(kind.name, "held_back")
            return
        self._count(kind.name, "sent")
        task = asyncio.get_running_loop().create_task(self._session(kind))
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, kind))

    def take_counts(self) -> dict[str, dict[str, Any]]:
        """What happened since the last call, by kind."""
        for name, counts in self._counts.items():
            if recorder := self._recorders.get(name):
                counts["first_refusal"] = recorder.refusal
        taken, self._counts = self._counts, {}
        return taken

    async def end(self) -> None:
        """Cut all short."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _count(self, name: str, what: str) -> None:
        self._counts.setdefault(name, new_counts())[what] += 1

    def _ended(self, kind: AbnormalKind, task: asyncio.Task[str]) -> None:
        self._tasks.discard(task)
        self._count(kind.name, UNANSWERED if task.cancelled() else task.result())

    async def _session(self, kind: AbnormalKind) -> str:
        """One session; what to count it as."""
        try:
            code = await self._behave(kind)
        except Refused as error:
            self._recorder(kind).note_refusal(str(error))
            return _outcome(error.code)
        except DeadlineExceeded:
            return "timeouts"
        except NotOffered as error:
            self._recorder(kind).note_refusal(str(error))
            return UNANSWERED
        except SessionError:
            return "dropped"
        return UNANSWERED if code is None else _outcome(code)

    async def _behave(self, kind: AbnormalKind) -> int | None:
        recorder = self._recorder(kind)
        make = partial(OddFlow, kind.script, recorder, Budget(recorder, 0))
        async with self._connecting:
            flow, _, extensions = await open_flow(kind.door, recorder, make)
        try:
            kind.check(extensions)
            odd = Odd(
                flow, kind.script.next(), limit=extensions.size_limit or 0, hold=kind.hold(),
                patience=kind.door.reply_timeout,
            )  # fmt: skip
            code = await BEHAVIOURS[kind.name](odd)
            if not flow.broken:
                await close_flow(flow)
        finally:
            if not flow.broken:
                flow.abort()
        return code

    def _recorder(self, kind: AbnormalKind) -> Unrecorded:
        return self._recorders.setdefault(kind.name, Unrecorded())


def _outcome(code: int) -> str:
    if code < LOWEST_REFUSAL:
        return "accepted"
    return "rejected_4xx" if code // 100 == 4 else "rejected_5xx"
