"""Waiting until a target has recovered from a trial: single messages take as long as they did at rest."""

from __future__ import annotations

import asyncio
import time
from statistics import median

from smtpbench.errors import SmtpbenchError
from smtpbench.load.visitor import Visitor
from smtpbench.load.workload import Workload
from smtpbench.target import Target

PAUSE_S = 0.5  # at least, and between two looks
_MESSAGES = 5  # a look: the median of so many
_SLOWER = 2.0  # times as long as at rest is not yet recovered …
_MARGIN_S = 0.02  # … unless it is by less than this


class Recovery:
    """Knows how long a message takes at rest. Made before the first trial; sends messages of the workload."""

    def __init__(self, target: Target, workload: Workload, most_s: float) -> None:
        self._visitor = Visitor(target, workload)
        self._most_s = most_s
        self._rest_s = asyncio.run(self._look())

    def wait(self) -> tuple[float, bool]:
        """Give the target time, at most the bound: seconds that were given, and whether it has recovered."""
        begun = time.monotonic()
        while True:
            time.sleep(PAUSE_S)
            recovered = self._at_rest()
            given = time.monotonic() - begun
            if recovered or given >= self._most_s:
                return given, recovered

    def _at_rest(self) -> bool:
        try:
            took = asyncio.run(self._look())
        except SmtpbenchError:
            return False
        return took <= max(self._rest_s * _SLOWER, self._rest_s + _MARGIN_S)

    async def _look(self) -> float:
        """The median time of a message, in seconds. Raises SmtpbenchError if the target lets nobody in."""
        session = await self._visitor.open()
        try:
            times = []
            for _ in range(_MESSAGES):
                begun = time.monotonic()
                await self._visitor.deliver(session)
                times.append(time.monotonic() - begun)
            return median(times)
        finally:
            await session.quit()
