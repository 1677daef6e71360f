"""Servers that are killed with all their processes and started again where they were."""

from __future__ import annotations

from pathlib import Path

import pytest

from smtpbench.errors import Inconclusive, UsageError
from smtpbench.lab import open_running
from smtpbench.lab.machine import CommandMachine, await_greeting
from smtpbench.target import Crash, Endpoint, Role, Target, parse_target

WITHIN = 30.0


@pytest.mark.parametrize("spec", ["embedded", "lab:reference"])
def test_a_python_server_comes_back_on_its_port(spec: str) -> None:
    with open_running(spec) as running:
        before = running.machine.pids()
        assert before
        running.machine.kill()
        assert not set(before) & set(running.machine.pids())
        with pytest.raises(Inconclusive, match="no greeting"):
            await_greeting(running.target.main, 0.2)
        running.machine.start()
        await_greeting(running.target.main, WITHIN)
        assert running.machine.pids()


def test_a_target_without_commands_is_refused() -> None:
    with pytest.raises(UsageError, match=r"\[crash\]"), open_running("smtp://127.0.0.1:2525"):
        raise AssertionError("not refused")


def test_the_commands_of_a_target_file(tmp_path: Path) -> None:
    target = Target(endpoints={Role.MX: Endpoint(port=1)})
    machine = CommandMachine(target, Crash(kill=f"touch {tmp_path}/killed", start=f"touch {tmp_path}/up"))
    machine.kill()
    assert (tmp_path / "killed").exists()
    machine.close()
    machine = CommandMachine(target, Crash(kill="echo no such container >&2; exit 7", start="true"))
    with pytest.raises(Inconclusive, match=r"crash\.kill: .*exit code 7: no such container"):
        machine.kill()
    machine.close()


def test_a_command_can_say_which_processes_they_are() -> None:
    target = Target(endpoints={Role.MX: Endpoint(port=1)})

    def machine(pids: str) -> CommandMachine:
        return CommandMachine(target, Crash(kill="true", start="true", pids=pids))

    one = machine("echo 12 7; echo 12")
    assert one.pids() == [7, 12]
    one.close()
    for command, words in (("echo x", "expected numbers: x"), ("echo gone >&2; exit 3", "exit code 3.*gone")):
        one = machine(command)
        with pytest.raises(Inconclusive, match=rf"crash\.pids: .*{words}"):
            one.pids()
        one.close()


def test_a_mistake_in_the_file_is_one_line() -> None:
    data = {"endpoints": {"mx": {"port": 25}}, "crash": {"kill": "x"}}
    with pytest.raises(UsageError, match=r"t\.toml: crash\.start: missing, a value is needed"):
        parse_target(data, where="t.toml")


@pytest.mark.lab
@pytest.mark.parametrize("name", ["postfix", "exim", "opensmtpd"])
def test_a_server_in_a_private_root_comes_back(name: str) -> None:
    with open_running(f"lab:{name}") as running:
        for _ in range(2):
            running.machine.kill()
            assert running.machine.pids() == []
            running.machine.start()
            await_greeting(running.target.main, WITHIN)
