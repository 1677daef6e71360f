"""A child says when it is ready, stops when told, and cannot outlive its parent."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from smtpbench.errors import Inconclusive
from smtpbench.lab import process
from smtpbench.lab.process import Child

WITHIN = 20.0
READY = 'import sys; print(\'{"ports": {"mx": 1}}\', flush=True)\n'


def child(tmp_path: Path, code: str, within: float = WITHIN) -> Child:
    return Child([sys.executable, "-c", code], log=tmp_path / "log", within=within)


def assert_gone(pid: int) -> None:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([descriptor], [], [], WITHIN)[0], f"process {pid} is still there"
    finally:
        os.close(descriptor)


def test_its_line_says_what_it_is(tmp_path: Path) -> None:
    started = child(tmp_path, READY + "sys.stdin.readline()")
    assert started.ready == {"ports": {"mx": 1}}
    started.stop()
    assert_gone(started.pid)


def test_stop_is_said_in_a_line_so_that_it_works_while_others_hold_the_pipe(tmp_path: Path) -> None:
    started = child(tmp_path, READY + "print(repr(sys.stdin.readline()), file=sys.stderr)")
    started.stop()
    assert (tmp_path / "log").read_text(encoding="utf-8") == "'stop\\n'\n"


def test_a_forked_process_does_not_stop_the_child_of_its_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = child(tmp_path, READY + "sys.stdin.readline()")
    descriptor = os.pidfd_open(started.pid)
    with monkeypatch.context() as forked:
        forked.setattr(os, "getpid", lambda: -1)
        started.stop()
    assert not select.select([descriptor], [], [], 0.1)[0]
    started.stop()
    assert select.select([descriptor], [], [], 0)[0]
    os.close(descriptor)


def test_stopping_one_that_is_dead_already_is_no_error(tmp_path: Path) -> None:
    started = child(tmp_path, READY)
    assert_gone(started.pid)
    started.stop()


def test_one_that_does_not_stop_is_killed_with_all_its_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "STOP_WAIT", 0.2)
    deaf = (
        "import json, signal, subprocess, sys\n"
        "grandchild = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'])\n"
        "print(json.dumps({'grandchild': grandchild.pid}), flush=True)\n"
        "signal.pause()\n"
    )
    started = child(tmp_path, deaf)
    started.stop()
    assert_gone(started.pid)
    assert_gone(started.ready["grandchild"])


@pytest.mark.parametrize(
    ("code", "within", "words"),
    [
        ("import signal; signal.pause()", 0.3, "not ready in time"),
        ("import sys; sys.exit('no port is free')", WITHIN, "did not start: no port is free"),
        ("print('hello', flush=True)", WITHIN, "something else"),
        ("print('[1]', flush=True)", WITHIN, "something else"),
        ("import sys\nwhile True: sys.stdout.write('x' * 4096)", WITHIN, "did not start"),
    ],
)
def test_one_that_does_not_get_ready_is_ended_and_its_log_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, within: float, words: str
) -> None:
    monkeypatch.setattr(process, "KILL_WAIT", 1.0)
    with pytest.raises(Inconclusive, match=words):
        child(tmp_path, code, within)


def test_a_server_and_its_folder_go_when_its_parent_is_killed() -> None:
    code = (
        "import sys\n"
        "from smtpbench.lab.recipes import Child, aiosmtpd\n"
        "from smtpbench.lab import recipes\n"
        "started = []\n"
        "class Known(Child):\n"
        "    def __init__(self, *a, **k):\n"
        "        super().__init__(*a, **k); started.append(self.pid)\n"
        "recipes.Child = Known\n"
        "with aiosmtpd() as running:\n"
        "    target = running.target\n"
        "    print(started[0], target.tls.ca.parent, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdin is not None
    assert parent.stdout is not None
    with parent.stdin, parent.stdout:
        pid, folder = parent.stdout.readline().split()
        assert Path(folder).is_dir()
        server = os.pidfd_open(int(pid))
        parent.send_signal(signal.SIGKILL)
        parent.wait(WITHIN)
        ended = select.select([server], [], [], WITHIN)[0]
        os.close(server)
    assert ended
    assert not Path(folder).exists()
