"""Message content on its way through DATA: the stuffed dots and the end (RFC 5321 §4.1.1.4, §4.5.2).

The end of data is CRLF . CRLF and nothing else (§2.3.8): no bare LF, no bare CR and no mixture of them
ends a line. A bare CR or LF is content, counted for whoever wants to refuse it. This file may not know
what the content is, nor where it goes.
"""

from __future__ import annotations

END_OF_DATA = b"\r\n.\r\n"


def dot_stuff(content: bytes) -> bytes:
    """`content` as it goes after 354: dots doubled at the beginning of lines, then the end of data.

    The CRLF of the content's last line is the first CRLF of the end of data, so nothing is added; a
    content that does not end with CRLF gains one, because DATA cannot carry it otherwise.
    """
    stuffed = content.replace(b"\r\n.", b"\r\n..")
    if stuffed.startswith(b"."):
        stuffed = b"." + stuffed
    return stuffed + (b".\r\n" if stuffed.endswith(b"\r\n") or not stuffed else b"\r\n.\r\n")


class ContentReceiver:
    """Takes what comes after 354 in any segmentation; gives back the content without stuffed dots.

    `complete` turns true at the end of data, `rest` then holds what came behind it. `bare_cr` and
    `bare_lf` count the line ends that are none. Work per octet is done by `bytes` methods.
    """

    def __init__(self) -> None:
        self._held = b"\r\n"  # the end of the DATA line itself: content may begin with the dot line
        self._skip = len(self._held)
        self.complete = False
        self.rest = b""
        self.bare_cr = 0
        self.bare_lf = 0

    def feed(self, data: bytes) -> bytes:
        """The content that `data` completes. Raises ValueError after the end of data."""
        if self.complete:
            raise ValueError("the end of data has come already")
        window = self._held + data
        end = window.find(END_OF_DATA)
        if end >= 0:
            self.complete = True
            self.rest = window[end + len(END_OF_DATA) :]
            self._held = b""
            return self._release(window[: end + 2])
        keep = _undecided(window)
        self._held = window[len(window) - keep :]
        return self._release(window[: len(window) - keep])

    def unstuff(self, lines: bytes) -> bytes:
        """`lines`, which begin and end anywhere but inside a CRLF and its dot, without stuffed dots."""
        return lines.replace(b"\r\n.", b"\r\n")

    def _release(self, stuffed: bytes) -> bytes:
        if not stuffed:
            return b""
        lines = stuffed.count(b"\r\n")
        self.bare_cr += stuffed.count(b"\r") - lines
        self.bare_lf += stuffed.count(b"\n") - lines
        content = self.unstuff(stuffed)
        if self._skip:
            content, self._skip = content[self._skip :], 0
        return content


def _undecided(window: bytes) -> int:
    """How many octets at the end of `window` may be the beginning of an end of data."""
    for length in range(len(END_OF_DATA) - 1, 0, -1):
        if window.endswith(END_OF_DATA[:length]):
            return length
    return 0
