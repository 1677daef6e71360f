"""One session of the scripted next hop: a receiver that follows a script and writes everything down."""

from __future__ import annotations

import dataclasses
import time
from functools import partial
from typing import Literal, Protocol

from smtpbench.delivery.hop_script import (
    ACCEPT,
    AHEAD,
    HopLine,
    HopRecipient,
    HopReply,
    HopScript,
    HopSession,
    HopTransaction,
)
from smtpbench.server.commands import Transaction
from smtpbench.server.config import ServerConfig
from smtpbench.server.receiver import Receiver
from smtpbench.server.scripted import Scripted
from smtpbench.wire.content import ContentReceiver
from smtpbench.wire.parse import Command, CommandError, parse_command
from smtpbench.wire.state import Verb


class Book(Protocol):
    """Who gives a session its script and keeps its record: the `Hop`."""

    script: HopScript

    def open_session(self) -> HopSession:
        """A connection was made."""

    def reply_for(self, address: bytes, what: str) -> HopReply:
        """The reply that is due for `address` now; ``what`` is "rcpt" or "content"."""

    def changed(self) -> None:
        """Something was written down."""


class _Recording(ContentReceiver):
    """Keeps what came as it came, dots and end of data included."""

    def __init__(self) -> None:
        super().__init__()
        self.raw = bytearray()

    def feed(self, data: bytes) -> bytes:
        content = super().feed(data)
        self.raw += data[: len(data) - len(self.rest)]
        return content


class HopReceiver(Scripted, Receiver):
    """Takes any path and any parameter that has a meaning, offered or not: what was sent is judged later."""

    def __init__(
        self, config: ServerConfig, *, book: Book, client: str = "127.0.0.1", tls: bool = False
    ) -> None:
        self.book = book
        self.script = book.script
        self.record = book.open_session()
        self._begin = time.monotonic()
        self._last_line = b""
        self._raw = bytearray()
        super().__init__(config, client=client, tls=tls)

    def configure(self, config: ServerConfig) -> ServerConfig:
        """Offer what the script says."""
        return dataclasses.replace(super().configure(config), extensions=self.script.extensions)

    # the record

    def _note(self, line: HopLine) -> None:
        self.record.lines.append(line)
        self.book.changed()

    def _line(
        self, sender: Literal["client", "server", "note"], octets: bytes, ahead: bytes = b""
    ) -> HopLine:
        return HopLine(time.monotonic() - self._begin, sender, octets, self.tls_active, ahead)

    def take_output(self) -> bytes:
        """What is sent now is in the record."""
        data = super().take_output()
        if data:
            self._note(self._line("server", data.rstrip(b"\r\n")))
        return data

    def on_line(self, line: bytes) -> None:
        """Write the line down, with what came behind it before it was answered."""
        self._last_line = line
        self._note(self._line("client", line, bytes(self.input)))
        super().on_line(line)

    def tls_started(self) -> bytes:
        """The handshake is done."""
        self._note(self._line("note", b"TLS begins"))
        return super().tls_started()

    def disconnected(self) -> tuple[()]:
        """The connection is gone."""
        if self.record.ended is None:
            self.record.ended = "closed by the client"
            self._note(self._line("note", b"closed by the client"))
        return ()

    # replies

    def waited(self) -> bytes:
        """The delay is over: what came meanwhile is in the record."""
        if self.input:
            self._note(self._line("note", AHEAD + bytes(self.input)))
        return super().waited()

    def close(self) -> None:
        """We close, unless the client has said QUIT."""
        if self.record.ended is None:
            self.record.ended = "closed by us"
        super().close()

    def greeting(self) -> bytes:
        """The 220, or what the script has in its place."""
        usual = super().greeting()
        self.answer(self.script.greeting or ACCEPT, lambda: self.output.append(usual))
        return self.take_output()

    def keywords(self) -> list[str]:
        """The extensions of the script, and its further lines."""
        inside = self.script.inside_tls if self.tls_active else None
        usual = super().keywords()
        return [
            *(line for line in usual if inside is None or line.partition(" ")[0] in inside),
            *self.script.keywords,
        ]

    # commands

    def known_parameters(self) -> frozenset[str]:
        """Not asked: `parse` takes all of them."""
        return frozenset()

    def parse(self, line: bytes) -> Command | CommandError:
        """Every parameter is taken whether it was offered or not, and so are UTF-8 and any name in EHLO."""
        command = parse_command(line, known=None, utf8=True)
        if isinstance(command, CommandError) and command.verb in (Verb.EHLO, Verb.HELO):
            return Command(command.verb, b"somebody")
        return command

    def perform(self, command: Command) -> None:
        """As usual, or what the script has for this verb."""
        usual = partial(super().perform, command)
        self.answer(self.script.replies.get(command.verb, ACCEPT), usual)

    def check_sender(self, command: Command) -> None:
        """Anybody, with a body of any kind."""

    def do_mail(self, command: Command) -> None:
        """A transaction begins."""
        super().do_mail(command)
        words = self.keywords() if self.extended else []
        offered = frozenset(word.partition(" ")[0] for word in words)
        self._raw = bytearray()
        self.record.transactions.append(
            HopTransaction(self.record, self._last_line, self.tls_active, offered)
        )

    def do_rcpt(self, command: Command) -> None:
        """Accepted, or what the script has for this recipient."""
        assert command.path is not None
        address = self.address_of(command.path)
        reply = self.book.reply_for(address, "rcpt")
        self.record.transactions[-1].recipients.append(HopRecipient(self._last_line, address, reply.code))
        self.answer(reply, partial(super().do_rcpt, command))

    # content

    def new_content(self) -> ContentReceiver:
        """Keep the raw octets."""
        self._raw = bytearray()
        return _Recording()

    def on_content(self, data: bytes) -> None:
        """Chunks are raw already."""
        if self.content_receiver is None:
            self._raw += data
        super().on_content(data)

    def on_content_end(self) -> None:
        """The script's reply to the end of data; the worst of the recipients' decides."""
        transaction, record = self.transaction, self.record.transactions[-1]
        assert transaction is not None
        receiver = self.content_receiver
        record.chunked = not isinstance(receiver, _Recording)
        record.raw = bytes(receiver.raw) if isinstance(receiver, _Recording) else bytes(self._raw)
        record.content = b"".join(transaction.content)
        reply = self._verdict(transaction)
        record.code = reply.code
        self.end_transaction()
        self.answer(reply)
        self.book.changed()

    def _verdict(self, transaction: Transaction) -> HopReply:
        replies = [self.book.reply_for(recipient.address, "content") for recipient in transaction.recipients]
        return next((reply for reply in replies if not reply.positive), replies[0])

    def do_quit(self, command: Command) -> None:
        """The client takes its leave."""
        self.record.ended = self.record.ended or "quit"
        super().do_quit(command)
