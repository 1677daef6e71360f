"""Looking at a source again and again: what each look finds, and how long there was nothing to be seen.

A mailbox on a server can be away for a while, or for good. No look raises for that: what was seen before is
worth as much as it was, and a mailbox that is back still has what came meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from smtpbench.delivery.sources import MailboxSource, Seen, Source
from smtpbench.errors import Inconclusive

LOOK_WORTH_S = 1.0  # at most so much silence is proved by one look, however long ago the last one was
GONE_S = 30.0  # a source that was away for so long is not expected back
AGAIN_S = 0.5  # between two looks that fail
ALL_READ = 4  # looks in vain, after which a reader has all that it gets: other mailboxes have the rest


class Looker:
    """Looks at `source`. Times are in seconds.

    `silent_s` is for how long looks have found nothing; time in which nobody could look is no silence.
    `away_s` is how long it has been since the last look that could be made, 0 if that was the last one, and
    `down_s` adds all such times up; `trouble` is what the last failure was, in words.
    """

    idle_factor = (
        4  # a look that takes long is followed by a pause so many times as long: the target has the machine
    )

    def __init__(self, source: Source) -> None:
        self.source = source
        self.silent_s = self.down_s = self.away_s = 0.0
        self.in_vain = 0  # looks since the last one that found something
        self.trouble = ""
        self._at = 0.0  # of the last look that could be made

    async def start(self) -> None:
        """Begin: what is there already does not count. Raises SmtpbenchError."""
        await self.source.start()
        self._at = time.monotonic()

    async def stop(self) -> None:
        """End. A source that is gone by now is none the worse."""
        try:
            await self.source.stop()
        except Inconclusive as error:
            self.trouble = self.trouble or str(error)

    def count_silence_anew(self) -> None:
        """Forget the silence so far."""
        self.silent_s, self.in_vain, self._at = 0.0, 0, time.monotonic()

    @property
    def blind(self) -> str:
        """Why none of its looks can have found anything; "" if some can."""
        return self.source.absent

    @property
    def gone(self) -> bool:
        """Whether it is not expected back."""
        return self.away_s >= GONE_S

    async def look(self) -> list[Seen]:
        """What has come since the last look; nothing if there was none to be had."""
        try:
            seen = await self.source.news()
        except Inconclusive as error:
            self.trouble = str(error)
            self.away_s = time.monotonic() - self._at
            return []
        now = time.monotonic()
        self.down_s += self.away_s and now - self._at
        self.away_s = 0.0
        self.silent_s = 0.0 if seen else self.silent_s + min(now - self._at, LOOK_WORTH_S)
        self.in_vain = 0 if seen else self.in_vain + 1
        self._at = now
        return seen

    async def pause(self, begun: float) -> None:
        """Until the next look, after one that began at `begun`."""
        least = AGAIN_S if self.away_s else self.source.poll_s
        await asyncio.sleep(max(least, self.idle_factor * (time.monotonic() - begun)))


class Reader(Looker):
    """A recipient who reads what arrives. `read` is how many messages of ours that was; others set it."""

    idle_factor = 1  # the sooner it looks again, the more exact its times are

    def __init__(self, source: MailboxSource) -> None:
        super().__init__(source)
        self.protocol = source.protocol
        self.read = 0
        self._news: list[Seen] = []

    async def follow(self, ending: Callable[[], bool]) -> None:
        """Read until `ending`, and once more then."""
        while True:
            last, begun = ending(), time.monotonic()
            self._news += await self.look()
            if last:
                return
            await self.pause(begun)

    def take(self) -> list[Seen]:
        """What was read since the last call."""
        news, self._news = self._news, []
        return news

    def has_read(self, number: int) -> bool:
        """Whether it has as many as that, or no more are to be expected of it."""
        return self.read >= number or self.in_vain >= ALL_READ or self.gone
