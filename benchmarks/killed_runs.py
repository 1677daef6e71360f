"""What is left of a run of ours that is killed: SIGKILL of all its processes under load, then its report.

The target is a server with a book of its own, in this process. It writes down each message that it
acknowledges, and which of these 250 our process has read for sure: a session that sends the content of its
next message has read the 354 to it, and so all that came before. Of those none may be missing from the
report; what was acknowledged and perhaps not read is at most one message of each session that was open.

    python benchmarks/killed_runs.py [--kills N] [--users N] [--seed N]

Every other run has two processes, and every other two are without pipelining. The moments are drawn from the
seed, as numbers of messages acknowledged. Exit code 1 if a message is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import socketserver
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from rich.console import Console
from rich.table import Table

from smtpbench.errors import EXIT_FINDINGS, EXIT_OK

WAIT_S = 60.0
USERS = 8
MOMENTS = (100, 3_000)  # messages acknowledged before the kill: the first, and the last there may be
ACCEPTED = 1  # as the ledger has it
_IDENTIFIER = re.compile(rb"^Message-ID: <([^@>]+)@", re.MULTILINE)


class Witness(socketserver.ThreadingTCPServer):
    """Takes all mail into a Maildir, and keeps a book. `due` is set at the nth acknowledgement."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, maildir: Path, nth: int) -> None:
        super().__init__(("127.0.0.1", 0), _Session)
        self.maildir, self.nth = maildir, nth
        self.acknowledged: set[str] = set()
        self.read: set[str] = set()
        self.sessions = 0
        self.due, self.idle = threading.Event(), threading.Event()
        self.lock = threading.Lock()
        for name in ("tmp", "new", "cur"):
            (maildir / name).mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Witness:
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.shutdown()
        self.server_close()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])

    def acknowledge(self, identifier: str, content: bytes) -> None:
        """Store the message and enter it; the 250 is said after that."""
        draft = self.maildir / "tmp" / identifier
        draft.write_bytes(content)
        draft.rename(self.maildir / "new" / identifier)
        with self.lock:
            self.acknowledged.add(identifier)
            if len(self.acknowledged) == self.nth:
                self.due.set()

    def count(self, sessions: int) -> None:
        """So many sessions more are open."""
        with self.lock:
            self.sessions += sessions
            (self.idle.clear if self.sessions else self.idle.set)()


