"""Random dialogues: reproducible, found and shortened, and no disagreement of the connection's making."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest

from smtpbench.conformance import Peer, Role, Untested
from smtpbench.conformance import random_order as module
from smtpbench.conformance.bench import command_words
from smtpbench.conformance.conversation import Surroundings
from smtpbench.conformance.needs import Facts
from smtpbench.conformance.oracle import Step
from smtpbench.conformance.random_order import Found, search
from smtpbench.conformance.reference import reference
from smtpbench.conformance.result import Verdict
from smtpbench.conformance.run import run_conformance
from smtpbench.conformance.survey import survey
from smtpbench.errors import DeadlineExceeded
from smtpbench.lab.workspace import Workspace
from smtpbench.target import Endpoint, Target, Timeouts


@asynccontextmanager
async def peer_of(place: Workspace, *faults: str, role: Role = Role.MX) -> AsyncIterator[Peer]:
    async with reference(place, *faults) as (target, observer):
        peer = Peer(
            Surroundings(await survey(target, observable=True), observer, None, target.endpoints[role], role)
        )
        try:
            yield peer
        finally:
            await peer.close()


async def found(place: Workspace, *faults: str, seed: int = 0, role: Role = Role.MX) -> Found:
    async with peer_of(place, *faults, role=role) as peer:
        return await search(peer, seed)


@pytest.mark.parametrize("role", list(Role))
async def test_every_endpoint_of_the_reference_server_is_explained(place: Workspace, role: Role) -> None:
    result = await found(place, role=role)
    assert result.said == ()
    assert result.dialogues > module.DIALOGUES // 2


async def test_a_disagreement_is_shrunk_until_no_command_can_be_left_out(place: Workspace) -> None:
    result = await found(place, "noop-resets")
    verbs = [line.split()[0] for line in result.said]
    assert verbs == ["EHLO", "MAIL", "NOOP", "RCPT"]
    assert result.said[-1].endswith("503")


async def test_what_only_a_later_transaction_does_is_found(place: Workspace) -> None:
    result = await found(place, "later-transaction-ends-at-a-syntax-error")
    assert [line.split()[0] for line in result.said].count("DATA") == 1
    assert len(result.steps) == 7  # EHLO, a transaction of three, MAIL, the syntax error, what is lost


async def test_the_same_seed_has_the_same_dialogues(
    place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dialogues(seed: int) -> list[list[Step]]:
        held: list[list[Step]] = []
        end = module.Dialogue.end

        async def ending(self: module.Dialogue) -> None:
            held.append(list(self.steps))
            await end(self)

        monkeypatch.setattr(module.Dialogue, "end", ending)
        await found(place, seed=seed)
        monkeypatch.setattr(module.Dialogue, "end", end)
        return held

    first = await dialogues(7)
    assert first == await dialogues(7)
    assert first != await dialogues(8)


Client = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[None, None, None]]


@asynccontextmanager
async def server_that(serve: Client) -> AsyncIterator[Peer]:
    """A Peer of a server of the test's own, which knows nothing but how `serve` treats a client."""
    clients: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        clients.add(cast("asyncio.Task[None]", asyncio.current_task()))
        try:
            await serve(reader, writer)
        finally:
            writer.close()
            await writer.wait_closed()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        endpoint = Endpoint(port=port)
        target = Target(
            endpoints={Role.MX: endpoint},
            timeouts=Timeouts(connect=2.0, reply=0.2, quiet=0.05),
        )
        target = target.model_copy(
            update={"fixtures": target.fixtures.model_copy(update={"recipient": "a@example.com"})}
        )
        peer = Peer(Surroundings(Facts(target, Role.MX), None, None, endpoint, Role.MX))
        try:
            yield peer
        finally:
            await peer.close()
            if clients:
                await asyncio.wait(clients, timeout=2.0)


async def test_a_server_that_closes_accuses_itself_of_nothing() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mx.example.com\r\n")
        await reader.readline()
        writer.write(b"500 what\r\n")
        await reader.readline()

    async with server_that(serve) as peer:
        assert (await search(peer, 0)).said == ()


async def test_too_few_dialogues_say_nothing_of_the_server(
    place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SEARCH", 0.0)
    with pytest.raises(Untested, match=f"0 of {module.DIALOGUES} dialogues were held"):
        await found(place)


async def test_a_server_that_falls_silent_is_not_asked_again() -> None:
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        writer.write(b"220 mx.example.com\r\n")
        await reader.read()

    async with server_that(serve) as peer:
        with pytest.raises(DeadlineExceeded):
            await search(peer, 0)
    assert connections == 1


async def test_a_disagreement_that_does_not_come_again_is_no_finding() -> None:
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        confused = connections == 1  # answers 503 to what is in order, and never again
        writer.write(b"220 mx.example.com\r\n")
        while line := await reader.readline():
            if line.startswith((b"MAIL FROM:<", b"RCPT TO:<", b"DATA")):
                writer.write(b"503 no\r\n" if confused else b"450 later\r\n")
            else:
                writer.write(b"250 ok\r\n")

    async with server_that(serve) as peer:
        with pytest.raises(Untested, match="did not come again"):
            await search(peer, 0)


def test_the_seed_is_part_of_the_command_that_repeats_a_case() -> None:
    assert command_words("embedded", None, 7) == "embedded --seed 7"
    assert command_words("embedded", Role.LMTP) == "embedded --endpoint lmtp"


def test_the_seed_of_a_run_reaches_its_cases(
    lab_reference: Target, case_folder: Callable[[str], Path]
) -> None:
    root = case_folder(
        "from smtpbench.conformance import case, expect, that\n"
        "@case('T-1')\n"
        "async def tells_its_seed(peer):\n"
        "    'What the seed is.'\n"
        "    return expect(peer.seed, that('5', lambda seen: seen == 5))\n"
    )
    (result,) = [
        result for result in run_conformance(lab_reference, seed=5, root=root).cases if "seed" in result.id
    ]
    assert result.verdict is Verdict.PASS
