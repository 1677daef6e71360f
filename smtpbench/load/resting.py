"""Rests: sessions that lie idle between their messages, thousands of them, with one timer of the loop."""

from __future__ import annotations

import asyncio
from heapq import heapify, heappop, heappush
from itertools import chain, count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smtpbench.load.flow import Flow
    from smtpbench.load.pacing import PacedFlow


SLICES = 64  # a second: into so many the time to come is cut


class Rests:
    """Who rests is not among the `awake`, where it is otherwise. For one thread: that of `loop`.

    A timer for each would be much to compare, and for the collector of garbage to look at: a rest takes no
    object of its own. Only those that end in the slice of time at hand are in order; later ones are thrown
    together until then.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, awake: set[Flow]) -> None:
        self._loop = loop
        self._awake = awake
        self._number = count()
        # A heap: until when, a number, whose rest; some were ended before. Empty only if nobody rests.
        self._soon: list[tuple[float, int, PacedFlow]] = []
        self._slice = 0  # the last whose rests are among them
        self._later: dict[int, list[PacedFlow]] = {}  # by slice
        self._slices: list[int] = []  # a heap of those
        self._timer: asyncio.TimerHandle | None = None  # for the first of all

    @property
    def asleep(self) -> set[PacedFlow]:
        """Who rests now."""
        return {flow for flow in chain(self.first, *self._later.values()) if flow.rests_until}

    @property
    def first(self) -> list[PacedFlow]:
        """Some of them, who wake first of all."""
        return [flow for until, _, flow in self._soon if flow.rests_until == until]

    def begin(self, flow: PacedFlow, seconds: float) -> None:
        """Wake `flow` in so many seconds, unless its rest is ended before."""
        flow.rests_until = until = self._loop.time() + seconds
        self._awake.discard(flow)
        which = int(until * SLICES)
        if which > self._slice and self._soon:
            if which not in self._later:
                self._later[which] = []
                heappush(self._slices, which)
            self._later[which].append(flow)
            return
        self._slice = max(self._slice, which)
        heappush(self._soon, (until, next(self._number), flow))
        if self._soon[0][0] == until:
            self._set_timer()

    def end(self, flow: PacedFlow) -> bool:
        """End a rest; whether there was one."""
        if not flow.rests_until:
            return False
        flow.rests_until = 0.0
        self._awake.add(flow)
        return True

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._soon[0][0], self._ring)

    def _ring(self) -> None:
        self._timer = None
        soon, now = self._soon, self._loop.time()
        try:
            while soon and soon[0][0] <= now:
                until, _, flow = heappop(soon)
                if not soon:
                    self._take_slice()
                if flow.rests_until == until:
                    flow.wake()
        finally:  # whoever fails, the others wake in their turn
            if soon and self._timer is None:
                self._set_timer()

    def _take_slice(self) -> None:
        """The next in which a rest ends. Who has begun another since is there for nothing, or twice."""
        while self._slices and not self._soon:
            self._slice = heappop(self._slices)
            for flow in self._later.pop(self._slice):
                if int(flow.rests_until * SLICES) == self._slice:
                    self._soon.append((flow.rests_until, next(self._number), flow))
        heapify(self._soon)
