"""``lab up`` leaves a server that ``lab:NAME`` finds, and ``lab down`` takes all of it away."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from smtpbench.cli import app
from smtpbench.lab import TargetOptions, keeper, open_target, state
from smtpbench.target import Endpoint, Role, Target, load_toml
from tests.lab.conftest import WITHIN, client, maildir

NAME = "aiosmtpd"
Run = Callable[..., Result]


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """``smtpbench lab`` with a state folder of its own, and nothing up afterwards."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    yield lambda *arguments: CliRunner().invoke(app, ["lab", *map(str, arguments)])
    if state.find(NAME) is not None:
        keeper.down(NAME)


def test_up_use_list_down(lab: Run, tmp_path: Path) -> None:
    path = tmp_path / "target.toml"
    assert lab("up", NAME, "--target-file", path).exit_code == 0
    target = load_toml(path)
    with client(target, Role.MX) as connection:
        assert connection.noop()[0] == 250
    assert f"up on {target.main.address}" in lab("list").stdout

    with open_target(f"lab:{NAME}", TargetOptions(recipient="bob@example.com")) as opened:
        assert opened.endpoints == target.endpoints
        assert opened.fixtures.recipient == "bob@example.com"
    assert state.find(NAME) is not None  # it was up before, so it stays up

    assert lab("down", NAME).exit_code == 0
    assert not maildir(target).exists()
    assert list(state.folder().iterdir()) == []
    assert " up on " not in lab("list").stdout


def test_up_prints_the_target_file_alone(lab: Run, tmp_path: Path) -> None:
    result = lab("up", NAME)
    (tmp_path / "target.toml").write_text(result.stdout, encoding="utf-8")
    assert load_toml(tmp_path / "target.toml").endpoints.keys() == {
        Role.MX,
        Role.SUBMISSION,
        Role.SUBMISSIONS,
    }


def test_up_twice_and_down_twice_are_refused(lab: Run) -> None:
    assert lab("up", NAME).exit_code == 0
    again = lab("up", NAME)
    assert (again.exit_code, again.stderr.splitlines()[-1]) == (
        2, f"smtpbench: lab:{NAME} is up already: smtpbench lab down {NAME}",
    )  # fmt: skip
    assert lab("down", NAME).exit_code == 0
    down = lab("down", NAME)
    assert (down.exit_code, down.stderr) == (2, f"smtpbench: lab:{NAME} is not up\n")


def test_a_target_file_that_cannot_be_written_leaves_nothing_up(lab: Run, tmp_path: Path) -> None:
    result = lab("up", NAME, "--target-file", tmp_path)
    assert result.exit_code == 2
    assert "Is a directory" in result.stderr
    assert state.find(NAME) is None


def test_a_killed_keeper_is_not_believed(lab: Run) -> None:
    assert lab("up", NAME).exit_code == 0
    up = state.find(NAME)
    assert up is not None
    descriptor = os.pidfd_open(up.pid)
    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    assert select.select([descriptor], [], [], WITHIN)[0]
    os.close(descriptor)
    assert state.find(NAME) is None
    assert not (state.folder() / f"{NAME}.json").exists()


def test_a_process_that_took_over_the_number_is_left_alone(lab: Run) -> None:
    state.write(NAME, Target(endpoints={Role.MX: Endpoint(port=25)}))  # this very process
    path = state.folder() / f"{NAME}.json"
    assert state.find(NAME) is not None
    record = path.read_text(encoding="utf-8")
    path.write_text(record.replace(str(state.started_at(os.getpid())), "1"), encoding="utf-8")
    assert lab("down", NAME).exit_code == 2


@pytest.mark.parametrize("content", ["", "not json", "{}", '{"pid": 1, "started": "1", "target": {}}', "[]"])
def test_a_broken_record_counts_as_down(lab: Run, content: str) -> None:
    path = state.folder() / f"{NAME}.json"
    path.write_text(content, encoding="utf-8")
    assert state.find(NAME) is None
    assert not path.exists()


def test_what_keeps_a_recipe_from_starting_is_told(lab: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")  # no tools for a private root, whether we are root or not
    result = lab("up", "postfix")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith("smtpbench: lab:postfix needs ")
