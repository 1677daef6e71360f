"""The kinds of sessions of a workload, ready to run: which door, what to send, how much of it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from typing import Generic, TypeVar

from smtpbench.errors import SessionError
from smtpbench.load.arrival import Door
from smtpbench.load.distributions import Distribution
from smtpbench.load.script import Script
from smtpbench.wire.ehlo import Extensions

NO_LIMIT = -1

_K = TypeVar("_K")


class NotOffered(SessionError):
    """The server lacks an extension that this kind of session is made of."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of session.

    `messages` gives how many the next session carries, or `NO_LIMIT`; `pause` how many seconds it
    lies idle after each. `needs` are the extensions that must be offered. `name` is empty where
    there is only one kind.
    """

    door: Door
    script: Script
    messages: Callable[[], int]
    pause: Callable[[], float] | None = None
    needs: frozenset[str] = frozenset()
    name: str = ""

    def check(self, extensions: Extensions) -> None:
        """Raises NotOffered, which says what is missing and where."""
        if missing := sorted(self.needs - frozenset(extensions)):
            who = f"{self.name}: " if self.name else ""
            whose = next((name for one in missing if (name := self.script.needs.get(one))), None)
            why = f", which {whose} needs" if whose else ""
            raise NotOffered(f"{who}{self.door.address} does not offer {', '.join(missing)}{why}")


class Mix(Generic[_K]):
    """Draws one of `kinds` by weight. One alone takes no random number."""

    def __init__(self, kinds: Sequence[_K], weights: Sequence[float], random: Random) -> None:
        self._kinds, self._random = kinds, random
        self._upto = list(accumulate(weights))

    def draw(self) -> _K:
        """The kind of the next session."""
        if len(self._kinds) == 1:
            return self._kinds[0]
        at = bisect_right(self._upto, self._random.random() * self._upto[-1])
        return self._kinds[min(at, len(self._kinds) - 1)]


def counted(distribution: Distribution | None, random: Random) -> Callable[[], int]:
    """Whole numbers drawn one after the other; `NO_LIMIT` for ever if there is no distribution."""
    if distribution is None:
        return lambda: NO_LIMIT
    if distribution.fixed is not None:
        value = int(distribution.fixed)
        return lambda: value
    return lambda: distribution.draw_whole(random)
