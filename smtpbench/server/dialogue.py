"""The lowest layer of a receiver: octets into lines, lines into commands, replies into octets.

`Dialogue` knows no command. It cuts the input into command lines, content and chunks, in the order in
which they were sent and however they were segmented; it never holds more than one line of a client that
does not end its lines. This file may not know what a command does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from smtpbench.server.config import ServerConfig
from smtpbench.server.store import Copy
from smtpbench.wire.content import ContentReceiver
from smtpbench.wire.parse import Command, CommandError, parse_command

MAX_AUTH_LINE = 12_288 + 2  # RFC 4954 §4: the longest base64 line, and its CRLF


@dataclass(frozen=True, slots=True)
class Deliver:
    """Store these copies, then call `delivered` with one outcome each. Input waits meanwhile.

    With `hold` (seconds, RFC 4865) they are taken at once and stored when that time is over. `answered`
    copies are no message of the client's: nobody waits for a reply to them.
    """

    copies: tuple[Copy, ...]
    hold: float = 0.0
    answered: bool = False


@dataclass(frozen=True, slots=True)
class StartTls:
    """Send what there is to send, begin TLS, then call `tls_started`."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Send what there is to send, let this many seconds pass, then call `waited`. Input waits meanwhile."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Close:
    """Send what there is to send, then close the connection."""


Action = Deliver | StartTls | Wait | Close


class Awaited(Enum):
    """What the input is, at its beginning."""

    LINE = 1
    CONTENT = 2
    CHUNK = 3


_LINE, _CONTENT, _CHUNK = Awaited.LINE, Awaited.CONTENT, Awaited.CHUNK


class Dialogue:
    """Feed it what was read; send what it gives back; then do `action`, if there is one.

    What a session begins with stands in the classes, so that a new one costs little; and it has no reference
    to itself, so that it is gone as soon as its connection is.
    """

    action: Action | None = None
    chunk_left = 0
    _awaited = Awaited.LINE
    _overlong = False
    _content: ContentReceiver | None = None

    def __init__(self, config: ServerConfig) -> None:
        self.config = self.configure(config)
        self.input = bytearray()
        self.output: list[bytes] = []

    # what subclasses decide

    def configure(self, config: ServerConfig) -> ServerConfig:
        """The settings of this session."""
        return config

    def on_line(self, line: bytes) -> None:
        """One command line (or AUTH response), without its CRLF."""
        raise NotImplementedError

    def on_overlong_line(self) -> None:
        """A line beyond the limit has ended."""
        raise NotImplementedError

    def on_content(self, data: bytes) -> None:
        """Message content, dots removed, from DATA or BDAT."""
        raise NotImplementedError

    def on_content_end(self) -> None:
        """The end of data has come."""
        raise NotImplementedError

    def on_chunk_end(self) -> None:
        """All octets of a BDAT have come."""
        raise NotImplementedError

    def line_limit(self) -> int:
        """Octets a line may have now, CRLF included."""
        if bytes(self.input[:5]).upper() == b"AUTH ":
            return MAX_AUTH_LINE
        return self.config.max_line

    # input

    def feed(self, data: bytes) -> bytes:
        """What to send in answer to `data`."""
        self.input += data
        return self.run()

    def run(self) -> bytes:
        """Go on with the input until it is used up or an action is due; what to send."""
        while self.action is None and self._read():
            pass
        return self.take_output()

    def _read(self) -> bool:
        """Take what the input begins with; whether there was anything to take."""
        if self._awaited is _LINE:
            return self.read_line()
        return self._read_content() if self._awaited is _CONTENT else self._read_chunk()

    def waited(self) -> bytes:
        """The time of a `Wait` has passed; what to send."""
        self.action = None
        return self.run()

    def take_output(self) -> bytes:
        """What is to be sent now."""
        data = b"".join(self.output)
        self.output.clear()
        return data

    def find_line_end(self) -> tuple[int, int] | None:
        """Where the first line of the input ends and where the next begins (§2.3.8: CRLF only)."""
        end = self.input.find(b"\r\n")
        return (end, end + 2) if end >= 0 else None

    def read_line(self) -> bool:
        """Take one line from the input, if there is one."""
        found = self.find_line_end()
        if found is None:
            if len(self.input) > self.line_limit():
                self._overlong = True
            if self._overlong:
                del self.input[:-1]  # the last octet may be the CR of the line's end
            return False
        end, following = found
        if self._overlong or following > self.line_limit():
            del self.input[:following]
            self._overlong = False
            self.on_overlong_line()
            return True
        line = bytes(self.input[:end])
        del self.input[:following]
        self.on_line(line)
        return True

    def new_content(self) -> ContentReceiver:
        """What recognises the end of data."""
        return ContentReceiver()

    def begin_content(self) -> None:
        """From here on the input is message content, up to the end of data."""
        self._content = self.new_content()
        self._awaited = _CONTENT

    def _read_content(self) -> bool:
        if not self.input:
            return False
        content = self._content
        assert content is not None
        received = content.feed(bytes(self.input))
        self.input.clear()
        if received:
            self.on_content(received)
        if not content.complete:
            return False
        self.input += content.rest
        self._awaited = _LINE
        self.on_content_end()
        return True

    @property
    def content_receiver(self) -> ContentReceiver | None:
        """The receiver of the content at hand; None for chunks."""
        return self._content

    def begin_chunk(self, size: int) -> None:
        """The next `size` octets of the input are a chunk (RFC 3030)."""
        self._content = None
        self.chunk_left = size
        self._awaited = _CHUNK

    def _read_chunk(self) -> bool:
        data = self.take_chunk()
        if data:
            self.on_content(data)
        if self.chunk_left:
            return False
        self._awaited = _LINE
        self.on_chunk_end()
        return True

    def take_chunk(self) -> bytes:
        """What the input has of the chunk at hand."""
        data = bytes(self.input[: self.chunk_left])
        del self.input[: len(data)]
        self.chunk_left -= len(data)
        return data

    @property
    def reads_lines(self) -> bool:
        """Whether the input is lines now, and no content or chunk."""
        return self._awaited is _LINE

    def parse(self, line: bytes) -> Command | CommandError:
        """What a command line says."""
        return parse_command(line)

    # output

    def reply(self, code: int, enhanced: str, *text: str) -> None:
        """Send a reply; `enhanced` (RFC 3463) stands before each line of text when it is on offer."""
        if enhanced and "ENHANCEDSTATUSCODES" in self.config.extensions:
            text = tuple(f"{enhanced} {line}" for line in text)
        self.output.append(self.format_reply(code, text))

    def format_reply(self, code: int, lines: Sequence[str]) -> bytes:
        """The octets of a reply: ``code-text`` for all lines but the last (§4.2.1)."""
        *first, last = lines
        text = "".join(f"{code}-{line}\r\n" for line in first) + f"{code} {last}\r\n"
        return text.encode("utf-8")

    def close(self) -> None:
        """Close the connection after what is to be sent."""
        self.action = Close()