class _Session(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True

    def handle(self) -> None:
        witness = cast(Witness, self.server)
        witness.count(1)
        try:
            self._converse(witness)
        except OSError:
            pass  # the client was killed
        finally:
            witness.count(-1)

    def _converse(self, witness: Witness) -> None:
        last = ""
        self.wfile.write(b"220 witness.example ESMTP\r\n")
        for line in self.rfile:
            verb = line[:4].upper()
            if verb == b"DATA":
                self.wfile.write(b"354 go\r\n")
                content = self._content()
                if not content:
                    return
                if last:
                    witness.read.add(last)
                if not content.endswith(b"\r\n.\r\n"):
                    return
                found = _IDENTIFIER.search(content)
                last = found[1].decode() if found else ""
                witness.acknowledge(last, content[:-3])
                self.wfile.write(b"250 mine\r\n")
            elif verb == b"EHLO":
                self.wfile.write(b"250-witness.example\r\n250 PIPELINING\r\n")
            elif verb == b"QUIT":
                self.wfile.write(b"221 bye\r\n")
                return
            else:
                self.wfile.write(b"250 ok\r\n")

    def _content(self) -> bytes:
        """As far as it comes."""
        lines = []
        for line in self.rfile:
            lines.append(line)
            if line == b".\r\n":
                break
        return b"".join(lines)


@dataclass(frozen=True, slots=True)
class Killed:
    """One kill: what the server's book and the report of the run say. Sets are of identifiers."""

    acknowledged: set[str]
    read: set[str]
    reported: set[str]
    sessions: int  # that were open, by the report
    unanswered: int  # messages, by the report
    text: str  # of the report

    @property
    def missing(self) -> set[str]:
        """Acknowledged, surely read, and not in the report."""
        return self.read - self.reported

    @property
    def in_doubt(self) -> set[str]:
        """Acknowledged, and not in the report."""
        return self.acknowledged - self.reported

    @property
    def wrong(self) -> str:
        """What is wrong, "" if nothing is."""
        if self.missing:
            return f"{len(self.missing)} missing"
        if invented := self.reported - self.acknowledged:
            return f"{len(invented)} that nobody acknowledged"
        if not len(self.in_doubt) <= self.unanswered <= self.sessions:
            return (
                f"{len(self.in_doubt)} in doubt, {self.unanswered} by the report, of {self.sessions} sessions"
            )
        return ""


def killed_run(
    folder: Path, nth: int, *, processes: int = 1, pipelining: bool = True, users: int = USERS
) -> Killed:
    """Load a witness with `smtpbench queue`, kill all of that at the nth acknowledgement; read its report."""
    with Witness(folder / "mail", nth) as witness:
        command = [
            sys.executable, "-m", "smtpbench", "queue", f"smtp://127.0.0.1:{witness.port}",
            "--recipient", "you@example.com", "--observe", f"maildir:{folder / 'mail'}", "--tls", "none",
            "--users", str(users), "--messages", "1000000", "--quiet", "--out", str(folder / "run"),
            "--processes", str(processes), "--pipelining" if pipelining else "--no-pipelining",
        ]  # fmt: skip
        with subprocess.Popen(command, start_new_session=True) as process:
            try:
                if not witness.due.wait(WAIT_S):
                    raise SystemExit(f"only {len(witness.acknowledged)} messages came in {WAIT_S:g} s")
            finally:
                for pid in reversed(tree(process.pid)):
                    os.kill(pid, signal.SIGKILL)
        if not witness.idle.wait(WAIT_S):
            raise SystemExit(f"{witness.sessions} sessions are still open")
    written = folder / "report.json"
    report = [sys.executable, "-m", "smtpbench", "report", str(folder / "run"), "--json", str(written)]
    said = subprocess.run(report, check=True, capture_output=True, timeout=WAIT_S)
    result = json.loads(written.read_text(encoding="utf-8"))
    return Killed(
        witness.acknowledged, witness.read, accepted_in(folder / "run"),
        result["cut_off"]["sessions"], result["cut_off"]["unanswered"], said.stdout.decode(),
    )  # fmt: skip


def accepted_in(run: Path) -> set[str]:
    """The identifiers of the messages that the ledger calls accepted."""
    with sqlite3.connect(run / "ledger" / "ledger.sqlite") as book:
        rows = book.execute("select run, number from entries where outcome = ?", (ACCEPTED,)).fetchall()
    return {f"{name.decode()}-{number:09x}" for name, number in rows}


def tree(pid: int) -> list[int]:
    """`pid` and all that it has started, and they; a parent before its children."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                stat = (entry / "stat").read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="SIGKILL of our own runs")
    parser.add_argument("--kills", type=int, default=8)
    parser.add_argument("--users", type=int, default=USERS)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    draw, table, bad = random.Random(arguments.seed), Table(title="Runs that were killed"), 0
    for heading in (
        "processes",
        "pipelining",
        "acknowledged",
        "surely read",
        "reported",
        "in doubt",
        "missing",
    ):
        table.add_column(heading, justify="right")
    begun = time.monotonic()
    for number in range(arguments.kills):
        processes, pipelining = 1 + number % 2, not number // 2 % 2
        with tempfile.TemporaryDirectory() as folder:
            one = killed_run(
                Path(folder), draw.randint(*MOMENTS), processes=processes, pipelining=pipelining,
                users=arguments.users,
            )  # fmt: skip
        bad += bool(one.wrong)
        sets = (one.acknowledged, one.read, one.reported, one.in_doubt, one.missing)
        table.add_row(str(processes), "yes" if pipelining else "no", *(f"{len(one):,}" for one in sets))
        if one.wrong:
            table.caption = one.wrong
    Console().print(table, f"{arguments.kills} kills in {time.monotonic() - begun:.0f} s, {bad} of them bad")
    return EXIT_FINDINGS if bad else EXIT_OK


if __name__ == "__main__":
    raise SystemExit(main())
