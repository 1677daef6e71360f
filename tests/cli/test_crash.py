"""``smtpbench crash``: what is asked for, and one whole run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from smtpbench.campaign.fault_judge import judge
from smtpbench.campaign.fault_result import FaultResult
from smtpbench.campaign.faults import Fault
from smtpbench.cli import crash
from smtpbench.errors import Unreachable
from smtpbench.target import Target


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
