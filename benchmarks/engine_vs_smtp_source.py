"""Our engine against Postfix's C generator `smtp-source -d`, both against the same `smtp-sink`, in turn.

Both send the same messages (same size on the wire), over as many sessions, with the same commands. The
runs alternate, so that a noisy machine is noisy for both; medians are compared. CPU is user plus system
time of the generator's process as wait4 reports it, and wall time is that of the process. From both, the
median of start-up runs is taken away: ours send no message (interpreter start and imports), those of
smtp-source send one, because it cannot send none.

smtp-source has no PIPELINING: our pipelined runs are compared with its plain ones. Our engine records
every phase of every message in histograms in all runs; smtp-source records nothing.

    python benchmarks/engine_vs_smtp_source.py [--messages N] [--sessions N] [--pairs N] [--postfix-root DIR]

Exit code 1 if a ratio is missed, 3 if the tools of Postfix are not found.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from smtpbench.errors import EXIT_FINDINGS, EXIT_INCONCLUSIVE, EXIT_OK
from smtpbench.load.script import END_OF_DATA
from smtpbench.load.setup import make_engine
from smtpbench.load.workload import Workload
from smtpbench.target import Fixtures, from_url

HOST, SENDER, RECIPIENT = "load.example.org", "sender@load.example.org", "recipient@load.example.org"
BODY = 1024  # octets of body that smtp-source is asked for; it adds a header
CPU_RATIO_MAX = {False: 1.2, True: 0.7}
CACHE = Path.home() / ".cache" / "smtpbench" / "postfix"
WAIT_S = 120


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
    def running_sink(self) -> Iterator[int]:
        """A sink that takes everything; its port."""
        port = _free_port()
        user = ("-u", "nobody") if os.geteuid() == 0 else ()
        process = self.start(self.sink, *user, f"127.0.0.1:{port}", "1000")
        try:
            _await_port(port)
            yield port
        finally:
            process.terminate()
            process.wait(WAIT_S)


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


def _cost(process: subprocess.Popen[bytes], started: float) -> Cost:
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{process.args!r}: exit code {process.returncode}")
    return Cost(time.perf_counter() - started, usage.ru_utime + usage.ru_stime)


def start_source(
    postfix: Postfix, port: int, messages: int, sessions: int, *, silent: bool = False
) -> subprocess.Popen[bytes]:
    """smtp-source at work on a port."""
    return postfix.start(
        postfix.source, "-d", "-s", str(sessions), "-m", str(messages), "-l", str(BODY),
        "-M", HOST, "-f", SENDER, "-t", RECIPIENT, f"127.0.0.1:{port}", silent=silent,
    )  # fmt: skip


def run_source(postfix: Postfix, port: int, messages: int, sessions: int) -> Cost:
    """smtp-source, one run."""
    started = time.perf_counter()
    return _cost(start_source(postfix, port, messages, sessions), started)


def run_engine(port: int, messages: int, sessions: int, size: int, pipelining: bool) -> Cost:
    """Our engine in a process of its own, one run."""
    started = time.perf_counter()
    arguments = [str(number) for number in (port, messages, sessions, size, int(pipelining))]
    process = subprocess.Popen([sys.executable, __file__, "--child", *arguments])
    return _cost(process, started)


def child(port: int, messages: int, sessions: int, size: int, pipelining: int) -> None:
    """What `run_engine` runs: an engine, its users, and nothing else."""
    target = from_url(f"smtp://127.0.0.1:{port}").model_copy(update={
        "client_name": HOST, "fixtures": Fixtures(sender=SENDER, recipient=RECIPIENT),
    })  # fmt: skip
    workload = Workload(users=sessions, messages=messages, message_size=size, pipelining=bool(pipelining))
    engine = make_engine(target, workload)
    for _ in range(sessions):
        engine.add_user()
    engine.run()  # until all messages are sent
    accepted = sum(batch.counters["accepted"] for batch in engine.batches)
    if accepted != messages:
        raise SystemExit(f"{accepted} of {messages} messages accepted: {engine.last_error}")


def measured_size(postfix: Postfix) -> int:
    """Octets of content that smtp-source sends, seen on the wire, so that ours are as long."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        # silent: that we hang up on it is on purpose
        process = start_source(postfix, server.getsockname()[1], 1, 1, silent=True)
        try:
            connection, _ = server.accept()
            connection.settimeout(10)
            with connection, connection.makefile("rb") as lines:
                return _first_content(connection, lines)
        finally:
            process.kill()
            process.wait(WAIT_S)


