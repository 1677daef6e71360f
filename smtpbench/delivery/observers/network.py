"""What observers of mailboxes on a server share: the connection, its errors in words, its thread.

The libraries block, so each look runs in a thread. It is bounded: every wait for the server by the target's
time-outs, the look as a whole by `LOOK_WAIT`, a message by `MAX_MESSAGE`. A look that is given up has its
socket shut down, which ends the thread, and nothing else begins before it has ended.

IMAP and POP3 hand out lines that end with CRLF, whatever came in and however it is stored. So which bare LF
of a message was a CRLF cannot be seen, and content is given with LF line ends throughout, like that of a
Unix mailbox: `Delivered.line_ends` is "lf".
"""

from __future__ import annotations

import asyncio
import imaplib
import poplib
import socket
import ssl
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TypeVar

from smtpbench.delivery.observers.model import Delivered, Polling, stored
from smtpbench.errors import (
    ConnectionLost,
    DeadlineExceeded,
    Inconclusive,
    SessionError,
    TlsFailed,
    Unreachable,
)
from smtpbench.target import Mailbox, Timeouts, Tls, is_loopback
from smtpbench.wire.replies import escape

LOOK_WAIT = 60.0  # seconds
MAX_MESSAGE = 64 << 20  # octets; a message of a case has a few MB at most
SHOWN = 200  # octets of a server's words that go into an error
_GIVEN_OUT = Delivered(b"", "lf", None, (), "")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Account:
    """A mailbox, and how it is opened."""

    mailbox: Mailbox
    user: str
    password: str = field(repr=False)
    tls: Tls
    timeouts: Timeouts

    @property
    def where(self) -> str:
        """The beginning of every error."""
        return str(self.mailbox)

    @property
    def implicit_tls(self) -> bool:
        """Whether TLS begins with the connection."""
        return self.mailbox.scheme.endswith("s")

    @property
    def needs_tls(self) -> bool:
        """Whether the password would otherwise go over a network in the clear."""
        return not self.implicit_tls and not is_loopback(self.mailbox.host)

    def context(self) -> ssl.SSLContext:
        """How the certificate is checked: as the target's, against the name in the URL."""
        context = ssl.create_default_context(cafile=self.tls.ca)
        if not self.tls.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def connect(self) -> socket.socket:
        """A connection, with TLS if the scheme says so. Raises Unreachable or TlsFailed."""
        place = self.mailbox
        try:
            connection = socket.create_connection((place.host, place.port), self.timeouts.connect)
        except OSError as error:
            reason = "no answer" if isinstance(error, TimeoutError) else error.strerror or error
            raise Unreachable(f"{self.where}: cannot connect: {reason}") from None
        if self.implicit_tls:
            try:
                connection = self.context().wrap_socket(connection, server_hostname=place.host)
            except OSError as error:  # ssl.SSLError is one
                connection.close()
                raise TlsFailed(f"{self.where}: {_tls_words(error)}") from None
        connection.settimeout(self.timeouts.reply)
        return connection


def _tls_words(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate: {error.verify_message}"
    reason = getattr(error, "reason", None) or error.strerror or error
    return f"no TLS: {reason}"


class NetworkObserver(Polling):
    """Reads what arrived in a mailbox on a server since `start`, and leaves it there."""

    def __init__(self, account: Account) -> None:
        super().__init__()
        self._account = account
        self._seen: dict[str, Delivered] = {}
        self._given_up = False  # nobody waits for what the thread is doing

    async def start(self) -> None:
        """Note what is there already. Raises Inconclusive (no server, no login), UsageError (no mailbox)."""
        await self._bounded(self._begin)

    async def stop(self) -> None:
        """Log out and forget what was read."""
        await self._bounded(self._end)
        self._seen.clear()

    async def _look(self, marker: bytes) -> list[Delivered]:
        return await self._bounded(lambda: self._found(marker))

    async def news(self) -> list[Delivered]:
        """What came since the last call. Its content is not kept, so `fetch` no longer finds it."""
        return await self._bounded(self._new)

    def _new(self) -> list[Delivered]:
        self._found(b"")
        fresh = {key: message for key, message in self._seen.items() if message is not _GIVEN_OUT}
        self._seen.update(dict.fromkeys(fresh, _GIVEN_OUT))
        return list(fresh.values())

    def _found(self, marker: bytes) -> list[Delivered]:
        """Look; if the server has hung up meanwhile, once more over a new connection."""
        self._given_up = False
        try:
            self._update()
        except ConnectionLost:
            if self._given_up:
                raise
            self._update()
        return [message for message in self._seen.values() if marker in message.content]

    async def _bounded(self, work: Callable[[], _Result]) -> _Result:
        """The result of `work`, whose turn comes and which ends within `LOOK_WAIT`."""
        try:
            async with asyncio.timeout(LOOK_WAIT):
                return await self._in_thread(work)
        except TimeoutError as error:
            if isinstance(error, SessionError):
                raise
            raise DeadlineExceeded(f"{self._account.where}: not read within {LOOK_WAIT:g} s") from None

    def _give_up(self) -> None:
        self._given_up = True
        self._interrupt()

    def _keep(self, key: str, content: bytes, stated_ns: int | None = None) -> None:
        now, where = time.time_ns(), f"{self._account.where} {key}"
        message = stored(content.replace(b"\r\n", b"\n"), where, line_ends="lf")
        self._seen[key] = replace(message, read_ns=now, stated_ns=stated_ns)

    @abstractmethod
    def _begin(self) -> None:
        """Log in, note what is there."""

    @abstractmethod
    def _update(self) -> None:
        """Keep what is new. Raises ConnectionLost if it may help to try again."""

    @abstractmethod
    def _end(self) -> None:
        """Log out. Raises nothing for a server that is gone."""

    @abstractmethod
    def _interrupt(self) -> None:
        """From outside the thread: make it end soon."""


def shut(connection: socket.socket | None) -> None:
    """End what another thread reads from `connection`, which that thread then closes."""
    if connection is not None:
        with suppress(OSError):
            socket.socket.shutdown(connection, socket.SHUT_RDWR)


@contextmanager
def in_words(account: Account) -> Iterator[None]:
    """Errors of the libraries as ours, in one line."""
    where = account.where
    try:
        yield
    except SessionError:
        raise
    except TimeoutError:
        raise DeadlineExceeded(f"{where}: no answer within {account.timeouts.reply:g} s") from None
    except ssl.SSLCertVerificationError as error:
        raise TlsFailed(f"{where}: {_tls_words(error)}") from None
    except (imaplib.IMAP4.abort, EOFError, OSError) as error:
        raise ConnectionLost(f"{where}: the server hung up: {server_words(error)}") from None
    except (imaplib.IMAP4.error, poplib.error_proto) as error:
        raise Inconclusive(f"{where}: {server_words(error)}") from None
    except ValueError as error:
        raise Inconclusive(f"{where}: the server is not understood: {server_words(error)}") from None


def server_words(error: object) -> str:
    """What a server said, or what a library says of it, fit for a terminal."""
    said = error.args[0] if isinstance(error, Exception) and error.args else error
    octets = said if isinstance(said, bytes) else str(said).encode("utf-8", "backslashreplace")
    return escape(octets[:SHOWN])
