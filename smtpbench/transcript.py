"""What was said on one connection, both ways, bounded and without secrets."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal, NamedTuple

Sender = Literal["client", "server", "note"]


class Entry(NamedTuple):
    """One write, one read or one note. `t_s` is in seconds from the transcript's beginning."""

    t_s: float
    sender: Sender
    data: bytes


@dataclass(slots=True)
class _Budget:
    octets: int
    entries: int


class Transcript:
    """A bounded log. Once a bound is met one note says so and the rest is dropped."""

    def __init__(self, limit: int = 65_536, max_entries: int = 2_000) -> None:
        self.entries: list[Entry] = []
        self._budget = _Budget(limit, max_entries)
        self._begin = time.perf_counter()

    def add(self, sender: Sender, data: bytes) -> None:
        """Log `data`, cut to what the bounds leave."""
        if self._budget.entries <= 0:
            return
        self._budget.entries -= 1
        kept = data[: self._budget.octets]
        self._budget.octets -= len(kept)
        self.entries.append(Entry(time.perf_counter() - self._begin, sender, kept))
        if len(kept) < len(data) or self._budget.entries <= 0:
            self._budget.entries = 0
            self._note(f"transcript cut here: {len(data) - len(kept)} octets of this entry and all after it")

    def add_note(self, text: str) -> None:
        """Log an event that is not bytes: TLS begun, connection closed."""
        if self._budget.entries > 0:
            self._note(text)

    def _note(self, text: str) -> None:
        self.entries.append(Entry(time.perf_counter() - self._begin, "note", text.encode()))
