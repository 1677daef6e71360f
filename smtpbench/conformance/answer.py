"""What came back: the replies to one step of a case, and how the connection stood afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from smtpbench.wire.enhanced import EnhancedCode
from smtpbench.wire.replies import Reply, escape

SHOWN = 120  # octets of a command that the report repeats


class Ending(StrEnum):
    """How the wait for replies ended."""

    OPEN = "open"  # all that were awaited came, the connection stands
    SILENT = "silent"  # not all came within the wait, the connection stands
    CLOSED = "closed"  # the peer closed or reset the connection


@dataclass(frozen=True)
class Answer:
    """Replies (none, one, or several) to what was sent, and the ending.

    `code`, `severity`, `text`, `lines` and `enhanced` speak of the first reply; without one they are
    0, 0, "", () and None, so that an expectation simply does not match.
    """

    asked: bytes
    replies: tuple[Reply, ...]
    ending: Ending = Ending.OPEN
    waited: float = 0.0  # seconds, of a wait that ended in silence

    @property
    def reply(self) -> Reply | None:
        """The first reply."""
        return self.replies[0] if self.replies else None

    @property
    def code(self) -> int:
        """Code of the first reply, or 0."""
        return self.reply.code if self.reply else 0

    @property
    def severity(self) -> int:
        """First digit of the first reply's code, or 0."""
        return self.reply.severity if self.reply else 0

    @property
    def lines(self) -> tuple[bytes, ...]:
        """Text lines of the first reply."""
        return self.reply.lines if self.reply else ()

    @property
    def text(self) -> str:
        """Text of the first reply, escaped."""
        return self.reply.text if self.reply else ""

    @property
    def enhanced(self) -> EnhancedCode | None:
        """RFC 3463 code of the first reply."""
        return self.reply.enhanced if self.reply else None

    @property
    def closed(self) -> bool:
        """Whether the peer closed the connection."""
        return self.ending is Ending.CLOSED

    @property
    def arrived(self) -> int:
        """Messages delivered; only a Delivery knows of any."""
        return 0

    @property
    def seen(self) -> str:
        """The replies and the ending in words, without what was asked."""
        parts = [str(reply) for reply in self.replies]
        if self.ending is Ending.CLOSED:
            parts.append("connection closed" if parts else "connection closed without a reply")
        if self.ending is Ending.SILENT:
            parts.append(f"{'nothing more' if parts else 'no reply'} within {self.waited:g} s")
        return " · ".join(parts) or "nothing"

    def __str__(self) -> str:
        asked = self.asked.removesuffix(b"\r\n")
        if not asked:
            return self.seen
        shown = escape(asked[:SHOWN]) + ("…" if len(asked) > SHOWN else "")
        return f"{shown} → {self.seen}"
