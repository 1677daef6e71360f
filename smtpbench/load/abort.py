"""When a broken threshold ends a run early: if it can no longer be met, or if it stays broken.

Some figures only grow: counts, and the longest time. An upper limit on one of them that is exceeded stays
exceeded, so the run ends at once; a lower limit may yet be reached, so it never ends a run. All other figures
(percentiles, rates, the share of failures) may recover, so a threshold on one has to be broken at every look,
once a second, for `hold_s` seconds. Nothing is looked at in the first `grace_s` seconds, in which
connections are opened and caches are cold; a figure that nothing was measured for yet is not broken.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from smtpbench.load.result import LoadResult
from smtpbench.load.thresholds import Threshold, measured, parse_threshold

DEFAULT_GRACE_S = 10.0
DEFAULT_HOLD_S = 5.0


class AbortRule(BaseModel):
    """Thresholds as they were typed, and how patient to be with them. Times in seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    thresholds: tuple[str, ...]
    grace_s: float = DEFAULT_GRACE_S
    hold_s: float = DEFAULT_HOLD_S


class AbortWatch:
    """Looks at a run again and again. `see` gives the reason to end it, or ""."""

    def __init__(self, rule: AbortRule) -> None:
        self._rule = rule
        self._thresholds: Sequence[Threshold] = [parse_threshold(text) for text in rule.thresholds]
        self._broken_since: dict[Threshold, float] = {}

    def see(self, t_s: float, result: LoadResult) -> str:
        """The run after `t_s` seconds, as `result` has it so far."""
        if t_s < self._rule.grace_s:
            return ""
        for one in self._thresholds:
            found = one.check(result)
            if found.met or found.value is None or (one.only_grows and one.is_lower_limit):
                self._broken_since.pop(one, None)
                continue
            broken_for = t_s - self._broken_since.setdefault(one, t_s)
            if one.only_grows:
                return f"{one.text}: {measured(found)} after {t_s:.0f} s, and can no longer be met"
            if broken_for >= self._rule.hold_s:
                return f"{one.text}: {measured(found)} after {t_s:.0f} s, broken for {broken_for:.0f} s"
        return ""
