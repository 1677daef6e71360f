"""The scripted next hop: we listen, the server under test relays to us, and all it says is kept.

    async with Hop("127.0.0.1", 2525) as hop:
        hop.answer("deferred@relay.example", rcpt=(DEFER, ACCEPT))
        async with hop.conduct(HopScript().without("8BITMIME")):
            ...                                       # the server is given a message for our domain
            await hop.until(lambda: hop.transactions_for(b"deferred@relay.example"), within=5.0)

What depends on the connection (extensions, EHLO) is one script for all, so `conduct` gives it to one
user at a time and ends the connections that began under another. What depends on a recipient is keyed
by the address, so any number of users can work side by side. A Hop is an Observer too.
"""

from __future__ import annotations

import asyncio
import ssl
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Self

from smtpbench.delivery.hop_receiver import HopReceiver
from smtpbench.delivery.hop_script import (
    ORDINARY,
    HopReply,
    HopScript,
    HopSession,
    HopTransaction,
    RecipientScript,
)
from smtpbench.delivery.observers import Delivered
from smtpbench.server.config import ServerConfig
from smtpbench.server.server import Server

NAME = "hop.example.org"
KEPT_SESSIONS = 5_000  # older ones are forgotten


class Hop:
    """Listens on `host`:`port` while entered (port 0: any), accepts anything unless told otherwise.

    `certificate` is a PEM file with key and chain for STARTTLS; without one the hop makes its own.
    """

    absent = ""

    def __init__(self, host: str = "127.0.0.1", port: int = 0, *, certificate: Path | None = None) -> None:
        self.script = ORDINARY
        self.sessions: deque[HopSession] = deque(maxlen=KEPT_SESSIONS)
        self._certificate = certificate
        self._tls: ssl.SSLContext | None = None
        self._recipients: dict[bytes, RecipientScript] = {}
        self._attempts: dict[tuple[bytes, str], int] = {}
        self._changed = asyncio.Event()
        self._turn = asyncio.Condition()
        self._users = 0
        self._taken = False
        config = ServerConfig(host=host, port=port, name=NAME, sink=True)
        self._server = Server(config, receiver=partial(HopReceiver, book=self))

    # listening

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._server.port

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return self._server.config.host, self.port

    @property
    def where(self) -> str:
        """``host:port``."""
        return f"{self._server.config.host}:{self.port}"

    async def start(self) -> None:
        """Listen. Raises UsageError where the address cannot be bound."""
        await self._server.start()

    async def stop(self) -> None:
        """Stop listening; whoever is connected gets 421."""
        await self._server.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    # what it is told

    def answer(
        self,
        recipient: str,
        *,
        rcpt: tuple[HopReply, ...] | None = None,
        content: tuple[HopReply, ...] | None = None,
    ) -> None:
        """Set the replies for one recipient, by attempt; the last of each stays in force."""
        script = RecipientScript()
        script = replace(script, rcpt=rcpt) if rcpt else script
        script = replace(script, content=content) if content else script
        self._recipients[recipient.lower().encode()] = script

    @asynccontextmanager
    async def conduct(self, script: HopScript = ORDINARY) -> AsyncIterator[Self]:
        """Have `script` in force: side by side with others if it is the ordinary one, else alone."""
        alone = script != ORDINARY
        async with self._turn:
            await self._turn.wait_for(lambda: not self._taken and not (alone and self._users))
            self._users += 1
            self._taken = alone
        try:
            if alone:
                self._set(script)
            yield self
        finally:
            if alone:
                self._set(ORDINARY)
            self._users -= 1
            self._taken = False
            async with self._turn:
                self._turn.notify_all()

    def _set(self, script: HopScript) -> None:
        """From here on every connection follows `script`; those that are open get 421."""
        self.script = script
        tls = self._tls_context() if "STARTTLS" in script.extensions else None
        self._server.config = replace(self._server.config, tls=tls)
        for connection in list(self._server.connections):
            connection.shut_down()

    def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            if self._certificate is not None:
                context.load_cert_chain(self._certificate)
            else:
                _load_own_certificate(context, self._server.config.host)
            self._tls = context
        return self._tls

    # what its receivers ask and write down

    def open_session(self) -> HopSession:
        """A connection was made."""
        number = self.sessions[-1].number + 1 if self.sessions else 1
        session = HopSession(number)
        self.sessions.append(session)
        return session

    def reply_for(self, address: bytes, what: str) -> HopReply:
        """The reply that is due for `address` now; ``what`` is "rcpt" or "content". Counts the attempt."""
        script = self._recipients.get(address.lower(), _ACCEPTED)
        replies = script.rcpt if what == "rcpt" else script.content
        key = (address.lower(), what)
        attempt = self._attempts.get(key, 0)
        self._attempts[key] = attempt + 1
        return replies[min(attempt, len(replies) - 1)]

    def changed(self) -> None:
        """Something was written down."""
        self._changed.set()

    # what it saw

    def transactions_for(self, *recipients: bytes) -> list[HopTransaction]:
        """The transactions with a RCPT for one of these addresses (without case), oldest first."""
        wanted = {address.lower() for address in recipients}
        return [
            transaction
            for session in self.sessions
            for transaction in session.transactions
            if any(item.address.lower() in wanted for item in transaction.recipients)
        ]

    async def until(self, done: Callable[[], object], within: float) -> bool:
        """Wait until `done()` is true, looking whenever the hop has something new; whether it came true."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                while not done():
                    self._changed.clear()
                    await self._changed.wait()
        return bool(done())

    async def fetch(self, marker: bytes, at_least: int, within: float) -> list[Delivered]:
        """All messages with `marker` that the hop took; waits up to `within` s for `at_least` of them."""
        await self.until(lambda: len(self._taken_with(marker)) >= at_least, within)
        return [
            Delivered(
                item.content or b"",
                "crlf",
                item.mail.partition(b"<")[2].partition(b">")[0].decode("utf-8", "replace"),
                tuple(address.decode("utf-8", "replace") for address in item.accepted),
                f"sink:{self.where}",
            )
            for item in self._taken_with(marker)
        ]

    def _taken_with(self, marker: bytes) -> list[HopTransaction]:
        return [
            item
            for session in self.sessions
            for item in session.transactions
            if item.accepted and marker in (item.content or b"")
        ]


_ACCEPTED = RecipientScript()


def _load_own_certificate(context: ssl.SSLContext, host: str) -> None:
    import trustme  # pulls in a cryptography library: only when a case wants TLS

    certificate = trustme.CA().issue_cert(host, "localhost", NAME)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "hop.pem"
        path.touch(mode=0o600)
        certificate.private_key_and_cert_chain_pem.write_to_path(str(path))
        context.load_cert_chain(path)
