"""Identifiers: every message of a process has its own, in its header and its body (see
delivery/fingerprint.py).
"""

from __future__ import annotations

import secrets
from typing import Protocol


class Content(Protocol):
    """What messages are made from: they differ in their identifiers only."""

    def stored(self, identifier: bytes) -> bytes:
        """A message as a mailbox would hold it: header and body, CRLF line ends, no dots doubled."""


class Identifiers:
    """Numbers the messages of one process, whatever content they are made from.

    `number` and `content` are those of the message that was rendered last. A content asks for its index with
    `add`, and then says for each message which it is: ``ids.content = index; ids.number = number = ids.number
    + 1``. That is on the hot path.
    """

    __slots__ = ("content", "contents", "number", "run")

    def __init__(self) -> None:
        self.run = secrets.token_hex(4).encode()
        self.number = 0
        self.content = 0
        self.contents: list[Content] = []

    def add(self, content: Content) -> int:
        """The index of one more content."""
        self.contents.append(content)
        return len(self.contents) - 1
