"""Where the sessions of an engine get their messages: a budget (closed workload) or a backlog (open)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from smtpbench.load.recorder import Recorder

RESERVE = 8  # for one message that a sharer may take ahead, so many are left to it
SPARED = 1000  # messages that may be taken ahead by all sessions together
NOW = 1  # a due time of a closed workload; nothing is measured from it


class Budget:
    """A closed workload: every message is due when a session asks for it, until the budget is spent."""

    __slots__ = ("_left", "_recorder", "sharers", "stopped")

    def __init__(self, recorder: Recorder, messages: int | None) -> None:
        self._recorder = recorder
        self._left = -1 if messages is None else messages
        self.sharers = 0  # users who take from it
        self.stopped = False

    @property
    def spent(self) -> bool:
        """Whether no message is left to begin."""
        return not self._left

    def take(self) -> int:
        """`NOW`, or 0 when the budget is spent or the run is over."""
        if self.stopped or not self._left:
            return 0
        self._left -= 1
        self._recorder.counters["offered"] += 1
        return NOW

    def take_ahead(self, most: int) -> int:
        """Take some messages, `most` at most, that begin later: few enough that all sharers have some to the
        end, and the less for each the more they are."""
        sharers = max(self.sharers, 1)
        count = 0 if self.stopped else min(most, SPARED // sharers)
        if self._left >= 0:
            count = min(count, self._left // (RESERVE * sharers))
            self._left -= count
        self._recorder.counters["offered"] += count
        return count

    def give_back(self, due: int) -> None:
        """Return a message that was never begun."""
        self._left += 1
        self._recorder.counters["offered"] -= 1


class Backlog:
    """An open workload: the messages that are due and not begun, oldest first. None is ever dropped."""

    def __init__(self) -> None:
        self.due: deque[int] = deque()
        self.stopped = False
        self.complete = False  # the plan has no more arrivals
        self.ahead: tuple[int | None, Iterator[int]] = (None, iter(()))  # what the plan has next, and then

    @property
    def spent(self) -> bool:
        """Whether the plan is complete and every message of it begun."""
        return self.complete and not self.due

    def take(self) -> int:
        """When the oldest waiting message was due (`perf_counter_ns`), or 0 if none waits."""
        return self.due.popleft() if self.due and not self.stopped else 0

    def take_ahead(self, most: int) -> int:
        """None: an arrival is for the session that is free first."""
        return 0

    def overdue(self, now: int) -> int:
        """Let all wait that the plan had due before `now`, and tell how many: a late plan loses none."""
        (due, plan), before = self.ahead, len(self.due)
        while due is not None and due <= now:
            self.due.append(due)
            due = next(plan, None)
        self.ahead = (due, plan)
        return len(self.due) - before

    def give_back(self, due: int) -> None:
        """Put one back in front."""
        self.due.appendleft(due)
