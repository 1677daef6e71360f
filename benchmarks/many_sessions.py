"""One process of ours that holds many sessions: memory, time to set them up, and what a message then costs.

The sessions are opened to our own sink and kept (`smtp-sink` looks through a list of timers at every event;
half as many saturate it). Each sends a message now and then, so that the rate of all together is the same
however many they are. The rests between are exponential, which makes the messages of all together a Poisson
process whatever their number: with equal rests, sessions that were opened together come in bunches, tighter
the fewer they are, and what is compared is bunches. The cost of a message is the CPU of the engine's
thread, as its batches tell it. Who goes first takes turns.

    python benchmarks/many_sessions.py [--sessions N] [--few N] [--rate N] [--seconds N] [--pairs N]

Exit code 0 only if the resident memory and the ratio of the costs are as wanted, 1 if one is not, 3 if so
many files may not be open.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from postfix_tools import allow_files, resident_mb, target_of
from rich.console import Console

from smtpbench.errors import EXIT_FINDINGS, EXIT_INCONCLUSIVE, EXIT_OK
from smtpbench.load.engine import Engine
from smtpbench.load.recorder import Batch
from smtpbench.load.setup import make_engine
from smtpbench.load.workload import Workload
from smtpbench.target import Timeouts

RSS_MAX_MB = 400
COST_RATIO_MAX = 1.3
SPARE_FILES = 200
OPEN_S = 120.0  # for all sessions


def child(port: int, sessions: int, rate: int, seconds: int) -> None:
    """Hold `sessions`, measure for `seconds`, and print what was seen as JSON."""
    workload = Workload(users=sessions, idle=f"exponential:{sessions / rate}s", pipelining=True)
    patient = target_of(port).model_copy(update={"timeouts": Timeouts(connect=OPEN_S, reply=OPEN_S)})
    engine = make_engine(patient, workload)
    for _ in range(sessions):
        engine.add_user()
    started = time.monotonic()
    engine.start()
    while engine.sessions_open < sessions:
        if time.monotonic() > started + OPEN_S:
            raise SystemExit(f"{engine.sessions_open} of {sessions} sessions: {engine.last_error}")
        time.sleep(0.005)
    set_up_s, rss_mb = time.monotonic() - started, resident_mb()
    _batches(engine, 2)  # the last of the set-up
    batches = _batches(engine, seconds)
    seen = {
        "set_up_s": set_up_s, "rss_mb": max(rss_mb, resident_mb()), "sessions": engine.sessions_open,
        "rate": sum(batch.counters["accepted"] for batch in batches) / seconds,
        "cost_us": sum(b.cpu_ns for b in batches) / 1000 / sum(b.counters["accepted"] for b in batches),
    }  # fmt: skip
    sys.stdout.write(json.dumps(seen))
    sys.stdout.flush()
    engine.stop()


def _batches(engine: Engine, number: int) -> list[Batch]:
    """The next `number` batches, one a second."""
    taken: list[Batch] = []
    engine.batches.clear()
    while len(taken) < number and not engine.finished:
        while engine.batches:
            taken.append(engine.batches.popleft())
        time.sleep(0.02)
    return taken[:number]


@contextmanager
def running_sink() -> Iterator[int]:
    """Our sink in a process of its own; its port."""
    command = [sys.executable, "-m", "smtpbench", "sink", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline().rpartition(":")[2])
        finally:
            process.terminate()


def run(port: int, sessions: int, options: argparse.Namespace) -> dict[str, Any]:
    """One process of ours; what it saw."""
    command = [
        sys.executable,
        __file__,
        "--child",
        *map(str, (port, sessions, options.rate, options.seconds)),
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=OPEN_S + 10 * options.seconds)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> int:
    """Measure few and many in turn; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sessions", type=int, default=10_000, help="how many to hold (10000)")
    parser.add_argument("--few", type=int, default=100, help="to compare with (100)")
    parser.add_argument("--rate", type=int, default=6000, help="messages a second of all together (6000)")
    parser.add_argument("--seconds", type=int, default=10, help="to measure for (10)")
    parser.add_argument("--pairs", type=int, default=5, help="runs of each (5)")
    options = parser.parse_args()
    console = Console(width=110)
    try:
        allow_files(options.sessions + SPARE_FILES)
    except (OSError, ValueError) as error:
        console.print(f"cannot hold {options.sessions} sessions here: {error}", markup=False)
        return EXIT_INCONCLUSIVE
    few: list[dict[str, Any]] = []
    many: list[dict[str, Any]] = []
    turns = [(few, options.few), (many, options.sessions)]
    with running_sink() as port:
        for _ in range(options.pairs):
            for seen, sessions in turns:
                seen.append(run(port, sessions, options))
                _show(console, seen[-1])
            turns.reverse()
    ratio = statistics.median(b["cost_us"] / a["cost_us"] for a, b in zip(few, many, strict=True))
    rss = max(seen["rss_mb"] for seen in many)
    console.print(
        f"resident memory: {rss:.0f} MB ≤ {RSS_MAX_MB}: {'holds' if rss <= RSS_MAX_MB else 'MISSED'}"
    )
    console.print(
        f"cost of a message, {options.sessions} sessions to {options.few}: {ratio:.2f} ≤ {COST_RATIO_MAX}: "
        f"{'holds' if ratio <= COST_RATIO_MAX else 'MISSED'}"
    )
    return EXIT_OK if rss <= RSS_MAX_MB and ratio <= COST_RATIO_MAX else EXIT_FINDINGS


def _show(console: Console, seen: dict[str, Any]) -> None:
    console.print(
        f"{seen['sessions']:6d} sessions: set up in {seen['set_up_s']:.2f} s, "
        f"{seen['rss_mb']:.0f} MB resident, {seen['rate']:.0f} messages/s, "
        f"{seen['cost_us']:.1f} µs of CPU a message"
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*(int(argument) for argument in sys.argv[2:]))
    else:
        sys.exit(main())
