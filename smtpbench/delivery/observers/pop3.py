"""The observer of a mailbox on a POP3 server (RFC 1939), with the standard library's client.

A POP3 session sees the mailbox as it was when the session began, and may lock it. So each look is a session
of its own, and looks are farther apart than elsewhere. Messages are known by their unique id (UIDL). Where
the last message of the last look is still at its place, only what is behind it is asked for, but for every
`ALL_EVERY`th look: no RFC says that new messages are the last ones.
"""

from __future__ import annotations

import poplib
import socket
from collections.abc import Iterator, Sequence
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
TOGETHER = 50  # commands that are sent at once, at most
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
            new = {
                key: number for key, number in listed.items() if not {key} & (self._old | self._seen.keys())
            }
            for key, content in zip(new, client.messages(list(new.values())), strict=True):
                self._keep(key, content)
            self._remember(listed)

    def _listed(self, client: _Client) -> dict[str, int]:
        """Unique id → number of all messages, or of those that are behind the last one of the last look."""
        count, last = client.count(), self._last
        if last and last[0] <= count and self._looks % ALL_EVERY:
            numbers = range(last[0], count + 1)
            found = dict(zip(client.unique_ids_of(numbers), numbers, strict=True))
            if found.pop(last[1], 0) == last[0]:
                return found
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
        self._pipelining = False
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
            self._pipelining = "PIPELINING" in self._capabilities()
        except poplib.error_proto as error:
            if str(error) == HUNG_UP:
                raise EOFError("while logging in") from None
            where = self._account.where
            raise AuthFailed(f"{where}: the server refused to log {user} in: {server_words(error)}") from None

    def _capabilities(self) -> dict[str, list[str]]:
        try:
            return self.capa()
        except poplib.error_proto as error:
            if str(error) == HUNG_UP:
                raise
            return {}  # CAPA is optional

    def count(self) -> int:
        """How many messages there are."""
        with self._listing("STAT"):
            return self.stat()[0]

    def unique_ids_of(self, numbers: Sequence[int]) -> list[str]:
        """Those of some messages."""
        with self._listing("UIDL"):
            asked = self._ask([f"UIDL {number}\r\n" for number in numbers])
            return [self._status("while listing messages").split()[2].decode("latin-1") for _ in asked]

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

    def messages(self, numbers: Sequence[int]) -> Iterator[bytes]:
        """The octets of some messages, dots unstuffed. Raises EOFError, poplib.error_proto."""
        for begin in range(0, len(numbers), TOGETHER):
            batch = numbers[begin : begin + TOGETHER]
            yield from (self._message() for _ in self._ask([f"RETR {number}\r\n" for number in batch]))

    def _ask(self, lines: Sequence[str]) -> Iterator[str]:
        """Send `lines`, all at once if the server takes that (RFC 2449 §6.6). Each is given out when its
        answer is to be read.
        """
        if self._pipelining:
            self.sock.sendall("".join(lines).encode())
        for line in lines:
            if not self._pipelining:
                self.sock.sendall(line.encode())
            yield line

    def _status(self, when: str) -> bytes:
        line = self.file.readline(MAX_LINE)
        if not line:
            raise EOFError(when)
        if not line.startswith(b"+OK"):
            raise poplib.error_proto(line)
        return line

    def _message(self) -> bytes:
        self._status("before a message")
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
