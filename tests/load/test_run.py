"""Whole runs: Locust in its process, workers in theirs."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from smtpbench.errors import DeadlineExceeded, NotSmtp, SmtpbenchError, Unreachable, UsageError
from smtpbench.load.run import run_load, run_worker
from smtpbench.load.workload import Workload
from smtpbench.target import Timeouts, to_toml
from tests.load.conftest import HANG_UP, SILENCE, Running, Script

LIMIT_S = 60
SCENARIOS = Path(__file__).parents[2] / "scenarios"
COMMAND = (sys.executable, "-X", "faulthandler", "-c", "from smtpbench.cli import main; main()", "load")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


async def exit_code(command: asyncio.subprocess.Process) -> int:
    """Of a command that should end; one that does not says where it is."""
    try:
        return await asyncio.wait_for(command.wait(), LIMIT_S)
    except TimeoutError:
        command.send_signal(signal.SIGABRT)
        assert command.stderr is not None
        said = (await command.stderr.read()).decode()
        raise AssertionError(f"not ended after {LIMIT_S} s:\n{said[-4000:]}") from None


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


@pytest.mark.alone
async def test_plain_locust_runs_a_scenario(running: Running, tmp_path: Path) -> None:
    out = tmp_path / "result.json"
    async with running() as (server, target):
        locust = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "locust", "-f", SCENARIOS / "steady.py",
            "--headless", "-u", "2", "-r", "2", "-t", "5s",  # a slow machine takes two to begin
            "--host", f"smtp://{target.main.address}", "--smtpbench-json", out,
            stderr=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        assert await asyncio.wait_for(locust.wait(), LIMIT_S) == 0
    result = json.loads(out.read_text())
    assert result["totals"]["accepted"] == len(server.contents) > 0
    assert result["workload"]["users"] == 2


LOCUST = (sys.executable, "-m", "locust")
MESSAGES = 40

# Ends by itself, however slow the machine is, and only if every worker has done its share.
SCENARIO = f"""
from smtpbench.load.locust_user import SmtpUser
from smtpbench.load.workload import Workload

class Short(SmtpUser):
    workload = Workload(users=1, messages={MESSAGES})
"""

# A worker whose listeners come late: Locust attaches them only after it has connected, and the master
# may have told it to start by then.
LATE_WORKER = """
import sys, gevent
from locust import events
from locust.env import Environment

create = Environment.create_worker_runner

def create_late(self, *args):
    runner = create(self, *args)
    while not runner.user_count:
        gevent.sleep(0.01)
    self.runner = runner
    return runner

Environment.create_worker_runner = create_late
from locust.main import main
main()
"""


async def _master_and_workers(scenario: Path, worker: Sequence[str], *options: str) -> list[int]:
    """Plain ``locust --master`` with `options`, and two of `worker`; the exit codes of all three."""
    port = str(free_port())
    common = ("-f", str(scenario), "--master-port", port)
    commands = [
        (*LOCUST, "-f", str(scenario), "--master", "--master-bind-host", "127.0.0.1",
         "--master-bind-port", port, "--headless", "--expect-workers", "2", "-u", "4", "-r", "4", *options),
        *((*worker, *common, "--worker", "--master-host", "127.0.0.1") for _ in range(2)),
    ]  # fmt: skip
    processes = [
        await asyncio.create_subprocess_exec(*command, stdout=DEVNULL, stderr=DEVNULL) for command in commands
    ]
    try:
        async with asyncio.timeout(LIMIT_S):
            codes = [await process.wait() for process in processes]
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
                await process.wait()
    return codes


@pytest.mark.parametrize("worker", [LOCUST, (sys.executable, "-c", LATE_WORKER)], ids=["plain", "late"])
async def test_plain_locust_workers_do_their_share(
    running: Running, tmp_path: Path, worker: Sequence[str]
) -> None:
    out, scenario = tmp_path / "result.json", tmp_path / "scenario.py"
    scenario.write_text(SCENARIO)
    async with running() as (server, target):
        codes = await _master_and_workers(
            scenario, worker, "--host", f"smtp://{target.main.address}",
            "--recipient", "someone@example.net", "--smtpbench-json", str(out),
        )  # fmt: skip
    assert codes == [0, 0, 0]
    assert json.loads(out.read_text())["totals"]["accepted"] == len(set(server.contents)) == MESSAGES
    assert {line for line in server.commands if line.startswith(b"RCPT")} == {
        b"RCPT TO:<someone@example.net>"
    }


async def test_the_time_of_plain_locust_begins_after_the_imports(running: Running, tmp_path: Path) -> None:
    """gevent's clock stands still while a scenario is imported, and --run-time counts from what it shows."""
    out, scenario = tmp_path / "result.json", tmp_path / "scenario.py"
    importing = "import time\nend = time.perf_counter() + 1.5\nwhile time.perf_counter() < end: pass\n"
    scenario.write_text(importing + SCENARIO.replace(f", messages={MESSAGES}", ""))
    async with running() as (server, target):
        locust = await asyncio.create_subprocess_exec(
            *LOCUST, "-f", scenario, "--headless", "-u", "1", "-t", "1s", "--smtpbench-json", out,
            "--host", f"smtp://{target.main.address}", stderr=DEVNULL, stdout=DEVNULL,
        )  # fmt: skip
        assert await asyncio.wait_for(locust.wait(), LIMIT_S) == 0
    assert json.loads(out.read_text())["totals"]["accepted"] == len(server.contents) > 0


