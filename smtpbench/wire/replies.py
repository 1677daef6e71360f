"""Replies: an incremental parser that never raises on what a server sends.

RFC 5321 §4.2 gives the grammar:

    Greeting    = ( "220 " … CRLF ) / ( "220-" … )
    Reply-line  = *( Reply-code "-" [ textstring ] CRLF ) Reply-code [ SP textstring ] CRLF
    Reply-code  = %x32-35 %x30-35 %x30-39
    textstring  = 1*(%d09 / %d32-126)

What departs from it is recorded as an `Anomaly` of the reply it was seen in, because the departure is
evidence, not an accident. This file may not know what was asked, nor when.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from smtpbench.wire.enhanced import EnhancedCode, leading_code

MAX_REPLY_LINE = 512  # §4.5.3.1.5, CRLF included
MAX_UNFINISHED = 65_536  # what we hold of a line that does not end: 128 legal lines
MAX_REPLY_LINES = 1_000  # a reply longer than this is cut off; the longest real one (HELP) has about 60
TAKES_NO_MAIL = frozenset({554, 521})  # greetings of a server that refuses all mail: RFC 5321 §3.1, RFC 7504


class Anomaly(StrEnum):
    """A departure from the reply grammar."""

    BARE_LF = "bare LF"
    BARE_CR = "bare CR"
    CODE_MISMATCH = "reply code differs between lines"
    BAD_CODE = "reply code outside 200-559"
    BAD_SEPARATOR = "no SP or hyphen after the reply code"
    OVERLONG_LINE = "reply line longer than 512 octets"
    NON_ASCII = "octet above 127 in reply text"
    CONTROL_CHARACTER = "control character in reply text"
    UNFINISHED = "line without end, cut off"


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply as it came.

    `code` is the last line's reply code, or 0 where that line begins with no three digits. `lines`
    holds the text of each line after its separator. `raw` is every octet of the reply.
    """

    code: int
    lines: tuple[bytes, ...]
    raw: bytes
    anomalies: frozenset[Anomaly] = frozenset()

    @property
    def severity(self) -> int:
        """First digit of the code: 2 done, 3 go on, 4 failed for now, 5 failed (§4.2.1)."""
        return self.code // 100

    @property
    def enhanced(self) -> EnhancedCode | None:
        """The RFC 3463 status code the last line's text begins with, if any."""
        return leading_code(self.lines[-1]) if self.lines else None

    @property
    def text(self) -> str:
        """All text on one line, safe for a terminal: anything but printable ASCII is escaped."""
        return " / ".join(escape(line) for line in self.lines)

    def __str__(self) -> str:
        return f"{self.code or '???'} {self.text}".rstrip()


def escape(data: bytes) -> str:
    r"""Printable ASCII as it is; a backslash doubled; CR LF TAB as \r \n \t; the rest as \xNN."""
    return data.decode("latin-1").translate(_ESCAPES)


_ESCAPES = {n: f"\\x{n:02x}" for n in (*range(32), *range(127, 256))}
_ESCAPES |= {9: "\\t", 10: "\\n", 13: "\\r", 92: "\\\\"}

_LINE = re.compile(rb"(\d{3})([ -]?)(.*)", re.DOTALL)
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_NON_ASCII = re.compile(rb"[\x80-\xff]")


class ReplyParser:
    """Feed it what was read; it gives back the replies that are complete.

    A line ends at LF: a bare LF is an anomaly that still ends the line, so that a server with wrong
    line ends can be judged on what it says. A line of more than `MAX_UNFINISHED` octets, or a
    reply of more than `MAX_REPLY_LINES` lines, gives one reply marked `UNFINISHED`, sets `overflowed`,
    and all that follows is ignored.
    """

    def __init__(self) -> None:
        self._tail = b""
        self._raw: list[bytes] = []
        self._lines: list[bytes] = []
        self._code: int | None = None
        self._anomalies: set[Anomaly] = set()
        self.overflowed = False

    @property
    def pending(self) -> bytes:
        """What has been read of a reply that is not complete yet."""
        return b"".join(self._raw) + self._tail

    def feed(self, data: bytes) -> list[Reply]:
        """All replies that `data` completes, in order; the same however the octets were cut."""
        replies: list[Reply] = []
        if self.overflowed:
            return replies
        *lines, tail = (self._tail + data).split(b"\n")
        for line in lines:
            if self.overflowed:
                return replies
            self._line(line + b"\n", replies)
        self._tail = b"" if self.overflowed else tail
        if len(self._tail) > MAX_UNFINISHED:
            self._overflow(self._tail, replies)
        return replies

    def _line(self, raw: bytes, replies: list[Reply]) -> None:
        if len(raw) > MAX_UNFINISHED or len(self._raw) == MAX_REPLY_LINES:
            self._overflow(raw, replies)
            return
        self._raw.append(raw)
        if len(raw) > MAX_REPLY_LINE:
            self._anomalies.add(Anomaly.OVERLONG_LINE)
        if raw.endswith(b"\r\n"):
            content = raw[:-2]
        else:
            content = raw[:-1]
            self._anomalies.add(Anomaly.BARE_LF)
        self._octets(content)
        code, more, text = self._split(content)
        if self._code is not None and code != self._code:
            self._anomalies.add(Anomaly.CODE_MISMATCH)
        self._code = code
        self._lines.append(text)
        if not more:
            replies.append(self._finish())

    def _octets(self, content: bytes) -> None:
        if content.isascii() and content.decode("ascii").isprintable():
            return
        if b"\r" in content:
            self._anomalies.add(Anomaly.BARE_CR)
        if _NON_ASCII.search(content):
            self._anomalies.add(Anomaly.NON_ASCII)
        if _CONTROL.search(content):
            self._anomalies.add(Anomaly.CONTROL_CHARACTER)

    def _split(self, content: bytes) -> tuple[int, bool, bytes]:
        """(code, whether more lines follow, text) of one line."""
        match = _LINE.fullmatch(content)
        if match is None:
            self._anomalies.add(Anomaly.BAD_CODE)
            return 0, False, content
        digits, separator, text = match.groups()
        if not (digits[0] in b"2345" and digits[1] in b"012345"):
            self._anomalies.add(Anomaly.BAD_CODE)
        if not separator and text:
            self._anomalies.add(Anomaly.BAD_SEPARATOR)
        return int(digits), separator == b"-", text

    def _finish(self) -> Reply:
        reply = Reply(self._code or 0, tuple(self._lines), b"".join(self._raw), frozenset(self._anomalies))
        self._raw.clear()
        self._lines.clear()
        self._code = None
        self._anomalies.clear()
        return reply

    def _overflow(self, line: bytes, replies: list[Reply]) -> None:
        kept = line[: MAX_UNFINISHED + 1]
        self._anomalies |= {Anomaly.UNFINISHED, Anomaly.OVERLONG_LINE}
        self._code, _, text = self._split(kept.rstrip(b"\r\n"))
        self._raw.append(kept)
        self._lines.append(text)
        replies.append(self._finish())
        self._tail = b""
        self.overflowed = True
