"""Sessions that lie idle between their messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from smtpbench.load.flow import Flow
from smtpbench.load.recorder import Recorder
from smtpbench.load.resting import Rests
from smtpbench.load.script import Script
from smtpbench.load.supply import Backlog, Budget


class PacedFlow(Flow):
    """A session that rests for `pause` seconds after each message before it takes the next.

    It takes no message while one is under way, so nothing is sent behind a content. A supply that is
    spent, or `wake`, ends the rest.
    """

    __slots__ = ("_pause", "_rests", "_supply", "rests_until", "tired")

    def __init__(
        self, script: Script, recorder: Recorder, supply: Budget | Backlog, pause: Callable[[], float],
        rests: Rests, **options: Any,
    ) -> None:  # fmt: skip
        super().__init__(script, recorder, _OneByOne(self, supply), **options)
        self.tired = False  # a message has begun since the last rest
        self.rests_until = 0.0  # see `Rests`
        self._supply = supply
        self._pause = pause
        self._rests = rests

    def next(self, now: int = 0) -> None:
        """Lie idle if a message was sent; then as any session."""
        if self.tired and self.left and not (self.broken or self._supply.stopped or self._supply.spent):
            self._on = self._on_idle
            self._rests.begin(self, self._pause())
        else:
            self.tired = False
            super().next(now)

    def wake(self) -> None:
        """End the rest now, if this session rests."""
        if self._rests.end(self):
            self.tired = False
            super().next()

    def finish(self) -> None:
        """Nothing begins behind a QUIT."""
        self._rests.end(self)
        super().finish()

    def _begin(self, due: int, sent: int) -> None:
        self.tired = True
        super()._begin(due, sent)


class _OneByOne:
    """A source for one session that has no message for it while the last is under way."""

    __slots__ = ("_flow", "_supply")

    def __init__(self, flow: PacedFlow, supply: Budget | Backlog) -> None:
        self._flow = flow
        self._supply = supply

    @property
    def stopped(self) -> bool:
        """See `Source`."""
        return self._supply.stopped

    def take(self) -> int:
        """See `Source`."""
        return 0 if self._flow.tired else self._supply.take()

    def take_ahead(self, most: int) -> int:
        """See `Source`."""
        return 0

    def give_back(self, due: int) -> None:
        """See `Source`."""
        self._supply.give_back(due)
