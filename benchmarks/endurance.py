"""A million messages from one engine: its memory must not grow with their number.

Prints the resident memory after 10 %, 50 % and 100 % of the messages. What is used up to the first look is
start-up: buffers, histograms and pools have their size by then.

    python benchmarks/endurance.py [--messages N] [--sessions N] [--growth MB] [--no-pipelining]

Exit code 0 only if the memory grew by no more than `--growth` from the first look to the last, 1 if it did, 3
if the tools of Postfix are not found.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from postfix_tools import found, resident_mb, target_of
from rich.console import Console

from smtpbench.errors import EXIT_FINDINGS, EXIT_INCONCLUSIVE, EXIT_OK
from smtpbench.load.setup import make_engine
from smtpbench.load.workload import Workload

MARKS = (0.1, 0.5, 1.0)
STALL_S = 30.0  # without one message more


def looks(port: int, options: argparse.Namespace, console: Console) -> list[float]:
    """Send all; the resident memory (MB) at each of `MARKS`."""
    workload = Workload(users=options.sessions, messages=options.messages, pipelining=options.pipelining)
    engine = make_engine(target_of(port), workload)
    for _ in range(options.sessions):
        engine.add_user()
    engine.start()
    found: list[float] = []
    accepted, moved_at = 0, time.monotonic()
    while len(found) < len(MARKS):
        if time.monotonic() > moved_at + STALL_S or (engine.finished and not engine.batches):
            raise SystemExit(f"{accepted} of {options.messages} messages accepted: {engine.last_error}")
        while engine.batches:
            accepted += engine.batches.popleft().counters["accepted"]
            moved_at = time.monotonic()
        while len(found) < len(MARKS) and accepted >= MARKS[len(found)] * options.messages:
            found.append(resident_mb())
            console.print(f"{MARKS[len(found) - 1]:4.0%}: {accepted:,} messages, {found[-1]:.1f} MB resident")
        time.sleep(0.05)
    return found


def main() -> int:
    """Send, look, judge; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--messages", type=int, default=1_000_000, help="(1000000)")
    parser.add_argument("--sessions", type=int, default=50, help="(50)")
    parser.add_argument("--growth", type=float, default=8.0, help="how much is allowed, in MB (8)")
    parser.add_argument("--pipelining", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--postfix-root", type=Path, help="where a Postfix package was unpacked")
    options = parser.parse_args()
    console = Console()
    postfix = found(options.postfix_root, console)
    if postfix is None:
        return EXIT_INCONCLUSIVE
    with postfix.running_sink() as port:
        marks = looks(port, options, console)
    growth = marks[-1] - marks[0]
    holds = growth <= options.growth
    console.print(f"growth: {growth:.1f} MB ≤ {options.growth:g}: {'holds' if holds else 'MISSED'}")
    return EXIT_OK if holds else EXIT_FINDINGS


if __name__ == "__main__":
    sys.exit(main())
