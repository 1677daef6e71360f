"""The processes of a target, to be killed and started again: what a crash campaign needs of a lab server.

Only servers that we have started ourselves have one, and targets whose file says which commands do it.
"""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from smtpbench.errors import Inconclusive
from smtpbench.lab.state import started_at
from smtpbench.target import Crash, Endpoint, Target

POLL_S = 0.05
GREET_S = 2.0  # for one attempt; a server that was just started may take a connection and be slow
KILL_S = 30.0  # for a command that kills
TAIL = 300  # characters of a log that go into an error


class Machine(Protocol):
    """The processes of one target."""

    def kill(self) -> None:
        """SIGKILL all of them at once. Raises Inconclusive if that cannot be done."""

    def start(self) -> None:
        """Start them again after `kill`. Returns when that has been ordered, see `await_greeting`; raises
        Inconclusive if it failed at once.
        """

    def pids(self) -> list[int]:
        """Those that run now, as far as they can be seen from here."""

    @property
    def guessed(self) -> str:
        """Why `pids` may not be all of them; "" if they are."""

    def log_tail(self) -> str:
        """The end of what they logged, in one line."""


@dataclass(frozen=True, slots=True)
class Running:
    """A target that is up, and its processes."""

    target: Target
    machine: Machine


def await_greeting(endpoint: Endpoint, within_s: float) -> float:
    """Wait until the endpoint greets (with 220, in the clear) or takes a connection (TLS); the seconds it
    took.

    Raises Inconclusive after `within_s`.
    """
    begun = time.monotonic()
    while (waited := time.monotonic() - begun) < within_s:
        with suppress(OSError), socket.create_connection((endpoint.host, endpoint.port), GREET_S) as one:
            if endpoint.tls == "implicit":
                return time.monotonic() - begun
            if one.recv(512).startswith(b"220"):
                with suppress(OSError):
                    one.sendall(b"QUIT\r\n")
                return time.monotonic() - begun
        time.sleep(min(POLL_S, max(within_s - waited, 0)))
    raise Inconclusive(f"{endpoint.address}: no greeting within {within_s:g} s")


def tail(path: Path) -> str:
    """The last lines of a log, in one; "" if there is none."""
    with suppress(OSError), path.open("rb") as file:
        file.seek(max(path.stat().st_size - 4 * TAIL, 0))
        lines = file.read().decode("utf-8", "replace").strip().splitlines()
        return " / ".join(lines)[-TAIL:]
    return ""


def in_same_namespace(pid: int) -> list[int]:
    """The processes in the process namespace of `pid` (its first process excepted), oldest number first."""
    return _processes(lambda one: one != pid and _namespace(one) == _namespace(pid))


def await_end(pids: Collection[int], within_s: float) -> None:
    """Wait until none of `pids` runs: only then have their sockets and locks been let go.

    Raises Inconclusive.
    """
    deadline = time.monotonic() + within_s
    while left := [pid for pid in pids if started_at(pid) is not None]:
        if time.monotonic() > deadline:
            raise Inconclusive(f"process {left[0]} does not end within {within_s:g} s of SIGKILL")
        time.sleep(POLL_S / 10)


def in_session(leader: int) -> list[int]:
    """The processes in the session that `leader` leads."""
    return _processes(lambda one: _session(one) == leader)


def listening_on(port: int) -> list[int]:
    """The processes that have a socket which listens on `port`, and those in their sessions."""
    inodes = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    owners = _processes(lambda one: bool(inodes & _sockets(one)))
    sessions = {_session(one) for one in owners} - {None, os.getsid(0)}
    return sorted({*owners, *_processes(lambda one: _session(one) in sessions)})


def _processes(wanted: Callable[[int], bool]) -> list[int]:
    """Those of all processes; one that is dead and not yet waited for is none."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                if wanted(int(entry.name)) and started_at(int(entry.name)) is not None:
                    found.append(int(entry.name))
    return sorted(found)


def _namespace(pid: int) -> str:
    return str(Path(f"/proc/{pid}/ns/pid").readlink())


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None


def _sockets(pid: int) -> set[str]:
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            found.add(str(entry.readlink()))
    return found


def _listening_inodes(port: int) -> set[str]:
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
                words = line.split()
                if words[3] == "0A" and int(words[1].rpartition(":")[2], 16) == port:
                    found.add(words[9])
    return found


class CommandMachine:
    """A target that is killed and started by the commands of its file."""

    def __init__(self, target: Target, crash: Crash) -> None:
        self._target, self._crash = target, crash
        self._log = Path(tempfile.mkstemp(prefix="smtpbench-crash-")[1])

    def close(self) -> None:
        """Forget what the commands said. What was started goes on."""
        self._log.unlink(missing_ok=True)

    def kill(self) -> None:
        """Run the command, and wait for its end."""
        code = self._run("kill", self._crash.kill).wait_for(KILL_S)
        if code != 0:
            raise Inconclusive(f"crash.kill: {self._crash.kill}: exit code {code}: {self.log_tail()}")

    def start(self) -> None:
        """Run the command. It may end, or be the server itself and go on."""
        self._run("start", self._crash.start)

    def pids(self) -> list[int]:
        """Those that its command prints, or else those that listen on the target's port on this machine, and
        their sessions. Raises Inconclusive.
        """
        command = self._crash.pids
        return listening_on(self._target.main.port) if command is None else _printed(command)

    @property
    def guessed(self) -> str:
        """Other processes may have a part in it, unless the target's file names them all."""
        return "" if self._crash.pids else "which processes are the target's is a guess (state crash.pids)"

    def log_tail(self) -> str:
        """What the commands said last."""
        return tail(self._log)

    def _run(self, what: str, command: str) -> _Command:
        with self._log.open("ab") as log:
            return _Command(f"crash.{what}", ["/bin/sh", "-c", command], log.fileno())


def _printed(command: str) -> list[int]:
    """The numbers that a command prints."""
    try:
        done = subprocess.run(
            ["/bin/sh", "-c", command], stdin=subprocess.DEVNULL, capture_output=True, timeout=KILL_S
        )
    except subprocess.TimeoutExpired:
        raise Inconclusive(f"crash.pids: {command}: still runs after {KILL_S:g} s") from None
    words = done.stdout.decode("ascii", "replace").split()
    if done.returncode or not all(word.isdecimal() for word in words):
        said = (done.stderr or done.stdout).decode("utf-8", "replace").strip()[:TAIL]
        raise Inconclusive(f"crash.pids: {command}: exit code {done.returncode}, expected numbers: {said}")
    return sorted({int(word) for word in words})


class _Command:
    def __init__(self, name: str, argv: Sequence[str], log: int) -> None:
        self._name = name
        self._process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )

    def wait_for(self, within_s: float) -> int:
        try:
            return self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise Inconclusive(f"{self._name}: still runs after {within_s:g} s") from None
