"""The gate of an engine: so many connections are being set up at a time, and no more."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol


class Conductor(Protocol):
    """Who sets up connections beside those that come through the gate: `_chat.Chats`."""

    opening: int  # how many it is at
    awaited: bool  # `Gate.look` shall be called once one of them is set up


class Gate:
    """Lets `limit` connections be set up at a time, in the order in which they came."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._inside = 0
        self._waiting: deque[Callable[[], object]] = deque()
        self._conductor: Conductor | None = None

    def count_in(self, conductor: Conductor) -> None:
        """Those of `conductor` are of the number, and need not `enter`."""
        self._conductor = conductor
        conductor.awaited = bool(self._waiting)

    @property
    def is_open(self) -> bool:
        """Whether there is room, and nobody waits for it."""
        return not self._waiting and self._has_room()

    def wait(self, begin: Callable[[], object]) -> None:
        """Call `begin`, which may `enter`, as soon as there is room and who came before has been called."""
        self._waiting.append(begin)
        if self._conductor is not None:
            self._conductor.awaited = True

    def enter(self) -> None:
        """One more is being set up."""
        self._inside += 1

    def leave(self) -> None:
        """It is no more; the next takes its place."""
        self._inside -= 1
        self.look()

    def look(self) -> None:
        """Call whom there is room for."""
        while self._waiting and self._has_room():
            self._waiting.popleft()()
        if self._conductor is not None:
            self._conductor.awaited = bool(self._waiting)

    def _has_room(self) -> bool:
        conductor = self._conductor
        return self._inside + (0 if conductor is None else conductor.opening) < self._limit
