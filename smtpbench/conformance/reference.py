"""The reference server of this process as a target: short waits, deliveries read from its memory."""

from __future__ import annotations

import asyncio
import re
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, Self

from smtpbench.delivery.hop import Hop
from smtpbench.delivery.observers import Delivered
from smtpbench.lab.workspace import (
    DOMAIN,
    MAILBOXES,
    RELAY_DOMAIN,
    SERVER_NAME,
    USERNAME,
    UTF8_MAILBOX,
    Workspace,
    server_context,
)
from smtpbench.server.config import ServerConfig
from smtpbench.server.server import Server
from smtpbench.server.store import Copy, MemoryStore
from smtpbench.target import Relay, Role, Target, Timeouts


@dataclass(frozen=True)
class Profile:
    """One way to run it: the endpoint for cases that name none, and whether the server takes mail."""

    name: str
    endpoint: Role = Role.MX
    takes_no_mail: bool = False
    no_mail_code: Literal[554, 521] = 554


MX = Profile("mx")
PROFILES = (
    MX,
    *(Profile(role.value, role) for role in Role if role is not Role.MX),
    Profile("refusing", takes_no_mail=True),
    Profile("never", takes_no_mail=True, no_mail_code=521),
)

MAX_TRANSACTIONS = 200  # in a session: more than any case needs
MAX_HOLD = 3_600  # seconds
OWNERS_SINCE = datetime(2020, 1, 1, tzinfo=UTC)
NULL_MX = "null-mx.example"

SUBMITTING = (Role.SUBMISSION, Role.SUBMISSIONS)
POLL = 0.005  # seconds between two looks at the memory; a delivery is there before its 250
# The server answers in well under a millisecond. A silence is therefore certain after 50 ms, and a missing
# reply after half a second, even with busy cores; and a case asks twice before it believes in one.
REFERENCE_TIMEOUTS = Timeouts(connect=5.0, reply=0.5, delivery=0.5, quiet=0.05, idle=0.4)
MAX_SIZE = 256 * 1024  # octets: §4.5.3.1.7 asks for 64 KiB, and to go beyond it costs little
RETRY_S = 0.02  # between two attempts of the reference server to send a message on …
MAX_RECIPIENTS = 200  # §4.5.3.1.8 asks for 100; each one more is a command of every run
RELAY_ATTEMPTS = 20  # … and how often it tries


_MARKER = re.compile(rb"smtpbench-(?:fence-)?[0-9a-f]{16}")  # as Peer makes them


class StoreObserver:
    """Reads deliveries from a MemoryStore; as an Observer it needs no start and no stop."""

    absent = ""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._read = 0  # copies that have been looked through for the markers of cases
        self._marked: defaultdict[bytes, list[Delivered]] = defaultdict(list)

    async def start(self) -> None:
        """Nothing to open."""

    async def stop(self) -> None:
        """Nothing to release."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        pass

    async def fetch(self, marker: bytes, at_least: int, within: float) -> list[Delivered]:
        """All messages that hold `marker`; waits up to `within` seconds for `at_least` of them."""
        deadline = time.monotonic() + within
        while True:
            found = self._look(marker)
            if len(found) >= at_least or time.monotonic() >= deadline:
                return found
            await asyncio.sleep(POLL)

    def _look(self, marker: bytes) -> list[Delivered]:
        if not _MARKER.fullmatch(marker):  # octets of a case's own choice
            return [_delivered(copy) for copy in self._store.messages if marker in copy.content]
        for copy in self._store.messages[self._read :]:
            for found in dict.fromkeys(_MARKER.findall(copy.content)):
                self._marked[found].append(_delivered(copy))
        self._read = len(self._store.messages)
        return list(self._marked[marker])


def _delivered(copy: Copy) -> Delivered:
    sender, *recipients = (address.decode("utf-8", "replace") for address in (copy.sender, *copy.recipients))
    return Delivered(copy.content, "crlf", sender, tuple(recipients), "memory")


@asynccontextmanager
async def reference(
    place: Workspace,
    *faults: str,
    takes_no_mail: bool = False,
    no_mail_code: Literal[554, 521] = 554,
    hop: Hop | None = None,
) -> AsyncIterator[tuple[Target, StoreObserver]]:
    """The reference server with `faults`, one port for each role, for as long as the context lasts.

    `place` has its certificate and its password; the Maildir there is not used. Mail for `RELAY_DOMAIN`
    is sent on to `hop`, if there is one.
    """
    store = MemoryStore()
    users = {USERNAME: place.password_file.read_text(encoding="ascii").strip()}
    tls = server_context(place)
    async with AsyncExitStack() as stack:
        ports = {}
        for role in Role:
            config = ServerConfig(
                role=role,
                name=SERVER_NAME,
                domains=(DOMAIN,),
                mailboxes=(*MAILBOXES, UTF8_MAILBOX),
                users=users,
                tls=tls,
                certificate=place.certificate,
                takes_no_mail=takes_no_mail,
                no_mail_code=554 if role in SUBMITTING else no_mail_code,  # RFC 6409 §7: no 521 there
                max_transactions=MAX_TRANSACTIONS,
                max_hold=MAX_HOLD,
                owners_since=dict.fromkeys(MAILBOXES, OWNERS_SINCE),
                max_size=MAX_SIZE,
                max_recipients=MAX_RECIPIENTS,
                null_mx=frozenset({NULL_MX}),
                relays={} if hop is None or role is Role.LMTP else {RELAY_DOMAIN: hop.address},
                relay_retry=RETRY_S,
                relay_attempts=RELAY_ATTEMPTS,
                relay_ca=place.ca,
                relay_name="localhost",
            )
            server = await stack.enter_async_context(Server(config, store=store, faults=faults))
            ports[role.value] = server.port
        target = place.target("reference", ports, utf8=True, bounces=True)
        fixtures = target.fixtures.model_copy(update={"null_mx_domain": NULL_MX})
        relay = None if hop is None else Relay(listen=hop.where, domain=RELAY_DOMAIN, retry_s=RETRY_S)
        changes = {"timeouts": REFERENCE_TIMEOUTS, "fixtures": fixtures, "relay": relay}
        yield target.model_copy(update=changes), StoreObserver(store)
