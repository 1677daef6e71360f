"""A master and workers as processes: what they add up to, and what becomes of a run when one of them dies."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from smtpbench.load.order import Order
from smtpbench.load.result import LoadResult
from smtpbench.load.run import run_load
from smtpbench.load.workload import Workload
from smtpbench.target import Target
from tests.load.conftest import Running
from tests.load.test_run import free_port

LIMIT_S = 60
CONDUCTOR = "from smtpbench.load.conductor import main; main()"
OLD_CONDUCTOR = f"import smtpbench; smtpbench.__version__ = '0.0.1'; {CONDUCTOR}"


class Worker:
    """A worker in a process of its own; `lines` is what it has said so far."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.name = f"{os.uname().nodename}:{process.pid}"
        self.lines: list[dict[str, Any]] = []

    async def until_it_ends(self) -> None:
        async with asyncio.timeout(LIMIT_S):
            assert self.process.stdout is not None
            async for line in self.process.stdout:
                self.lines.append(json.loads(line))
            await self.process.wait()


@asynccontextmanager
async def workers(port: int, count: int = 1, code: str = CONDUCTOR) -> AsyncIterator[list[Worker]]:
    """So many workers for the master at `port`; none outlives the block."""
    order = Order(role="worker", master_port=port).model_dump_json().encode() + b"\n"
    found = []
    for _ in range(count):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, stdin=PIPE, stdout=PIPE, stderr=DEVNULL
        )
        assert process.stdin is not None
        process.stdin.write(order)
        found.append(Worker(process))
    try:
        yield found
    finally:
        for worker in found:
            if worker.process.returncode is None:
                worker.process.kill()
            await worker.until_it_ends()


class Watcher:
    """Calls `act` in the loop, once, when the run has lasted so many seconds."""

    def __init__(self, seconds: float, act: Callable[[], None]) -> None:
        self.notices: list[str] = []
        self._loop = asyncio.get_running_loop()
        self._seconds, self._act, self._done = seconds, act, False

    def progress(self, figures: Mapping[str, Any]) -> None:
        if figures["t_s"] >= self._seconds and not self._done:
            self._done = True
            self._loop.call_soon_threadsafe(self._act)


async def master(
    target: Target, workload: Workload, port: int, watcher: Watcher | None = None, wanted: int = 2
) -> LoadResult:
    watcher = watcher or Watcher(1e9, lambda: None)
    return await asyncio.to_thread(
        run_load, target, workload, processes=wanted, await_workers=True, master_port=port,
        progress=watcher.progress, notice=watcher.notices.append,
    )  # fmt: skip


async def test_what_the_workers_counted_is_what_the_server_counted(running: Running) -> None:
    async with running() as (server, target):
        result = await asyncio.to_thread(
            run_load, target, Workload(rate=300.0, arrivals="constant", run_time=2), processes=3
        )
    did = result.generator.workers
    assert [one.state for one in did] == ["finished"] * 3
    assert sum(one.accepted for one in did) == result.totals.accepted == len(set(server.contents)) == 600
    assert sum(one.offered for one in did) == result.totals.offered == 600
    assert result.phases["transaction"].count == result.from_intended_start["accepted"].count == 600
    assert sum(one.sessions for one in did) == result.totals.sessions == server.connections - 1
    assert len({one.name for one in did}) == 3


@pytest.mark.parametrize(
    ("load", "missing"),
    [
        ({"rate": 200.0, "arrivals": "constant"}, "arrivals were not offered"),
        ({"users": 4, "think_time": 0.01}, "1 of 2, of the users is missing"),
    ],
    ids=["open", "closed"],
)
async def test_a_killed_worker_is_named_and_the_others_go_on(
    running: Running, load: dict[str, Any], missing: str
) -> None:
    port = free_port()
    async with running() as (server, target), workers(port, 2) as (victim, other):
        watcher = Watcher(2, victim.process.kill)
        result = await master(target, Workload(**load, run_time=8), port, watcher)
        await other.until_it_ends()
    did = {one.name: one for one in result.generator.workers}
    assert (did[victim.name].state, did[other.name].state) == ("lost", "finished")
    assert 0 < did[victim.name].accepted < did[other.name].accepted
    assert did[other.name].measured_s >= 7
    assert did[victim.name].accepted + did[other.name].accepted == result.totals.accepted
    assert result.totals.accepted <= len(server.contents) <= result.totals.accepted + 400  # its last second
    assert result.totals.unaccounted == 0
    assert not result.valid
    named = [reason for reason in result.invalid_reasons if victim.name in reason]
    assert len(named) == 1
    assert missing in named[0]
    assert any(victim.name in notice for notice in watcher.notices)
    assert other.process.returncode == 0


async def test_a_run_ends_when_its_last_worker_is_killed(running: Running) -> None:
    port = free_port()
    async with running() as (_, target), workers(port) as (victim,):
        watcher = Watcher(1, victim.process.kill)
        result = await master(target, Workload(rate=50.0, run_time=600), port, watcher, 1)
    assert result.totals.accepted > 0
    assert not result.valid


