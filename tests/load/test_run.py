"""Whole runs: Locust in its process, workers in theirs."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from smtpbench.errors import DeadlineExceeded, NotSmtp, SmtpbenchError, Unreachable, UsageError
from smtpbench.load.run import run_load
from smtpbench.load.workload import Workload
from smtpbench.target import Timeouts
from tests.load.conftest import HANG_UP, SILENCE, Running, Script

LIMIT_S = 60
SCENARIOS = Path(__file__).parents[2] / "scenarios"
COMMAND = (sys.executable, "-c", "from smtpbench.cli import main; main()", "load")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


async def test_a_closed_workload_with_the_web_page_alongside(running: Running) -> None:
    port, pages = free_port(), list[dict[str, Any]]()

    def look(figures: Mapping[str, Any]) -> None:
        with urlopen(f"http://127.0.0.1:{port}/stats/requests", timeout=5) as page:
            pages.append(json.load(page))

    async with running(Script(after_content=lambda n: b"451 later\r\n" if n == 5 else b"250 ok\r\n")) as (
        server,
        target,
    ):
        result = await asyncio.to_thread(
            run_load, target, Workload(users=3, run_time=4), progress=look, web_port=port
        )
    assert result.totals.sessions == server.connections - 1 == 3  # the first one was the probe
    assert result.totals.accepted == len(server.contents) - 1 > 0
    assert result.totals.rejected_4xx == 1
    assert result.target["extensions"] == ["PIPELINING", "SIZE"]
    assert result.workload["users"] == 3
    figures = {entry["name"]: entry for entry in pages[-1]["stats"]}
    assert 0 < figures["transaction"]["num_requests"] <= len(server.contents)
    assert figures["transaction"]["num_failures"] == 1
    assert pages[-1]["total_rps"] > 0


async def test_processes_share_the_messages_and_their_histograms_merge(running: Running) -> None:
    async with running() as (server, target):
        result = await asyncio.to_thread(
            run_load, target, Workload(rate=100.0, arrivals="constant", messages=51), processes=2
        )
    assert result.totals.accepted == len(set(server.contents)) == 51
    assert result.phases["transaction"].count == 51
    assert result.from_intended_start["transaction"].count == 51


async def test_a_scenario_with_options_on_top(running: Running) -> None:
    async with running() as (server, target):
        result = await asyncio.to_thread(
            run_load, target, {"users": 2, "messages": 10}, scenario=SCENARIOS / "steady.py"
        )
    assert result.totals.accepted == len(server.contents) == 10
    assert {len(content) for content in server.contents} == {4096}


async def test_plain_locust_runs_a_scenario(running: Running, tmp_path: Path) -> None:
    out = tmp_path / "result.json"
    async with running() as (server, target):
        locust = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "locust", "-f", SCENARIOS / "steady.py",
            "--headless", "-u", "2", "-r", "2", "-t", "2s",
            "--host", f"smtp://{target.main.address}", "--smtpbench-json", out,
            stderr=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        assert await asyncio.wait_for(locust.wait(), LIMIT_S) == 0
    result = json.loads(out.read_text())
    assert result["totals"]["accepted"] == len(server.contents) > 0
    assert result["workload"]["users"] == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_the_run_early_and_keeps_the_results(
    running: Running, tmp_path: Path, number: signal.Signals
) -> None:
    out = tmp_path / "result.json"
    async with running() as (server, target):
        command = await asyncio.create_subprocess_exec(
            *COMMAND, f"smtp://{target.main.address}", "--users", "2", "--run-time", "10m", "--json", out,
            stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        assert command.stderr is not None
        first = await asyncio.wait_for(command.stderr.readline(), LIMIT_S)
        assert b"accepted" in first
        command.send_signal(number)
        assert await asyncio.wait_for(command.wait(), LIMIT_S) == 0
    assert json.loads(out.read_text())["totals"]["accepted"] == len(server.contents) > 0


async def test_a_broken_threshold_is_exit_code_1(running: Running) -> None:
    async with running() as (_, target):
        command = await asyncio.create_subprocess_exec(
            *COMMAND, f"smtp://{target.main.address}", "--users", "1", "--messages", "20",
            "--threshold", "body.p50 < 1us",
            stderr=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        said, _ = await asyncio.wait_for(command.communicate(), LIMIT_S)
    assert command.returncode == 1
    assert b"threshold broken: body.p50 < 1us: measured" in said


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (Script(greeting=SILENCE), DeadlineExceeded),
        (Script(greeting=b"HTTP/1.1 400 Bad Request\r\n\r\n"), NotSmtp),
        (Script(greeting=b"2" * 100_000), NotSmtp),
        (Script(greeting=HANG_UP), SmtpbenchError),
        (Script(greeting=b"554 no\r\n"), SmtpbenchError),
    ],
)
async def test_a_target_that_lets_nobody_in_is_an_error(
    running: Running, script: Script, error: type[Exception]
) -> None:
    async with running(script, timeouts=Timeouts(connect=1, reply=0.5)) as (_, target):
        with pytest.raises(error) as caught:
            await asyncio.to_thread(run_load, target, Workload(users=1, messages=1))
    assert target.main.address in str(caught.value)


async def test_nobody_listening_is_unreachable(running: Running) -> None:
    async with running() as (_, target):
        pass
    with pytest.raises(Unreachable, match="refused"):
        await asyncio.to_thread(run_load, target, Workload(users=1, messages=1))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [("import nonsense_that_is_not", "nonsense_that_is_not"), ("x = 1", "found 0"), (None, "no such file")],
)
async def test_a_scenario_that_is_none_is_a_usage_error(
    running: Running, tmp_path: Path, text: str | None, complaint: str
) -> None:
    path = tmp_path / "scenario.py"
    if text is not None:
        path.write_text(text)
    async with running() as (_, target):
        with pytest.raises(UsageError, match=complaint):
            await asyncio.to_thread(run_load, target, {"messages": 1}, scenario=path)


def test_importing_the_load_half_patches_nothing() -> None:
    import subprocess

    code = (
        "import smtpbench.load.run, smtpbench.load.engine, smtpbench.cli.load, sys; "
        "assert not {'gevent', 'locust'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=LIMIT_S)
