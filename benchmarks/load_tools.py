"""Our generator against postal, Locust with smtplib in a plain user, and an aiosmtplib loop.

Every tool sends messages of one size over as many sessions, each over one connection, to a sink of ours,
which counts what it took. The measurement begins a second after the first message, so that the start-up of
interpreters is not in it, and ends after a set time. CPU is that of the tool's processes in this time, as
the scheduler counts it. Runs of the tools take turns, and medians are shown.

- postal is Debian's, C++ with a thread a session; it computes a checksum of each message. It writes one in
  pieces without TCP_NODELAY, so each waits for a delayed acknowledgement (40 ms): its rate is about 22
  messages/s a session whatever the sink, and only its CPU can be compared.
- Locust: a user whose task is `smtplib.sendmail` over a connection that it keeps, timed by `request.fire`.
- aiosmtplib: a task a session that awaits `sendmail` over a connection that it keeps, on uvloop.
- smtpbench: our engine, every phase of every message in histograms, without and with PIPELINING.

    python benchmarks/load_tools.py [--sessions N] [--seconds S] [--rounds N]

Exit code 0; 3 if postal is not found (the others are shown all the same).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path

from postfix_tools import RECIPIENT, SENDER, target_of
from rich.console import Console
from rich.table import Table

from smtpbench.errors import EXIT_INCONCLUSIVE, EXIT_OK

SIZE = 1_390  # octets of content: what postal makes of a body of 1 KiB
CACHE = Path.home() / ".cache" / "smtpbench" / "postal"
UNLIMITED = "100000000"  # messages a minute
KEPT = "1000000"  # postal draws the messages of a connection from 1 to this
WARM_UP_S = 1.0  # from the first message on
WAIT_S = 20
POLL_S = 0.05
Command = Callable[[int, int, Path], list[str]]  # port, sessions, a folder to write to


# the sink of a run


@contextlib.contextmanager
def counting_sink(folder: Path) -> Iterator[tuple[int, Path]]:
    """Our sink, recording nothing but how many messages it took, which it keeps in a file: port and file."""
    port_file, count_file = folder / "port", folder / "count"
    command = [sys.executable, __file__, "--sink", str(port_file), str(count_file)]
    process = subprocess.Popen(command)
    try:
        _until(lambda: port_file.exists() and count_file.exists())
        yield int(port_file.read_text(encoding="ascii")), count_file
    finally:
        process.terminate()
        process.wait(WAIT_S)


def run_sink(port_file: str, count_file: str) -> None:
    """What `counting_sink` starts."""
    import uvloop

    from smtpbench.server.sink import Sink

    async def serve() -> None:
        async with Sink() as sink:
            _replace(Path(port_file), str(sink.port))
            while True:
                counts = sink.counts
                _replace(Path(count_file), f"{time.perf_counter()} {counts.messages} {counts.octets}")
                await asyncio.sleep(POLL_S)

    uvloop.run(serve())


def _replace(path: Path, text: str) -> None:
    """So that a reader sees all of it or what was there before."""
    beside = path.with_suffix(".new")
    beside.write_text(text, encoding="ascii")
    beside.replace(path)


def _until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError(f"nothing within {WAIT_S} s")
        time.sleep(POLL_S)


# one run


@dataclass(frozen=True)
class Sample:
    """Messages a second, CPU of the generator in µs a message, octets a message."""

    a_s: float
    cpu_us: float
    size: float


@dataclass(frozen=True)
class _Moment:
    at: float
    messages: int
    octets: int
    cpu_s: float


def measure(command: Command, sessions: int, seconds: float) -> Sample:
    """Run a tool against a sink of its own. Raises RuntimeError if it sends nothing."""
    with tempfile.TemporaryDirectory() as name, counting_sink(Path(name)) as (port, counts):
        with (Path(name) / "log").open("wb") as log:
            process = subprocess.Popen(
                command(port, sessions, Path(name)), stdout=log, stderr=log, cwd=name, start_new_session=True
            )
            try:
                _until(lambda: _moment(process, counts).messages > 0 or process.poll() is not None)
                time.sleep(WARM_UP_S)
                begin = _moment(process, counts)
                time.sleep(seconds)
                end = _moment(process, counts)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, 9)
                process.wait(WAIT_S)
        messages = end.messages - begin.messages
        if not messages:
            said = (Path(name) / "log").read_text(errors="replace").strip().splitlines()
            raise RuntimeError(f"{process.args!r} sent nothing: {' '.join(said[-1:])}")
        return Sample(
            messages / (end.at - begin.at),
            (end.cpu_s - begin.cpu_s) / messages * 1e6,
            (end.octets - begin.octets) / messages,
        )


def _moment(process: subprocess.Popen[bytes], counts: Path) -> _Moment:
    at, messages, octets = counts.read_text(encoding="ascii").split()
    return _Moment(float(at), int(messages), int(octets), _cpu_s(process.pid))


def _cpu_s(pid: int) -> float:
    """CPU time of all threads of a process, and of its children."""
    total = 0.0
    for task in Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that ended meanwhile
            total += int((task / "schedstat").read_text(encoding="ascii").split()[0]) / 1e9
            children = (task / "children").read_text(encoding="ascii").split()
            total += sum(_cpu_s(int(child)) for child in children)
    return total


# the tools


def message() -> bytes:
    """What the Python tools send: `SIZE` octets of content."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = SENDER, RECIPIENT, "load"
    head = bytes(mail).replace(b"\n", b"\r\n")
    lines, rest = divmod(SIZE - len(head), 72)
    return head + (b"x" * 70 + b"\r\n") * (lines - 1) + b"x" * (70 + rest) + b"\r\n"


