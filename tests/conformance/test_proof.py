"""The proof matrix: what it demands, and that real cases meet it for real faults."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from smtpbench.conformance import passive
from smtpbench.conformance.discovery import load_cases
from smtpbench.conformance.model import Catalogue, find_cases
from smtpbench.conformance.proof import (
    Explanation,
    Row,
    Run,
    Subject,
    Unjudged,
    gaps,
    idle_explanations,
    judge,
    load_explanations,
    load_unjudged,
    prove,
    run_fault,
    subjects,
    unknown_faults,
    unproven,
    unused_faults,
)
from smtpbench.conformance.reference import PROFILES
from smtpbench.errors import UsageError
from smtpbench.lab.workspace import Workspace
from smtpbench.server.faults import FAULTS

FAULT = "rset-closes"
ABOUT = FAULTS[FAULT].requirements[0]
NAMED = Subject("a.named", ("T-1",), (FAULT,))
SAME_ROW = Subject("a.same-row", (ABOUT,), ())
OTHER = Subject("a.other", ("T-2",), ("noop-resets",))
ALL = (NAMED, SAME_ROW, OTHER)


def row(*red: str, explained: str | None = None, **more: dict[str, str]) -> Row:
    explanations = [Explanation(fault=FAULT, cases=[explained], reason="…")] if explained else []
    return judge(Run(FAULT, red=dict.fromkeys(red, "seen"), **more), ALL, explanations)  # type: ignore[arg-type]


def test_the_named_case_must_turn_red() -> None:
    assert row("a.named").holds
    assert row("a.named").named == ("a.named",)
    assert not row().holds
    assert row().green == ("a.named",)


def test_another_case_must_not() -> None:
    assert row("a.named", "a.other").unrelated == ("a.other",)
    assert not row("a.named", "a.other").holds
    assert row("a.named", "a.same-row").related == ("a.same-row",)
    assert row("a.named", "a.same-row").holds
    assert row("a.named", "a.other", explained="a.o*").holds
    assert not row("a.named", "a.other", explained="b.*").holds


def test_an_explanation_that_explains_nothing_is_told() -> None:
    explanations = [Explanation(fault=FAULT, cases=["a.o*", "a.same*", "b.*"], reason="…")]
    runs = [Run(FAULT, red={"a.named": "seen", "a.same-row": "seen", "a.other": "seen"})]
    assert idle_explanations(runs, ALL, explanations) == [f"{FAULT}: a.same*", f"{FAULT}: b.*"]
    assert idle_explanations([Run(None)], ALL, explanations) == []  # that fault was not run


def test_errors_and_trouble_break_the_line() -> None:
    assert not row("a.named", errors={"a.other": "ZeroDivisionError"}).holds
    assert not judge(Run(FAULT, trouble="no server"), ALL, []).holds


def test_without_a_fault_all_must_be_green() -> None:
    assert judge(Run(None), ALL, []).holds
    assert judge(Run(None, red={"a.other": "seen"}), ALL, []).unrelated == ("a.other",)
    assert not judge(Run(None, red={"a.other": "seen"}), ALL, []).holds


def test_names_of_faults() -> None:
    assert unknown_faults([*ALL, Subject("a.typo", (), ("rset-close",))]) == ["a.typo: rset-close"]
    assert set(unused_faults(ALL)) == set(FAULTS) - {FAULT, "noop-resets"}
    assert unknown_faults(subjects(load_cases(find_cases()))) == []


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[[explained]]\nfault = "x"\ncases = []\nreason = "y"\n', "unknown fault x"),
        ('[[unjudged]]\nfault = "x"\nreason = "y"\n', "unknown fault x"),
        ('[[explained]]\nfault = "rset-closes"\n', "2 validation errors"),
        ("x = [", "Invalid value"),
    ],
)
def test_mistakes_in_explanations(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "proof.toml").write_text(text)
    with pytest.raises(UsageError, match=rf"proof\.toml: {complaint}"):
        load_explanations(tmp_path)


def test_a_fault_is_named_or_unjudged_and_not_both() -> None:
    rest = [Unjudged(fault=name, reason="…") for name in unused_faults(ALL)]
    assert gaps(ALL, rest) == []
    assert gaps(ALL, rest[1:]) == [f"named by no case, and not unjudged in proof.toml: {rest[0].fault}"]
    both = Unjudged(fault=FAULT, reason="…")
    assert gaps(ALL, [*rest, both]) == [f"unjudged in proof.toml, and named by a case: {FAULT}"]


def test_a_case_that_can_accuse_names_a_fault(catalogue: Catalogue) -> None:
    bare = [Subject(f"a.{row}", (row,), ()) for row in ("T-1", "T-2", "T-3", "T-4")]
    assert [line.partition(" ")[0] for line in unproven(bare, catalogue)] == ["a.T-1", "a.T-2", "a.T-4"]
    assert unproven([Subject("a.mixed", ("T-3", "T-1"), ())], catalogue) != []
    assert unproven([Subject("a.proven", ("T-1",), (FAULT,))], catalogue) == []
    assert unproven([Subject("a.record", ("T-1",), (), accuses=False)], catalogue) == []


def test_our_faults_are_all_named_or_unjudged() -> None:
    root = find_cases()
    assert gaps(subjects(load_cases(root)), load_unjudged(root)) == []


def test_our_explanations_are_readable() -> None:
    assert load_explanations(find_cases()) is not None


CASES = '''
from smtpbench.conformance import *

@case("T-1", broken_by="noop-not-recognised")
async def noop(peer):
    """NOOP is answered 250."""
    return expect(await peer.command(b"NOOP"), codes(250))

@case("T-1", broken_by="rset-closes")
async def blind(peer):
    """Says that it turns red, and does not look."""
    return expect(await peer.command(b"NOOP"), any_reply)

@case("T-3", broken_by="noop-not-recognised", after=noop)
async def later(peer):
    """Comes after another."""
    return expect(await peer.command(b"NOOP"), codes(250))
'''


async def test_a_run_with_a_fault(case_folder: Callable[[str], Path], place: Workspace) -> None:
    root = case_folder(CASES)
    cases = load_cases(root)
    assert await run_fault(root, cases, place, None) == Run(None)
    run = await run_fault(root, cases, place, "noop-not-recognised")
    assert list(run.red) == ["group.noop"]
    assert run.untested == {"group.later": "group.noop is fail"}
    assert not judge(run, subjects(cases), []).holds  # `later` names the fault and could not be asked


def test_the_matrix_in_worker_processes(case_folder: Callable[[str], Path]) -> None:
    root = case_folder(CASES)
    told: list[str | None] = []
    faults = [None, "noop-not-recognised", "rset-closes"]
    runs = prove(root, faults, profiles=PROFILES[:2], workers=2, on_run=lambda run: told.append(run.fault))
    assert [run.fault for run in runs] == [None, *faults]
    assert [run.profile for run in runs] == ["mx", PROFILES[1].name, "mx", "mx"]
    assert sorted(told, key=str) == sorted([None, *faults], key=str)
    rows = [judge(run, subjects(load_cases(root)), []) for run in runs]
    assert rows[0].holds
    assert (rows[0].answered, rows[0].profile) == (3 + len(passive.RULES), "mx")
    assert "group.blind" in rows[3].green


def test_workers_end_with_a_parent_that_is_killed() -> None:
    code = "from smtpbench.cli import main; main()"
    command = [sys.executable, "-c", code, "catalogue", "--proof", "--workers", "1", "--fault", FAULT]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as parent:
        worker = eventually(lambda: next(iter(spawned_by(parent.pid)), None))
        parent.kill()
    assert eventually(lambda: not is_running(worker))


def spawned_by(pid: int) -> list[int]:
    """The worker processes of `pid`; multiprocessing's resource tracker is none."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def eventually(found: Callable[[], Any], within: float = 30.0) -> Any:
    """What `found` gives once it is true; fails the test if that takes too long."""
    deadline = time.monotonic() + within
    while not (value := found()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return value