def test_a_load_process_that_is_killed_is_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed = tmp_path / "killed"
    killed.write_text("#!/bin/sh\nread order\nkill -9 $$\n")
    killed.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(killed))
    with pytest.raises(SmtpbenchError, match="ended early: it was killed by SIGKILL"):
        run_worker()


async def test_plain_locust_takes_a_target_file(running: Running, tmp_path: Path) -> None:
    out, file, scenario = tmp_path / "result.json", tmp_path / "target.toml", tmp_path / "scenario.py"
    scenario.write_text(SCENARIO)
    async with running() as (server, target):
        file.write_text(to_toml(target))
        locust = await asyncio.create_subprocess_exec(
            *LOCUST, "-f", scenario, "--headless", "-u", "1", "--smtp-target", file,
            "--sender", "me@example.com", "--smtpbench-json", out,
            stderr=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        assert await asyncio.wait_for(locust.wait(), LIMIT_S) == 0
    assert json.loads(out.read_text())["totals"]["accepted"] == len(server.contents) == MESSAGES
    assert {b"MAIL FROM:<me@example.com>", b"RCPT TO:<rcpt@example.net>"} <= set(server.commands)


async def test_a_run_in_which_every_message_is_refused_says_why(running: Running, tmp_path: Path) -> None:
    out = tmp_path / "result.json"
    script = Script(ehlo=b"250 test\r\n", answers={"RCPT": b"550 5.1.1 nobody here\r\n"})
    async with running(script) as (_, target):
        command = await asyncio.create_subprocess_exec(
            *COMMAND, f"smtp://{target.main.address}", "--users", "1", "--messages", "20", "--json", out,
            stderr=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        said, _ = await asyncio.wait_for(command.communicate(), LIMIT_S)
    assert command.returncode == 3
    assert b"every message was refused: 550 5.1.1 nobody here (first reply)" in b" ".join(said.split())
    assert json.loads(out.read_text())["first_refusal"] == "550 5.1.1 nobody here"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
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
        assert await exit_code(command) == 0
    assert json.loads(out.read_text())["totals"]["accepted"] == len(server.contents) > 0


async def test_a_rule_of_smtp_broken_under_load_is_exit_code_1(running: Running, tmp_path: Path) -> None:
    out, junit = tmp_path / "result.json", tmp_path / "junit.xml"
    script = Script(after_content=lambda n: b"250 ok\n" if n == 30 else b"250 ok\r\n")
    async with running(script) as (_, target):
        command = await asyncio.create_subprocess_exec(
            *COMMAND, f"smtp://{target.main.address}", "--users", "4", "--messages", "60", "--processes", "2",
            "--watch-share", "1", "--json", out, "--junit", junit,
            stderr=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        said, _ = await asyncio.wait_for(command.communicate(), LIMIT_S)
    assert command.returncode == 1
    assert b"passive.replies-end-with-crlf" in said
    seen = json.loads(out.read_text())["invariants"]
    assert seen["messages"] == 60
    assert [(one["id"], one["count"]) for one in seen["findings"]] == [("passive.replies-end-with-crlf", 1)]
    assert seen["findings"][0]["transcript"][-1]["bytes"].startswith("250 ok\\n")
    assert "passive" in junit.read_text()


async def test_a_broken_threshold_is_exit_code_1(running: Running, tmp_path: Path) -> None:
    out = tmp_path / "result.json"
    async with running() as (_, target):
        command = await asyncio.create_subprocess_exec(
            *COMMAND, f"smtp://{target.main.address}", "--users", "1", "--messages", "20",
            "--threshold", "body.p50 < 1us", "--threshold", "accepted >= 20", "--json", out,
            stderr=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        said, _ = await asyncio.wait_for(command.communicate(), LIMIT_S)
    assert command.returncode == 1
    assert b"threshold broken: body.p50 < 1us: measured" in said
    first, second = json.loads(out.read_text())["thresholds"]
    assert (first["expression"], first["met"]) == ("body.p50 < 1us", False)
    assert second == {"expression": "accepted >= 20", "value": 20.0, "met": True}


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
