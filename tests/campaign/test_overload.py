"""Whole faults: on the reference server in a process of its own, faithful or not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from smtpbench.campaign.fault_result import FaultResult
from smtpbench.campaign.faults import Commanded, Fault
from smtpbench.campaign.overload import Plan, answers, run_fault
from smtpbench.campaign.queue import Patience
from smtpbench.errors import Inconclusive, UsageError
from smtpbench.lab.shortage import shortages
from smtpbench.target import Disturb, Target, Timeouts, load_toml

WAIT = 30.0
TIMEOUTS = Timeouts(reply=4.0)  # a run whose target has fallen silent for good ends after that
PLAN = Plan(before_s=0.5, fault_s=1.5, after_s=1.5, patience_s=30.0)
IMPATIENT = Plan(before_s=0.5, fault_s=1.5, after_s=1.0, patience_s=3.0)


@contextmanager
def serving(folder: Path, *faults: str) -> Iterator[Target]:
    """`smtpbench serve` with a Maildir, as a target that can run short of things."""
    argv = [
        sys.executable, "-m", "smtpbench", "serve", "--listen", "127.0.0.1:0",
        "--maildir", str(folder / "mail"), "--target-file", str(folder / "target.toml"),
        *(word for name in faults for word in ("--fault", name)),
    ]  # fmt: skip
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith(b"listening")
            target = load_toml(folder / "target.toml")
            short = shortages(target.main.port, folder)
            yield target.model_copy(update={"shortage": short, "timeouts": TIMEOUTS})
        finally:
            process.terminate()
            process.wait(WAIT)


def struck(folder: Path, fault: Fault, *faults: str, plan: Plan = PLAN, size: int = 70) -> FaultResult:
    folder.mkdir(exist_ok=True)
    with serving(folder, *faults) as target:
        return run_fault(
            target, fault, {"tls": "none"}, folder / "ledger", plan=plan, size=size,
            patience=Patience(settle_s=1.5),
        )  # fmt: skip


def verdicts(result: FaultResult) -> dict[str, str]:
    return {check.id: check.verdict.value for check in result.checks}


@pytest.mark.parametrize("fault", [Fault.DISK_FULL, Fault.DESCRIPTORS, Fault.FLOOD])
def test_the_reference_server_survives(tmp_path: Path, fault: Fault) -> None:
    result = struck(tmp_path, fault)
    found = verdicts(result)
    assert found["keeps-what-it-accepted"] == "pass", result.checks
    assert not result.gone
    assert found["refuses-for-now"] in ("pass", "info")
    assert result.ledger.accepted == result.ledger.delivered > 0
    if fault is Fault.DISK_FULL:
        assert result.since.rejected_4xx > 0


@pytest.mark.parametrize(
    ("fault", "name", "check", "verdict"),
    [
        (Fault.DISK_FULL, "storage-full-552", "refuses-for-now", "non-strict"),
        (Fault.DISK_FULL, "storage-full-accepts", "keeps-what-it-accepted", "fail"),
        (Fault.DISK_FULL, "shortage-for-good", "serves-again", "info"),
        (Fault.SLOWLORIS, "crowd-blocks-for-good", "serves-again", "info"),
    ],
)
def test_a_faulty_server_is_caught(tmp_path: Path, fault: Fault, name: str, check: str, verdict: str) -> None:
    result = struck(tmp_path, fault, name, plan=IMPATIENT)
    found = verdicts(result)
    assert found.pop(check) == verdict, result.checks
    assert result.gone is (check == "serves-again")
    assert not {"fail", "non-strict"} & set(found.values()), result.checks


def test_a_target_without_commands_is_untested(tmp_path: Path) -> None:
    target = Target.model_validate({"endpoints": {"mx": {"port": 1}}})
    result = run_fault(target, Fault.DESCRIPTORS, {}, tmp_path)
    assert "[shortage.descriptors]" in result.untested


def test_the_ledger_of_another_run_is_left_alone(tmp_path: Path) -> None:
    target = Target.model_validate({"endpoints": {"mx": {"port": 1}}})
    (tmp_path / "ledger.sqlite").touch()
    with pytest.raises(UsageError, match="the ledger of another run"):
        run_fault(target, Fault.FLOOD, {}, tmp_path)


def test_a_command_that_fails_says_which_and_why() -> None:
    command = Commanded(Disturb(strike="echo no mount >&2; exit 3", recover="true"), Fault.DISK_FULL)
    with pytest.raises(Inconclusive, match=r"shortage.disk-full.strike: exit code 3: no mount"):
        command.strike()
    command.recover()


def test_progress_leaves_out_what_is_zero() -> None:
    met = answers({"totals": {"accepted": 3}, "replies": {"421": 2}})
    assert (met.accepted, met.rejected_5xx, met.replies_421) == (3, 0, 2)
