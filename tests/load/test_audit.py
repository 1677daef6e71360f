"""Each way in which a client can be the bottleneck: it is said when it is so, and only then."""

from __future__ import annotations

import errno
import gc
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from typing import Any

import pytest

from smtpbench.load import audit
from smtpbench.load.collect import Collector
from smtpbench.load.meter import Meter, is_local, machine, send_buffer, throttled, waited
from smtpbench.load.recorder import Batch, Recorder
from smtpbench.load.result import Calibration, LoadResult
from smtpbench.load.setup import make_engine
from smtpbench.load.transport import SocketTransport
from smtpbench.load.workload import Workload
from tests.load.conftest import Running
from tests.load.engines import ended

SECOND = 1_000_000_000
LIMIT_S = 30


def second(*, cpu: float = 0.3, accepted: int = 100, lag_us: int = 0, late_us: int = 0, **used: int) -> Batch:
    """A second of a healthy run, in which `used` differs. Ticks are of two cores, half of them idle."""
    recorder = Recorder()
    for _ in range(accepted):
        recorder.transaction(10_000)
        recorder.schedule_lag(late_us)
    recorder.loop_lag(lag_us)
    recorder.counters["accepted"] = recorder.counters["offered"] = accepted
    made = recorder.take_batch()
    made.span_ns, made.cpu_ns = SECOND, int(cpu * SECOND)
    made.used = {
        "process_ns": int(cpu * SECOND), "waited_ns": 0, "gc_ns": 0, "gc_max_ns": 0,
        "ticks": 200, "idle": 100, "stolen": 0, "throttled_us": 0, **used,
    }  # fmt: skip
    return made


def judged(*batches: Batch, local: bool = False) -> LoadResult:
    collector = Collector()
    collector.target_is_local = local
    for batch in batches:
        collector.add("one", batch)
    return collector.result()


