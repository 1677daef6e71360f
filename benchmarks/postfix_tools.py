"""Postfix's `smtp-source` and `smtp-sink` for the benchmarks, and what a process has cost."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from rich.console import Console

from smtpbench.load.script import END_OF_DATA
from smtpbench.target import Fixtures, Target, from_url

HOST, SENDER, RECIPIENT = "load.example.org", "sender@load.example.org", "recipient@load.example.org"
BODY = 1024  # octets of body that smtp-source is asked for; it adds a header
BACKLOG = 4096
CACHE = Path.home() / ".cache" / "smtpbench" / "postfix"
WAIT_S = 300


@dataclass(frozen=True)
class Cost:
    """What one run of a generator took."""

    wall_s: float
    cpu_s: float


class Postfix:
    """`smtp-source` and `smtp-sink`, from PATH or from an unpacked package."""

    def __init__(self, root: Path | None) -> None:
        self._env = dict(os.environ)
        if root is None and shutil.which("smtp-source") and shutil.which("smtp-sink"):
            self.source, self.sink = "smtp-source", "smtp-sink"
            return
        root = root or _download()
        self.source, self.sink = (str(root / "usr/sbin" / name) for name in ("smtp-source", "smtp-sink"))
        if not Path(self.source).exists():
            raise FileNotFoundError(self.source)
        self._env["LD_LIBRARY_PATH"] = str(root / "usr/lib/postfix")

    def start(self, *command: str, silent: bool = False) -> subprocess.Popen[bytes]:
        """A process of these tools; if `silent`, what it complains about is not shown."""
        stderr = subprocess.DEVNULL if silent else None
        return subprocess.Popen(command, env=self._env, stdout=subprocess.DEVNULL, stderr=stderr)

    @contextlib.contextmanager
    def running_sink(self, *options: str) -> Iterator[int]:
        """A sink that takes everything; its port."""
        port = _free_port()
        user = ("-u", "nobody") if os.geteuid() == 0 else ()
        process = self.start(self.sink, *user, *options, f"127.0.0.1:{port}", str(BACKLOG))
        try:
            _await_port(port)
            yield port
        finally:
            process.terminate()
            process.wait(WAIT_S)

    def run_source(self, port: int, messages: int, sessions: int, *, reuse: bool) -> Cost:
        """smtp-source, one run; with `reuse` over as many connections as sessions, else one a message."""
        started = time.perf_counter()
        return cost_of(self._start_source(port, messages, sessions, reuse=reuse), started)

    def _start_source(
        self, port: int, messages: int, sessions: int, *, reuse: bool = True, silent: bool = False
    ) -> subprocess.Popen[bytes]:
        return self.start(
            self.source, *(["-d"] if reuse else []), "-s", str(sessions), "-m", str(messages),
            "-l", str(BODY), "-M", HOST, "-f", SENDER, "-t", RECIPIENT, f"127.0.0.1:{port}", silent=silent,
        )  # fmt: skip

    def measured_size(self) -> int:
        """Octets of content that smtp-source sends, seen on the wire, so that ours are as long."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.settimeout(10)
            # silent: that we hang up on it is on purpose
            process = self._start_source(server.getsockname()[1], 1, 1, silent=True)
            try:
                connection, _ = server.accept()
                connection.settimeout(10)
                with connection, connection.makefile("rb") as lines:
                    return _first_content(connection, lines)
            finally:
                process.kill()
                process.wait(WAIT_S)


def found(root: Path | None, console: Console) -> Postfix | None:
    """The tools, from `root` if it is given; None, and why on `console`, if they are not to be had."""
    try:
        return Postfix(root)
    except (OSError, subprocess.SubprocessError) as error:
        console.print(f"smtp-source and smtp-sink not found, and not to be downloaded: {error}", markup=False)
    return None


def target_of(port: int) -> Target:
    """The sink on a port, spoken to as smtp-source speaks to it."""
    return from_url(f"smtp://127.0.0.1:{port}").model_copy(update={
        "client_name": HOST, "fixtures": Fixtures(sender=SENDER, recipient=RECIPIENT),
    })  # fmt: skip


def cost_of(process: subprocess.Popen[bytes], started: float) -> Cost:
    """What `process` will have taken at its end. Raises RuntimeError if it fails."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{process.args!r}: exit code {process.returncode}")
    return Cost(time.perf_counter() - started, usage.ru_utime + usage.ru_stime)


@contextlib.contextmanager
def telling_cost() -> Iterator[None]:
    """In a process of ours: what the block takes, for who has started it with `told_cost`."""
    started, used = time.perf_counter(), time.process_time()
    yield
    json.dump((time.perf_counter() - started, time.process_time() - used), sys.stdout)


def told_cost(command: Sequence[str], **environment: str) -> Cost:
    """What `command` says of itself: as `telling_cost`, so without its start. Raises CalledProcessError."""
    done = subprocess.run(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, check=True)
    return Cost(*json.loads(done.stdout))


def resident_mb() -> float:
    """Memory of this process that is in RAM."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def allow_files(number: int) -> None:
    """Let this process and its children have so many files open. Raises ValueError, OSError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < number:
        resource.setrlimit(resource.RLIMIT_NOFILE, (number, max(hard, number)))


def _download() -> Path:
    """Unpack Debian's Postfix package, without installing it, into our cache."""
    if not (CACHE / "usr/sbin/smtp-source").exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", "postfix"], cwd=CACHE, check=True, timeout=WAIT_S)
        package = next(CACHE.glob("postfix_*.deb"))
        subprocess.run(["dpkg", "-x", package, CACHE], check=True, timeout=WAIT_S)
    return CACHE


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _await_port(port: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _first_content(connection: socket.socket, lines: Iterable[bytes]) -> int:
    """Serve until the first message has come; its size without the end-of-data line."""
    connection.sendall(b"220 sink\r\n")
    for line in lines:
        if line.upper() == b"DATA\r\n":
            connection.sendall(b"354 go\r\n")
            break
        connection.sendall(b"250 ok\r\n")
    return sum(len(line) for line in takewhile(lambda line: line != END_OF_DATA, lines))
