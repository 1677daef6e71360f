"""Cases side by side: most of a case is waiting, and most cases do not mind each other.

Three turns: the ordinary cases, several at a time; those marked `alone`, one by one; those that need SLOW,
all at once, for they are idle for minutes. A case comes after those it names, whatever its turn. Whoever
wants a result awaits it, in any order.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import Any

from smtpbench.conformance.bench import Bench, Crowded
from smtpbench.conformance.cases import Case
from smtpbench.conformance.needs import SLOW
from smtpbench.conformance.result import CaseResult

DEFAULT_JOBS = 8
SLOW_JOBS = 32  # they hold a connection each and do nothing; servers allow about 50 for a client
ORDINARY, ALONE, IDLE, IDLE_ALONE = range(4)  # the turns


def turns(cases: Iterable[Case]) -> dict[str, int]:
    """The turn of each case by its id: its own, or a later one of a case that it comes after.

    `cases` are in an order in which each comes after those it names.
    """
    turn: dict[str, int] = {}
    for case in cases:
        own = (IDLE if SLOW in case.needs else ORDINARY) + (ALONE if case.alone else ORDINARY)
        latest = max((turn.get(earlier, ORDINARY) for earlier in case.after), default=ORDINARY)
        if case.alone and latest == IDLE:
            latest = IDLE_ALONE
        turn[case.id] = max(own, latest)
    return turn


def in_turns(cases: Sequence[Case]) -> list[Case]:
    """`cases` in the order of their turns, else as they are."""
    turn = turns(cases)
    return sorted(cases, key=lambda case: turn[case.id])


class Schedule:
    """Runs `cases` on `bench`, `jobs` at a time, within `deadline` seconds (None: as long as they take).

    When the target turns us away while several cases are under way, there are fewer at a time from then
    on, and those it turned away are run again: a limit of the target is no verdict. `bench.notes` says so.
    """

    def __init__(
        self, bench: Bench, cases: Sequence[Case], *, jobs: int = DEFAULT_JOBS, deadline: float | None = None
    ) -> None:
        self._bench = bench
        self._turn = turns(cases)
        self._pending = in_turns(cases)
        self._jobs = {ORDINARY: jobs, ALONE: 1, IDLE: SLOW_JOBS if jobs > 1 else 1, IDLE_ALONE: 1}
        self._round = 0  # of lowering the number; one burst of refusals lowers it once
        self._running: dict[asyncio.Task[CaseResult], tuple[Case, int]] = {}
        self._results = {case.id: asyncio.get_running_loop().create_future() for case in cases}  # type: dict[str, asyncio.Future[CaseResult]]
        self._deadline = deadline
        self._end = None if deadline is None else time.monotonic() + deadline
        self._loop = asyncio.get_running_loop()
        self._cut: asyncio.Future[str] = self._loop.create_future()
        self._driver: asyncio.Task[None] | None = None

    async def result(self, case: Case) -> CaseResult:
        """The result of `case`, when it is there. The first call starts them all."""
        if self._driver is None:
            self._driver = asyncio.create_task(self._drive())
        return await asyncio.shield(self._results[case.id])

    async def run(self) -> None:
        """Run them all."""
        await asyncio.gather(*(self.result(case) for case in list(self._pending)))

    def cut_off(self, reason: str) -> None:
        """Give up all that is not done: it is untested for `reason`. A signal handler may call this."""
        self._loop.call_soon_threadsafe(self._end_with, reason)

    def _end_with(self, reason: str) -> None:
        if not self._cut.done():
            self._cut.set_result(reason)

    async def stop(self) -> None:
        """Give up what is under way; nothing of ours runs afterwards."""
        tasks = [*self._running, *([self._driver] if self._driver else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for result in self._results.values():
            result.cancel()

    # The driver

    async def _drive(self) -> None:
        try:
            while self._pending or self._running:
                self._start_what_can()
                if not await self._wait():
                    await self._give_up_the_rest()
        except Exception as error:  # noqa: BLE001 - ours: whoever waits for a result is told
            for result in self._results.values():
                if not result.done():
                    result.set_exception(error)

    def _start_what_can(self) -> None:
        if not self._pending:
            return
        turn = min(self._turn[case.id] for case in self._pending)
        if any(self._turn[case.id] < turn for case, _ in self._running.values()):
            return
        waited_for = {case.id for case in self._pending} | {case.id for case, _ in self._running.values()}
        for case in list(self._pending):
            if len(self._running) >= self._jobs[turn] or self._turn[case.id] > turn:
                return
            if not waited_for.intersection(case.after):
                self._pending.remove(case)
                work = asyncio.create_task(self._bench.run(case, crowd=self._crowd))
                self._running[work] = (case, self._round)

    def _crowd(self) -> bool:
        return len(self._running) > 1

    async def _wait(self) -> bool:
        """Take what is done; False if the time is over, or the run was cut off."""
        left = None if self._end is None else max(0.0, self._end - time.monotonic())
        at_once = len(self._running)
        until: set[asyncio.Future[Any]] = {*self._running, self._cut}
        found, _ = await asyncio.wait(until, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        done = [task for task in self._running if task in found]
        for task in done:
            case, started = self._running.pop(task)
            try:
                self._results[case.id].set_result(task.result())
            except Crowded as crowded:
                self._lower(started, at_once, str(crowded))
                self._pending.insert(0, case)
        return bool(done) and not self._cut.done()

    def _lower(self, started: int, at_once: int, why: str) -> None:
        if started < self._round:  # of the burst that has lowered it already
            return
        self._round += 1
        fewer = max(1, at_once // 2)
        self._jobs = {turn: min(number, fewer) for turn, number in self._jobs.items()}
        self._bench.notes.append(f"turned away ({why}): from here on {fewer} at a time")

    async def _give_up_the_rest(self) -> None:
        late = f"the run's time was over: {self._deadline or 0:g} s (--deadline)"
        reason = self._cut.result() if self._cut.done() else late
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        for case in [*(case for case, _ in self._running.values()), *self._pending]:
            self._results[case.id].set_result(self._bench.give_up(case, reason))
        self._running.clear()
        self._pending.clear()