def postal() -> str:
    """Debian's postal, from PATH or unpacked into our cache. Raises OSError, SubprocessError."""
    found = shutil.which("postal")
    if found:
        return found
    if not (CACHE / "usr/sbin/postal").exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["apt-get", "download", "postal"], cwd=CACHE, check=True, timeout=WAIT_S, capture_output=True
        )
        subprocess.run(["dpkg", "-x", next(CACHE.glob("postal_*.deb")), CACHE], check=True, timeout=WAIT_S)
    return str(CACHE / "usr/sbin/postal")


def postal_command(port: int, sessions: int, folder: Path) -> list[str]:
    """postal: bodies of 1 KiB, connections that are kept, no limit to the rate of its own."""
    users, senders = folder / "users", folder / "senders"
    users.write_text(RECIPIENT + "\n", encoding="ascii")
    senders.write_text(SENDER + "\n", encoding="ascii")
    return [
        postal(), "-m", "1", "-M", "1", "-t", str(sessions), "-c", KEPT, "-r", UNLIMITED, "-f", str(senders),
        "-p", str(port), "127.0.0.1", str(users),
    ]  # fmt: skip


LOCUSTFILE = """
import smtplib, sys, time
from locust import User, constant, task
sys.path.insert(0, {here!r})
from load_tools import RECIPIENT, SENDER, message
MESSAGE = message()


class Plain(User):
    wait_time = constant(0)

    def on_start(self):
        self.client = smtplib.SMTP("127.0.0.1", {port})

    @task
    def send(self):
        begun = time.perf_counter()
        self.client.sendmail(SENDER, [RECIPIENT], MESSAGE)
        took = (time.perf_counter() - begun) * 1000
        self.environment.events.request.fire(
            request_type="smtp", name="send", response_time=took, response_length=0,
            exception=None, context={{}},
        )
"""


def locust_command(port: int, sessions: int, folder: Path) -> list[str]:
    """Locust with smtplib in a plain user."""
    file = folder / "plain.py"
    file.write_text(LOCUSTFILE.format(port=port, here=str(Path(__file__).parent)), encoding="ascii")
    return [
        sys.executable, "-m", "locust", "-f", str(file), "--headless", "-t", "600",
        "-u", str(sessions), "-r", str(sessions),
    ]  # fmt: skip


