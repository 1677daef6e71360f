"""Our sink against Postfix's C sink `smtp-sink`, both loaded by `smtp-source`, in turn.

`smtp-source -d` keeps its connections; without `-d` it makes one for each message. Both sinks take everything
and keep nothing. Ours parses every line and counts messages, recipients and octets. A third one is ours with
`--record`, the delivery half of the ledger: it also finds out which message came and whether it is whole, and
what it says of it is with the system before it answers 250.

What is compared is messages a second of the sink's CPU: user plus system time of its process while
smtp-source runs, as the scheduler counts it (/proc/PID/task/*/schedstat), so start-up is not in it. A ratio
is the median of the ratios within a round, in which each sink has one run, and whose order changes.

    python benchmarks/sink_vs_smtp_sink.py [--messages N] [--sessions N] [--rounds N] [--postfix-root DIR]

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
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from postfix_tools import Postfix, found
from rich.console import Console
from rich.table import Table

from smtpbench.errors import EXIT_FINDINGS, EXIT_INCONCLUSIVE, EXIT_OK

WANTED = 1.0
THEIRS, OURS, RECORDING = "smtp-sink", "smtpbench sink", "with --record"
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


def rounds(count: int, sinks: dict[str, Callable[[], Sample]]) -> list[dict[str, Sample]]:
    """`count` rounds in which each sink has a run; who begins changes. One more comes first, for nothing."""
    names, found = list(sinks), []
    for number in range(count + 1):
        first = number % len(names)
        found.append({name: sinks[name]() for name in names[first:] + names[:first]})
    return found[1:]


def main() -> int:
    """Run the comparison and print the table; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--postfix-root", type=Path)
    options = parser.parse_args()
    console = Console()
    postfix = found(options.postfix_root, console)
    if postfix is None:
        return EXIT_INCONCLUSIVE
    missed = False
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        sinks = {
            THEIRS: stack.enter_context(smtp_sink(postfix)),
            OURS: stack.enter_context(our_sink()),
            RECORDING: stack.enter_context(our_sink("--record", f"{folder}/record")),
        }
        for reuse in (True, False):
            missed |= _compare(console, postfix, options, sinks, reuse=reuse)
    return EXIT_FINDINGS if missed else EXIT_OK


def _compare(
    console: Console, postfix: Postfix, options: argparse.Namespace, sinks: dict[str, RunningSink], *,
    reuse: bool,
) -> bool:  # fmt: skip
    """Print the table for one way to load; whether the ratio that is wanted was missed."""
    load = "connections kept (-d)" if reuse else "a connection a message"
    messages = options.messages if reuse else options.messages // NEW_PART
    table = Table(
        title=f"{load}: {messages} messages, {options.sessions} sessions, medians of {options.rounds} rounds"
    )
    for heading in ("sink", "messages/CPU s", "ratio", "wanted", "CPU µs/message", "messages/s"):
        table.add_column(heading, justify="left" if heading == "sink" else "right")
    found = rounds(
        options.rounds,
        {
            name: partial(run, postfix, sink, messages, options.sessions, reuse=reuse)
            for name, sink in sinks.items()
        },
    )
    ratios = {name: _median(one[name].a_cpu_s / one[THEIRS].a_cpu_s for one in found) for name in sinks}
    for name, ratio in ratios.items():
        table.add_row(
            name, f"{_median(one[name].a_cpu_s for one in found):,.0f}", f"{ratio:.2f}",
            f"≥ {WANTED}" if name == OURS else "", f"{_median(_us(one[name]) for one in found):.1f}",
            f"{_median(one[name].a_s for one in found):,.0f}",
        )  # fmt: skip
    console.print(table)
    ledger = _median(_us(one[RECORDING]) - _us(one[OURS]) for one in found)
    console.print(f"the ledger's entries cost {ledger:.1f} µs a message")
    return ratios[OURS] < WANTED


def _us(sample: Sample) -> float:
    """CPU µs a message."""
    return 1e6 / sample.a_cpu_s


def _median(values: Iterable[float]) -> float:
    return statistics.median(values)


if __name__ == "__main__":
    sys.exit(main())
