"""What one session costs at least in Python, beside what it costs our engine and Postfix's C generator.

With one session each reply wakes a process that has slept, and Python's code has left the caches by then.
`bare` only sends and receives, `recorded` also looks up each reply, takes the time and keeps the five
durations of a message, and makes each message with an identifier of its own, as the engine does. Both are a
straight line that knows no error, no timeout and no other session. The engine runs as it is, and without
what is built of C (`SMTPBENCH_PURE_PYTHON`).

    python benchmarks/interpreter_floor.py [--messages N] [--rounds N]

CPU as in `engine_vs_smtp_source.py`: user and system, without the start of a process, medians; a ratio is
that to smtp-source in the same round. Exit code 0; 3 if the tools of Postfix are not found.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns as clock

from engine_vs_smtp_source import MANNERS, run_engine
from postfix_tools import HOST, RECIPIENT, SENDER, Cost, Postfix, found, telling_cost, told_cost
from rich.console import Console
from rich.table import Table

from smtpbench.errors import EXIT_INCONCLUSIVE, EXIT_OK
from smtpbench.load.congestion import hold_nothing_back
from smtpbench.load.corpus.content import Content
from smtpbench.load.corpus.plain import plain
from smtpbench.load.identifiers import Identifiers
from smtpbench.load.recorder import Recorder
from smtpbench.load.supply import Budget

READ = 448
MAIL, RCPT, DATA = (
    b"MAIL FROM:<%s>\r\n" % SENDER.encode(),
    b"RCPT TO:<%s>\r\n" % RECIPIENT.encode(),
    b"DATA\r\n",
)


def child(name: str, port: int, messages: int, size: int) -> None:
    """One session of `messages`, in this process."""
    content = Content(plain(size, SENDER, [RECIPIENT]), Identifiers()).next_content
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        hold_nothing_back(connection)
        connection.recv(READ)
        connection.send(f"EHLO {HOST}\r\n".encode())
        connection.recv(READ)
        with telling_cost():
            {"bare": bare, "recorded": recorded}[name](connection, messages, content)
        connection.send(b"QUIT\r\n")
        connection.recv(READ)


def bare(connection: socket.socket, messages: int, content: Callable[[], bytes]) -> None:
    """Nothing but the system calls; the same message each time."""
    send, receive, message = connection.send, connection.recv, content()
    for _ in range(messages):
        for octets in (MAIL, RCPT, DATA, message):
            send(octets)
            receive(READ)


def recorded(connection: socket.socket, messages: int, content: Callable[[], bytes]) -> None:
    """With all that the engine does where nothing goes wrong."""
    send, receive, recorder = connection.send, connection.recv, Recorder()
    take, reply, counters = Budget(recorder, messages).take, recorder.reply, recorder.counters
    mail, rcpt, data, body, whole = (
        recorder.mail, recorder.rcpt, recorder.data, recorder.body, recorder.transaction,
    )  # fmt: skip
    codes: dict[bytes, int] = {}
    code_of = codes.get
    sent = clock()
    while take():
        started = sent
        for octets, note in ((MAIL, mail), (RCPT, rcpt), (DATA, data), (content(), body)):
            send(octets)
            answer = receive(READ)
            now = clock()
            if (code := code_of(answer)) is None:
                code = codes[answer] = int(answer[:3])
            reply(code)
            note((now - sent) // 1000)
            sent = now
        whole((sent - started) // 1000)
        counters["accepted"] += 1
    recorder.fold()


def measured(postfix: Postfix, messages: int, rounds: int) -> dict[str, list[float]]:
    """CPU in µs a message, of each in each round."""
    size = postfix.measured_size()

    def ours(name: str, port: int, number: int) -> Cost:
        return told_cost([sys.executable, __file__, "--child", name, *map(str, (port, number, size))])

    runs: dict[str, Callable[[int, int], Cost]] = {
        "smtp-source": lambda port, number: postfix.run_source(port, number, 1, reuse=True),
        "bare": lambda port, number: ours("bare", port, number),
        "recorded": lambda port, number: ours("recorded", port, number),
        "engine": lambda port, number: run_engine(port, number, 1, size, MANNERS[0]),
        "engine, Python only": lambda port, number: run_engine(port, number, 1, size, MANNERS[0], pure=True),
    }
    with postfix.running_sink() as port:
        start_up = statistics.median(runs["smtp-source"](port, 1).cpu_s for _ in range(rounds))
    costs: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        with postfix.running_sink() as port:
            for name, run in runs.items():
                used = run(port, messages).cpu_s - (start_up if name == "smtp-source" else 0)
                costs[name].append(used / messages * 1e6)
    return costs


def main() -> int:
    """Run all and print the table; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--messages", type=int, default=20_000, help="of a run (20000)")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each (5)")
    parser.add_argument("--postfix-root", type=Path, help="where a Postfix package was unpacked")
    options = parser.parse_args()
    console = Console(width=100)
    postfix = found(options.postfix_root, console)
    if postfix is None:
        return EXIT_INCONCLUSIVE
    costs = measured(postfix, options.messages, options.rounds)
    table = Table(title=f"One session, no PIPELINING, medians of {options.rounds} rounds")
    for heading in ("", "CPU µs/message", "to smtp-source"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, values in costs.items():
        ratio = statistics.median(
            ours / theirs for ours, theirs in zip(values, costs["smtp-source"], strict=True)
        )
        table.add_row(name, f"{statistics.median(values):.1f}", f"{ratio:.2f}")
    console.print(table)
    return EXIT_OK


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], *(int(argument) for argument in sys.argv[3:]))
    else:
        sys.exit(main())