def aiosmtplib_command(port: int, sessions: int, folder: Path) -> list[str]:
    """An aiosmtplib loop."""
    return [sys.executable, __file__, "--aiosmtplib", str(port), str(sessions)]


def run_aiosmtplib(port: str, sessions: str) -> None:
    """What `aiosmtplib_command` starts."""
    import aiosmtplib
    import uvloop

    async def session() -> None:
        async with aiosmtplib.SMTP(hostname="127.0.0.1", port=int(port), start_tls=False) as client:
            while True:
                await client.sendmail(SENDER, [RECIPIENT], message_octets)

    async def all_sessions() -> None:
        await asyncio.gather(*(session() for _ in range(int(sessions))))

    message_octets = message()
    uvloop.run(all_sessions())


def engine_command(port: int, sessions: int, folder: Path, *, pipelining: bool) -> list[str]:
    """Our engine."""
    return [sys.executable, __file__, "--engine", str(port), str(sessions), str(int(pipelining))]


def run_engine(port: str, sessions: str, pipelining: str) -> None:
    """What `engine_command` starts."""
    from smtpbench.load.setup import make_engine
    from smtpbench.load.workload import Workload

    workload = Workload(
        users=int(sessions), messages=10**9, message_size=SIZE, pipelining=bool(int(pipelining))
    )
    engine = make_engine(target_of(int(port)), workload)
    for _ in range(int(sessions)):
        engine.add_user()
    engine.run()


TOOLS: dict[str, Command] = {
    "smtpbench, PIPELINING": lambda *given: engine_command(*given, pipelining=True),
    "smtpbench, no PIPELINING": lambda *given: engine_command(*given, pipelining=False),
    "postal": postal_command,
    "aiosmtplib loop": aiosmtplib_command,
    "Locust, smtplib": locust_command,
}


def main() -> int:
    """Run all tools in turn and print the table; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    console = Console()
    tools = dict(TOOLS)
    try:
        postal()
    except (OSError, subprocess.SubprocessError) as error:
        console.print(f"postal not found, and not to be downloaded: {error}", markup=False)
        del tools["postal"]
    samples: dict[str, list[Sample]] = {name: [] for name in tools}
    for _ in range(options.rounds):
        for name, command in tools.items():
            samples[name].append(measure(command, options.sessions, options.seconds))
    table = Table(
        title=f"{options.sessions} sessions, medians of {options.rounds} runs of {options.seconds:g} s"
    )
    for heading in ("generator", "octets", "messages/s", "ratio", "CPU µs/message", "ratio"):
        table.add_column(heading, justify="left" if heading == "generator" else "right")
    first = _median(samples["smtpbench, no PIPELINING"])
    for name, found in samples.items():
        one = _median(found)
        table.add_row(
            name, f"{one.size:,.0f}", f"{one.a_s:,.0f}", f"{one.a_s / first.a_s:.2f}",
            f"{one.cpu_us:.1f}", f"{one.cpu_us / first.cpu_us:.2f}",
        )  # fmt: skip
    console.print(table)
    return EXIT_OK if "postal" in tools else EXIT_INCONCLUSIVE


def _median(samples: list[Sample]) -> Sample:
    return Sample(
        statistics.median(sample.a_s for sample in samples),
        statistics.median(sample.cpu_us for sample in samples),
        statistics.median(sample.size for sample in samples),
    )


CHILDREN: dict[str, Callable[..., None]] = {
    "--sink": run_sink,
    "--aiosmtplib": run_aiosmtplib,
    "--engine": run_engine,
}

if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in CHILDREN:
        CHILDREN[sys.argv[1]](*sys.argv[2:])
    else:
        sys.exit(main())
