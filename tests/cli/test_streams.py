"""Who reads standard output and error, and in which encoding, changes neither a run nor its exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from smtpbench.cli._common import ending_signals

LIMIT_S = 60
EXPLAIN = ("-m", "smtpbench", "explain", "rfc5321.quit.quit-is-answered-221")


def python(*arguments: str, **streams: Any) -> subprocess.CompletedProcess[str]:
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    return subprocess.run([sys.executable, *arguments], text=True, timeout=LIMIT_S, check=False, **given)


@pytest.fixture
def left() -> Iterator[int]:
    """The writing end of a pipe whose reader has left."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


def test_a_reader_who_leaves_is_no_finding(left: int) -> None:
    done = python(*EXPLAIN, stdout=left)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_summary_that_finds_no_room_is_a_line_and_a_usage_error() -> None:
    with Path("/dev/full").open("w") as full:
        done = python(*EXPLAIN, stdout=full)
    line = "smtpbench: standard output: cannot be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (2, line)


def test_an_encoding_without_our_characters_shows_them_as_escapes() -> None:
    done = python(*EXPLAIN, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "RFC 5321 \\xa7" in done.stdout


@pytest.mark.parametrize("where", ["a pipe", "a full disk"])
def test_progress_that_nobody_reads_does_not_end_a_run(left: int, where: str) -> None:
    run = """
import sys
from smtpbench import cli
from smtpbench.cli.live import queue_progress

def app():
    with queue_progress(quiet=False) as show:
        for settled in range(3):
            show({"t_s": 1.0, "settled": settled, "messages": 3})
    print("measured")
    sys.exit(3)

cli.app = app
cli.main()
"""
    with Path("/dev/full").open("w") as full:
        done = python("-c", run, stderr=left if where == "a pipe" else full)
    assert (done.returncode, done.stdout) == (3, "measured\n")


def test_nohup_keeps_its_word() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert ending_signals() == [signal.SIGINT, signal.SIGTERM]
    finally:
        signal.signal(signal.SIGHUP, before)
    assert ending_signals() == [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
