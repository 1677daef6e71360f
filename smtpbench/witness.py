"""A `SessionWatch` with a clock and a memory: the breaches of one session, each with its wire log."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from smtpbench.transcript import Entry, Sender
from smtpbench.wire.invariants import Breach, SessionWatch
from smtpbench.wire.replies import Reply

ENTRIES = 16  # writes and reads kept before a breach: a whole short dialogue
OCTETS = 600  # kept of each


@dataclass(frozen=True, slots=True)
class Witnessed:
    """A breach, and what was said before it and at it; without credentials."""

    breach: Breach
    log: tuple[Entry, ...]


class Witness:
    """Told by a `Session` of all that happens on its connection."""

    def __init__(self, watch: SessionWatch | None = None, *, lmtp: bool = False) -> None:
        self.replies = 0
        self.breaches: list[Witnessed] = []
        self._watch = watch or SessionWatch(lmtp=lmtp)
        self._log: deque[Entry] = deque(maxlen=ENTRIES)
        self._begin = self._last = time.perf_counter()

    def sent(self, data: bytes, shown: bytes) -> None:
        """The client writes `data`; `shown` is what a log may hold of it."""
        self._note("client", shown)
        self._watch.sent(data)

    def received(self, data: bytes, replies: Sequence[Reply]) -> None:
        """`data` came, and completed `replies`."""
        self._note("server", data)
        for reply in replies:
            self.replies += 1
            self._keep(self._watch.received(reply))

    def tls_begun(self) -> None:
        """The handshake is done."""
        self._note("note", b"TLS begun")
        self._watch.tls_begun()

    def closed(self, unfinished: bytes) -> None:
        """The server closed; `unfinished` is what came of an unfinished reply."""
        idle = time.perf_counter() - self._last
        self._note("note", b"server closed")
        self._keep(self._watch.closed(unfinished, idle=idle))

    def left(self, unfinished: bytes) -> None:
        """We closed."""
        self._note("note", b"client closed")
        self._keep(self._watch.left(unfinished))

    def note(self, text: str) -> None:
        """Something that is not octets."""
        self._note("note", text.encode())

    def _note(self, sender: Sender, data: bytes) -> None:
        self._last = time.perf_counter()
        cut = data if len(data) <= OCTETS else data[:OCTETS] + b"..."
        self._log.append(Entry(self._last - self._begin, sender, cut))

    def _keep(self, breaches: Sequence[Breach]) -> None:
        self.breaches += [Witnessed(breach, tuple(self._log)) for breach in breaches]
