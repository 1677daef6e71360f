"""Sessions that keep a journal: each message whose content went out is in it, with what the server said."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from smtpbench.delivery.accounts import Counts
from smtpbench.delivery.arrival import read_arrival
from smtpbench.delivery.gauge import Gauge
from smtpbench.delivery.ledger import Ledger
from smtpbench.load.setup import make_engine
from smtpbench.load.workload import Workload
from smtpbench.server import Server as ReferenceServer
from smtpbench.server import ServerConfig
from smtpbench.server.store import MemoryStore
from smtpbench.target import Endpoint, Fixtures, Role, Target, Timeouts
from tests.load.conftest import HANG_UP, SILENCE, Running, Script

LIMIT_S = 20
TWO = Fixtures(recipient="alice@example.com", second_recipient="bob@example.com")


async def run(target: Target, folder: Path, **fields: object) -> dict[str, int]:
    """A whole workload; the totals of the engine."""
    engine = make_engine(target, Workload(**fields), ledger=folder)
    for _ in range(int(str(fields["users"]))):
        engine.add_user()
    try:
        await asyncio.wait_for(asyncio.to_thread(engine.run), LIMIT_S)
    finally:
        engine.stop()
    totals: dict[str, int] = {}
    for batch in engine.batches:
        for name, count in batch.counters.items():
            totals[name] = totals.get(name, 0) + count
    return totals


def settled(folder: Path, contents: list[bytes], recipients: tuple[str, ...] = ()) -> Counts:
    ledger = Ledger(folder)
    ledger.import_journals()
    known = ledger.digests()
    ledger.add([read_arrival(one, time.time_ns(), recipients=recipients, known=known) for one in contents])
    try:
        return ledger.balance(closed=True).counts
    finally:
        ledger.close()


@pytest.mark.parametrize("pipelining", [False, True])
async def test_a_session_that_has_ended_is_open_no_more(
    tmp_path: Path, running: Running, monkeypatch: pytest.MonkeyPatch, pipelining: bool
) -> None:
    left: list[tuple[int, int]] = []
    monkeypatch.setattr(Gauge, "close", lambda self: left.append((self._sessions, self._unanswered)))
    async with running() as (_, target):
        done = await run(
            target, tmp_path, users=2, messages=10, messages_per_session=1, pipelining=pipelining,
            watch_share=0,
        )  # fmt: skip
    assert done["accepted"] == 10
    assert left == [(0, 0)]


@pytest.mark.parametrize("chunking", [False, True])
@pytest.mark.parametrize("pipelining", [False, True])
@pytest.mark.parametrize("role", [Role.MX, Role.LMTP])
async def test_every_message_is_in_it_as_it_was_sent(
    tmp_path: Path, role: Role, pipelining: bool, chunking: bool
) -> None:
    store = MemoryStore()
    async with ReferenceServer(ServerConfig(sink=True, role=role), store=store) as server:
        target = Target(endpoints={role: Endpoint(port=server.port)}, fixtures=TWO)
        totals = await run(
            target, tmp_path, users=3, messages=30, pipelining=pipelining, chunking=chunking, recipients=2,
            message_size="uniform:600-900",
        )  # fmt: skip
    ledger = Ledger(tmp_path)
    ledger.import_journals()
    ledger.add(
        [
            read_arrival(
                copy.content, time.time_ns(), known=ledger.digests(),
                recipients=tuple(one.decode() for one in copy.recipients),
            )
            for copy in store.messages
        ]
    )  # fmt: skip
    assert totals["accepted"] == 30
    assert ledger.balance(closed=True).counts == Counts(accepted=30, delivered=30)
    ledger.close()


@pytest.mark.parametrize("pipelining", [False, True])
async def test_each_reply_has_its_word(running: Running, tmp_path: Path, pipelining: bool) -> None:
    """Every third message is refused after its content, and the connection is dropped at every seventh."""

    def answer(nth: int) -> bytes:
        return HANG_UP if nth % 7 == 0 else b"452 4.3.1 full\r\n" if nth % 3 == 0 else b"250 ok\r\n"

    async with running(Script(after_content=answer)) as (server, target):
        totals = await run(target, tmp_path, users=1, messages=20, pipelining=pipelining)
    counts = settled(tmp_path, server.contents)
    assert totals["accepted"] == counts.accepted == counts.delivered
    assert totals["dropped"] == counts.unknown == counts.unknown_delivered == 2
    assert totals["rejected_4xx"] == counts.refused_delivered == 6
    assert counts.lost == counts.corrupted == counts.foreign == 0


async def test_a_message_that_nobody_answers_is_unknown(running: Running, tmp_path: Path) -> None:
    timeouts = Timeouts(connect=2, reply=0.2)
    async with running(Script(after_content=SILENCE), timeouts=timeouts) as (_server, target):
        totals = await run(target, tmp_path, users=1, messages=1)
    counts = settled(tmp_path, [])
    assert (totals["timeouts"], counts.unknown, counts.unknown_delivered, counts.lost) == (1, 1, 0, 0)


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA"])
async def test_what_was_refused_before_its_content_is_not_in_it(
    running: Running, tmp_path: Path, verb: str
) -> None:
    async with running(Script(answers={verb: b"550 no\r\n"})) as (_server, target):
        totals = await run(target, tmp_path, users=1, messages=3, pipelining=False)
    assert totals["rejected_5xx"] == 3
    assert settled(tmp_path, []) == Counts()


@pytest.mark.parametrize("pipelining", [False, True])
async def test_only_the_recipients_that_were_accepted_are_owed_a_copy(
    running: Running, tmp_path: Path, pipelining: bool
) -> None:
    answers = {"RCPT": lambda nth: b"550 no\r\n" if nth % 2 else b"250 ok\r\n"}
    async with running(Script(answers=answers), fixtures=TWO) as (server, target):
        await run(target, tmp_path, users=1, messages=3, recipients=2, pipelining=pipelining)
    counts = settled(tmp_path, server.contents, ("bob@example.com",))
    assert counts == Counts(accepted=3, delivered=3)


async def test_with_lmtp_the_content_has_a_reply_for_each_recipient(running: Running, tmp_path: Path) -> None:
    """The first of two mailboxes is full: the message is refused, and the second one has it."""
    script = Script(after_content=b"452 4.2.2 full\r\n250 ok\r\n")
    async with running(script, Role.LMTP, fixtures=TWO) as (server, target):
        totals = await run(target, tmp_path, users=1, messages=3, recipients=2)
    assert totals["rejected_4xx"] == 3
    assert settled(tmp_path, server.contents, ("bob@example.com",)) == Counts(accepted=3, delivered=3)


async def test_a_disk_that_is_full_ends_the_run_and_keeps_what_was_written(
    running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No message is counted as accepted that is not in the journal."""
    reserve, calls = os.posix_fallocate, 0

    def nearly_full(*arguments: int) -> None:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise OSError(28, "No space left on device")
        reserve(*arguments)

    monkeypatch.setattr("smtpbench.delivery.journal.CHUNK", 20_480)
    monkeypatch.setattr("os.posix_fallocate", nearly_full)
    async with running() as (_server, target):
        engine = make_engine(target, Workload(users=3, messages=2_000), ledger=tmp_path)
        for _ in range(3):
            engine.add_user()
        await asyncio.wait_for(asyncio.to_thread(engine.run), LIMIT_S)
    accepted = sum(batch.counters["accepted"] for batch in engine.batches)
    assert accepted == 20_480 // 40
    assert engine.failure is not None
    assert "the ledger cannot grow: No space left on device" in str(engine.failure)
    assert settled(tmp_path, []).accepted == accepted
