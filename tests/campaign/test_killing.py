"""SIGKILL campaigns on the reference server in a process of its own, faithful or not."""

from __future__ import annotations

from pathlib import Path
from threading import Event

import pytest

from smtpbench.campaign.fault_judge import judge
from smtpbench.campaign.fault_result import Cycle, FaultResult, OverloadResult
from smtpbench.campaign.faults import Fault, NotPossible, disturbance
from smtpbench.campaign.killing import Killing, Rhythm
from smtpbench.campaign.overload import Plan, run_fault
from smtpbench.campaign.queue import Patience
from smtpbench.campaign.result import LedgerCounts
from smtpbench.conformance.result import Verdict
from smtpbench.lab.recipes import reference
from smtpbench.target import Crash, Endpoint, Role, Target
from tests.campaign.doubles import NoProcesses

RHYTHM = Rhythm(cycles=2, every_s=1.0, seed=3)
PLAN = Plan(before_s=0.5, after_s=1.5, patience_s=30.0)


def killed(folder: Path, *faults: str) -> OverloadResult:
    folder.mkdir(exist_ok=True)
    result = OverloadResult()
    with reference(*faults) as running:
        result.add(
            run_fault(
                running.target,
                Fault.KILL,
                {"tls": "none"},
                folder / "ledger",
                plan=PLAN,
                machine=running.machine,
                rhythm=RHYTHM,
                patience=Patience(settle_s=5.0),
            )
        )
    return result


@pytest.mark.parametrize(
    ("faults", "verdict"),
    [
        ((), Verdict.PASS),
        (("queue-stores-after-the-250",), Verdict.FAIL),
        (("queue-does-not-sync",), Verdict.PASS),  # what was written survives the process
    ],
)
def test_what_a_kill_finds(tmp_path: Path, faults: tuple[str, ...], verdict: Verdict) -> None:
    result = killed(tmp_path, *faults)
    one = result.faults[0]
    assert result.verdicts.process_crash.verdict is verdict, (one.ledger, one.checks)
    assert (one.ledger.lost > 0) is (verdict is Verdict.FAIL)
    assert result.ledger == one.ledger
    assert result.queue_depth[-1].depth == one.ledger.lost
    assert one.struck_at_s is not None
    assert 0 < one.struck_at_s < 20
    assert round(sum(point.accepted_per_s * point.span_s for point in one.timeline)) == one.ledger.accepted
    settled = sum(point.delivered_per_s * point.span_s for point in one.timeline)
    assert round(settled) == one.ledger.delivered + one.ledger.bounced
    assert result.end_to_end.count >= one.ledger.delivered
    assert result.verdicts.power_loss.verdict is Verdict.UNTESTED
    assert [cycle.number for cycle in one.cycles] == [1, 2]
    assert all(cycle.down_s for cycle in one.cycles)
    aimed = one.cycles[1]
    assert aimed.aimed
    assert 0 < aimed.final_dots <= aimed.sessions < 50  # a second's load would make so many, if none left
    assert one.first_accepted_s is not None


class Dead(NoProcesses):
    """A machine whose server stays away."""

    def __init__(self) -> None:
        self.kills = 0

    def kill(self) -> None:
        self.kills += 1

    def log_tail(self) -> str:
        return "fatal: no queue"


def test_a_target_that_stays_away_is_killed_no_more(tmp_path: Path) -> None:
    machine = Dead()
    target = Target(
        endpoints={Role.MX: Endpoint(port=1)}, crash=Crash(kill="true", start="true", within_s=0.2)
    )
    killing = Killing(target, machine, tmp_path, Rhythm(cycles=3, every_s=0.01))
    killing.last(0, Event())
    assert machine.kills == len(killing.cycles) == 1
    assert killing.cycles[0].down_s is None
    assert "no greeting" in killing.gone
    assert "fatal: no queue" in killing.gone


def test_leaving_early_kills_nobody(tmp_path: Path) -> None:
    machine, leave = Dead(), Event()
    leave.set()
    Killing(Target(endpoints={Role.MX: Endpoint(port=1)}), machine, tmp_path, RHYTHM).last(0, leave)
    assert machine.kills == 0


def test_a_target_without_a_machine_is_not_killed(tmp_path: Path) -> None:
    with pytest.raises(NotPossible):
        disturbance(Fault.KILL, Target(endpoints={Role.MX: Endpoint(port=1)}), tmp_path)


def test_kills_that_were_not_done_prove_nothing() -> None:
    ledger = LedgerCounts(accepted=5, delivered=5)
    one = FaultResult(
        fault="kill", ledger=ledger, closed=True, wanted_cycles=2, first_accepted_s=1.0,
        cycles=[Cycle(number=1, aimed=False, at_s=0.0, sessions=1, final_dots=0)],
    )  # fmt: skip
    one.checks = judge(one)
    result = OverloadResult()
    result.add(one)
    assert result.verdicts.process_crash.verdict is Verdict.UNTESTED
    assert "1 of 2 kills" in result.verdicts.process_crash.reason


def test_the_ledgers_of_all_faults_add_up() -> None:
    result = OverloadResult()
    for accepted in (3, 4):
        result.add(FaultResult(fault="flood", ledger=LedgerCounts(accepted=accepted, delivered=1)))
    assert (result.ledger.accepted, result.ledger.delivered) == (7, 2)
    assert result.verdicts.process_crash.reason == "the target was not killed"
