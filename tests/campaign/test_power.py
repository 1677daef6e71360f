"""Tracing messages of the reference server and of Postfix, and why that cannot be done."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest

from smtpbench.campaign import power
from smtpbench.campaign.fault_result import PowerLoss
from smtpbench.campaign.power import trace_power
from smtpbench.conformance.result import Verdict
from smtpbench.lab import strace
from smtpbench.lab.machine import CommandMachine, Running
from smtpbench.lab.recipes import recipe, reference
from smtpbench.target import Crash, Endpoint, Relay, Role, Target
from tests.campaign.doubles import NoProcesses

TARGET = Target(
    endpoints={Role.MX: Endpoint(port=1)}, relay=Relay(listen="127.0.0.1:9", domain="relay.example")
)


def test_without_strace_it_is_untested_and_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = trace_power(TARGET, NoProcesses(), {})
    assert found.verdict is Verdict.UNTESTED
    assert "apt install strace" in found.reason


def test_without_processes_it_is_untested(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smtpbench.campaign.power.find_strace", lambda **_: strace.Strace("false"))
    found = trace_power(TARGET, NoProcesses(), {})
    assert found.verdict is Verdict.UNTESTED
    assert found.reason == "0 processes of the target are known on this machine"


def test_a_file_system_whose_settings_do_not_show_may_write_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(power, "_type", lambda _: "ext2/ext3")
    assert not power._may_be_synchronous(f"{tmp_path}/queued", [])
    monkeypatch.setattr(power, "_type", lambda _: "zfs")
    assert power._may_be_synchronous(f"{tmp_path}/queued", [])
    assert power._may_be_synchronous("/not/there/queued", [])


def test_a_folder_that_is_gone_was_on_the_mount_of_the_one_above_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "queue" / "33").mkdir(parents=True)
    names = {"33": "ext2/ext3", "queue": "zfs"}
    monkeypatch.setattr(power, "_type", lambda folder: names.get(Path(folder).name, "xfs"))
    for message, synchronous in (("queue/33/01/message", False), ("queue/34/01/message", True)):
        assert power._may_be_synchronous(f"{tmp_path}/{message}", [os.getpid()]) is synchronous
    assert power._may_be_synchronous(f"{tmp_path}/queue/33/01/message", [])  # nobody is left to see it


def test_the_file_system_here_has_a_name() -> None:
    assert power._type("/proc") == "proc"
    assert power._type("/not/there") == ""


def test_processes_that_no_file_names_are_a_guess() -> None:
    crash = Crash(kill="true", start="true")
    for given, guessed in ((crash, True), (crash.model_copy(update={"pids": "echo 1"}), False)):
        with closing(CommandMachine(TARGET, given)) as machine:
            assert bool(machine.guessed) is guessed


def traced(running: Running) -> PowerLoss:
    """What two messages show. A machine that forbids ptrace, or gives no strace, can show nothing."""
    found = trace_power(running.target, running.machine, {}, messages=2, fetch=True)
    if "is refused" in found.reason or found.reason == strace.INSTALL:
        pytest.skip(found.reason)
    return found


@pytest.mark.lab
@pytest.mark.parametrize(
    ("faults", "verdict", "words"),
    [
        ((), Verdict.PASS, "and its directory"),
        (("queue-does-not-sync",), Verdict.FAIL, "not synced before it"),
        (("queue-stores-after-the-250",), Verdict.FAIL, "after the 250"),
    ],
)
def test_the_reference_server(faults: tuple[str, ...], verdict: Verdict, words: str) -> None:
    with reference(*faults) as running:
        found = traced(running)
    assert found.verdict is verdict, found.reason
    assert words in found.reason
    assert [one.verdict for one in found.evidence] == [verdict] * 2
    assert all(one.calls[0].pid for one in found.evidence)


@pytest.mark.lab
def test_nobody_is_accused_whose_processes_are_a_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    with reference("queue-does-not-sync") as running:
        monkeypatch.setattr(type(running.machine), "guessed", "others may be the target's too")
        found = traced(running)
    assert found.verdict is Verdict.UNTESTED, found.reason
    assert "not synced before it, but the trace may not show all: others" in found.reason


@pytest.mark.lab
def test_opensmtpd_removes_the_folder_of_a_message_and_is_judged_all_the_same() -> None:
    with recipe("opensmtpd").run() as running:
        found = traced(running)
    assert found.verdict is Verdict.FAIL, found.reason
    assert "written before the 250, and not synced before it" in found.reason
    for one in found.evidence:
        assert (one.file_synced, one.directory_synced) == (False, False)
        assert [call.call for call in one.calls] == ["openat", "write", "rename", "rename", "writev"]


@pytest.mark.lab
def test_postfix_syncs_the_file_and_leaves_its_entry_to_the_file_system() -> None:
    with recipe("postfix").run() as running:
        found = traced(running)
    assert found.verdict is Verdict.INFO, found.reason
    for one in found.evidence:
        assert (one.file_synced, one.directory_synced) == (True, False)
        # the queue manager may have moved it on before the 250 was written
        assert one.files[0].split("/")[-2] in ("incoming", "active")
        assert [call.call for call in one.calls if call.call != "rename"][-2:] == ["fsync", "write"]
        assert one.synced_before_reply_ms is not None
        assert one.synced_before_reply_ms > 0
