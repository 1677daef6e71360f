"""How the target is doing while the cases run: whether it still answers connections, and how fast it replies.

Neither may become a verdict about something else. A target that no longer answers leaves the rest
untested; a slow one gets longer silences and later deadlines.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from smtpbench.target import Target

GIVE_UP_AFTER = 6  # connections in a row without a greeting …
GIVE_UP_NOT_BEFORE = 2.0  # … and seconds since the first of them: a server that restarts may come back
RECENT = 64  # replies that say how fast the target is now
SHARE = 0.9  # of them came within the stated latency; the rest may be a commit, or a delay after errors
SILENCES = 3.0  # a silence lasts at least this many such latencies
PROMPT = 0.03  # seconds; a case's own deadline is meant for replies this fast
LONGEST_STRETCH = 10.0


@dataclass
class Pulse:
    """Counts connections in a row that did not lead to a greeting; one endpoint's."""

    missed: int = 0
    since: float = 0.0
    stopped: str | None = None  # why nothing more is tried

    def beat(self) -> None:
        """It greeted."""
        self.missed = 0

    def miss(self, why: str) -> None:
        """No connection, or none that was greeted."""
        if not self.missed:
            self.since = time.monotonic()
        self.missed += 1
        if self.missed >= GIVE_UP_AFTER and time.monotonic() - self.since >= GIVE_UP_NOT_BEFORE:
            self.stopped = f"the target stopped answering: {why}"


@dataclass
class Pace:
    """How long replies took of late."""

    recent: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))

    def add(self, seconds: Iterable[float]) -> None:
        """Replies that came this long after what was sent last."""
        self.recent.extend(seconds)

    @property
    def latency(self) -> float:
        """Seconds within which nine of ten replies came; 0 as long as there were none."""
        if not self.recent:
            return 0.0
        return sorted(self.recent)[int(SHARE * (len(self.recent) - 1))]

    def fit(self, target: Target) -> Target:
        """`target` with a silence that is long enough for how fast it replies, if its own is not."""
        quiet = min(SILENCES * self.latency, target.timeouts.reply)
        if quiet <= target.timeouts.quiet:
            return target
        return target.model_copy(
            update={"timeouts": target.timeouts.model_copy(update={"quiet": round(quiet, 3)})}
        )

    @property
    def stretch(self) -> float:
        """How many times its deadline a case may take."""
        return min(max(1.0, self.latency / PROMPT), LONGEST_STRETCH)
