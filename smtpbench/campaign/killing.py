"""SIGKILL of a target under load, again and again, at moments that are drawn.

Every other one is aimed: from the moment that was drawn it waits for a message whose end of data is sent and
not answered, when a server that acknowledges too early has the most to lose.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from smtpbench.campaign.fault_result import Cycle
from smtpbench.delivery.gauge import Reading, read_gauges
from smtpbench.errors import Inconclusive
from smtpbench.lab.machine import Machine, await_greeting
from smtpbench.target import Target

CYCLES = 5
EVERY_S = 2.0  # of load between two kills, on average
BACK_WITHIN_S = 30.0
KILL_S = 30.0  # for the command that kills
AIM_S = 2.0  # for a message to be in its final dot
AIM_POLL_S = 0.0002
AIMED = 2  # one kill of so many is aimed


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often, how far apart on average, and the seed of the moments."""

    cycles: int = CYCLES
    every_s: float = EVERY_S
    seed: int = 1


class Killing:
    """The kills of one campaign. `gone` is why the target did not come back, if it did not."""

    met: Mapping[str, int] = {}
    refusal = ""

    def __init__(self, target: Target, machine: Machine, folder: Path, rhythm: Rhythm) -> None:
        self.words = f"{rhythm.cycles} times SIGKILL of all processes of the target, and its start"
        self.cycles: list[Cycle] = []
        self.gone = ""
        self.wanted = rhythm.cycles
        self._target, self._machine, self._folder, self._rhythm = target, machine, folder, rhythm
        self._back_s = target.crash.within_s if target.crash else BACK_WITHIN_S

    def strike(self) -> None:
        """Nothing yet: the moments are drawn in `last`."""

    def longest(self, seconds: float) -> float:
        """Seconds that all cycles take at most."""
        one = 1.5 * self._rhythm.every_s + AIM_S + KILL_S + self._back_s
        return self._rhythm.cycles * one

    def last(self, seconds: float, leave: Event) -> None:
        """Kill and start as often as asked, or until the target does not come back. Raises Inconclusive."""
        begun, draw = time.monotonic(), random.Random(self._rhythm.seed)
        for number in range(1, self._rhythm.cycles + 1):
            if leave.wait(draw.uniform(0.5, 1.5) * self._rhythm.every_s):
                return
            now = self._aim() if number % AIMED == 0 else read_gauges(self._folder)
            at = time.monotonic()
            self._machine.kill()
            cycle = Cycle(
                number=number, aimed=number % AIMED == 0, at_s=round(at - begun, 3),
                sessions=now.sessions, final_dots=now.unanswered,
            )  # fmt: skip
            self.cycles.append(cycle)
            self._machine.start()
            try:
                await_greeting(self._target.main, self._back_s)
            except Inconclusive as error:
                said = self._machine.log_tail()
                self.gone = (
                    f"kill {number}: it did not come back: {error}{f'; its log: {said}' if said else ''}"
                )
                return
            cycle.down_s = round(time.monotonic() - at, 3)

    def recover(self) -> None:
        """It is up again, or it never will be."""

    def _aim(self) -> Reading:
        """Wait until a final dot is out and not answered, but not for ever; what was open then."""
        deadline = time.monotonic() + AIM_S
        while not (now := read_gauges(self._folder)).unanswered and time.monotonic() < deadline:
            time.sleep(AIM_POLL_S)
        return now
