"""Scripts whose messages differ in size and number of recipients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle
from random import Random

from smtpbench.load.distributions import Distribution
from smtpbench.load.kinds import counted
from smtpbench.load.script import Transaction

POOL = 256  # sizes kept ready: enough that each is a thin slice of the distribution
FEW = 20  # recipients; the commands of more are put together anew, so that not all are kept
KNOWN_MAX = 10_000  # transactions that are kept
POOL_OCTETS = 64 << 20  # of them all; a heavy tail gets fewer, so that memory stays within bounds

Content = Callable[[bytes], bytes]
Message = tuple[bytes, Content, Content | None]  # its MAIL, and its content as DATA and as BDAT carry it


def sizes(distribution: Distribution) -> list[int]:
    """A fair sample of the distribution: as many sizes as the memory allows, each equally likely."""
    number = 1 if distribution.fixed is not None else POOL
    while True:
        found = [int(size) for size in distribution.strata(number)]
        if sum(found) <= POOL_OCTETS or number == 1:
            return found
        number //= 2


def one_of(
    transactions: Sequence[Transaction], random: Random, *, in_turn: bool = False
) -> Callable[[], Transaction]:
    """What gives one of `transactions` each time, drawn or `in_turn`: `Drawn`, where all else is the same."""
    if in_turn or len(transactions) == 1:
        return cycle(transactions).__next__
    number, draw = len(transactions), random.random
    return lambda: transactions[int(draw() * number)]


class Drawn:
    """Draws each transaction: how many of `rcpts` it names, and which of `messages` it is, if not `in_turn`.
    The first that it names is each of the first `starts` in turn.

    `next` is a script's. It draws from `random` alone, so that a seed gives the same messages in the
    same order.
    """

    def __init__(
        self, rcpts: tuple[bytes, ...], messages: Sequence[Message], recipients: Distribution, random: Random,
        *, in_turn: bool = False, starts: int = 1,
    ) -> None:  # fmt: skip
        self._rcpts, self._messages = rcpts * 2, messages  # twice: from any start there are all of them
        self._start = cycle(range(starts)).__next__
        self._number, self._chance = counted(recipients, random), random.random
        self._choose = cycle(range(len(messages))).__next__ if in_turn else self._one_of_them
        self._known: dict[tuple[int, int, int], Transaction] = {}

    def _one_of_them(self) -> int:
        return int(self._chance() * len(self._messages))

    def next(self) -> Transaction:
        """The next transaction."""
        key = self._start(), self._number(), self._choose()
        found = self._known.get(key)
        if found is None:
            start, number, message = key
            mail, content, bdat_content = self._messages[message]
            found = Transaction(mail, self._rcpts[start : start + number], content, bdat_content)
            if number <= FEW and len(self._known) < KNOWN_MAX:
                self._known[key] = found
        return found
