"""The observer of a mailbox on a POP3 server (RFC 1939), with the standard library's client.

A POP3 session sees the mailbox as it was when the session began, and may lock it. So each look is a session
of its own, and looks are farther apart than elsewhere. Messages are known by their unique id (UIDL). Where
the last message of the last look is still at its place, only what is behind it is asked for, but for every
`ALL_EVERY`th look: no RFC says that new messages are the last ones.
"""

from __future__ import annotations

import poplib
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from smtpbench.delivery.observers.network import (
    MAX_MESSAGE,
    Account,
    NetworkObserver,
    in_words,
    server_words,
    shut,
)
from smtpbench.errors import AuthFailed, Inconclusive, TlsFailed
from smtpbench.wire.content import ContentReceiver

LAST_POLL = 0.5  # seconds; each look is a login
ALL_EVERY = 10
MAX_LINE = 1 << 16  # octets read at once
HUNG_UP = "-ERR EOF"  # what the library says where the connection has ended


class Pop3Observer(NetworkObserver):
    """Logs in for each look."""

    last_poll = LAST_POLL

    def __init__(self, account: Account) -> None:
        super().__init__(account)
        self._client: _Client | None = None
        self._old: frozenset[str] = frozenset()
        self._last: tuple[int, str] | None = None  # number and unique id of the last message of the last look
        self._looks = 0

    def _begin(self) -> None:
        with self._logged_in() as client:
            listed = self._listed(client)
            self._old = frozenset(listed)
            self._remember(listed)

    def _update(self) -> None:
        self._looks += 1
        with self._logged_in() as client:
            listed = self._listed(client)
            for key, number in listed.items():
                if key not in self._old and key not in self._seen:
                    self._keep(key, client.message(number))
            self._remember(listed)

    def _listed(self, client: _Client) -> dict[str, int]:
        """Unique id → number of all messages, or of those that are behind the last one of the last look."""
        count, last = client.count(), self._last
        if last and self._looks % ALL_EVERY and client.unique_id(last[0], count) == last[1]:
            return {client.unique_id(number, count): number for number in range(last[0] + 1, count + 1)}
        return client.unique_ids()

    def _remember(self, listed: dict[str, int]) -> None:
        """All of them are kept: the next look may begin behind them."""
        if listed:
            key = max(listed, key=listed.__getitem__)
            self._last = listed[key], key

    @contextmanager
    def _logged_in(self) -> Iterator[_Client]:
        account = self._account
        with in_words(account):
            self._client = _Client(account)
            try:
                self._client.begin()
                self._client.start_tls_if_needed()
                self._client.authenticate_as(account.user, account.password)
                yield self._client
                self._client.say_goodbye()
            finally:
                client, self._client = self._client, None
                client.close_connection()

    def _end(self) -> None:
        """Each look has ended its own session."""

    def _interrupt(self) -> None:
        if self._client is not None:
            shut(self._client.sock)


class _Client(poplib.POP3):
    """The library's client on a socket of ours; it reads messages itself.

    The library's own `retr` refuses lines of more than 2048 octets and drops a CR at the beginning of a line.
    """

    def __init__(self, account: Account) -> None:
        self._account = account
        self._connection = account.connect()
        self.sock = self._connection

    def begin(self) -> None:
        """Read the greeting."""
        super().__init__(self._account.mailbox.host)

    def _create_socket(self, timeout: float | None) -> socket.socket:
        """Called by the library where it would connect."""
        return self._connection

    def start_tls_if_needed(self) -> None:
        """Begin TLS where the password would go over a network in the clear. Raises TlsFailed."""
        if not self._account.needs_tls:
            return
        if "STLS" not in self.capa():
            where = self._account.where
            raise TlsFailed(f"{where}: does not offer STLS, and no password is sent in the clear")
        self.stls(self._account.context())

    def authenticate_as(self, user: str, password: str) -> None:
        """Log in. Raises AuthFailed."""
        try:
            self.user(user)
            self.pass_(password)
        except poplib.error_proto as error:
            if str(error) == HUNG_UP:
                raise EOFError("while logging in") from None
            where = self._account.where
            raise AuthFailed(f"{where}: the server refused to log {user} in: {server_words(error)}") from None

    def count(self) -> int:
        """How many messages there are."""
        with self._listing("STAT"):
            return self.stat()[0]

    def unique_id(self, number: int, count: int) -> str:
        """That of one message; "" if there are not so many."""
        if number > count:
            return ""
        with self._listing("UIDL"):
            return self.uidl(number).split()[2].decode("latin-1")

    def unique_ids(self) -> dict[str, int]:
        """The messages: unique id → number in this session. Raises Inconclusive for a server without UIDL."""
        with self._listing("UIDL"):
            lines = self.uidl()[1]
        found = (line.decode("latin-1").split() for line in lines)
        return {words[1]: int(words[0]) for words in found if len(words) == 2 and words[0].isdecimal()}

    @contextmanager
    def _listing(self, command: str) -> Iterator[None]:
        """What may go wrong with a command that has to be there."""
        try:
            yield
        except poplib.error_proto as error:
            if str(error) == HUNG_UP:
                raise EOFError("while listing messages") from None
            raise Inconclusive(f"{self._account.where}: {command} is needed: {server_words(error)}") from None
        except IndexError:
            raise ValueError(f"the answer to {command}") from None

    def message(self, number: int) -> bytes:
        """The octets of a message, dots unstuffed. Raises EOFError, poplib.error_proto."""
        self.sock.sendall(f"RETR {number}\r\n".encode())
        status = self.file.readline(MAX_LINE)
        if not status:
            raise EOFError("before a message")
        if not status.startswith(b"+OK"):
            raise poplib.error_proto(status)
        receiver, parts, length = ContentReceiver(), list[bytes](), 0
        while not receiver.complete:
            line = self.file.readline(MAX_LINE)
            length += len(line)
            if not line or length > MAX_MESSAGE:
                raise EOFError("in the middle of a message" if not line else f"a message of {length} octets")
            parts.append(receiver.feed(line))
        return b"".join(parts)

    def say_goodbye(self) -> None:
        """QUIT; a server that is gone is none the worse."""
        with suppress(OSError, poplib.error_proto):
            self.quit()

    def close_connection(self) -> None:
        """Close, whatever state it is in."""
        with suppress(OSError, AttributeError):  # AttributeError: it had not begun
            self.close()
        self._connection.close()
