"""``load --find-capacity``: options that make no sense, exit codes, and one short search of a real server."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from smtpbench.cli._capacity import capacity_exit_code, trial_line
from smtpbench.load.capacity_result import Capacity, CapacityResult, Trial
from smtpbench.load.search import End, Step, Verdict
from tests.load.sinks import sinking

Run = Callable[..., Result]
LIMIT_S = 120
COMMAND = (sys.executable, "-c", "from smtpbench.cli import main; main()", "load", "--find-capacity")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--users", "3"], "--users is for the search to choose"),
        (["--rate", "10"], "--rate is for the search to choose"),
        (["--run-time", "10s"], "--run-time is for the search to choose"),
        (["--messages", "10"], "--messages is for the search to choose"),
        (["--web"], "--web belongs to one run"),
        (["--master"], "--master belongs to one run"),
        (["--abort-on-threshold", "--threshold", "dropped < 1"], "--abort-on-threshold belongs to one run"),
        (["--precision", "0"], "--precision '0': expected such as 10%"),
        (["--precision", "tight"], "--precision 'tight'"),
        (["--trial-time", "0.5s"], "--trial-time 0.5s: expected 1s or more"),
        (["--budget", "5s"], "--budget 5s: one trial takes 16 s"),
        (["--start-rate", "0"], "--start-rate 0"),
        (["--max-rate", "2000000"], "--max-rate 2e+06"),
        (["--max-users", "-1"], "--max-users -1"),
        (["--threshold", "nonsense"], "--threshold 'nonsense'"),
        (["--message-size", "10"], "message_size"),
    ],
)
def test_options_that_make_no_sense_are_found_before_anything_runs(
    smtpbench: Run, options: list[str], complaint: str
) -> None:
    result = smtpbench("load", "lab:nothing-of-the-kind", "--find-capacity", *options)
    assert result.exit_code == 2
    assert complaint in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (End.FOUND, 0),
        (End.MAXIMUM, 0),
        (End.BELOW, 1),
        (End.AT_LEAST, 3),
        (End.UNFINISHED, 3),
        (End.UNKNOWN, 3),
    ],
)
def test_exit_codes(end: End, code: int) -> None:
    assert capacity_exit_code(CapacityResult(end=end)) == code


@pytest.mark.parametrize(
    ("end", "required", "code"),
    [
        (End.FOUND, 560, 0), (End.FOUND, 561, 1), (End.MAXIMUM, 560, 0), (End.AT_LEAST, 560, 0),
        (End.AT_LEAST, 600, 3), (End.UNFINISHED, 100, 3), (End.BELOW, 1, 1),
    ],
)  # fmt: skip
def test_a_rate_that_is_required(end: End, required: float, code: int) -> None:
    rate = None if end is End.BELOW else 560.0
    result = CapacityResult(end=end, required_per_s=required, capacity=Capacity(rate_per_s=rate))
    assert capacity_exit_code(result) == code


def test_a_trial_is_one_line_whatever_the_server_said() -> None:
    trial = Trial(
        number=3, step=Step.BISECT, rate=1500, verdict=Verdict.FAILED, accepted_per_s=1301.2,
        intended_p99_ms=1234.5, why="450 \x1b[31mlater\r\n",
    )  # fmt: skip
    line = " ".join(trial_line(trial).split())
    assert line == r"trial 3 bisect 1,500/s failed 1,301/s accepted p99 1.23 s (450 \x1b[31mlater\r\n)"


async def test_a_short_search_of_a_real_server(tmp_path: Path) -> None:
    async with sinking() as (sink, target):
        command = await asyncio.create_subprocess_exec(
            *COMMAND, f"smtp://{target.main.address}", "--recipient", "rcpt@example.net",
            "--start-rate", "20", "--max-rate", "20", "--max-users", "1",
            "--trial-time", "1s", "--warm-up", "1s", "--threshold", "error_rate < 1%", "--out", tmp_path,
            stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        async with asyncio.timeout(LIMIT_S):
            out, err = await command.communicate()
    assert command.returncode == 0, err.decode()
    assert b"Holds 20 messages/s: no higher rate was to be tried than 20/s" in b" ".join(out.split())
    stolen = [line for line in err.splitlines() if b"the hypervisor gave" in line and b"concurrency" in line]
    assert err.count(b"  held  ") == 5 - len(stolen)  # a trial of users is not repeated, one of a rate is
    assert b"  failed  " not in err
    result = CapacityResult.model_validate_json((tmp_path / "capacity.json").read_bytes())
    assert result.end is End.MAXIMUM
    assert (result.capacity.held, result.capacity.tried) == (4, 4)
    assert result.thresholds == ["error_rate < 1%"]
    assert result.workload["recipients"] == 1
    assert "rate" not in result.workload
    for trial in result.trials:
        assert trial.file is not None
        kept = json.loads((tmp_path / trial.file).read_text())
        assert kept["schema"] == "smtpbench.load/1"
        assert kept["workload"]["warm_up"] == 1
        assert 0 < kept["totals"]["accepted"] < sink.messages