class Master(Worker):
    """A master in a process of its own."""

    async def until_it_says(self, kind: str) -> Any:
        """The first line of this kind that is yet to come."""
        assert self.process.stdout is not None
        async with asyncio.timeout(LIMIT_S):
            while kind not in (line := json.loads(await self.process.stdout.readline())):
                pass
        return line[kind]

    async def until_workers_are(self, **states: int) -> None:
        """A second of the run has passed, and so many workers are in each state."""
        async with asyncio.timeout(LIMIT_S):
            progress = await self.until_it_says("progress")
            while progress["t_s"] < 1 or progress["workers"] != states:
                progress = await self.until_it_says("progress")


@asynccontextmanager
async def mastering(target: Target, port: int, wanted: int = 1, **workload: Any) -> AsyncIterator[Master]:
    """A master that waits for so many workers; it does not outlive the block."""
    order = Order(role="master", processes=wanted, master_port=port, target=target, workload=workload)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CONDUCTOR, stdin=PIPE, stdout=PIPE, stderr=DEVNULL
    )
    assert process.stdin is not None
    process.stdin.write(order.model_dump_json().encode() + b"\n")
    try:
        yield Master(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_a_worker_that_is_ended_in_the_middle_leaves_its_last_word(running: Running) -> None:
    port = free_port()
    async with (
        running() as (server, target),
        mastering(target, port, 2, rate=100.0, run_time=600) as boss,
        workers(port, 2) as (leaver, other),
    ):
        await boss.until_workers_are(working=2)
        assert leaver.process.stdin is not None
        leaver.process.stdin.close()
        await boss.until_workers_are(left=1, working=1)
        assert boss.process.stdin is not None
        boss.process.stdin.close()
        result = LoadResult.model_validate(await boss.until_it_says("result"))
    did = {one.name: one.state for one in result.generator.workers}
    assert did == {leaver.name: "left", other.name: "finished"}
    assert result.totals.accepted == len(server.contents)
    assert any(f"worker {leaver.name} left after" in reason for reason in result.invalid_reasons)


async def test_a_worker_that_comes_late_is_told(running: Running) -> None:
    port = free_port()
    async with (
        running() as (server, target),
        mastering(target, port, rate=20.0, run_time=600) as boss,
        workers(port),
    ):
        await boss.until_it_says("progress")
        async with workers(port) as (late,):
            await late.until_it_ends()
        assert boss.process.stdin is not None
        boss.process.stdin.close()
        result = LoadResult.model_validate(await boss.until_it_says("result"))
    error = late.lines[-1]["error"]
    assert error["kind"] == "Inconclusive"
    assert "the run had begun and its messages were shared out" in error["text"]
    assert [late.name in note for note in result.notes] == [True]
    assert not [reason for reason in result.invalid_reasons if "worker" in reason]
    assert result.totals.accepted == len(server.contents) > 0


async def test_a_worker_of_another_version_is_told_and_does_not_count(running: Running) -> None:
    port = free_port()
    watcher = Watcher(1e9, lambda: None)
    async with running() as (_, target), workers(port, code=OLD_CONDUCTOR) as (old,):
        running_master = asyncio.create_task(master(target, Workload(users=1, messages=10), port, watcher, 1))
        await old.until_it_ends()
        async with workers(port) as (worker,):
            result = await asyncio.wait_for(running_master, LIMIT_S)
    error = old.lines[-1]["error"]
    assert error["kind"] == "UsageError"
    assert "smtpbench 0.0.1" in error["text"]
    assert "\n" not in error["text"]
    assert sum("smtpbench 0.0.1" in notice for notice in watcher.notices) == 1
    assert [(one.name, one.state) for one in result.generator.workers] == [
        (old.name, "refused"), (worker.name, "finished"),
    ]  # fmt: skip
    assert not [reason for reason in result.invalid_reasons if "worker" in reason]
    assert result.totals.accepted == 10


async def test_a_master_that_dies_ends_its_workers(running: Running) -> None:
    port = free_port()
    async with (
        running() as (_, target),
        mastering(target, port, users=1, run_time=600, think_time=0.01) as boss,
        workers(port) as (worker,),
    ):
        await boss.until_it_says("progress")
        boss.process.kill()
        await worker.until_it_ends()
    assert worker.process.returncode == 0
    assert worker.lines[-1]["error"]["kind"] == "Inconclusive"
    assert "said nothing for 10 s" in worker.lines[-1]["error"]["text"]


STOPPED_AT_ONCE = """
import subprocess
from smtpbench.load import conductor
from smtpbench.load.order import Order
from smtpbench.target import Endpoint, Role, Target

started = []

def start(port, scenario):
    started.append(port)
    made.stop()
    return subprocess.Popen(["true"])

conductor._start_worker = start
target = Target(endpoints={Role.MX: Endpoint(port=9)})
made = conductor.Conductor(Order(target=target, workload={"users": 1}, processes=5), lambda line: None)
made.run()
print(len(started))
"""


async def test_a_run_that_is_ended_while_its_workers_start_starts_no_more() -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", STOPPED_AT_ONCE, stdout=PIPE)
    said, _ = await asyncio.wait_for(process.communicate(), LIMIT_S)
    assert said.split() == [b"1"]
