"""Sessions that write down what the server said to each message, for the ledger.

`journaled(Flow, book)` is a class that does what `Flow` (or any kind of it) does, and tells `book`; a run
that asks for no ledger has plain flows and pays nothing. What is written down is the message whose content
went out: a message that was refused before that, or never begun, cannot be delivered.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from smtpbench.delivery.arrival import read_arrival
from smtpbench.delivery.fingerprint import make_identifier
from smtpbench.delivery.gauge import Gauge
from smtpbench.delivery.journal import Content, Journal, Outcome
from smtpbench.errors import SmtpbenchError
from smtpbench.load.flow import Flow
from smtpbench.load.identifiers import Identifiers
from smtpbench.load.script import Transaction

_ADDRESS = re.compile(rb"RCPT TO:<([^>]*)>", re.IGNORECASE)
_FAILED = {"dropped": Outcome.UNKNOWN, "timeouts": Outcome.UNKNOWN}  # any other: the server has refused
_Flow = TypeVar("_Flow", bound=Flow)


class Book:
    """The journal of one engine, in `folder`, and what its sessions need to write in it.

    Everything that `identifiers` are for has been added to them. Raises UsageError if there is no writing.
    """

    def __init__(self, folder: Path, identifiers: Identifiers) -> None:
        self.identifiers = identifiers
        self.journal = Journal(folder, identifiers.run)
        self.note = self.journal.note
        self.gauge = Gauge(folder, identifiers.run)
        self.failure: SmtpbenchError | None = None  # why it can be written no more
        self.on_failure: Callable[[], None] = lambda: None
        self._sessions = 0
        self._envelopes: dict[tuple[bytes, ...], int] = {}

        for index, content in enumerate(identifiers.contents):
            sample = read_arrival(content.stored(make_identifier(identifiers.run, 0)), 0)
            self.journal.define_content(index, Content(sample.digest, sample.decoded))

    def open_session(self) -> int:
        """The number of one more session."""
        self._sessions += 1
        return self._sessions

    def envelope(self, rcpts: tuple[bytes, ...]) -> int:
        """The number of the recipients that these commands name."""
        known = self._envelopes.get(rcpts)
        if known is None:
            names = tuple(_address(line) for line in rcpts)
            known = self._envelopes[rcpts] = self.journal.envelope(names)
        return known

    def fail(self, error: SmtpbenchError) -> None:
        """A record could not be written: whoever runs the sessions has to end them."""
        if self.failure is None:
            self.failure = error
            self.on_failure()

    def close(self) -> None:
        """Nothing more is written."""
        self.journal.close()
        self.gauge.close()


def _address(line: bytes) -> str:
    found = _ADDRESS.match(line)
    assert found is not None  # we have written it
    return found[1].decode("utf-8")


class _Journaled(Flow):
    """The mixin. `_number` is that of the message whose content is out and not answered, 0 if there is none.

    It is on the hot path: the common case takes one more call for the content and one for the 250.
    """

    book: ClassVar[Book]
    conductible = False  # that a content goes out is counted before it does

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._session = 0  # until it sends a message
        self._ordinal = 0
        self._number = self._content = 0
        self._led = (0, 0)  # number and content of a message that went out with its commands (BDAT)
        self._untaken: list[int] = []  # positions of the recipients that were refused
        self._named: tuple[bytes, ...] = ()  # the recipients of the last message …
        self._envelope = 0  # … and their number
        self._gauged = False  # this session is counted among those that are open

    def run(self, resting: Callable[[Flow], None]) -> None:
        """As ever, and counted."""
        self._gauged = True
        self.book.gauge.change(1, 0)
        super().run(resting)

    def connection_lost(self, exc: Exception | None) -> None:
        """As ever, and counted no more."""
        super().connection_lost(exc)
        self._leave_gauge()

    def part(self) -> None:
        """The same: of a connection that is dropped so, nothing more is heard."""
        super().part()
        self._leave_gauge()

    def _leave_gauge(self) -> None:
        if self._gauged:
            self._gauged = False
            self.book.gauge.change(-1, 0)

    # --- the content goes out ---

    def _send_content(self) -> None:
        self.book.gauge.change(
            0, 1
        )  # before, and taken back after the record: see `recover` in campaign/queue.py
        super()._send_content()
        ids = self.book.identifiers
        self._number, self._content = ids.number, ids.content

    def _bdat_group(self, message: Transaction, content: Callable[[bytes], bytes]) -> bytes:
        octets = super()._bdat_group(message, content)
        ids = self.book.identifiers
        self._led = ids.number, ids.content
        return octets

    def _send_bdat(self, content: Callable[[bytes], bytes], now: int) -> None:
        super()._send_bdat(content, now)
        if self._on == self._on_bdat:
            ids, together = self.book.identifiers, self.pipelining and not self._script.lmtp
            self._number, self._content = self._led if together else (ids.number, ids.content)
            self.book.gauge.change(0, 1)

    # --- what is answered ---

    def _refuse_recipient(self, code: int) -> None:
        self._untaken.append(self._position)
        super()._refuse_recipient(code)

    def _accept(self, now: int) -> None:
        if self._write_down(Outcome.ACCEPTED, now):
            super()._accept(now)
        else:
            super()._count("dropped", now)  # the server has it, and we have no record of that

    def _count(self, outcome: str, now: int) -> None:
        if self._number:
            self._write_down(self._meaning(outcome), now)
        self._untaken.clear()
        super()._count(outcome, now)

    def _meaning(self, outcome: str) -> int:
        return _FAILED.get(outcome, Outcome.REFUSED)

    def _write_down(self, outcome: int, now: int) -> bool:
        """Whether there is a record now."""
        rcpts = self._message.rcpts
        if self._untaken:
            rcpts = tuple(line for at, line in enumerate(rcpts) if at not in self._untaken)
            self._untaken.clear()
        number, self._number = self._number, 0
        self._ordinal = ordinal = self._ordinal + 1
        try:
            if rcpts is not self._named:
                self._named, self._envelope = rcpts, self.book.envelope(rcpts)
            self.book.note(
                outcome, number, now, (now - self._started) // 1000,
                self._session or self._open_session(), ordinal, self._envelope, self._content,
            )  # fmt: skip
        except SmtpbenchError as error:
            self.book.fail(error)
            return False
        finally:
            self.book.gauge.change(0, -1)
        return True

    def _open_session(self) -> int:
        self._session = self.book.open_session()
        return self._session


class _JournaledLmtp(_Journaled):
    """With LMTP the content has a reply for each recipient that RCPT accepted (RFC 2033 §4.2)."""

    def _on_body(self, code: int, now: int) -> None:
        if code >= 300:
            taken = [at for at in range(len(self._message.rcpts)) if at not in self._untaken]
            self._untaken.append(taken[-self._accepted] if self._accepted else 0)
        super()._on_body(code, now)

    def _meaning(self, outcome: str) -> int:
        """A message that some have and others have not is refused, and those who have it are owed it."""
        partly = outcome not in _FAILED and len(self._untaken) < len(self._message.rcpts)
        return Outcome.ACCEPTED if partly else super()._meaning(outcome)


@cache
def journaled(flow: type[_Flow], book: Book, *, lmtp: bool = False) -> type[_Flow]:
    """`flow` with what its sessions hear written into `book`."""
    mixin = _JournaledLmtp if lmtp else _Journaled
    return type(f"Journaled{flow.__name__}", (mixin, flow), {"book": book})