MS = 1_000_000
BROKEN = {
    "saturated": (second(cpu=0.92), "its loop used 92% of a core, and was saturated"),
    "tipped over": (second(cpu=0.7, waited_ns=250 * MS), "and waited for one for 25% of the time"),
    "other threads": (second(cpu=0.4, process_ns=970 * MS), "one of its processes used 97% of a core"),
    "loop late": (second(lag_us=300_000), "the generator's loop was late: p99 300 ms"),
    "plan not kept": (second(late_us=60_000), "arrivals were started late: p99 60 ms"),
    "hypervisor": (second(stolen=30), "the hypervisor gave 15% of this machine's CPU time to others"),
    "quota": (second(throttled_us=30_000), "the CPU quota of its container held the generator back for 3%"),
    "garbage": (second(gc_ns=80 * MS), "8% of the time in the garbage collector"),
    "send buffer": (second(sending_us=1000, send_buffer_us=300), "our own send buffer was full for 30%"),
}
SOUND = {
    "saturated": second(cpu=0.88),
    "starved, but light": second(cpu=0.2, waited_ns=750 * MS),
    "other threads": second(cpu=0.4, process_ns=900 * MS),
    "loop late": second(lag_us=200_000),
    "plan not kept": second(late_us=40_000),
    "hypervisor": second(stolen=10),
    "quota": second(throttled_us=10_000),
    "garbage": second(gc_ns=20 * MS),
    "send buffer": second(sending_us=1000, send_buffer_us=200),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_client_that_was_the_bottleneck_says_by_what(what: str) -> None:
    batch, reason = BROKEN[what]
    result = judged(batch)
    assert not result.valid
    assert [reason in line for line in result.invalid_reasons] == [True]


@pytest.mark.parametrize("what", SOUND)
def test_below_its_limit_nothing_is_said(what: str) -> None:
    assert judged(SOUND[what]).invalid_reasons == []


def test_one_saturated_second_of_ten_is_borne_and_two_are_not() -> None:
    calm, busy = [second() for _ in range(8)], second(cpu=0.97)
    assert judged(*calm, second(), busy).valid
    assert not judged(*calm, busy, busy).valid


WARNED = {
    "starved": (second(waited_ns=200 * MS), "kept the loop waiting for a core for 20% of the time"),
    "one machine": (second(idle=4), "the target runs on the generator's machine, which was busy to 98%"),
    "lag": (second(lag_us=8_000), "the loop was late by 8.0 ms (p99)"),
    "a pause": (second(gc_max_ns=60 * MS), "a pause of the garbage collector took 60 ms"),
    "sessions": (replace(second(), crowded=True, waiting=0), ""),
}


@pytest.mark.parametrize("what", WARNED)
def test_what_a_reader_must_know_is_a_warning(what: str) -> None:
    batch, text = WARNED[what]
    result = judged(batch, local=True)
    assert result.valid
    assert [text in line for line in result.generator.warnings] == ([True] if text else [])


def test_a_healthy_run_is_warned_of_nothing() -> None:
    assert judged(second(), local=True).generator.warnings == []


def test_arrivals_that_wait_for_a_session_of_ours_are_warned_of() -> None:
    crowded = second()
    crowded.crowded, crowded.waiting = True, 5
    crowded.counters["offered"] += 5
    assert "--max-sessions" in judged(crowded).generator.warnings[0]


def test_a_kernel_that_tells_nothing_of_waiting_is_named() -> None:
    batch = second()
    del batch.used["waited_ns"]
    result = judged(batch)
    assert result.generator.processes[0].waited_s is None
    assert "does not say" in result.generator.warnings[0]


@pytest.mark.parametrize(("accepted", "valid"), [(790, True), (810, False)])
def test_a_run_near_its_own_ceiling_is_not_valid(accepted: int, valid: bool) -> None:
    result = judged(second(accepted=accepted))
    audit.apply_calibration(result, Calibration(per_s=1000))
    assert result.valid is valid
    assert result.generator.calibration is not None
    assert result.generator.calibration.used == accepted / 1000
    if not valid:
        assert "81% of what the generator can send at all" in result.invalid_reasons[0]


def test_several_processes_have_a_ceiling_each() -> None:
    collector = Collector()
    collector.add("one", second(accepted=900))
    collector.add("two", second(accepted=500))
    result = collector.result()
    audit.apply_calibration(result, Calibration(per_s=1000))
    assert result.valid
    assert [use.name for use in result.generator.processes] == ["one", "two"]


# --- what is measured ---


def test_the_kernel_files_are_read() -> None:
    assert waited("123 456 7\n") == {"waited_ns": 456}
    assert waited("") == {}
    assert machine("cpu  10 1 5 100 3 2 1 8 0 0\ncpu0 1\n") == {"ticks": 130, "idle": 103, "stolen": 8}
    assert machine("") == {}
    assert throttled("usage_usec 5\nnr_throttled 1\nthrottled_usec 77\n") == {"throttled_us": 77}
    assert throttled("usage_usec 5\n") == {}


def test_a_meter_sees_work_waiting_and_garbage() -> None:
    """The thread competes with two others for one core, so it must wait for about two thirds of the time."""
    code = """
import gc, os, threading, time
from smtpbench.load.meter import Meter
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
for _ in range(2):
    if not os.fork():
        end = time.monotonic() + 1.2
        while time.monotonic() < end: pass
        os._exit(0)
meter = Meter()
end = time.monotonic() + 1.0
while time.monotonic() < end: pass
gc.collect()
used = meter.take()
meter.close()
assert used["cpu_ns"] > 50_000_000, used
assert used["waited_ns"] > 200_000_000, used
assert used["process_ns"] >= 0.9 * used["cpu_ns"], used
assert 0 < used["gc_max_ns"] <= used["gc_ns"], used
assert 0 < used["ticks"] and 0 <= used["idle"] <= used["ticks"], used
assert meter._on_gc not in gc.callbacks
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=LIMIT_S)


def test_a_meter_counts_from_its_last_look() -> None:
    meter = Meter()
    try:
        gc.collect()
        assert meter.take()["gc_ns"] > 0
        assert meter.take()["gc_ns"] == 0 or gc.isenabled()
    finally:
        meter.close()


def test_a_send_buffer_that_holds_a_connection_back_is_seen() -> None:
    """A tiny buffer of ours, and a peer that reads all it can get: nothing else can be the limit."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as ours:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        ours.connect(server.getsockname())
        theirs, _ = server.accept()
        reader = threading.Thread(target=lambda: [None for _ in iter(lambda: theirs.recv(1 << 20), b"")])
        reader.start()
        ours.settimeout(LIMIT_S)
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            ours.sendall(bytes(1 << 20))
        seen = send_buffer(ours)
        ours.shutdown(socket.SHUT_WR)
        reader.join(LIMIT_S)
        theirs.close()
    assert seen["sending_us"] > 0
    assert 0 <= seen["send_buffer_us"] <= seen["sending_us"]


def test_of_a_closed_or_missing_socket_nothing_is_known() -> None:
    one = socket.socket()
    one.close()
    assert send_buffer(one) == {}


@pytest.mark.parametrize(("host", "local"), [("127.0.0.1", True), ("::1", True), ("192.0.2.1", False)])
def test_whether_the_target_is_this_machine(host: str, local: bool) -> None:
    assert is_local(host) is local


# --- limits of this machine ---


@pytest.mark.parametrize("name", ["EADDRNOTAVAIL", "EMFILE", "ENOBUFS"])
async def test_a_limit_of_our_machine_is_not_held_against_the_target(
    running: Running, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    real, left = SocketTransport.__init__, [2]

    def scarce(self: SocketTransport, *arguments: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(getattr(errno, name), "scarce")
        real(self, *arguments)

    async with running() as (_, target):
        engine = make_engine(target, Workload(users=1, messages=4, messages_per_session=1))
        monkeypatch.setattr(SocketTransport, "__init__", scarce)
        engine.add_user()
        result = await ended(engine, LIMIT_S)
    assert (result.totals.accepted, result.totals.dropped) == (2, 2)
    assert not result.valid
    assert f"2 sessions failed on a limit of this machine, not of the target: {name}" in "".join(
        result.invalid_reasons
    )


async def test_a_target_that_refuses_connections_is_no_limit_of_ours(running: Running) -> None:
    async with running() as (_, target):
        pass
    engine = make_engine(target, Workload(users=1, messages=1))
    engine.add_user()
    result = await ended(engine, LIMIT_S)
    assert result.totals.dropped == 1
    assert "limit" not in "".join(result.invalid_reasons)


def test_the_limit_on_open_files_is_met_and_named() -> None:
    """The real thing, in a process of its own: more sessions than it may have files."""
    code = """
import asyncio, resource, threading
from smtpbench.load.collect import Collector
from smtpbench.load.setup import make_engine
from smtpbench.load.workload import Workload
from smtpbench.target import Endpoint, Fixtures, Role, Target, Timeouts
from smtpbench.load.calibration import _null_sink
with _null_sink(tls=False) as ports:
    target = Target(
        endpoints={Role.MX: Endpoint(port=ports[0])}, fixtures=Fixtures(recipient="a@example.net"),
        timeouts=Timeouts(connect=2, reply=2),
    )
    engine = make_engine(target, Workload(users=80, messages=2000))
    resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
    for _ in range(80):
        engine.add_user()
    engine.run()
collector = Collector()
for batch in engine.batches:
    collector.add("one", batch)
result = collector.result()
reasons = result.invalid_reasons
assert any("EMFILE" in reason and "ulimit" in reason for reason in reasons), reasons
assert result.totals.unaccounted == 0
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=LIMIT_S)
