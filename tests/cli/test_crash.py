"""``smtpbench crash``: what is asked for, and one whole run."""

from __future__ import annotations

import json
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import Result

from smtpbench.campaign.fault_judge import judge
from smtpbench.campaign.fault_result import FaultResult
from smtpbench.campaign.faults import Fault
from smtpbench.cli import crash
from smtpbench.errors import Unreachable
from smtpbench.lab.machine import await_greeting
from smtpbench.target import Target, load_toml

WAIT = 60.0


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Path]:
    """The target file of a server that is up; it is killed and started by shell commands."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        port, hop = (int(taken.getsockname()[1]) for taken in (one, other))
    serve = shlex.join(
        [sys.executable, "-m", "smtpbench", "serve", "--listen", f"127.0.0.1:{port}",
         "--spool", str(tmp_path / "spool"), "--relay", f"relay.example=127.0.0.1:{hop}"]
    )  # fmt: skip
    pid = shlex.quote(str(tmp_path / "pid"))
    start, kill = f"echo $$ > {pid}; exec {serve}", f"kill -9 $(cat {pid})"
    path = tmp_path / "target.toml"
    path.write_text(
        f'[endpoints.mx]\nport = {port}\n[relay]\nlisten = "127.0.0.1:{hop}"\n'
        f'domain = "relay.example"\nretry_s = 1.0\n[crash]\nkill = "{kill}"\nstart = "{start}"\n',
        encoding="utf-8",
    )
    with subprocess.Popen(["/bin/sh", "-c", start], stdout=subprocess.DEVNULL):
        try:
            await_greeting(load_toml(path).main, WAIT)
            yield path
        finally:
            subprocess.run(["/bin/sh", "-c", kill], check=False)  # whichever of them is up now


def test_the_commands_of_a_target_file_kill_and_start_a_real_server(own_server: Path, tmp_path: Path) -> None:
    times = ("--cycles", "2", "--every", "0.5s", "--before", "0.3s", "--after", "0.5s", "--settle", "5s")
    command = [sys.executable, "-m", "smtpbench", "crash", str(own_server), *times, "--tls", "none"]
    report = tmp_path / "crash.json"
    done = subprocess.run([*command, "--json", report], capture_output=True, timeout=WAIT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(report.read_text())
    assert found["verdicts"]["process_crash"]["verdict"] == "pass"
    assert found["ledger"]["accepted"] == found["ledger"]["delivered"] > 0
    assert [bool(cycle["down_s"]) for cycle in found["faults"][0]["cycles"]] == [True, True]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--cycles", "0"), "--cycles 0"),
        (("--traced", "0"), "--traced 0"),
        (("smtp://127.0.0.1:1",), "[crash]"),
        (("--fault", "flood", "--connections", "0"), "--connections 0"),
        (("--fault", "flood", "--run-time", "5s"), "--run-time"),
        (("--fault", "flood", "--scenario", "ramp"), "expected a TOML file"),
    ],
)
def test_what_makes_no_sense_is_refused(
    smtpbench: Callable[..., Result], words: tuple[str, ...], said: str
) -> None:
    done = smtpbench("crash", *words)
    assert done.exit_code == 2
    assert said in done.output


def test_a_target_that_did_not_come_back_takes_no_result_away(
    smtpbench: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    def struck(_target: Target, fault: Fault, *_: object, **__: object) -> FaultResult:
        if fault is Fault.FLOOD:
            raise Unreachable("127.0.0.1:25: Connection refused")
        return FaultResult(fault=fault, checks=judge(FaultResult(fault=fault)))

    monkeypatch.setattr(crash, "run_fault", struck)
    done = smtpbench("crash", "--fault", "descriptors", "--fault", "flood")
    assert done.exit_code == 1
    assert "did not come back: descriptors" in done.output
    assert "Connection refused (after descriptors)" in " ".join(done.output.split())


def test_a_flood_on_the_embedded_target(smtpbench: Callable[..., Result], tmp_path: Path) -> None:
    times = ("--before", "0.5s", "--fault-time", "1s", "--after", "1s", "--settle", "2s")
    words = ("--fault", "flood", "--connections", "30", *times)
    done = smtpbench("crash", *words, "--tls", "none", "--out", str(tmp_path / "run"))
    assert done.exit_code == 0, done.output
    fault = json.loads((tmp_path / "run" / "crash.json").read_text())["faults"][0]
    assert (fault["fault"], sum(fault["connections"].values())) == ("flood", 30)
    assert fault["ledger"]["accepted"] == fault["ledger"]["delivered"] > 0
    assert (tmp_path / "run" / "ledger" / "flood" / "ledger.sqlite").is_file()
