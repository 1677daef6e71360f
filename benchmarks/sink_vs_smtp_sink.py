"""Our sink against Postfix's C sink `smtp-sink`, both loaded by `smtp-source`, in turn.

`smtp-source -d` keeps its connections; without `-d` it makes one for each message. Both sinks take everything
and keep nothing. Ours parses every line and counts messages, recipients and octets. A third one is ours with
`--record`: it also digests each message, and writes a line about it before it says 250.

What is compared is messages a second of the sink's CPU: user plus system time of its process while
smtp-source runs, as the scheduler counts it (/proc/PID/task/*/schedstat), so start-up is not in it. A ratio
is the median of the ratios of neighbouring runs, whose order alternates.

    python benchmarks/sink_vs_smtp_sink.py [--messages N] [--sessions N] [--pairs N] [--postfix-root DIR]

Exit code 0 only if ours has at least 1.0 times the messages a CPU second both ways (with `--record` the
ratio is only shown), 1 if not, 3 if the tools of Postfix are not found.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from postfix_tools import Postfix
from rich.console import Console
from rich.table import Table

from smtpbench.errors import EXIT_FINDINGS, EXIT_INCONCLUSIVE, EXIT_OK

WANTED = 1.0
WAIT_S = 60
NEW_PART = 4  # of the messages of a run, where each takes a connection


@dataclass(frozen=True)
class RunningSink:
    """A sink that listens."""

    port: int
    pid: int

    def cpu_s(self) -> float:
        """CPU time its threads have had."""
        tasks = Path(f"/proc/{self.pid}/task").glob("*/schedstat")
        return sum(int(path.read_text(encoding="ascii").split()[0]) for path in tasks) / 1e9


@contextlib.contextmanager
def our_sink(*options: str) -> Iterator[RunningSink]:
    """``smtpbench sink`` on a port of its own."""
    command = [sys.executable, "-m", "smtpbench", "sink", "--listen", "127.0.0.1:0", "--quiet", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield RunningSink(int(process.stdout.readline().rpartition(":")[2]), process.pid)
        finally:
            process.terminate()
            process.wait(WAIT_S)


@contextlib.contextmanager
def smtp_sink(postfix: Postfix) -> Iterator[RunningSink]:
    """smtp-sink on a port of its own. Its process is the child of ours that was not there before."""
    before = _children()
    with postfix.running_sink() as port:
        (pid,) = _children() - before
        yield RunningSink(port, pid)


def _children() -> set[int]:
    path = Path(f"/proc/self/task/{os.getpid()}/children")
    return {int(pid) for pid in path.read_text(encoding="ascii").split()}


@dataclass(frozen=True)
class Sample:
    """One run: messages a second of the sink's CPU, and of the clock."""

    a_cpu_s: float
    a_s: float


def run(postfix: Postfix, sink: RunningSink, messages: int, sessions: int, *, reuse: bool) -> Sample:
    """Load `sink` once."""
    cpu, begun = sink.cpu_s(), time.perf_counter()
    postfix.run_source(sink.port, messages, sessions, reuse=reuse)
    return Sample(messages / (sink.cpu_s() - cpu), messages / (time.perf_counter() - begun))


def pairs(
    count: int, theirs: Callable[[], Sample], ours: Callable[[], Sample]
) -> list[tuple[Sample, Sample]]:
    """`count` pairs of runs, theirs and ours; who begins alternates. One more comes first, for nothing."""
    found = []
    for number in range(count + 1):
        if number % 2:
            own = ours()
            found.append((theirs(), own))
        else:
            other = theirs()
            found.append((other, ours()))
    return found[1:]


def main() -> int:
    """Run the comparison and print the table; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--postfix-root", type=Path)
    options = parser.parse_args()
    console = Console()
    try:
        postfix = Postfix(options.postfix_root)
    except (OSError, subprocess.SubprocessError) as error:
        console.print(f"smtp-source and smtp-sink not found, and not to be downloaded: {error}", markup=False)
        return EXIT_INCONCLUSIVE
    missed = False
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        theirs = stack.enter_context(smtp_sink(postfix))
        ours = {
            "smtpbench sink": stack.enter_context(our_sink()),
            "… --record": stack.enter_context(our_sink("--record", f"{folder}/record")),
        }
        for reuse in (True, False):
            missed |= _compare(console, postfix, options, theirs, ours, reuse=reuse)
    return EXIT_FINDINGS if missed else EXIT_OK


def _compare(
    console: Console,
    postfix: Postfix,
    options: argparse.Namespace,
    theirs: RunningSink,
    ours: dict[str, RunningSink],
    *,
    reuse: bool,
) -> bool:
    """Print the table for one way to load; whether the ratio that is wanted was missed."""
    load = "connections kept (-d)" if reuse else "a connection a message"
    messages = options.messages if reuse else options.messages // NEW_PART
    title = f"{load}: {messages} messages, {options.sessions} sessions, medians of {options.pairs} pairs"
    table = Table(title=title)
    for heading in ("sink", "messages/CPU s", "ratio", "wanted", "CPU µs/message", "messages/s"):
        table.add_column(heading, justify="left" if heading == "sink" else "right")
    missed = False
    for name, sink in ours.items():
        found = pairs(
            options.pairs,
            partial(run, postfix, theirs, messages, options.sessions, reuse=reuse),
            partial(run, postfix, sink, messages, options.sessions, reuse=reuse),
        )
        ratio = statistics.median(own.a_cpu_s / other.a_cpu_s for other, own in found)
        decides = name == next(iter(ours))
        missed |= decides and ratio < WANTED
        if decides:
            table.add_row(*_figures("smtp-sink", [other for other, _ in found], "1.00", ""))
        table.add_row(
            *_figures(name, [own for _, own in found], f"{ratio:.2f}", f"≥ {WANTED}" if decides else "")
        )
    console.print(table)
    return missed


def _figures(name: str, samples: list[Sample], ratio: str, wanted: str) -> tuple[str, ...]:
    rate = statistics.median(sample.a_cpu_s for sample in samples)
    wall = statistics.median(sample.a_s for sample in samples)
    return name, f"{rate:,.0f}", ratio, wanted, f"{1e6 / rate:.1f}", f"{wall:,.0f}"


if __name__ == "__main__":
    sys.exit(main())
