"""What a generator process, its loop thread and its machine use, second by second, as the kernel tells it.

The CPU time of a thread does not say that it was starved: a loop that uses 40 % of a core and waits for one
for the other 60 % is as late as a saturated one. So the time that the thread was ready to run and did not
(its run delay) is read, too, and what the hypervisor and a quota of the container took away.
"""

from __future__ import annotations

import gc
import os
import socket
import struct
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

_TCP_INFO, _BUSY_TIME = 192, 168  # length up to tcpi_sndbuf_limited, and where tcpi_busy_time is
_IDLE, _IOWAIT, _STEAL, _FIELDS = 3, 4, 7, 8  # of the line `cpu` of /proc/stat (proc_stat(5))


class Meter:
    """Made and asked in the loop's thread. What this kernel does not tell is missing, and never 0.

    `take` gives what was used since the last call: ``cpu_ns`` of the thread, ``process_ns`` of all threads,
    ``waited_ns`` for a core, ``gc_ns`` and ``gc_max_ns`` of the garbage collector, ``throttled_us`` of
    the container, and of the machine's CPU time ``ticks``, ``idle`` and ``stolen``.
    """

    def __init__(self) -> None:
        self._gc_ns = self._gc_max_ns = self._gc_begun = 0
        self._schedstat = _opened("/proc/thread-self/schedstat")  # that of the thread that opens it
        self._stat = _opened("/proc/stat")
        self._quota = _opened(_cgroup_file())
        self._last = self._read()
        gc.callbacks.append(self._on_gc)

    def close(self) -> None:
        """Look no more."""
        gc.callbacks.remove(self._on_gc)
        for file in (self._schedstat, self._stat, self._quota):
            if file is not None:
                os.close(file)

    def take(self) -> dict[str, int]:
        """What was used since the last call."""
        now = self._read()
        used = {name: value - self._last[name] for name, value in now.items() if name in self._last}
        self._last = now
        used["gc_ns"], used["gc_max_ns"] = self._gc_ns, self._gc_max_ns
        self._gc_ns = self._gc_max_ns = 0
        return used

    def waited_ns(self) -> int:
        """How long the thread has waited for a core until now; 0 where that is not known."""
        return waited(_text(self._schedstat)).get("waited_ns", 0)

    def _read(self) -> dict[str, int]:
        found = {"cpu_ns": time.thread_time_ns(), "process_ns": time.process_time_ns()}
        found |= waited(_text(self._schedstat)) | machine(_text(self._stat)) | throttled(_text(self._quota))
        return found

    def _on_gc(self, phase: str, info: dict[str, Any]) -> None:
        if phase == "start":
            self._gc_begun = time.perf_counter_ns()
            return
        took = time.perf_counter_ns() - self._gc_begun
        self._gc_ns += took
        self._gc_max_ns = max(self._gc_max_ns, took)


def waited(schedstat: str) -> dict[str, int]:
    """The run delay of a thread: the second field of its ``schedstat`` (ns)."""
    fields = schedstat.split()
    return {"waited_ns": int(fields[1])} if len(fields) == 3 else {}


def machine(stat: str) -> dict[str, int]:
    """Clock ticks of all CPUs together, those idle, and those that the hypervisor gave to others."""
    fields = stat.partition("\n")[0].split()[1 : 1 + _FIELDS]
    if len(fields) < _FIELDS:
        return {}
    ticks = [int(field) for field in fields]
    return {"ticks": sum(ticks), "idle": ticks[_IDLE] + ticks[_IOWAIT], "stolen": ticks[_STEAL]}


def throttled(cpu_stat: str) -> dict[str, int]:
    """For how long the CPU quota of the control group held its threads back (µs)."""
    values = dict(line.split(" ", 1) for line in cpu_stat.splitlines() if " " in line)
    return {"throttled_us": int(values["throttled_usec"])} if "throttled_usec" in values else {}


def send_buffer(connection: socket.socket | None) -> dict[str, int]:
    """For how long a TCP connection had something to send, and for how much of that our own send buffer was
    what held it (µs; tcp_info of Linux 4.9 and later). Nothing where that is not known.
    """
    with suppress(OSError, AttributeError):
        assert connection is not None
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO)
        if len(info) == _TCP_INFO:
            busy, _, full = struct.unpack_from("=3Q", info, _BUSY_TIME)
            return {"sending_us": busy, "send_buffer_us": full}
    return {}


def is_local(host: str) -> bool:
    """Whether `host` is this machine: an address that a socket of ours can have."""
    with suppress(OSError):
        for family, _, _, _, address in socket.getaddrinfo(host, 0, type=socket.SOCK_DGRAM):
            with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as one:
                one.bind(address)
                return True
    return False


def _cgroup_file() -> str:
    """The ``cpu.stat`` of our control group (version 2)."""
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            if line.startswith("0::"):
                return f"/sys/fs/cgroup{line[3:].rstrip('/')}/cpu.stat"
    return "/sys/fs/cgroup/cpu.stat"


def _opened(path: str) -> int | None:
    with suppress(OSError):
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    return None


def _text(file: int | None) -> str:
    """A small file of the kernel, read again from its beginning."""
    if file is None:
        return ""
    with suppress(OSError):
        return os.pread(file, 1024, 0).decode("ascii", "replace")
    return ""
