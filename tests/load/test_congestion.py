"""What a connection over loopback does against congestion: nothing that takes time."""

from __future__ import annotations

import asyncio
import socket

import pytest

from smtpbench.load.congestion import RENO, hold_nothing_back, is_local
from smtpbench.load.serving import ServingLoop
from tests.load.conftest import congestion_of

LIMIT_S = 30


@pytest.mark.parametrize(("host", "local"), [
    ("127.0.0.1", True), ("127.1.2.3", True), ("::1", True),
    ("0.0.0.0", False), ("::", False), ("192.0.2.127", False), ("12.7.0.1", False), ("2001:db8::1", False),
])  # fmt: skip
def test_loopback_is_known(host: str, local: bool) -> None:
    assert is_local(host) is local


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_both_ends_over_loopback_hold_nothing_back(host: str) -> None:
    async def main() -> tuple[bytes, bytes]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, ServingLoop)
        taken: asyncio.Future[asyncio.BaseTransport] = loop.create_future()

        class Taker(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                taken.set_result(transport)

        server = await loop.create_server(Taker, host, 0)
        ours = loop.connect(asyncio.Protocol(), host, server.sockets[0].getsockname()[1])
        theirs = await asyncio.wait_for(taken, LIMIT_S)
        found = congestion_of(ours.get_extra_info("socket")), congestion_of(theirs.get_extra_info("socket"))
        ours.close()
        theirs.close()
        server.close()
        await server.wait_closed()
        return found

    with asyncio.Runner(loop_factory=ServingLoop) as runner:
        assert runner.run(main()) == (RENO, RENO)


def test_where_it_cannot_be_chosen_it_is_as_the_system_has_it() -> None:
    with socket.socket(socket.AF_UNIX) as other:
        hold_nothing_back(other)
