"""How long messages have taken so far, for those who look on at a run. The ledger knows it exactly."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

MOST = 20_000  # messages under way that are remembered; beyond it, those are a sample
_STEPS = 100  # buckets of the logarithm to base e: about 1 % each
MS = 1_000_000
SHARES = {"p50_ms": 0.5, "p90_ms": 0.9, "p99_ms": 0.99, "p999_ms": 0.999, "max_ms": 1.0}


class Tempo:
    """Pairs the beginnings of messages with their ends, whichever is told first."""

    def __init__(self) -> None:
        self._begun: dict[bytes, int] = {}
        self._early: dict[bytes, int] = {}  # ended before anybody told that they had begun
        self._counts: Counter[int] = Counter()

    def begin(self, messages: Iterable[tuple[bytes, int]]) -> None:
        """Identifiers of messages, and when each began (ns)."""
        for identifier, at_ns in messages:
            if (ended := self._early.pop(identifier, None)) is not None:
                self._took(ended - at_ns)
            elif len(self._begun) < MOST:
                self._begun[identifier] = at_ns

    def end(self, messages: Iterable[tuple[bytes, int]]) -> None:
        """Identifiers of messages, and when each came (ns)."""
        for identifier, at_ns in messages:
            if (begun := self._begun.pop(identifier, None)) is not None:
                self._took(at_ns - begun)
            elif len(self._early) < MOST:
                self._early[identifier] = at_ns

    def _took(self, duration_ns: int) -> None:
        self._counts[round(math.log(max(duration_ns, 1000) / MS) * _STEPS)] += 1

    def figures(self) -> dict[str, float]:
        """`count`, and `SHARES` in milliseconds, to 1 %; empty without a message."""
        counts = sorted(dict(self._counts).items())  # a copy: the other thread goes on
        total = sum(count for _, count in counts)
        if not total:
            return {}
        found: dict[str, float] = {"count": total}
        seen, shares = 0, list(SHARES.items())
        for bucket, count in counts:
            seen += count
            while shares and seen >= shares[0][1] * total:
                found[shares.pop(0)[0]] = math.exp(bucket / _STEPS)
        return found
