"""The pool of generated contents: sizes and kinds by their distributions, each content rendered once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import cycle, islice
from random import Random

from smtpbench.load.corpus.mime import Maker
from smtpbench.load.corpus.mixture import Mixture

SLOTS = 256  # as many equally likely places: the share of a kind is right to 1/256
RENDERED_OCTETS = (
    16 << 20
)  # rendering takes up to two seconds for so much; beyond that contents are used again


def generate(
    mixture: Mixture, sizes: Sequence[int], maker: Maker, random: Random
) -> tuple[list[tuple[str, list[bytes]]], list[int]]:
    """Kind and pieces of each content, and a list of their indices in which each place is equally likely.

    Kind and size are independent of each other. The same `random` gives the same pool. Raises UsageError if a
    size is too small for a kind.
    """
    if mixture.plain:
        return [("plain", maker.make("plain", size, random)) for size in sizes], list(range(len(sizes)))
    kinds = mixture.deal(SLOTS)
    random.shuffle(kinds)
    places = list(zip(kinds, islice(cycle(sizes), len(kinds)), strict=False))
    for kind in sorted(set(kinds)):
        maker.make(kind, min(sizes), Random(0))  # too small for some: say so, whichever sizes it met
    contents: list[tuple[str, list[bytes]]] = []
    alike: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
    order, rendered = [], 0
    for number, place in enumerate(places):
        kind, size = place
        if not alike[place] or rendered + size <= RENDERED_OCTETS:
            contents.append((kind, maker.make(kind, size, random)))
            rendered += size
            alike[place].append(len(contents) - 1)
            order.append(len(contents) - 1)
        else:
            order.append(alike[place][number % len(alike[place])])
    return contents, order
