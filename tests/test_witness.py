"""A session with a witness: what it is told of the connection, and in which words it keeps it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from smtpbench.errors import ConnectionLost
from smtpbench.session import Session
from smtpbench.target import Endpoint
from smtpbench.wire.invariants import Rule
from smtpbench.witness import ENTRIES, OCTETS, Witness

GREETING = b"220 mx\r\n"
HELLO = b"250 mx\r\n"


@contextlib.asynccontextmanager
async def connected(*answers: bytes) -> AsyncIterator[tuple[Session, Witness]]:
    """A session with a server that answers each line with the next of `answers`, then closes."""

    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            for answer in (GREETING, *answers):
                writer.write(answer)
                await reader.readline()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        over.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        witness = Witness()
        endpoint = Endpoint(port=server.sockets[0].getsockname()[1])
        session = await Session.open(endpoint, witness=witness)
        try:
            await session.greeting()
            yield session, witness
        finally:
            await session.close()
            await asyncio.wait_for(over.wait(), 5.0)


async def test_a_good_session_has_no_breach() -> None:
    async with connected(HELLO, b"221 bye\r\n") as (session, witness):
        await session.ehlo("a")
        await session.quit()
    assert (witness.replies, witness.breaches) == (3, [])


async def test_a_close_of_the_server_is_told_with_the_log() -> None:
    async with connected(HELLO) as (session, witness):
        await session.ehlo("a")
        with pytest.raises(ConnectionLost):
            await session.command("RSET")
    ((breach, log),) = [(item.breach, item.log) for item in witness.breaches]
    assert breach == (Rule.CLOSE, "closed instead of a reply to RSET, after EHLO a")
    assert [(entry.sender, entry.data) for entry in log][-2:] == [
        ("client", b"RSET\r\n"),
        ("note", b"server closed"),
    ]
    assert [entry.t_s for entry in log] == sorted(entry.t_s for entry in log)


@pytest.mark.parametrize("end", ["close", "abort"])
async def test_a_close_of_ours_is_no_breach(end: str) -> None:
    async with connected(HELLO, b"250 ok\r\n", b"250 ok\r\n") as (session, witness):
        await session.ehlo("a")
        if end == "close":
            await session.close()
        else:
            session.abort()
        await session.until_eof(1.0)
    assert witness.breaches == []


async def test_the_log_has_no_credentials() -> None:
    async with connected(HELLO, b"250 what\r\n") as (session, witness):
        await session.ehlo("a")
        await session.command("AUTH PLAIN c2VjcmV0")
    (seen,) = witness.breaches
    assert seen.breach.rule is Rule.CODE_FITS
    assert not any(b"c2VjcmV0" in entry.data for entry in seen.log)


def test_the_log_is_bounded() -> None:
    witness = Witness()
    for _ in range(2 * ENTRIES):
        witness.sent(b"", b"x" * 2 * OCTETS)
    witness.left(b"stray")
    witness.closed(b"")
    assert witness.breaches == []  # the greeting was still due
    assert len(witness._log) == ENTRIES
    assert all(len(entry.data) <= OCTETS + 3 for entry in witness._log)
