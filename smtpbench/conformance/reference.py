"""The reference server of this process as a target: short waits, deliveries read from its memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

from smtpbench.server.config import ServerConfig
from smtpbench.server.server import Server
from smtpbench.server.store import MemoryStore
from smtpbench.target import Endpoint, Fixtures, Role, Target, Timeouts

POLL = 0.005  # seconds between two looks at the memory; a delivery is there before its 250
# The server answers in well under a millisecond. A silence is therefore certain after 50 ms, and a missing
# reply after a second, even with two busy cores.
REFERENCE_TIMEOUTS = Timeouts(connect=5.0, reply=1.0, delivery=0.5, quiet=0.05)


@dataclass(frozen=True)
class _Stored:
    content: bytes
    line_ends: Literal["crlf", "lf"] = "crlf"


class StoreObserver:
    """Reads deliveries from a MemoryStore."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def fetch(self, marker: bytes, at_least: int, within: float) -> Sequence[_Stored]:
        """All messages that hold `marker`; waits up to `within` seconds for `at_least` of them."""
        deadline = time.monotonic() + within
        while True:
            found = [_Stored(copy.content) for copy in self._store.messages if marker in copy.content]
            if len(found) >= at_least or time.monotonic() >= deadline:
                return found
            await asyncio.sleep(POLL)


@asynccontextmanager
async def reference(*faults: str, role: Role = Role.MX) -> AsyncIterator[tuple[Target, StoreObserver]]:
    """The reference server with `faults`, on a free port, for as long as the context lasts."""
    store = MemoryStore()
    config = ServerConfig(role=role)
    async with Server(config, store=store, faults=faults) as server:
        target = Target(
            name="reference",
            endpoints={role: Endpoint(port=server.port)},
            fixtures=Fixtures(
                recipient="alice@example.com",
                second_recipient="bob@example.com",
                unknown_recipient="nobody-here@example.com",
                local_domains=("example.com",),
            ),
            timeouts=REFERENCE_TIMEOUTS,
        )
        yield target, StoreObserver(store)
