"""The observer of a mailbox on an IMAP server (RFC 9051 and 3501), with the standard library's client.

One connection stays open. The mailbox is opened read-only and messages are fetched with BODY.PEEK[], so
nothing is marked as seen. New is what has a UID from the one on that was to come next at the start, and UIDs
only grow (RFC 9051 §2.3.1.1): a look asks for what is above the last one, however full the mailbox is.

It asks again and again, and does not use IDLE: servers tell of new mail with a delay of their own (Dovecot
half a second), which would be in every time.
"""

from __future__ import annotations

import imaplib
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from smtpbench.delivery.observers.network import (
    MAX_MESSAGE,
    Account,
    NetworkObserver,
    in_words,
    server_words,
    shut,
)
from smtpbench.errors import AuthFailed, Inconclusive, TlsFailed, UsageError

BATCH = 50  # messages that one command asks for: what came together is read together
_BODY = re.compile(rb"BODY\[\]", re.IGNORECASE)
_UID = re.compile(rb"\bUID (\d+)", re.IGNORECASE)
_DATE = re.compile(rb'\bINTERNALDATE "([^"]{1,40})"', re.IGNORECASE)
NS = 1_000_000_000


class ImapObserver(NetworkObserver):
    """Looks over one connection, again and again."""

    def __init__(self, account: Account) -> None:
        super().__init__(account)
        self._client: _Client | None = None
        self._validity = b""
        self._next = 1  # UIDs from here on are new

    def _begin(self) -> None:
        with in_words(self._account):
            client = self._log_in()
            self._validity = _number(client, "UIDVALIDITY") or b""
            self._next = _next_uid(client)

    def _update(self) -> None:
        try:
            with in_words(self._account):
                client = self._client or self._log_in()
                uids = _uids(client, self._next)
                for begin in range(0, len(uids), BATCH):
                    batch = uids[begin : begin + BATCH]
                    for uid, content, stated_ns in _messages(client, batch):
                        self._keep(str(uid), content, stated_ns)
                    self._next = batch[-1] + 1
        except BaseException:
            self._drop()
            raise

    def _end(self) -> None:
        if self._client is not None:
            self._client.say_goodbye()
        self._drop()

    def _drop(self) -> None:
        if self._client is not None:
            client, self._client = self._client, None
            client.close_connection()

    def _interrupt(self) -> None:
        if self._client is not None:
            shut(self._client.sock)

    def _log_in(self) -> _Client:
        """A client that has the mailbox open. Raises ConnectionLost and others, with nothing left open."""
        account = self._account
        client = self._client = _Client(account)
        try:
            client.begin()
            if client.start_tls_if_needed():
                client.authenticate_as(account.user, account.password)
            client.open_mailbox(account.mailbox.folder)
            if self._validity and self._validity != _number(client, "UIDVALIDITY"):
                raise Inconclusive(f"{account.where}: the mailbox was made anew meanwhile (UIDVALIDITY)")
        except BaseException:
            self._drop()
            raise
        return client


class _Client(imaplib.IMAP4):
    """The library's client on a socket of ours, with a bound on what it reads at once."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self.sock = account.connect()
        self.file = self.sock.makefile("rb")

    def begin(self) -> None:
        """Read the greeting and the capabilities."""
        super().__init__()

    def open(self, host: str = "", port: int = 0, timeout: float | None = None) -> None:
        """Called by the library where it would connect."""
        self.host = self._account.mailbox.host

    def read(self, size: int) -> bytes:
        """A literal. Raises the library's `abort` where the server announces more than we hold."""
        if size > MAX_MESSAGE:
            raise self.abort(f"a message of {size} octets")
        data = super().read(size)
        if len(data) < size:
            raise self.abort("in the middle of a message")
        return data

    def start_tls_if_needed(self) -> bool:
        """Whether there is anything left to log in to: a server may know us already (PREAUTH)."""
        if self.state == "AUTH":
            return False
        if self._account.needs_tls or ("LOGINDISABLED" in self.capabilities and self._offers("STARTTLS")):
            if not self._offers("STARTTLS"):
                where = self._account.where
                raise TlsFailed(f"{where}: does not offer STARTTLS, and no password is sent in the clear")
            self.starttls(self._account.context())
        return True

    def authenticate_as(self, user: str, password: str) -> None:
        """Log in. Raises AuthFailed."""
        where = self._account.where
        if not self._offers("AUTH=PLAIN") and not (user + password).isascii():
            raise AuthFailed(f"{where}: the server has LOGIN alone, which takes user and password in ASCII")
        try:
            if self._offers("AUTH=PLAIN"):
                secret = f"\0{user}\0{password}".encode()
                self.authenticate("PLAIN", lambda _: secret)
            else:
                self.login(_quoted(user), password)
        except self.abort:
            raise
        except self.error as error:
            raise AuthFailed(f"{where}: the server refused to log {user} in: {server_words(error)}") from None

    def open_mailbox(self, folder: str) -> None:
        """Open it read-only. Raises UsageError where the server says no."""
        status, data = self.select(_quoted(folder), readonly=True)
        if status != "OK":
            raise UsageError(f"{self._account.where}: cannot be opened: {server_words(data[0])}")

    def say_goodbye(self) -> None:
        """Log out; a server that is gone is none the worse."""
        with suppress(OSError, self.error):
            self.logout()

    def close_connection(self) -> None:
        """Close, whatever state it is in."""
        self.file.close()
        self.sock.close()

    def _offers(self, capability: str) -> bool:
        return capability in self.capabilities


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _number(client: imaplib.IMAP4, name: str) -> bytes | None:
    """What the last SELECT said in the response code `name`."""
    value: Any = client.response(name)[1][0]
    return value if isinstance(value, bytes) else None


def _next_uid(client: imaplib.IMAP4) -> int:
    """The UID the next message will have at least; not every server says it by itself."""
    told = _number(client, "UIDNEXT")
    if told is not None:
        return int(told)
    uids = _uids(client, 1)
    return max(uids, default=0) + 1


def _uids(client: imaplib.IMAP4, first: int) -> list[int]:
    """Those that there are from `first` on. (`n:*` means the last message too, if n is beyond it.)"""
    client.noop()  # a server may say that there is something new only when asked for nothing
    status, data = client.uid("SEARCH", f"UID {first}:*")
    if status != "OK":
        raise client.error(data[0])
    return sorted(uid for line in data if line for uid in map(int, line.split()) if uid >= first)


def _messages(client: imaplib.IMAP4, uids: Sequence[int]) -> Iterator[tuple[int, bytes, int | None]]:
    """UID, octets and INTERNALDATE (ns since the epoch) of those of `uids` that are still there."""
    wanted = ",".join(map(str, uids))
    status, data = client.uid("FETCH", f"{wanted} (UID INTERNALDATE BODY.PEEK[])")
    if status != "OK":
        raise client.error(data[0])
    for item, following in zip(data, [*data[1:], b""], strict=True):
        if not isinstance(item, tuple) or not _BODY.search(item[0]):
            continue
        around = item[0] + b" " + (following if isinstance(following, bytes) else b"")
        found = _UID.search(around)
        if found and int(found[1]) in uids:
            yield int(found[1]), item[1], _internal_date(around)


def _internal_date(items: bytes) -> int | None:
    """INTERNALDATE among the items of a FETCH response, if it is one (RFC 9051 §9, date-time)."""
    found = _DATE.search(items)
    try:
        date = datetime.strptime(found[1].decode().strip(), "%d-%b-%Y %H:%M:%S %z") if found else None
    except ValueError:
        return None
    return int(date.timestamp()) * NS if date else None
