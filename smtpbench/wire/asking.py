"""What a client asked, read from the octets it sent.

An SMTP stream can only be read together with its replies: whether content follows DATA is for the 354 to
say. `ClientStream` therefore stops at such a command until it is told how it goes on. It follows
well-behaved clients and knows when it cannot: then `lost` is true for good. No octet of an AUTH exchange
is kept.
This file may not know which replies are right.
"""

from __future__ import annotations

from dataclasses import dataclass

from smtpbench.wire.content import ContentReceiver
from smtpbench.wire.legal import CONTENT, RESPONSE
from smtpbench.wire.parse import CommandError, parse_command
from smtpbench.wire.replies import escape
from smtpbench.wire.state import Verb

MAX_LINE = 2_048  # above all that the extensions add to a command line; a longer one may be read as several
MAX_TEXT_LINE = 1_000  # §4.5.3.1.6
SHOWN = 80  # octets of a command in a message
_HOLDS = frozenset({Verb.DATA, Verb.AUTH, Verb.STARTTLS, Verb.QUIT})  # the reply says what follows


@dataclass(frozen=True, slots=True)
class Asked:
    """Something that a reply is due to.

    `what` is a verb in upper case, "" for one that is not known, or one of `legal`'s other words; `shown`
    is for messages. `proper` says that it was well-formed; `last` that it is a BDAT LAST; `utf8` that it has
    the parameter SMTPUTF8, or is not ASCII itself.
    """

    what: str
    shown: str
    proper: bool = True
    last: bool = False
    utf8: bool = False


class ClientStream:
    """Feed it what the client sends, in any segmentation; it gives back what was asked.

    `plain` is true as long as all of it was well-formed: lines of known commands, content of ordinary lines.
    `partial` tells that a line, content or a chunk has begun and not ended.
    """

    def __init__(self) -> None:
        self.lost = False
        self.plain = True
        self.held = False  # a DATA, AUTH, STARTTLS or QUIT is not answered yet
        self._input = bytearray()
        self._content: ContentReceiver | None = None
        self._last = b""  # the content's last octet
        self._column = 0  # octets of the content's unfinished line
        self._chunk: Asked | None = None
        self._chunk_left = 0
        self._response = False

    @property
    def in_content(self) -> bool:
        """Whether content has begun after a 354 and not ended."""
        return self._content is not None

    @property
    def partial(self) -> bool:
        """Whether something has begun and not ended."""
        return bool(self._input) or self.in_content or self._chunk is not None

    def feed(self, data: bytes) -> list[Asked]:
        """What `data` completes."""
        asked: list[Asked] = []
        self._input += data
        while self._input and not self.lost:
            done = self._step()
            if done is None:
                break
            asked.append(done)
        return asked

    def give_up(self) -> None:
        """What comes from here on is not understood."""
        self.lost = True
        self._input.clear()

    # how it goes on after a reply

    def content_follows(self) -> None:
        """354 came."""
        self.held = False
        self._content, self._last, self._column = ContentReceiver(), b"\n", 0

    def response_follows(self) -> None:
        """334 came."""
        self.held, self._response = False, True

    def commands_follow(self) -> None:
        """Any other reply came to a command that is waited for."""
        self.held = False

    # one thing asked

    def _step(self) -> Asked | None:
        if self._content is not None:
            return self._take_content(self._content)
        if self._chunk is not None:
            return self._take_chunk(self._chunk)
        if self.held:
            self.give_up()
            return None
        return self._take_line()

    def _take_line(self) -> Asked | None:
        line, end, rest = bytes(self._input).partition(b"\r\n")
        if b"\n" in line or b"\r" in line[: None if end else -1] or len(line) > MAX_LINE:
            self.give_up()
            return None
        if not end:
            return None
        self._input[:] = rest
        if self._response:
            self._response, self.held = False, True
            return Asked(RESPONSE, RESPONSE)
        return self._command(line)

    def _command(self, line: bytes) -> Asked | None:
        command = parse_command(line, utf8=True)
        utf8 = not line.isascii() or b"SMTPUTF8" in line.upper().split()[1:]
        shown = "AUTH" if line[:4].upper() == b"AUTH" else escape(line[:SHOWN])
        verb = command.verb
        self.held = verb in _HOLDS
        if isinstance(command, CommandError):
            self.plain = False
            if verb is Verb.BDAT:
                self.give_up()
            return Asked(verb or "", shown, proper=False, utf8=utf8)
        asked = Asked(command.verb, shown, last=command.last, utf8=utf8)
        if verb is Verb.BDAT and command.size:
            self._chunk, self._chunk_left = asked, command.size
            return self._take_chunk(asked)
        return asked

    def _take_chunk(self, chunk: Asked) -> Asked | None:
        taken = min(self._chunk_left, len(self._input))
        del self._input[:taken]
        self._chunk_left -= taken
        if self._chunk_left:
            return None
        self._chunk = None
        return chunk

    def _take_content(self, content: ContentReceiver) -> Asked | None:
        data = bytes(self._input)
        self._input.clear()
        content.feed(data)
        body = data.removesuffix(content.rest) if content.complete else data
        if not self._is_ordinary(body):
            self.plain = False
            self.give_up()
            return None
        if not content.complete:
            return None
        self._content = None
        self._input += content.rest
        return Asked(CONTENT, CONTENT)

    def _is_ordinary(self, data: bytes) -> bool:
        """Whether the content so far has lines of legal length, CRLF only, and no NUL."""
        window = self._last + data if self._last == b"\r" else data
        self._last = window[-1:]
        lines = window.removesuffix(b"\r").split(b"\r\n")
        longest = max(self._column + len(lines[0]), *(len(line) for line in lines))
        self._column = len(lines[-1]) + (self._column if len(lines) == 1 else 0)
        ordinary = not any(b"\r" in line or b"\n" in line or b"\0" in line for line in lines)
        return ordinary and longest <= MAX_TEXT_LINE
