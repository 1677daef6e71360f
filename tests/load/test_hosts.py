"""A master and workers on hosts of their own: network namespaces with a router, gone with the test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
]

ROOT = Path(__file__).parents[2]
LIMIT_S = 90
SMTPBENCH = (sys.executable, "-c", "from smtpbench.cli import main; main()")
TARGET, MASTER, ALPHA, BETA = 1, 2, 3, 4  # their networks
PORT = 2525  # of the one server of its host


def address(network: int, host: int = 2) -> str:
    """In namespaces of ours alone."""
    return f"10.213.{network}.{host}"


# A server that says how many messages it took when its standard input ends.
SINK = f"""
import asyncio, sys
from tests.load.sinks import Sink

async def main():
    sink = Sink(pipelining=True)
    async with await asyncio.start_server(sink.serve, "{address(TARGET)}", {PORT}):
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        print(sink.messages, flush=True)

asyncio.run(main())
"""


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, timeout=LIMIT_S, capture_output=True)


class Hosts:
    """Namespaces by name, each on a network of its own, and a router: not every kernel has bridges."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._prefix = f"sb{os.getpid()}"
        self._router = self._add("router")
        forward = ("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        ip("netns", "exec", self._router, *forward)

    def add(self, name: str, network: int) -> None:
        """A host whose address is `address(network)`."""
        space = self._add(name)
        ip(
            "-n",
            space,
            "link",
            "add",
            "eth0",
            "type",
            "veth",
            "peer",
            "name",
            f"to-{name}",
            "netns",
            self._router,
        )
        ip("-n", space, "addr", "add", f"{address(network)}/24", "dev", "eth0")
        ip("-n", self._router, "addr", "add", f"{address(network, 1)}/24", "dev", f"to-{name}")
        for where, device in ((space, "lo"), (space, "eth0"), (self._router, f"to-{name}")):
            ip("-n", where, "link", "set", device, "up")
        ip("-n", space, "route", "add", "default", "via", address(network, 1))

    def cut(self, name: str) -> None:
        """Pull the plug of a host."""
        ip("-n", self._router, "link", "set", f"to-{name}", "down")

    def run(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        """A process on a host; it does not outlive the hosts."""
        process = subprocess.Popen(
            ["ip", "netns", "exec", f"{self._prefix}-{name}", *command],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        self._stack.callback(_end, process)
        return process

    def _add(self, name: str) -> str:
        space = f"{self._prefix}-{name}"
        ip("netns", "add", space)
        self._stack.callback(ip, "netns", "del", space)
        return space


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
    process.communicate(timeout=LIMIT_S)


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    with ExitStack() as stack:
        made = Hosts(stack)
        for name, network in {"target": TARGET, "master": MASTER, "alpha": ALPHA, "beta": BETA}.items():
            made.add(name, network)
        yield made


class Run:
    """A master on its host and a worker on each of two others, against a sink on a fourth."""

    def __init__(self, hosts: Hosts, out: Path, *workload: str) -> None:
        self.sink = hosts.run("target", sys.executable, "-c", SINK)
        assert self.sink.stdout is not None
        assert self.sink.stdout.readline() == b"ready\n"
        self.master = hosts.run(
            "master", *SMTPBENCH, "load", f"smtp://{address(TARGET)}:{PORT}", "--authorized", address(TARGET),
            "--processes", "2", "--master", "--master-host", address(MASTER), "--json", str(out), *workload,
        )  # fmt: skip
        self.workers = {
            name: hosts.run(name, *SMTPBENCH, "load", "--worker", "--master-host", address(MASTER))
            for name in ("alpha", "beta")
        }
        self._out = out

    def until_accepted(self, act: Callable[[], None]) -> None:
        """Call `act` when the first messages have been reported."""
        assert self.master.stderr is not None
        for line in self.master.stderr:
            if b" accepted " in line and int(line.split(b" accepted")[0].split()[-1].replace(b",", b"")):
                act()
                return
        raise AssertionError("the master ended before a message was accepted")

    def result(self) -> dict[str, Any]:
        self.master.communicate(timeout=LIMIT_S)
        found: dict[str, Any] = json.loads(self._out.read_text())
        return found

    def sunk(self) -> int:
        """How many messages the sink took."""
        said, _ = self.sink.communicate(timeout=LIMIT_S)
        return int(said)


def test_hosts_add_up_to_what_the_sink_counted(hosts: Hosts, tmp_path: Path) -> None:
    run = Run(hosts, tmp_path / "out.json", "--rate", "200", "--arrivals", "constant", "--run-time", "3s")
    result = run.result()
    assert [worker.wait(LIMIT_S) for worker in run.workers.values()] == [0, 0]
    assert not [reason for reason in result["invalid_reasons"] if "worker" in reason]
    did = result["generator"]["workers"]
    assert [one["state"] for one in did] == ["finished", "finished"]
    assert sum(one["accepted"] for one in did) == result["totals"]["accepted"] == run.sunk() == 600
    assert result["phases"]["transaction"]["count"] == 600


def test_a_host_whose_cable_is_pulled_is_named_and_the_other_goes_on(hosts: Hosts, tmp_path: Path) -> None:
    run = Run(hosts, tmp_path / "out.json", "--rate", "100", "--arrivals", "constant", "--run-time", "10s")
    run.until_accepted(lambda: hosts.cut("beta"))
    began = time.monotonic()
    _, said = run.workers["beta"].communicate(timeout=LIMIT_S)
    assert time.monotonic() - began < 60
    assert run.workers["beta"].returncode == 3
    assert b"said nothing for 10 s" in said
    result = run.result()
    assert run.workers["alpha"].wait(LIMIT_S) == 0
    assert run.master.returncode == 3
    states = sorted(one["state"] for one in result["generator"]["workers"])
    assert states == ["finished", "lost"]
    lost = next(one for one in result["generator"]["workers"] if one["state"] == "lost")
    assert lost["not_offered"] > 0
    assert sum(lost["name"] in reason for reason in result["invalid_reasons"]) == 1
    assert result["totals"]["accepted"] <= run.sunk()
