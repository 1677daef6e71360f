"""How strace is found, attached and let go; a script stands in for it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from smtpbench.lab import strace
from smtpbench.lab.strace import NotTraced, Strace, find_strace, traced

Fake = Callable[[str], Strace]


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    """A script that is told `$OUTPUT`, `$PIDS` and does what the test says."""

    def make(body: str) -> Strace:
        path = tmp_path / "strace"
        path.write_text(
            "#!/bin/sh\n"
            "while [ $# -gt 0 ]; do\n"
            'case $1 in -o) OUTPUT=$2;; -p) PIDS="$PIDS $2";; esac; shift; done\n'
            'attached() { for pid in $PIDS; do echo "strace: Process $pid attached" >&2; done; }\n'
            f"{body}\n",
            encoding="ascii",
        )
        path.chmod(0o755)
        return Strace(str(path))

    return make


@pytest.fixture
def process() -> Iterator[int]:
    with subprocess.Popen(["sleep", "60"]) as one:
        yield one.pid
        one.kill()


def test_it_is_attached_while_entered_and_detached_after(fake: Fake, process: int, tmp_path: Path) -> None:
    output = tmp_path / "calls"
    program = fake("trap 'echo detached >\"$OUTPUT\"; kill $!; exit' INT; sleep 60 & attached; wait")
    with traced(program, lambda: [process], ["fsync"], output):
        assert not output.exists()
    assert output.read_text() == "detached\n"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('echo "strace: attach: ptrace(PTRACE_SEIZE, ${PIDS# }): Operation not permitted" >&2; exit 1',
         "is refused: Operation not permitted"),
        ("echo 'strace: invalid option' >&2; exit 1", "strace ended: strace: invalid option"),
        ("exit 1", "no reason given"),
    ],
)  # fmt: skip
def test_why_it_is_not_attached(fake: Fake, process: int, tmp_path: Path, body: str, words: str) -> None:
    with pytest.raises(NotTraced) as caught, traced(fake(body), lambda: [process], ["fsync"], tmp_path / "c"):
        pass
    assert words in str(caught.value)


def test_a_strace_that_never_attaches_is_not_waited_for(
    fake: Fake, process: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strace, "ATTACH_S", 0.2)
    program = fake("exec sleep 60")
    with (
        pytest.raises(NotTraced) as caught,
        traced(program, lambda: [process], ["fsync"], tmp_path / "calls"),
    ):
        pass
    assert "within 0.2 s" in str(caught.value)


def test_processes_that_come_while_it_attaches_are_met_the_next_time(
    fake: Fake, process: int, tmp_path: Path
) -> None:
    looks: list[int] = []

    def pids() -> list[int]:
        looks.append(1)
        return [process] if len(looks) == 1 else [process, os.getpid()]

    program = fake("trap 'kill $!; exit' INT; sleep 60 & attached; echo x >>$OUTPUT.starts; wait")
    with traced(program, pids, ["fsync"], tmp_path / "calls"):
        assert (tmp_path / "calls.starts").read_text() == "x\nx\n"


def test_no_processes_are_not_traced(fake: Fake, tmp_path: Path) -> None:
    with pytest.raises(NotTraced), traced(fake("exit 0"), list, ["fsync"], tmp_path / "calls"):
        pass


def test_one_that_was_fetched_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(NotTraced):
        find_strace(fetch=True)  # there is no apt-get either
    root = tmp_path / "smtpbench" / "strace-debs" / "root" / "usr"
    (root / "bin").mkdir(parents=True)
    (root / "lib" / "x86_64-linux-gnu").mkdir(parents=True)
    (root / "bin" / "strace").touch()
    found = find_strace()
    assert found.program == str(root / "bin" / "strace")
    assert found.environment["LD_LIBRARY_PATH"] == str(root / "lib" / "x86_64-linux-gnu")
