"""What the ledger costs the engine: the same load against `smtp-sink` with a journal and without one, in
turn.

CPU is that of the engine's thread, all recording included. Each pair is one run of either kind, the first of
them by turns; medians are compared. The cost of the record itself (`Journal.note`, in a loop) is shown beside
it.

    python benchmarks/ledger_cost.py [--messages N] [--sessions N] [--pairs N] [--postfix-root DIR]

Exit code 1 if the ledger costs more than its limit, 3 if the tools of Postfix are not found.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from postfix_tools import Postfix
from rich.console import Console
from rich.table import Table

from smtpbench.delivery.journal import Journal, read_journal
from smtpbench.errors import EXIT_FINDINGS, EXIT_INCONCLUSIVE, EXIT_OK
from smtpbench.load.setup import make_engine
from smtpbench.load.workload import Workload
from smtpbench.target import from_url

SHARE_MAX = 0.2  # of the cost of a message that is pipelined and costs least
WAIT_S = 120
NOTES = 200_000


def child(port: int, messages: int, sessions: int, pipelining: int, folder: str) -> None:
    """One run; prints the engine's µs of CPU for a message."""
    ledger = Path(folder) if folder else None
    engine = make_engine(
        from_url(f"smtp://127.0.0.1:{port}"),
        Workload(users=sessions, messages=messages, pipelining=bool(pipelining)), ledger=ledger,
    )  # fmt: skip
    for _ in range(sessions):
        engine.add_user()
    engine.run()
    accepted = sum(batch.counters["accepted"] for batch in engine.batches)
    cpu_ns = sum(batch.cpu_ns for batch in engine.batches)
    if ledger is not None:
        (path,) = ledger.glob("*.journal")
        written = len(read_journal(path)[1])
        if written != accepted:
            raise SystemExit(f"{accepted} accepted, {written} in the journal")
    print(cpu_ns / 1000 / accepted)  # noqa: T201 - for the parent


def run(port: int, messages: int, sessions: int, pipelining: bool, *, ledger: bool) -> float:
    """The µs of CPU for a message, of an engine in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = [str(number) for number in (port, messages, sessions, int(pipelining))]
        command = [sys.executable, __file__, "--child", *arguments, f"{folder}/ledger" if ledger else ""]
        return float(subprocess.run(command, capture_output=True, check=True, timeout=WAIT_S).stdout)


def note_cost() -> float:
    """The µs of CPU that one record takes."""
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder), b"0123abcd")
        note = journal.note
        begun = time.thread_time_ns()
        for number in range(NOTES):
            note(1, number, begun, 1000, 1, number, 0, 0)
        cost = (time.thread_time_ns() - begun) / 1000 / NOTES
        journal.close()
        return cost


def compare(port: int, options: argparse.Namespace, pipelining: bool) -> tuple[float, float]:
    """The median costs without a ledger and with one."""
    found: dict[bool, list[float]] = {False: [], True: []}
    for pair in range(options.pairs):
        for ledger in (False, True) if pair % 2 else (True, False):
            cost = run(port, options.messages, options.sessions, pipelining, ledger=ledger)
            found[ledger].append(cost)
    return statistics.median(found[False]), statistics.median(found[True])


def main() -> int:
    """Run the comparison and print the table; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--messages", type=int, default=30_000)
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--postfix-root", type=Path)
    options = parser.parse_args()
    console = Console()
    try:
        postfix = Postfix(options.postfix_root)
    except (OSError, subprocess.SubprocessError) as error:
        console.print(f"smtp-sink is not found: {error}", markup=False)
        return EXIT_INCONCLUSIVE
    table = Table("PIPELINING", "without µs/message", "with µs/message", "ledger µs/message", "share")
    worst = 0.0
    with postfix.running_sink() as port:
        for pipelining in (False, True):
            plain, kept = compare(port, options, pipelining)
            worst = max(worst, (kept - plain) / plain)
            name = "yes" if pipelining else "no"
            table.add_row(
                name, f"{plain:.2f}", f"{kept:.2f}", f"{kept - plain:+.2f}", f"{kept / plain - 1:+.1%}"
            )
    console.print(table)
    console.print(f"the record itself: {note_cost():.2f} µs")
    return EXIT_OK if worst <= SHARE_MAX else EXIT_FINDINGS


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        port, messages, sessions, pipelining = map(int, sys.argv[2:6])
        child(port, messages, sessions, pipelining, sys.argv[6])
    else:
        sys.exit(main())
