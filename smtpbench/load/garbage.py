"""What lives as long as a run is not looked at again and again by Python's collector of cyclic garbage.

A full collection looks at every object there is: all that was imported, and a score for each session. It
stops the loop meanwhile, for tens of ms where there are thousands of sessions, and that every few seconds.
"""

from __future__ import annotations

import gc

GROWN = 1.25  # times as many sessions as were there when all was spared last: spare all again


class Spared:
    """From `begin` to `end`. A session that ends in a cycle after it was spared is freed at the end; there
    are no more than some times as many as were open at once."""

    def __init__(self) -> None:
        self._sessions = 0

    def begin(self) -> None:
        """Spare all that is there."""
        gc.freeze()

    def look(self, sessions: int) -> None:
        """Spare all that is there again, if many `sessions` have come since."""
        if sessions > GROWN * self._sessions:
            self._sessions = sessions
            gc.freeze()

    def end(self) -> None:
        """Spare nothing."""
        gc.unfreeze()
