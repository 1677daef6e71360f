"""Messages rendered once: only the identifier differs from one to the next."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import format_datetime

from smtpbench.errors import UsageError
from smtpbench.load.identifiers import Identifiers

END_OF_DATA = b".\r\n"  # follows the CRLF that ends the content (RFC 5321 §4.1.1.4)
_ID_LENGTH = 18  # eight hex digits for the run, a hyphen, nine for the message
_FILLER = b"The quick brown fox jumps over the lazy dog; SMTP carries it, dots and all."


class Template:
    """The content of a workload's messages, `size` octets each, CRLF line ends, no line begins with a dot.

    Every message carries an identifier of its own in the Message-ID header and in the first line of the
    body. `next_content` gives wire-ready octets: the content, the end-of-data line, then `after` (the
    next group of commands, where PIPELINING lets the content lead it: RFC 2920 §3.1). With `utf8` the
    headers are UTF-8 (RFC 6532). Templates of one process share their `identifiers`.
    """

    def __init__(
        self, size: int, sender: str, recipients: Sequence[str], identifiers: Identifiers | None = None,
        *, utf8: bool = False,
    ) -> None:  # fmt: skip
        self._ids = identifiers or Identifiers()
        self._index = self._ids.add(self)
        domain = (sender.rpartition("@")[2] or "load.example.org").encode()
        date = format_datetime(datetime.now(UTC)).encode()
        shown = ", ".join(recipients[:3]) + (", …" if len(recipients) > 3 else "")
        self._head = (
            b"From: <%s>\r\nTo: %s\r\nDate: %s\r\nSubject: %s\r\nMessage-ID: <"
            % (sender.encode(), shown.encode("utf-8" if utf8 else "ascii", "replace"), date,
               "lœd ✉".encode() if utf8 else b"load")
        )  # fmt: skip
        self._middle = b"@%s>\r\n\r\n" % domain
        used = len(self._head) + len(self._middle) + 2 * _ID_LENGTH + 2
        if size < used + 2:
            raise UsageError(f"message size {size}: too small, the headers alone take {used} octets")
        self._tail = b"\r\n" + _filler(size - used)
        self._bdat = b"BDAT %d LAST\r\n%s" % (size, self._head)

    def next_content(self, after: bytes = b"") -> bytes:
        """The next message as it goes over the wire, then `after`."""
        identifier = self._next_identifier()
        return b"".join((self._head, identifier, self._middle, identifier, self._tail, END_OF_DATA, after))

    def next_bdat(self, after: bytes = b"") -> bytes:
        """The next message as one ``BDAT n LAST`` and its n octets (RFC 3030 §2), then `after`."""
        identifier = self._next_identifier()
        return b"".join((self._bdat, identifier, self._middle, identifier, self._tail, after))

    def stored(self, identifier: bytes) -> bytes:
        """A message as a mailbox would hold it."""
        return b"".join((self._head, identifier, self._middle, identifier, self._tail))

    def _next_identifier(self) -> bytes:
        ids = self._ids
        ids.content = self._index
        ids.number = number = ids.number + 1
        return b"%s-%09x" % (ids.run, number)


def _filler(size: int) -> bytes:
    """Exactly `size` octets (2 or more) of whole CRLF lines; the last is as long as it takes."""
    line = _FILLER + b"\r\n"
    whole, rest = divmod(size, len(line))
    if rest == 1:  # no line is that short
        whole, rest = whole - 1, rest + len(line)
    return line * whole + (b"x" * (rest - 2) + b"\r\n" if rest else b"")
