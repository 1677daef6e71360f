"""One session of the sink: the receiver of `receiver.py`, with a short way for what comes most often.

Most sessions are EHLO, then MAIL, RCPT, DATA and a message, over and over, each in one piece. For these
`feed` does what the receiver would do with fewer steps: a line that was seen before is not parsed again, and
a message that came whole is cut in one go. Whatever else comes (a piece of a line, a message in pieces or
with stuffed dots, another command, a parameter) goes the receiver's own way. So the result does not depend
on how the octets were cut.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple, Protocol

from smtpbench.server.commands import Recipient, Transaction
from smtpbench.server.config import ServerConfig
from smtpbench.server.receiver import ACCEPTED, TOO_LARGE, Receiver
from smtpbench.server.store import RELAYED
from smtpbench.wire.content import END_OF_DATA
from smtpbench.wire.grammar import NULL_PATH
from smtpbench.wire.parse import Command, CommandError, parse_command
from smtpbench.wire.state import State, Verb

KNOWN_LINES = 8_192  # parsed lines that are remembered, of all sessions …
KNOWN_GROUPS = 8_192  # … and groups of lines that were sent together (RFC 2920), or one alone …
LONGEST_KNOWN = 512  # … with the octets of the longest, which is the limit for a line (RFC 5321 §4.5.3.1.4)
KNOWN_CLIENTS = 256  # names that clients gave in EHLO, with the replies
# An attribute of an enumeration takes longer to find than the rest of a step does.
_READY, _MAIL, _RCPT, _CONTENT = State.READY, State.MAIL, State.RCPT, State.CONTENT


class Taken(NamedTuple):
    """A message that the sink took, at the moment before its reply.

    `session` counts from 1, `ordinal` the messages of the session from 1. `sender` and `recipients` are the
    envelope in octets, without brackets; `content` has no stuffed dots, and line ends as they came.
    `at_ns` is wall clock (since the epoch), `monotonic_ns` the clock that never jumps.
    """

    session: int
    ordinal: int
    sender: bytes
    recipients: tuple[bytes, ...]
    content: bytes
    at_ns: int
    monotonic_ns: int


class Hello(NamedTuple):
    """What a greeting led to: the reply, and what the session knows since."""

    reply: bytes
    name: str
    extended: bool
    parameters: frozenset[str]


class Phrases:
    """The replies of the short way, rendered once for a server."""

    def __init__(self, config: ServerConfig) -> None:
        codes = ("2.1.0 ", "2.1.5 ", "2.0.0 ") if "ENHANCEDSTATUSCODES" in config.extensions else ("",) * 3
        protocol = "LMTP" if config.role == "lmtp" else "ESMTP"
        self.greeting = f"220 {config.name} {protocol} smtpbench sink\r\n".encode()
        self.mail = f"250 {codes[0]}Sender OK\r\n".encode()
        self.rcpt = f"250 {codes[1]}Recipient OK\r\n".encode()
        self.go_on = b"354 End data with <CR><LF>.<CR><LF>\r\n"
        self.taken = f"250 {codes[2]}{ACCEPTED[2]}\r\n".encode()
        self.bye = f"221 {codes[2]}{config.name} closing connection\r\n".encode()
        self.each = config.role == "lmtp"  # a reply for each recipient (RFC 2033 §4.2)
        self.hellos: dict[bytes, Hello] = {}


class Intake(Protocol):
    """Where a session gets its number and its phrases and leaves its messages: the `Sink`."""

    phrases: Phrases

    @property
    def consumer(self) -> object | None:
        """Who is to have the messages; if nobody is, they are counted only."""

    def open_session(self) -> int:
        """The number of a new session."""

    def count(self, recipients: int, octets: int) -> None:
        """A message was taken."""

    def keep(self, message: Taken) -> None:
        """The same message, for the consumer."""


_Step = Callable[["SinkReceiver", bytes, Recipient], bytes | None]
_Known = tuple[_Step, bytes, Recipient]  # what to do, with the line (CRLF included) and whom it is about


class SinkReceiver(Receiver):
    """A session in which every path is taken, and no message is looked into."""

    ordinal = 0
    _fresh = False  # 354 was said, and nothing came since
    _short = True  # nothing is half read, and what comes next is a line, or a message

    def __init__(
        self, config: ServerConfig, *, intake: Intake, client: str = "127.0.0.1", tls: bool = False
    ) -> None:
        super().__init__(config, client=client, tls=tls)
        self.intake = intake
        self.session = intake.open_session()
        self._phrases = intake.phrases

    def greeting(self) -> bytes:
        """The 220."""
        return self._phrases.greeting

    # the short way

    def feed(self, data: bytes) -> bytes:
        """What to send in answer to `data`."""
        if not self._short:
            return super().feed(data)
        if self._fresh:
            end = self._message(data)
            if not end:
                return super().feed(data)
            if end == len(data):
                return self.take_output()
            data = data[end:]
        steps = _groups.get(data)
        if steps is None:
            steps = _group(data)
        if len(steps) == 1 and not self.output:
            ((step, line, about),) = steps
            said = step(self, line, about)
            return said if said is not None else super().feed(data)
        for number, (step, line, about) in enumerate(steps):
            said = step(self, line, about)
            if said is None:
                return super().feed(b"".join([line for _, line, _ in steps[number:]]))
            self.output.append(said)
        return self.take_output() if steps else super().feed(data)

    def run(self) -> bytes:
        """The long way, as far as it goes for now."""
        said = super().run()
        self._short = self.action is None and not self.input and self.reads_lines
        return said

    def _message(self, data: bytes) -> int:
        """Take the message that `data` begins with; its length. 0: it is not whole, or has stuffed dots."""
        self._fresh = False
        dot = data.find(b"\r\n.")
        whole = dot >= 0 and data.startswith(END_OF_DATA, dot) and not data.startswith(b".")
        if not whole or dot + 2 > self.config.max_size:
            self.begin_content()
            return 0
        transaction = self.transaction
        assert transaction is not None
        transaction.size = dot + 2
        self.finish(transaction, data[: dot + 2])
        return dot + len(END_OF_DATA)

    def quick_hello(self, line: bytes, _: Recipient) -> bytes | None:
        """EHLO, LHLO or HELO as it came before: the reply. None: it could not be done so."""
        hello = self._phrases.hellos.get(line)
        if hello is None or self.tls_active:
            return None
        self.transaction = None
        self.state = _READY
        reply, self.helo, self.extended, self._parameters = hello
        return reply

    def quick_mail(self, _: bytes, about: Recipient) -> bytes | None:
        """MAIL without parameters, likewise."""
        if self.state is not _READY:
            return None
        self.transaction = Transaction(about.path)
        self.state = _MAIL
        return self._phrases.mail

    def quick_rcpt(self, _: bytes, about: Recipient) -> bytes | None:
        """RCPT without parameters, likewise."""
        transaction = self.transaction
        if transaction is None or (self.state is not _MAIL and self.state is not _RCPT):
            return None
        if len(transaction.recipients) >= self.config.max_recipients:
            return None
        transaction.recipients.append(about)
        self.state = _RCPT
        return self._phrases.rcpt

    def quick_data(self, _: bytes, __: Recipient) -> bytes | None:
        """DATA, likewise."""
        if self.state is not _RCPT or self.transaction is None or self.transaction.binary:
            return None
        self.state = _CONTENT
        self._fresh = True
        return self._phrases.go_on

    def quick_quit(self, _: bytes, __: Recipient) -> bytes:
        """QUIT."""
        self.close()
        self._short = False
        return self._phrases.bye

    # the receiver's way

    def parse(self, line: bytes) -> Command | CommandError:
        """As the receiver's, but for one mistake that is common."""
        return super().parse(_forgiven(line))

    def do_ehlo(self, command: Command) -> None:
        """Answer, and remember the answer."""
        super().do_ehlo(command)
        self._remember(command)

    def do_helo(self, command: Command) -> None:
        """Answer, and remember the answer."""
        super().do_helo(command)
        self._remember(command)

    def _remember(self, command: Command) -> None:
        known = self._phrases.hellos
        if not self.tls_active and len(known) < KNOWN_CLIENTS:
            line = command.verb.encode() + b" " + command.argument + b"\r\n"
            known[line] = Hello(self.output[-1], self.helo, self.extended, self._parameters)

    def on_content_end(self) -> None:
        """The message is complete."""
        transaction = self.transaction
        assert transaction is not None
        self.finish(transaction, b"".join(transaction.content))

    def finish(self, transaction: Transaction, content: bytes) -> None:
        """Refuse a message, or take it."""
        if transaction.size > self.config.max_size:
            self.conclude([TOO_LARGE] * len(transaction.recipients))
            return
        self.take(transaction, content)
        self.answer_taken(transaction)

    def take(self, transaction: Transaction, content: bytes) -> None:
        """Count a message and keep it."""
        intake, recipients = self.intake, transaction.recipients
        self.ordinal += 1
        intake.count(len(recipients), transaction.size)
        if intake.consumer is not None:
            addresses = tuple([recipient.address for recipient in recipients])
            sender, clock = transaction.sender.mailbox, time.monotonic_ns()
            intake.keep(Taken(self.session, self.ordinal, sender, addresses, content, time.time_ns(), clock))

    def answer_taken(self, transaction: Transaction) -> None:
        """Say that the message was taken."""
        if self._phrases.each:
            self.conclude([ACCEPTED] * len(transaction.recipients))
            return
        self.transaction = None
        self.state = _READY
        self.output.append(self._phrases.taken)


