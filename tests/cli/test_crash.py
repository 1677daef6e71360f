"""``smtpbench crash``: what is asked for, and one whole run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "--fault is missing"),
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


def test_a_flood_on_the_embedded_target(smtpbench: Callable[..., Result], tmp_path: Path) -> None:
    times = ("--before", "0.5s", "--fault-time", "1s", "--after", "1s", "--settle", "2s")
    words = ("--fault", "flood", "--connections", "30", *times)
    done = smtpbench("crash", *words, "--tls", "none", "--out", str(tmp_path / "run"))
    assert done.exit_code == 0, done.output
    fault = json.loads((tmp_path / "run" / "overload.json").read_text())["faults"][0]
    assert (fault["fault"], sum(fault["connections"].values())) == ("flood", 30)
    assert fault["ledger"]["accepted"] == fault["ledger"]["delivered"] > 0
    assert (tmp_path / "run" / "ledger" / "flood" / "ledger.sqlite").is_file()
