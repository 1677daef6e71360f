"""Rests: sessions that lie idle between their messages, thousands of them, with one timer of the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from heapq import heapify, heappop, heappush
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smtpbench.load.flow import Flow
    from smtpbench.load.pacing import PacedFlow


Rest = tuple[float, int, "PacedFlow"]  # until when, its number, whose it is

SLICES = 64  # a second: into so many the time to come is cut


class Rests:
    """Who rests is not among the `awake`, where it is otherwise. For one thread: that of `loop`.

    A timer for each would be much to compare, and for the collector of garbage to look at. Only the rests
    that end in the slice of time at hand are in order; those of later ones are thrown together until then.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, awake: set[Flow]) -> None:
        self._loop = loop
        self._awake = awake
        self._number = count(1)
        self._asleep: dict[PacedFlow, int] = {}  # and the number of its rest
        self._soon: list[Rest] = []  # a heap; some were ended before. Empty only if there is no rest
        self._slice = 0  # the last whose rests are among them
        self._later: dict[int, list[Rest]] = {}  # by slice
        self._slices: list[int] = []  # a heap of those
        self._timer: asyncio.TimerHandle | None = None  # for the first of all

    @property
    def asleep(self) -> Collection[PacedFlow]:
        """Who rests now."""
        return self._asleep.keys()

    def begin(self, flow: PacedFlow, seconds: float) -> None:
        """Wake `flow` in so many seconds, unless its rest is ended before."""
        number, until = next(self._number), self._loop.time() + seconds
        self._awake.discard(flow)
        self._asleep[flow] = number
        which = int(until * SLICES)
        if which > self._slice and self._soon:
            if which not in self._later:
                self._later[which] = []
                heappush(self._slices, which)
            self._later[which].append((until, number, flow))
            return
        self._slice = max(self._slice, which)
        heappush(self._soon, (until, number, flow))
        if self._soon[0][1] == number:
            self._set_timer()

    def end(self, flow: PacedFlow) -> bool:
        """End a rest; whether there was one. Its session goes on."""
        if self._asleep.pop(flow, None) is None:
            return False
        self._awake.add(flow)
        return True

    def forget(self, flow: PacedFlow) -> None:
        """End a rest, with the session."""
        self._asleep.pop(flow, None)

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._soon[0][0], self._ring)

    def _ring(self) -> None:
        self._timer = None
        soon, asleep, now = self._soon, self._asleep, self._loop.time()
        try:
            while soon and soon[0][0] <= now:
                _, number, flow = heappop(soon)
                if not soon and self._slices:
                    self._take_slice()
                if asleep.get(flow) == number:
                    flow.wake()
        finally:  # whoever fails, the others wake in their turn
            if soon and self._timer is None:
                self._set_timer()

    def _take_slice(self) -> None:
        self._slice = heappop(self._slices)
        self._soon += self._later.pop(self._slice)
        heapify(self._soon)
