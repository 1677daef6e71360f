"""A server process of ours: it says when it is ready, and cannot outlive us.

The child's standard input is a pipe from us. A line on it, or its end (which comes when we die, however we
die), tells the child to stop. On standard output the child writes one line of JSON when it is ready.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from smtpbench.errors import Inconclusive

STOP_WAIT = 15.0  # seconds for an orderly stop; Postfix needs 1 to 2
KILL_WAIT = 5.0
MAX_READY_LINE = 65_536
LOG_TAIL = 300  # characters of a failed child's log that go into the error


class Child:
    """A started child. `ready` is what its line said; `stop` ends it in bounded time."""

    def __init__(self, argv: Sequence[str], *, log: Path, within: float) -> None:
        """Start `argv` and wait `within` seconds for its line. Raises Inconclusive, with the log's end.

        The child gets a session of its own, so that a Ctrl-C at the terminal reaches only us and the
        child is stopped after the run has ended.
        """
        self._owner = os.getpid()
        self._log = log
        self._name = Path(argv[0]).name if len(argv) < 3 else " ".join(argv[1:3])
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        try:
            self.ready: dict[str, Any] = self._await_ready(time.monotonic() + within)
        except BaseException:
            self.stop(at_once=True)
            raise

    @property
    def pid(self) -> int:
        """Its process id, which is that of its process group too."""
        return self._process.pid

    def order(self, word: str, within: float) -> dict[str, Any]:
        """Say `word`, and wait for the line that answers it. Raises Inconclusive, with the log's end."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(word.encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise Inconclusive(f"{self._name}: cannot be told to {word}: {error.strerror}") from None
        return self._await_ready(time.monotonic() + within)

    def kill(self) -> None:
        """SIGKILL its process group, and wait for its end."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(KILL_WAIT)

    def _await_ready(self, deadline: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        line = b""
        while not line.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([descriptor], [], [], left)[0]:
                raise Inconclusive(f"{self._name}: not ready in time{self._tail()}")
            octets = os.read(descriptor, 4096)
            if not octets or len(line) > MAX_READY_LINE:
                raise Inconclusive(f"{self._name}: did not start{self._tail()}")
            line += octets
        try:
            return dict(json.loads(line))
        except (ValueError, TypeError):
            raise Inconclusive(f"{self._name}: said something else than it is ready{self._tail()}") from None

    def _tail(self) -> str:
        try:
            text = self._log.read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return ""
        return f": {' / '.join(text.splitlines())[-LOG_TAIL:]}" if text else ""

    def stop(self, *, at_once: bool = False) -> None:
        """Ask it to stop, wait, and kill its process group if it does not. Never raises for a dead child.

        In a process forked from the one that started it, nothing is done: the child is not its own.
        """
        if os.getpid() != self._owner:
            return
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(OSError):
            process.stdin.write(b"stop\n")
            process.stdin.flush()
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(KILL_WAIT if at_once else STOP_WAIT)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(KILL_WAIT)
        finally:
            process.stdout.close()
