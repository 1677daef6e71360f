"""The plain message: the headers a message must have, and lines of text up to the size asked for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import format_datetime

from smtpbench.delivery.fingerprint import ID_LENGTH
from smtpbench.errors import UsageError

_LINE = b"The quick brown fox jumps over the lazy dog; SMTP carries it, dots and all.\r\n"


def plain(
    size: int, sender: str, recipients: Sequence[str], *, utf8: bool = False, in_body: bool = True
) -> list[bytes]:
    """The pieces of a `Content` of exactly `size` octets, no line of which begins with a dot.

    The identifier is in the Message-ID and, if `in_body`, is the first line of the body. With `utf8` the
    headers are UTF-8 (RFC 6532). Raises UsageError if the headers alone are larger.
    """
    shown = ", ".join(recipients[:3]) + (", …" if len(recipients) > 3 else "")
    head = b"From: <%s>\r\nTo: %s\r\nDate: %s\r\nSubject: %s\r\nMessage-ID: <" % (
        sender.encode(), shown.encode("utf-8" if utf8 else "ascii", "replace"),
        format_datetime(datetime.now(UTC)).encode(), "lœd ✉".encode() if utf8 else b"load",
    )  # fmt: skip
    middle = b"@%s>\r\n\r\n" % domain_of(sender)
    used = len(head) + len(middle) + 2 * ID_LENGTH + 2
    if size < used + 2:
        raise UsageError(f"message size {size}: too small, the headers alone take {used} octets")
    if not in_body:
        return [head, middle + filler(size - used + ID_LENGTH + 2)]
    return [head, middle, b"\r\n" + filler(size - used)]


def domain_of(sender: str) -> bytes:
    """The right-hand side of our Message-IDs."""
    return (sender.rpartition("@")[2] or "load.example.org").encode()


def filler(size: int) -> bytes:
    """Exactly `size` octets (none, 2 or more) of whole CRLF lines; the last is as long as it takes."""
    whole, rest = divmod(size, len(_LINE))
    if rest == 1:  # no line is that short
        whole, rest = whole - 1, rest + len(_LINE)
    return _LINE * whole + (b"x" * (rest - 2) + b"\r\n" if rest else b"")