def _first_content(connection: socket.socket, lines: Iterable[bytes]) -> int:
    """Serve until the first message has come; its size without the end-of-data line."""
    connection.sendall(b"220 sink\r\n")
    for line in lines:
        if line.upper() == b"DATA\r\n":
            connection.sendall(b"354 go\r\n")
            break
        connection.sendall(b"250 ok\r\n")
    return sum(len(line) for line in takewhile(lambda line: line != END_OF_DATA, lines))


def main() -> int:
    """Run the comparison and print the table; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--messages", type=int, default=40_000)
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--postfix-root", type=Path)
    options = parser.parse_args()
    console = Console()
    try:
        postfix = Postfix(options.postfix_root)
    except (OSError, subprocess.SubprocessError) as error:
        console.print(f"smtp-source and smtp-sink not found, and not to be downloaded: {error}", markup=False)
        return EXIT_INCONCLUSIVE
    size = measured_size(postfix)
    runs = _run_all(postfix, options, size)
    return _report(console, runs, options, size)


def _run_all(postfix: Postfix, options: argparse.Namespace, size: int) -> dict[str, list[Cost]]:
    """All runs by name; one of each kind in turn, `pairs` times."""
    sessions, messages = options.sessions, options.messages
    runs: dict[str, list[Cost]] = {"source": [], "plain": [], "pipelined": [], "source 0": [], "engine 0": []}
    with postfix.running_sink() as port:
        for _ in range(options.pairs):
            runs["source"].append(run_source(postfix, port, messages, sessions))
            runs["plain"].append(run_engine(port, messages, sessions, size, False))
            runs["source"].append(run_source(postfix, port, messages, sessions))
            runs["pipelined"].append(run_engine(port, messages, sessions, size, True))
            runs["source 0"].append(run_source(postfix, port, 1, 1))
            runs["engine 0"].append(run_engine(port, 0, 1, size, False))
    return runs


def _report(console: Console, runs: dict[str, list[Cost]], options: argparse.Namespace, size: int) -> int:
    start = {name: _median(runs[f"{name} 0"]) for name in ("source", "engine")}
    rate, cpu = {}, {}
    for name in ("source", "plain", "pipelined"):
        cost, idle = _median(runs[name]), start["source" if name == "source" else "engine"]
        rate[name] = options.messages / (cost.wall_s - idle.wall_s)
        cpu[name] = (cost.cpu_s - idle.cpu_s) / options.messages * 1e6
    table = Table(title=f"{options.messages} messages of {size} octets, {options.sessions} sessions, "
                        f"medians of {options.pairs} runs")  # fmt: skip
    for heading in ("generator", "messages/s", "ratio", "CPU µs/message", "ratio", "wanted"):
        table.add_column(heading, justify="left" if heading == "generator" else "right")
    table.add_row("smtp-source -d", f"{rate['source']:,.0f}", "1.00", f"{cpu['source']:.1f}", "1.00", "")
    missed = False
    for name, pipelining in (("plain", False), ("pipelined", True)):
        ratio, wanted = cpu[name] / cpu["source"], CPU_RATIO_MAX[pipelining]
        missed |= ratio > wanted
        table.add_row(
            f"smtpbench, {'PIPELINING' if pipelining else 'no PIPELINING'}", f"{rate[name]:,.0f}",
            f"{rate[name] / rate['source']:.2f}", f"{cpu[name]:.1f}", f"{ratio:.2f}", f"≤ {wanted}",
        )  # fmt: skip
    console.print(table)
    for name, idle in start.items():
        console.print(f"start-up taken away, {name}: {idle.wall_s:.2f} s wall, {idle.cpu_s:.2f} s CPU")
    return EXIT_FINDINGS if missed else EXIT_OK


def _median(costs: list[Cost]) -> Cost:
    return Cost(statistics.median(c.wall_s for c in costs), statistics.median(c.cpu_s for c in costs))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*(int(argument) for argument in sys.argv[2:]))
    else:
        sys.exit(main())
