"""Follows messages to where they arrive while somebody else sends them, and keeps the ledger.

    with Follower(source, folder) as follower:       # a thread of its own; the source listens or looks
        ...                                          # the load runs, in another process
        follower.drain(settle_s=10, within_s=60)     # how it went is in what it returns
    follower.ledger.balance(closed=True)

The ledger belongs to the follower's thread until it has stopped.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import uvloop

from smtpbench.delivery.accounts import Notice
from smtpbench.delivery.arrival import Arrival, Read, read_arrival
from smtpbench.delivery.ledger import Ledger
from smtpbench.delivery.looking import Looker, Reader
from smtpbench.delivery.notices import read_notices
from smtpbench.delivery.sources import MailboxSource, Seen, Source
from smtpbench.delivery.tempo import Tempo
from smtpbench.errors import SmtpbenchError

POLL_S = 0.1
BALANCE_FACTOR = 5
PROGRESS_S = 1.0
JOIN_S = 90.0  # a look over the network is bounded by less


@dataclass(frozen=True, slots=True)
class Drain:
    """How waiting for the rest ended. `closed`: the target has had its time, what is missing now is lost.

    `gone`: nobody could look any more, or ever, so what is missing may have arrived.
    """

    closed: bool
    waited_s: float
    interrupted: bool = False
    gone: bool = False


class Follower:
    """Follows `source` into the ledger of `folder` while entered, and what is read of it by `readers`.
    Raises SmtpbenchError if that cannot begin.
    """

    def __init__(self, source: Source, folder: Path, readers: Sequence[MailboxSource] = ()) -> None:
        self.ledger = Ledger(folder)
        self.accepted = 0  # so far; for those who look on
        self.arrived = 0
        self.tempo = Tempo()  # until the arrival
        self.reading_tempo = {one.protocol: Tempo() for one in readers}
        self.looker = Looker(source)
        self.readers = [Reader(one) for one in readers]
        self.cpu_s = 0.0  # of the thread: the sink is in it
        self._source = source
        self._ids: set[bytes] = set()
        self._read: dict[str, set[bytes]] = {reader.protocol: set() for reader in self.readers}
        self._pending: int | None = None  # by the last balance, None if there was none since asked
        self._balance_from: float | None = (
            None  # of what looks see that begin then or later; None: of nothing
        )
        self._stop = threading.Event()
        self._error: SmtpbenchError | None = None
        self._started: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="smtpbench-follower", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._started.result()
        except BaseException:
            self._thread.join(JOIN_S)
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join(JOIN_S)

    def check(self) -> None:
        """Raises the error that ended the following, if one did."""
        if self._error is not None:
            raise self._error

    def drain(
        self, *, settle_s: float, within_s: float, linger_s: float = 1.0,
        progress: Callable[[float], None] = lambda _: None,
    ) -> Drain:  # fmt: skip
        """Wait until every accepted message is settled, and then `linger_s` for duplicates.

        Readers get as long as they find something. If messages are missing, nothing more is expected once
        looks have found nothing for `settle_s`, in a place that is there; the wait ends after `within_s` in
        any case, or when nobody can look any more, and then the missing ones may still be on their way.
        KeyboardInterrupt ends it too.
        `progress` hears about once a second how long it has been.
        """
        begun = time.monotonic()
        self._count_silence_anew()
        settled_at: float | None = None
        told = begun
        self._balance_from = begun  # an earlier look may have missed what was accepted last
        try:
            while (waited := time.monotonic() - begun) < within_s:
                self.check()
                if self._pending == 0:
                    if settled_at is None:
                        settled_at = time.monotonic()
                        self._count_silence_anew()
                    if time.monotonic() - settled_at >= linger_s and self._all_read():
                        return Drain(True, waited)
                elif self.looker.gone:
                    return Drain(False, waited, gone=True)
                elif self.looker.silent_s >= settle_s:
                    return Drain(not self.looker.blind, waited, gone=bool(self.looker.blind))
                if time.monotonic() - told >= PROGRESS_S:
                    told = time.monotonic()
                    progress(waited)
                time.sleep(POLL_S)
        except KeyboardInterrupt:
            return Drain(False, time.monotonic() - begun, interrupted=True)
        return Drain(self._pending == 0, within_s)

    def _count_silence_anew(self) -> None:
        for one in (self.looker, *self.readers):
            one.count_silence_anew()

    # --- the thread ---

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._follow())
        except SmtpbenchError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 - nobody else would hear of it: `check` raises it
            self._fail(SmtpbenchError(f"{self._source.where}: {type(error).__name__}: {error}"))

    def _fail(self, error: SmtpbenchError) -> None:
        self._error = error
        if not self._started.done():
            self._started.set_exception(error)

    async def _follow(self) -> None:
        async with AsyncExitStack() as stack:
            for one in (self.looker, *self.readers):
                await one.start()
                stack.push_async_callback(one.stop)
            self._started.set_result(None)
            await asyncio.gather(
                self._keep_the_ledger(), *(reader.follow(self._stop.is_set) for reader in self.readers)
            )
            self._take_over_from_readers()

    async def _keep_the_ledger(self) -> None:
        balanced_at = -1.0
        while True:
            stopping = self._stop.is_set()  # before the look: what came until then is seen
            begun = time.monotonic()
            await self._look()
            wanted = self._balance_from is not None and begun >= max(self._balance_from, balanced_at)
            if wanted and self._all_seen():
                # beside the loop, in which the sink serves the target
                found = await asyncio.to_thread(self.ledger.balance, closed=False)
                self._pending = found.counts.pending
                balanced_at = time.monotonic() + BALANCE_FACTOR * (time.monotonic() - begun)
            if stopping:
                return
            await self.looker.pause(begun)

    def _all_seen(self) -> bool:
        """Whether as many messages were seen as were accepted: before that something is missing for sure."""
        return len(self._ids) >= self.accepted

    def _all_read(self) -> bool:
        return all(reader.has_read(len(self._ids)) for reader in self.readers)

    async def _look(self) -> None:
        """Arrivals first: the reply to a message may have come to us later than its copy."""
        seen = await self.looker.look()
        accepted = self.ledger.import_journals()
        for tempo in (self.tempo, *self.reading_tempo.values()):
            tempo.begin(accepted)
        if seen:
            self._write_down(seen)
        self._take_over_from_readers()
        self.accepted = self.ledger.accepted()
        self.cpu_s = time.thread_time()

    def _write_down(self, seen: list[Seen]) -> None:
        found, notices = self._understood(seen)
        arrivals = [arrival for _, arrival in found]
        self.ledger.add(arrivals, notices)
        if not self._source.exact:
            self.ledger.add_reads(_reads(self._source.protocol, found))
        self._ids.update(notice.identifier for notice in notices if notice.action == "failed")
        self._ids.update(arrival.identifier for arrival in arrivals if arrival.identifier)
        self.tempo.end((arrival.identifier, arrival.at_ns) for arrival in arrivals if arrival.identifier)
        self.arrived = len(self._ids)

    def _take_over_from_readers(self) -> None:
        for reader in self.readers:
            if seen := reader.take():
                found, _ = self._understood(seen)
                reads = _reads(reader.protocol, found)
                self.ledger.add_reads(reads)
                self.reading_tempo[reader.protocol].end((one.identifier, one.at_ns) for one in reads)
                self._read[reader.protocol].update(one.identifier for one in reads)
                reader.read = len(self._read[reader.protocol])

    def _understood(self, seen: list[Seen]) -> tuple[list[tuple[Seen, Arrival]], list[Notice]]:
        """The messages among `seen`, and what its reports say."""
        known, runs = self.ledger.digests(), self.ledger.runs()
        found: list[tuple[Seen, Arrival]] = []
        notices: list[Notice] = []
        for one in seen:
            said = read_notices(one.content, one.at_ns, runs=runs, sender=one.sender)
            if said is not None:
                notices += said
                continue
            arrival = read_arrival(
                one.content, one.at_ns, sender=one.sender, recipients=one.recipients,
                session=one.session, known=known,
            )  # fmt: skip
            found.append((one, arrival))
        return found, notices


def _reads(protocol: str, found: Sequence[tuple[Seen, Arrival]]) -> list[Read]:
    return [
        Read(protocol, arrival.identifier, seen.at_ns, seen.since_ns, seen.stated_ns)
        for seen, arrival in found
        if arrival.identifier
    ]
