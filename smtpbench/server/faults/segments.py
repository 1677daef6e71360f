"""Faults of reading: what goes wrong where a TCP segment ends (RFC 5321 §2.3.8, RFC 2920, RFC 3030)."""

from __future__ import annotations

from smtpbench.server.faults.registry import fault
from smtpbench.server.receiver import Receiver
from smtpbench.wire.content import END_OF_DATA, ContentReceiver


@fault("line-ends-at-segment-with-cr", "5321-A-5")
class LineEndsAtSegmentWithCr(Receiver):
    """A segment that ends with CR ends the line, and its LF is left for the next one."""

    def find_line_end(self) -> tuple[int, int] | None:
        found = super().find_line_end()
        if found is None and self.input.endswith(b"\r"):
            return len(self.input) - 1, len(self.input)
        return found


@fault("each-read-is-a-line", "5321-A-5", "2920-8", "3030-2")
class EachReadIsALine(Receiver):
    """What is left of a segment behind its last line is taken for a line."""

    def feed(self, data: bytes) -> bytes:
        said = super().feed(data)
        if self.input and self.reads_lines and self.action is None:
            line = bytes(self.input)
            self.input.clear()
            self.on_line(line)
            said += self.run()
        return said


@fault("unfinished-line-lost-in-group", "2920-8")
class UnfinishedLineLostInGroup(Receiver):
    """The beginning of a line is lost when it comes behind a whole one in the same segment."""

    def feed(self, data: bytes) -> bytes:
        said = super().feed(data)
        if said and self.reads_lines and self.action is None:
            self.input.clear()
        return said


@fault("chunk-ends-with-the-read", "3030-2", "3030-14")
class ChunkEndsWithTheRead(Receiver):
    """A chunk is counted as whole as soon as a part of it was read."""

    def take_chunk(self) -> bytes:
        part = super().take_chunk()
        if part:
            self.chunk_left = 0
        return part


class _EndInOneSegment(ContentReceiver):
    def feed(self, data: bytes) -> bytes:
        return super().feed(data) if END_OF_DATA in data or data == END_OF_DATA[2:] else data


@fault("end-of-data-in-one-segment", "5321-D-13", "5321-D-14")
class EndOfDataInOneSegment(Receiver):
    """The end of data is recognised only within one segment."""

    def new_content(self) -> ContentReceiver:
        return _EndInOneSegment()


class _SegmentBeginsALine(ContentReceiver):
    def feed(self, data: bytes) -> bytes:
        return super().feed(data[1:] if data.startswith(b"..") else data)


@fault("segment-begins-a-line", "5321-D-14", "5321-D-16")
class SegmentBeginsALine(Receiver):
    """A dot at the beginning of a segment is removed as if a line began there."""

    def new_content(self) -> ContentReceiver:
        return _SegmentBeginsALine()


@fault("segment-ends-in-ascii", "6152-4")
class SegmentEndsInAscii(Receiver):
    """An octet above 127 at the end of a segment is replaced."""

    def on_content(self, data: bytes) -> None:
        super().on_content(data[:-1] + b"?" if data[-1:] > b"\x7f" else data)


@fault("line-broken-at-segment", "5321-D-22")
class LineBrokenAtSegment(Receiver):
    """A line of more than 500 octets gains a line end where a segment ends."""

    def on_content(self, data: bytes) -> None:
        long = len(data) - data.rfind(b"\n") > 500
        super().on_content(data + b"\r\n" if long else data)
