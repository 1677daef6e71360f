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
from smtpbench.delivery.journal import Content, Journal, Outcome
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

    def close(self) -> None:
        """Nothing more is written."""
        self.journal.close()


def _address(line: bytes) -> str:
    found = _ADDRESS.match(line)
    assert found is not None  # we have written it
    return found[1].decode("utf-8")


class _Journaled(Flow):
    """The mixin. `_number` is that of the message whose content is out and not answered, 0 if there is
    none.
    """

    book: ClassVar[Book]

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._session = 0  # until it sends a message
        self._ordinal = 0
        self._number = self._content = 0
        self._led = (0, 0)  # number and content of a message that went out with its commands (BDAT)
        self._taken: list[bool] = []  # what became of the recipients: by RCPT, with LMTP by the content too

    def _begin(self, due: int, sent: int) -> None:
        self._number = 0
        self._taken.clear()
        super()._begin(due, sent)

    # --- the content goes out ---

    def _rendered(self) -> tuple[int, int]:
        """Number and content of what was rendered last."""
        return self.book.identifiers.number, self.book.identifiers.content

    def _group(self, message: Transaction) -> bytes:
        octets = super()._group(message)
        self._led = self._rendered()  # means something only where the content is in the group
        return octets

    def _send_content(self) -> None:
        super()._send_content()
        self._number, self._content = self._rendered()

    def _send_bdat(self, content: Callable[[bytes], bytes], now: int) -> None:
        super()._send_bdat(content, now)
        if self._on == self._on_bdat:
            together = self.pipelining and not self._script.lmtp
            self._number, self._content = self._led if together else self._rendered()

    # --- what is answered ---

    def _on_rcpt(self, code: int, now: int) -> None:
        self._taken.append(code < 300)
        super()._on_rcpt(code, now)

    def _on_body(self, code: int, now: int) -> None:
        if self._script.lmtp and code >= 300:
            self._untake()
        super()._on_body(code, now)

    def _untake(self) -> None:
        """LMTP: this reply takes back one of the recipients that RCPT had accepted (RFC 2033 §4.2)."""
        waiting = [position for position, taken in enumerate(self._taken) if taken]
        self._taken[waiting[len(waiting) - self._accepted]] = False

    def _accept(self, now: int) -> None:
        self._write_down(Outcome.ACCEPTED, now)
        super()._accept(now)

    def _count(self, outcome: str, now: int) -> None:
        if self._number:
            partly = self._script.lmtp and outcome not in _FAILED and any(self._taken)
            self._write_down(Outcome.ACCEPTED if partly else _FAILED.get(outcome, Outcome.REFUSED), now)
        super()._count(outcome, now)

    def _write_down(self, outcome: Outcome, now: int) -> None:
        book, rcpts, taken = self.book, self._message.rcpts, self._taken
        if not self._session:
            self._session = book.open_session()
        if not all(taken) or len(taken) != len(rcpts):
            rcpts = tuple(line for line, one in zip(rcpts, taken, strict=False) if one)
        self._ordinal += 1
        book.note(
            outcome, self._number, now, (now - self._started) // 1000,
            self._session, self._ordinal, book.envelope(rcpts), self._content,
        )  # fmt: skip
        self._number = 0


@cache
def journaled(flow: type[_Flow], book: Book) -> type[_Flow]:
    """`flow` with what its sessions hear written into `book`."""
    return type(f"Journaled{flow.__name__}", (_Journaled, flow), {"book": book})
