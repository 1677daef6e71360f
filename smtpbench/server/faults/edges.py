"""Faults at the edge of a read buffer: the receiver forgets there what it had seen (RFC 5321 §4.1.1.4)."""

from __future__ import annotations

from typing import ClassVar

from smtpbench.server.faults.registry import fault
from smtpbench.server.receiver import Receiver
from smtpbench.wire.content import ContentReceiver

EDGE = 4096  # octets


class _ForgetfulContent(ContentReceiver):
    """Goes on from `anew` at every edge, whatever came before it."""

    anew: ClassVar[bytes]

    def __init__(self) -> None:
        super().__init__()
        self._seen = 0

    def feed(self, data: bytes) -> bytes:
        content = b""
        while data and not self.complete:
            room = EDGE - self._seen % EDGE
            part, data = data[:room], data[room:]
            self._seen += len(part)
            content += super().feed(part)
            if not self.complete and self._seen % EDGE == 0:
                content += self._release(self._held)
                self._held, self._skip = self.anew, len(self.anew)
        self.rest += data
        return content


class _Forgets(_ForgetfulContent):
    anew = b""


class _BeginsALine(_ForgetfulContent):
    anew = b"\r\n"


@fault("data-end-missed-at-4096", "5321-D-14")
class DataEndMissedAt4096(Receiver):
    """An end of data that the edge of a buffer cuts is missed."""

    def new_content(self) -> ContentReceiver:
        return _Forgets()


@fault("data-ends-at-4096-dot", "5321-D-14")
class DataEndsAt4096Dot(Receiver):
    """A dot and CRLF at the beginning of a buffer end the data."""

    def new_content(self) -> ContentReceiver:
        return _BeginsALine()