_QUICK: dict[Verb, _Step] = {
    Verb.EHLO: SinkReceiver.quick_hello,
    Verb.LHLO: SinkReceiver.quick_hello,
    Verb.HELO: SinkReceiver.quick_hello,
    Verb.MAIL: SinkReceiver.quick_mail,
    Verb.RCPT: SinkReceiver.quick_rcpt,
    Verb.DATA: SinkReceiver.quick_data,
    Verb.QUIT: SinkReceiver.quick_quit,
}


_SPACE = re.compile(rb"(MAIL FROM|RCPT TO): +<", re.IGNORECASE)


def _forgiven(line: bytes) -> bytes:
    """`line` without the space that some clients put behind the colon, which RFC 5321 §3.3 warns of."""
    return _SPACE.sub(rb"\1:<", line, count=1) if b": " in line else line


_LAST = (SinkReceiver.quick_data, SinkReceiver.quick_quit)


_groups: dict[bytes, tuple[_Known, ...]] = {}  # a look into it takes half as long as a call of a cache


def _group(data: bytes) -> tuple[_Known, ...]:
    """The steps of lines that were sent together; none if there is anything else in `data`. Remembered."""
    if len(data) > LONGEST_KNOWN:
        return ()
    if len(_groups) >= KNOWN_GROUPS:
        _groups.clear()
    _groups[data] = steps = _steps(data)
    return steps


def _steps(data: bytes) -> tuple[_Known, ...]:
    *lines, rest = data.split(b"\r\n")
    steps = tuple([known for known in map(_known_line, lines) if known is not None])
    last_words = any(step in _LAST for step, _, _ in steps[:-1])  # what follows them is not a command
    return steps if len(steps) == len(lines) and not rest and not last_words else ()


@lru_cache(KNOWN_LINES)
def _known_line(line: bytes) -> _Known | None:
    """The short way for a line, if it has one: what it says depends on nothing but itself."""
    command = parse_command(_forgiven(line), known=frozenset())
    if isinstance(command, CommandError) or command.parameters or command.verb not in _QUICK:
        return None
    path = command.path or NULL_PATH
    if command.verb is Verb.RCPT and not path.domain:  # <Postmaster>: the receiver knows whose
        return None
    return _QUICK[command.verb], line + b"\r\n", Recipient(path, path.mailbox, RELAYED)
