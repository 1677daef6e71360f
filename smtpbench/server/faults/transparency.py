"""Faults of the end of data and of the stuffed dot (RFC 5321 §2.3.8, §4.1.1.4, §4.5.2)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import ClassVar

from smtpbench.server.faults.registry import fault
from smtpbench.server.receiver import Receiver
from smtpbench.wire.content import END_OF_DATA, ContentReceiver


class VariantContent(ContentReceiver):
    """Also takes `variant` for the end of data. Holds the content until either has come."""

    variant: ClassVar[re.Pattern[bytes]]

    def __init__(self) -> None:
        super().__init__()
        self._window = b"\r\n"

    def feed(self, data: bytes) -> bytes:
        self._window += data
        end = self._window.find(END_OF_DATA)
        match = self.variant.search(self._window)
        if match is not None and not 0 <= end <= match.start():
            self.complete = True
            self.rest = self._window[match.end() :]
            return self.unstuff(self._window[: match.start("line")])[2:]
        if end >= 0:
            self.complete = True
            self.rest = self._window[end + len(END_OF_DATA) :]
            return self.unstuff(self._window[: end + 2])[2:]
        return b""


_END_VARIANTS = {
    # name: how it is written for people, the sequence (what `line` marks is the rest after the content's
    # last line end), the row. A CR at the end must not be the beginning of a CRLF, nor an LF at the
    # beginning the end of one, so that each fault is about its own sequence and no other.
    "lf-dot-lf": ("LF . LF", rb"(?<!\r)\n(?P<line>)\.\n", "5321-D-5"),
    "lf-dot-crlf": ("LF . CRLF", rb"(?<!\r)\n(?P<line>)\.\r\n", "5321-D-6"),
    "crlf-dot-lf": ("CRLF . LF", rb"\r\n(?P<line>)\.\n", "5321-D-7"),
    "cr-dot-cr": ("CR . CR", rb"\r(?P<line>)\.\r(?=[^\r\n])", "5321-D-8"),
    "crlf-dot-cr": ("CRLF . CR", rb"\r\n(?P<line>)\.\r(?=[^\r\n])", "5321-D-9"),
    "cr-dot-crlf": ("CR . CRLF", rb"\r(?P<line>)\.\r\n", "5321-D-10"),
    "lf-dot-cr": ("LF . CR", rb"(?<!\r)\n(?P<line>)\.\r(?=[^\r\n])", "5321-D-10"),
    "cr-dot-lf": ("CR . LF", rb"\r(?P<line>)\.\n", "5321-D-10"),
    "crcrlf-dot-crcrlf": ("CRCRLF . CRCRLF", rb"\r\r\n(?P<line>)\.\r\r\n", "5321-D-11"),
    "crlf-dot-crcrlf": ("CRLF . CRCRLF", rb"(?<!\r)\r\n(?P<line>)\.\r\r\n", "5321-D-11"),
    "crlf-nul-dot-crlf": ("CRLF NUL . CRLF", rb"\r\n(?P<line>)\0\.\r\n", "5321-D-12"),
    "crlf-dot-nul-crlf": ("CRLF . NUL CRLF", rb"\r\n(?P<line>)\.\0\r\n", "5321-D-12"),
}


def _data_ends_at(name: str, written: str, sequence: bytes, row: str) -> None:
    """Register the fault that `sequence` ends the data."""

    class Content(VariantContent):
        variant = re.compile(sequence)

    class DataEndsAt(Receiver):
        def new_content(self) -> ContentReceiver:
            return Content()

    DataEndsAt.__doc__ = f"{written} ends the data."
    fault(f"data-ends-at-{name}", row)(DataEndsAt)


for _name, _variant in _END_VARIANTS.items():
    _data_ends_at(_name, *_variant)


class _OneSegmentContent(ContentReceiver):
    """Sees an end of data only inside one read."""

    def feed(self, data: bytes) -> bytes:
        end = data.find(END_OF_DATA)
        if end < 0 and not data.startswith(b".\r\n"):
            return data
        self.complete = True
        self.rest = data[end + len(END_OF_DATA) :] if end >= 0 else data[3:]
        return self.unstuff(data[: end + 2]) if end >= 0 else b""


@fault("data-end-needs-one-segment", "5321-D-13", "5321-D-14")
class DataEndNeedsOneSegment(Receiver):
    """CRLF . CRLF is missed when it comes in several reads."""

    def new_content(self) -> ContentReceiver:
        return _OneSegmentContent()


class _NoFirstLine(ContentReceiver):
    """Does not take the end of the DATA line for the beginning of a line."""

    def __init__(self) -> None:
        super().__init__()
        self._held = b""
        self._skip = 0


@fault("data-ends-across-crlf", "5321-D-17")
class FirstDotLineMissed(Receiver):
    """A dot line directly after 354 does not end the data."""

    def new_content(self) -> ContentReceiver:
        return _NoFirstLine()


def _dots(name: str, summary: str, unstuffed: Callable[[bytes], bytes]) -> None:
    """Register a fault of how stuffed dots are removed."""

    class Content(ContentReceiver):
        def unstuff(self, lines: bytes) -> bytes:
            return unstuffed(lines)

    class Dots(Receiver):
        def new_content(self) -> ContentReceiver:
            return Content()

    Dots.__doc__ = summary
    fault(name, "5321-D-16")(Dots)


_dots("leading-dot-kept", "The stuffed dot is not removed.", lambda lines: lines)
_dots(
    "leading-dot-removed-if-doubled",
    "A single leading dot before other characters is kept.",
    lambda lines: lines.replace(b"\r\n..", b"\r\n."),
)
_dots(
    "leading-dots-all-removed",
    "All leading dots of a line are removed.",
    lambda lines: re.sub(rb"\r\n\.+", b"\r\n", lines),
)
