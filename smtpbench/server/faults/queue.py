"""Faults of the queue that no reply tells of: only a count of what was accepted and what arrived shows them.

No conformance case names them; `smtpbench queue` has to find each.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from typing import Any, ClassVar

from smtpbench.server.faults.registry import fault
from smtpbench.server.outbound import Courier, Outbound
from smtpbench.server.relay import Relay
from smtpbench.server.reports import Action
from smtpbench.wire.replies import Reply

_REPLY = re.compile(r"\d{3} ")
EVERY = 1000
FIRST = 100


class _Every(Relay):
    """Does something to one message of `EVERY`, beginning with the `FIRST`."""

    taken = 0

    def accept(self, message: Outbound) -> bool:
        self.taken += 1
        return self.mistreat(message) if self.taken % EVERY == FIRST else self.take(message)

    def take(self, message: Outbound) -> bool:
        """What a faithful relay does."""
        return super().accept(message)

    def mistreat(self, message: Outbound) -> bool:
        """What this one does."""
        raise NotImplementedError


@fault("queue-loses-every-1000th", "5321-D-29")
class LosesEvery(_Every):
    """One accepted message of a thousand is forgotten."""

    def mistreat(self, message: Outbound) -> bool:
        return True


@fault("queue-delivers-every-1000th-twice", "5321-E-20")
class DeliversTwice(_Every):
    """One message of a thousand is sent on twice."""

    def mistreat(self, message: Outbound) -> bool:
        return self.take(message) and self.take(message)


@fault("queue-flips-a-bit", "5321-E-14")
class FlipsABit(_Every):
    """One bit of the body of one message of a thousand is another when it is sent on."""

    def mistreat(self, message: Outbound) -> bool:
        damaged = bytearray(message.content)
        damaged[-10] ^= 1
        return self.take(replace(message, content=bytes(damaged)))


@fault("queue-is-one-line", "5321-D-29")
class IsOneLine(Relay):
    """One message is carried at a time, in the order of acceptance: a slow domain holds up all others."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._turn = asyncio.Lock()

    async def carry(self, message: Outbound) -> None:
        async with self._turn:
            await super().carry(message)


@fault("queue-reorders", "5321-D-29")
class Reorders(Relay):
    """One message of ten is held for a while, so that later ones go before it."""

    hold: ClassVar[float] = 0.5  # seconds
    taken = 0

    async def carry(self, message: Outbound) -> None:
        self.taken += 1
        if self.taken % 10 == 0:
            await asyncio.sleep(self.hold)
        await super().carry(message)


@fault("queue-retries-at-once", "5321-E-10")
class RetriesAtOnce(Relay):
    """Who was put off is tried again without a pause."""

    async def pause(self) -> None:
        await asyncio.sleep(0)


@fault("queue-tries-the-refused-again", "5321-E-21")
class TriesTheRefusedAgain(Courier):
    """A 5yz reply is taken for a temporary failure."""

    def action(self, reply: Reply, transient: bool) -> Action | None:
        return None if reply.severity == 5 else super().action(reply, transient)


@fault("queue-fails-a-broken-connection", "5321-E-10")
class FailsABrokenConnection(Relay):
    """A connection that breaks off fails the message at once."""

    async def attempt(self, message: Outbound) -> Courier:
        courier = await super().attempt(message)
        for address in self.left(courier):
            if not _REPLY.match(courier.deferred.get(address, "")):  # the words of an error, and no reply
                courier.outcomes[address] = self.given_up(message, address)
        return courier
