"""Faults that a campaign inflicts on a target under load: each strikes, and is recovered from.

`disturbance(name, target, size)` makes one; `NotPossible` says why a target cannot be struck that way.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from threading import Event
from typing import Protocol

from smtpbench.campaign.killing import Killing, Rhythm
from smtpbench.errors import Inconclusive
from smtpbench.lab.machine import Machine
from smtpbench.load.crowd import Crowd
from smtpbench.target import Disturb, Target

COMMAND_S = 30.0
SIZES = {"slowloris": 150, "flood": 500}  # connections, unless told otherwise


class Fault(StrEnum):
    """What is done to the target."""

    KILL = "kill"
    DISK_FULL = "disk-full"
    DESCRIPTORS = "descriptors"
    SLOWLORIS = "slowloris"
    FLOOD = "flood"


DOES = {
    Fault.KILL: "SIGKILL of all processes of the target, and its start, again and again",
    Fault.DISK_FULL: "no room is left where the target keeps its queue",
    Fault.DESCRIPTORS: "no process of the target may open more than one file beyond those it has",
    Fault.SLOWLORIS: "sessions that send an octet every two seconds, in a command or a content, or nothing",
    Fault.FLOOD: "connections opened as fast as they are accepted, and held",
}


class NotPossible(Exception):
    """The target cannot be struck that way; the text says what is missing."""


class Disturbance(Protocol):
    """One fault. `words` says what it is; `met` is what the target did to connections of its own."""

    words: str

    def strike(self) -> None:
        """Bring it about. Raises Inconclusive."""

    def last(self, seconds: float, leave: Event) -> None:
        """Go on for so long, or for as long as it takes; `leave` ends it early. Raises Inconclusive."""

    def longest(self, seconds: float) -> float:
        """How long `last` takes at most, seconds."""

    def recover(self) -> None:
        """End it. Raises Inconclusive."""

    @property
    def met(self) -> Mapping[str, int]:
        """Word of `crowd.MET` → connections; nothing where it opens none."""

    @property
    def refusal(self) -> str:
        """What the target said first to a connection that it refused."""


def disturbance(
    fault: Fault, target: Target, folder: Path, *,
    size: int | None = None, machine: Machine | None = None, rhythm: Rhythm = Rhythm(),  # noqa: B008 - frozen
) -> Disturbance:  # fmt: skip
    """The disturbance; `size` is how many connections a crowd has, `folder` where the engines' gauges are.

    Raises NotPossible.
    """
    if fault is Fault.KILL:
        if machine is None:
            raise NotPossible("how the target is killed and started is not known")
        return Killing(target, machine, folder, rhythm)
    if fault in (Fault.SLOWLORIS, Fault.FLOOD):
        return Crowded(target, size or SIZES[fault.value], fault)
    section = target.shortage
    found = section and (section.disk_full if fault is Fault.DISK_FULL else section.descriptors)
    if not found:
        raise NotPossible(
            f"the target does not say how: expected [shortage.{fault}] with strike and recover in its file"
        )
    return Commanded(found, fault)


class _Lasting:
    """A fault that lasts as long as it is asked to."""

    def last(self, seconds: float, leave: Event) -> None:
        """Wait."""
        leave.wait(seconds)

    def longest(self, seconds: float) -> float:
        """What was asked for."""
        return seconds


class Commanded(_Lasting):
    """Two commands of the target file."""

    met: Mapping[str, int] = {}
    refusal = ""

    def __init__(self, commands: Disturb, fault: Fault) -> None:
        self._commands, self._fault = commands, fault
        self.words = DOES[fault]

    def strike(self) -> None:
        """Run the one command."""
        self._run("strike", self._commands.strike)

    def recover(self) -> None:
        """Run the other."""
        self._run("recover", self._commands.recover)

    def _run(self, what: str, command: str) -> None:
        where = f"shortage.{self._fault}.{what}"
        try:
            done = subprocess.run(
                ["/bin/sh", "-c", command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE, timeout=COMMAND_S, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise Inconclusive(f"{where}: still runs after {COMMAND_S:g} s: {command}") from None
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip()[-300:]
            raise Inconclusive(f"{where}: exit code {done.returncode}: {said or command}")


class Crowded(_Lasting):
    """A crowd of connections."""

    def __init__(self, target: Target, size: int, fault: Fault) -> None:
        self._crowd = Crowd(target, size, slow=fault is Fault.SLOWLORIS)
        self.words = f"{self._crowd.size} {DOES[fault]}"
        if self._crowd.size < size:
            self.words += f" (of {size}: our own limit on descriptors)"

    @property
    def met(self) -> Mapping[str, int]:
        """What became of the connections."""
        return dict(self._crowd.met)

    @property
    def refusal(self) -> str:
        """The first refusal."""
        return self._crowd.first_refusal

    def strike(self) -> None:
        """Open them."""
        self._crowd.gather()

    def recover(self) -> None:
        """Let go of them."""
        self._crowd.release()
