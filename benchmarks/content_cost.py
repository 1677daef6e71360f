"""What a message costs by its content: CPU µs for the next transaction and its octets, ready for the wire.

No socket: this is what the engine asks a script for, once a message, with the commands behind it. Each kind
is measured in turns, and the median of the turns is shown, with its ratio to the plain default message. The
work of making the pool is shown beside it: it is done once, when a process starts.

    python benchmarks/content_cost.py [--messages N] [--turns N] [--size OCTETS]
"""

from __future__ import annotations

import argparse
import mailbox
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from rich.console import Console
from rich.table import Table

from smtpbench.load.corpus.mime import Envelope, Maker
from smtpbench.load.corpus.mixture import MIME
from smtpbench.load.corpus.stock import Stock
from smtpbench.load.script import Script
from smtpbench.load.setup import make_script
from smtpbench.load.workload import Workload
from smtpbench.target import from_url

TARGET = from_url("smtp://127.0.0.1:25")  # never connected to
BEHIND = b"MAIL FROM:<sender@example.org>\r\nRCPT TO:<recipient@example.org>\r\nDATA\r\n"
EACH = 20  # a message that is signed by itself stands for so many others


@dataclass
class Kind:
    """One way of making messages, and what it was measured to cost."""

    name: str
    fields: dict[str, Any]
    divide: int = 1
    setup_s: float = 0.0
    script: Script | None = None
    costs_us: list[float] = field(default_factory=list)


def kinds(size: int, folder: Path) -> list[Kind]:
    """All of them; the mail to be replayed and the key are made in `folder`."""
    maker = Maker(Envelope("a@real.example", ("b@real.example",)))
    box = mailbox.mbox(folder / "mail.mbox")
    for number in range(1000):
        kind = list(MIME)[number % len(MIME)]
        box.add(b"X".join(maker.make(kind, size, Random(number))).replace(b"\r\n", b"\n"))
    box.close()
    key = {"key": str(folder / "key.pem")}
    subprocess.run(["openssl", "genrsa", "-out", key["key"], "2048"], check=True, capture_output=True)
    sized = {"message_size": size}
    return [
        Kind("plain", sized),
        Kind("plain, sizes drawn", {"message_size": f"uniform:{size // 2}-{size + size // 2}"}),
        Kind("mime pool", {"content": "mime", **sized}),
        Kind("mime pool, with 8bit", {"content": "mime@9,8bit@1", **sized}),
        Kind("replay of 1,000", {"corpus": str(folder / "mail.mbox")}),
        Kind("mime pool, signed once", {"content": "mime", "dkim": key, **sized}),
        Kind("plain, each signed", {"dkim": {**key, "each": True}, **sized}, EACH * 10),
    ]


def measure(kind: Kind, messages: int) -> float:
    """CPU µs for a message: the next transaction, and its content with a group of commands behind it."""
    assert kind.script is not None
    following, number = kind.script.next, max(messages // kind.divide, 1)
    before = time.thread_time_ns()
    for _ in range(number):
        following().content(BEHIND)
    return (time.thread_time_ns() - before) / number / 1000


def main() -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--size", type=int, default=1024)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        all_kinds = kinds(options.size, Path(folder))
        for kind in all_kinds:
            before = time.thread_time_ns()
            kind.script = make_script(TARGET, Workload(users=1, **kind.fields), Random(1), Stock())
            kind.setup_s = (time.thread_time_ns() - before) / 1e9
        for _ in range(options.turns):
            for kind in all_kinds:
                kind.costs_us.append(measure(kind, options.messages))
    show(all_kinds, options.size)


def show(all_kinds: list[Kind], size: int) -> None:
    """A table of the medians."""
    table = Table(title=f"content of a message of {size:,} octets, CPU")
    for heading in ("", "µs a message", "times plain", "µs more", "made in s"):
        table.add_column(heading, justify="right" if heading else "left")
    plain = statistics.median(all_kinds[0].costs_us)
    for kind in all_kinds:
        cost = statistics.median(kind.costs_us)
        table.add_row(
            kind.name, f"{cost:,.2f}", f"{cost / plain:,.2f}", f"{cost - plain:,.2f}", f"{kind.setup_s:.2f}"
        )
    Console().print(table)


if __name__ == "__main__":
    main()
