"""The contents of one process: made once for all kinds of its sessions that need the same."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from random import Random

from smtpbench.load.corpus.content import Content
from smtpbench.load.corpus.mime import Envelope, Maker
from smtpbench.load.corpus.mixture import Mixture
from smtpbench.load.corpus.pool import generate
from smtpbench.load.identifiers import Identifiers


@dataclass(frozen=True)
class Pool:
    """Contents, and the places in which they lie: each of `order` is equally likely, or next in turn."""

    contents: Sequence[Content]
    order: Sequence[int]

    @property
    def needs(self) -> frozenset[str]:
        """The extensions without which some of them may not be sent."""
        return frozenset().union(*(content.needs for content in self.contents))


class Stock:
    """Makes pools, or finds one that it has made. `seed` decides all that is drawn in making them."""

    def __init__(self, seed: int = 1) -> None:
        self.identifiers = Identifiers()
        self._seed = seed
        self._pools: dict[Hashable, Pool] = {}

    def generated(self, mixture: Mixture, sizes: Sequence[int], envelope: Envelope) -> Pool:
        """A pool of generated contents. Raises UsageError if a size is too small for what it shall hold."""
        key = (mixture.shares, tuple(sizes), envelope)
        return self._once(key, lambda: self._generate(mixture, sizes, envelope))

    def _generate(self, mixture: Mixture, sizes: Sequence[int], envelope: Envelope) -> Pool:
        pieces, order = generate(mixture, sizes, Maker(envelope), Random(self._seed))
        return Pool([Content(one, self.identifiers) for one in pieces], order)

    def _once(self, key: Hashable, make: Callable[[], Pool]) -> Pool:
        if key not in self._pools:
            self._pools[key] = make()
        return self._pools[key]
