"""Our engine against Postfix's C generator `smtp-source`, both against the same `smtp-sink`, in turn.

Both send the same messages (same size on the wire), over as many sessions, with the same commands. The runs
alternate, and those of all lines of the table take turns, so that a noisy machine is noisy for all; a ratio
is the median of the ratios of neighbours.
CPU is user plus system time of the generator's process, all threads. Ours counts it, and the wall time, from
its first connection until the last has ended: to start an interpreter takes as long as thousands of messages,
and on a noisy machine never twice the same. Of smtp-source it is that of the process as wait4 tells it, less
the median of runs of one message, because it cannot send none.

smtp-source has no PIPELINING: our pipelined runs are compared with its plain ones (`-d`: connections are
kept). With a new connection for each message it runs without `-d`. Our engine checks every reply and records
every phase of every message in histograms in all runs; smtp-source records nothing.

    python benchmarks/engine_vs_smtp_source.py [--short] [--sessions 1,10,50,200] [--messages N] [--pairs N]
        [--manner "no PIPELINING"|PIPELINING|"a connection a message"]…

Exit code 0 only if all ratios hold, 1 if one is missed, 3 if the tools of Postfix are not found.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from postfix_tools import Cost, Postfix, found, target_of, telling_cost, told_cost
from rich.console import Console
from rich.table import Table

from smtpbench.errors import EXIT_FINDINGS, EXIT_INCONCLUSIVE, EXIT_OK
from smtpbench.load.chat import PURE
from smtpbench.load.setup import make_engine
from smtpbench.load.workload import Workload


@dataclass(frozen=True)
class Manner:
    """How to send, and what is wanted of us: so many times their CPU at most, their rate at least."""

    name: str
    pipelining: bool = False
    reuse: bool = True
    cpu_max: float = 1.0
    rate_min: float | None = None
    part: int = 1  # of the messages of a run: what takes longer sends fewer


MANNERS = (
    Manner("no PIPELINING", rate_min=1.0),
    Manner("PIPELINING", pipelining=True, cpu_max=0.6, rate_min=1.5),
    Manner("a connection a message", reuse=False, part=4),
)


@dataclass(frozen=True)
class Row:
    """One line of the table: messages a second and CPU in µs a message, ours and theirs, and their ratios."""

    sessions: int
    manner: Manner
    rates: tuple[float, float]
    cpus: tuple[float, float]
    rate_ratio: float
    cpu_ratio: float

    @property
    def holds(self) -> bool:
        """Whether both ratios are as wanted."""
        return self.cpu_ratio <= self.manner.cpu_max and self.rate_ratio >= (self.manner.rate_min or 0)


def run_engine(
    port: int, messages: int, sessions: int, size: int, manner: Manner, *, pure: bool = False
) -> Cost:
    """Our engine in a process of its own, one run; `pure` is without what is built of C."""
    numbers = (port, messages, sessions, size, int(manner.pipelining), int(manner.reuse))
    return told_cost([sys.executable, __file__, "--child", *map(str, numbers)], **{PURE: "1" if pure else ""})


def child(port: int, messages: int, sessions: int, size: int, pipelining: int, reuse: int) -> None:
    """What `run_engine` runs: an engine, its users, and nothing else."""
    workload = Workload(
        users=sessions, messages=messages, message_size=size, pipelining=bool(pipelining),
        messages_per_session=None if reuse else 1,
    )  # fmt: skip
    engine = make_engine(target_of(port), workload)
    with telling_cost():
        for _ in range(sessions):
            engine.add_user()
        engine.run()  # until all messages are sent
    accepted = sum(batch.counters["accepted"] for batch in engine.batches)
    if accepted != messages:
        raise SystemExit(f"{accepted} of {messages} messages accepted: {engine.last_error}")


class Comparison:
    """All runs against one pair of tools. The start-up of smtp-source is measured along with them."""

    def __init__(self, postfix: Postfix, messages: int, pairs: int) -> None:
        self._postfix, self._messages, self._pairs = postfix, messages, pairs
        self.size = postfix.measured_size()
        with postfix.running_sink() as port:
            self.idle = _median([postfix.run_source(port, 1, 1, reuse=True) for _ in range(pairs)])

    def rows(self, sessions: list[int], manners: list[Manner]) -> list[Row]:
        """One for each of both. Their pairs take turns: what the machine does meanwhile, it does to all."""
        pairs: dict[tuple[int, Manner], list[tuple[Cost, Cost]]] = {
            (number, manner): [] for number in sessions for manner in manners
        }
        for turn in range(self._pairs):
            for (number, manner), seen in pairs.items():
                with self._postfix.running_sink() as port:  # a port of its own
                    seen.append(self._pair(port, number, manner, ours_first=bool(turn % 2)))
        return [self._row(*which, seen) for which, seen in pairs.items()]

    def _row(self, sessions: int, manner: Manner, pairs: list[tuple[Cost, Cost]]) -> Row:
        messages = self._messages // manner.part
        net = [(ours, _less(theirs, self.idle)) for ours, theirs in pairs]
        return Row(
            sessions, manner,
            rates=_each(net, lambda cost: messages / cost.wall_s),
            cpus=_each(net, lambda cost: cost.cpu_s / messages * 1e6),
            rate_ratio=statistics.median(theirs.wall_s / ours.wall_s for ours, theirs in net),
            cpu_ratio=statistics.median(ours.cpu_s / theirs.cpu_s for ours, theirs in net),
        )  # fmt: skip

    def _pair(self, port: int, sessions: int, manner: Manner, *, ours_first: bool) -> tuple[Cost, Cost]:
        messages = self._messages // manner.part

        def ours() -> Cost:
            return run_engine(port, messages, sessions, self.size, manner)

        def theirs() -> Cost:
            return self._postfix.run_source(port, messages, sessions, reuse=manner.reuse)

        if ours_first:
            return ours(), theirs()
        first = theirs()
        return ours(), first


def _median(costs: list[Cost]) -> Cost:
    return Cost(statistics.median(c.wall_s for c in costs), statistics.median(c.cpu_s for c in costs))


def _less(cost: Cost, idle: Cost) -> Cost:
    return Cost(max(cost.wall_s - idle.wall_s, 1e-6), max(cost.cpu_s - idle.cpu_s, 1e-6))


def _each(pairs: list[tuple[Cost, Cost]], figure: Callable[[Cost], float]) -> tuple[float, float]:
    ours, theirs = zip(*pairs, strict=True)
    return statistics.median(map(figure, ours)), statistics.median(map(figure, theirs))


def report(console: Console, rows: list[Row], size: int, pairs: int) -> None:
    """The table."""
    table = Table(title=f"smtpbench and smtp-source, messages of {size} octets, medians of {pairs} pairs")
    for heading in ("sessions", "", "messages/s", "theirs", "ratio", "CPU µs/message", "theirs", "ratio", ""):
        table.add_column(heading, justify="left" if not heading else "right")
    for row in rows:
        manner = row.manner
        wanted = f" ≥ {manner.rate_min}" if manner.rate_min else ""
        table.add_row(
            str(row.sessions), manner.name, f"{row.rates[0]:,.0f}", f"{row.rates[1]:,.0f}",
            f"{row.rate_ratio:.2f}{wanted}", f"{row.cpus[0]:.1f}", f"{row.cpus[1]:.1f}",
            f"{row.cpu_ratio:.2f} ≤ {manner.cpu_max}", "holds" if row.holds else "MISSED",
        )  # fmt: skip
    console.print(table)


def main() -> int:
    """Run the comparison and print the table; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--messages", type=int, default=24_000, help="of a run (24000)")
    parser.add_argument("--sessions", default="1,10,50,200", help="numbers of sessions (1,10,50,200)")
    parser.add_argument(
        "--manner", action="append", choices=[manner.name for manner in MANNERS], help="only this one (all)"
    )
    parser.add_argument("--pairs", type=int, default=13, help="runs of each kind, at least 5 (13)")
    parser.add_argument("--short", action="store_true", help="10 sessions only: a minute or two")
    parser.add_argument("--postfix-root", type=Path, help="where a Postfix package was unpacked")
    options = parser.parse_args()
    if options.pairs < 5:
        parser.error(f"--pairs {options.pairs}: a median of fewer than 5 says little")
    sessions = [10] if options.short else [int(number) for number in options.sessions.split(",")]
    console = Console(width=120)
    postfix = found(options.postfix_root, console)
    if postfix is None:
        return EXIT_INCONCLUSIVE
    comparison = Comparison(postfix, options.messages, options.pairs)
    manners = [manner for manner in MANNERS if manner.name in (options.manner or [manner.name])]
    rows = comparison.rows(sessions, manners)
    report(console, rows, comparison.size, options.pairs)
    idle = comparison.idle
    console.print(f"taken away from smtp-source: {idle.wall_s:.3f} s wall, {idle.cpu_s:.3f} s CPU")
    return EXIT_OK if all(row.holds for row in rows) else EXIT_FINDINGS


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*(int(argument) for argument in sys.argv[2:]))
    else:
        sys.exit(main())
