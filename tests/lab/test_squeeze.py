"""Shortages that are brought upon a server of our own, and ended."""

from __future__ import annotations

import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from smtpbench.errors import UsageError
from smtpbench.lab.shortage import shortages
from smtpbench.lab.squeeze import RECOVER, STRIKE, family, listeners
from tests.lab.conftest import WITHIN

# Listens, says where, has a child, and answers each line with what became of an attempt.
SERVER = """
import os, socket, sys, tempfile
listener = socket.create_server(("127.0.0.1", 0))
waits, lives = os.pipe()
child = os.fork()
if not child:
    listener.close()
    os.close(lives)
    os.read(waits, 1)
    os._exit(0)
print(listener.getsockname()[1], child, flush=True)
path = tempfile.mkdtemp()
for line in sys.stdin:
    try:
        if line == "write\\n":
            with open(f"{path}/file", "ab") as file:
                file.write(b"x")
        else:
            held = [open(os.devnull) for _ in range(5)]
        print("done", flush=True)
    except OSError as error:
        print(error.errno, flush=True)
"""


class Server:
    """The process, its port, its child, and `ask`."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.port, self.child = map(int, self.process.stdout.readline().split())

    def ask(self, what: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        assert select.select([self.process.stdout], [], [], WITHIN)[0]
        return self.process.stdout.readline().strip()


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server()
    with one.process:
        yield one
        assert one.process.stdin is not None
        one.process.stdin.close()
        one.process.wait(WITHIN)


def test_a_server_is_who_listens_and_its_children(server: Server) -> None:
    assert listeners(server.port) == [server.process.pid]
    assert family(server.port) == [server.process.pid, server.child]


def test_nobody_listens(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(UsageError, match=f"port {port}: nobody"):
        family(port)


@pytest.mark.parametrize(("kind", "what"), [("descriptors", "open"), ("disk-full", "write")])
def test_a_shortage_is_felt_and_ends(server: Server, tmp_path: Path, kind: str, what: str) -> None:
    assert server.ask(what) == "done"
    STRIKE[kind](server.port, tmp_path / "before")
    assert server.ask(what) in ("24", "27")  # EMFILE, EFBIG
    RECOVER[kind](server.port, tmp_path / "before")
    assert server.ask(what) == "done"


def test_the_commands_of_a_lab_server_do_it(server: Server, tmp_path: Path) -> None:
    section = shortages(server.port, tmp_path).descriptors
    assert section is not None
    subprocess.run(["/bin/sh", "-c", section.strike], check=True, timeout=WITHIN)
    assert server.ask("open") == "24"
    subprocess.run(["/bin/sh", "-c", section.recover], check=True, timeout=WITHIN)
    assert server.ask("open") == "done"


def test_a_mistake_is_one_line(tmp_path: Path) -> None:
    words = [
        sys.executable,
        "-m",
        "smtpbench.lab.squeeze",
        "descriptors",
        "recover",
        "1",
        str(tmp_path / "x"),
    ]
    done = subprocess.run(words, capture_output=True, text=True, timeout=WITHIN, check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "No such file" in done.stderr
