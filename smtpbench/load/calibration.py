"""How fast this generator is by itself: the same workload against a sink that does nothing.

The sink is a process of its own: in ours it would take turns with the loop, and the figure would be of both.
What is measured is CPU time per message, which hardly depends on who else is using the machine; the ceiling
is what a loop could send if it had a core for itself. One session alone gives the floor of each phase: what
it takes when the target takes nothing, which no figure of a run can be below.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from smtpbench.errors import Inconclusive, SmtpbenchError
from smtpbench.load.collect import Collector
from smtpbench.load.result import Calibration, Floor, LoadResult
from smtpbench.load.setup import make_engine
from smtpbench.load.workload import DEFAULT_RUN_TIME_S, Workload
from smtpbench.target import Endpoint, Target, Timeouts, Tls

SLICE_S, LONG_SLICE_S = 0.25, 1.0
SLICES = 2  # of which the best counts: what disturbs a slice makes it dearer
MOST_USERS = 50  # no loop gets faster with more
WORTH_S = 10.0  # a run that is shorter is not calibrated, if nobody asks for it

_known: dict[str, Calibration] = {}


def worth_it(workload: Workload) -> bool:
    """Whether a run lasts long enough to be calibrated without being asked to."""
    endless = workload.messages is None and workload.trace is None
    lasts = workload.lasts or (DEFAULT_RUN_TIME_S if endless else 0.0)
    return lasts - workload.warm_up >= WORTH_S


def calibrate(target: Target, workload: Workload) -> Calibration:
    """What this generator can do with `workload` at `target`, measured in about a second.

    The same question is asked once in a process. Raises SmtpbenchError if the workload cannot be
    played to a null sink.
    """
    alone = _standing_still(workload, 1)
    key = target.model_dump_json(include={"endpoints"}) + alone.model_dump_json()
    if key not in _known:
        _known[key] = _measure(target, workload, alone)
    return _known[key].model_copy(deep=True)


def _measure(target: Target, workload: Workload, alone: Workload) -> Calibration:
    begun = time.monotonic()
    crowd = _standing_still(workload, min(workload.users or MOST_USERS, MOST_USERS))
    with _null_sink(tls=_speaks_tls(target, workload)) as ports:
        stand_in = _stand_in(target, workload, ports)
        floor = _slice(stand_in, alone)
        slices = [_slice(stand_in, crowd) for _ in range(SLICES)]
    cost = min(one.generator.cpu_us_per_message for one in slices)
    return Calibration(
        per_s=round(1_000_000 / cost), cpu_us_per_message=cost,
        phases={
            name: Floor(p50_ms=stats.p50_ms, p99_ms=stats.p99_ms)
            for name, stats in floor.phases.items() if stats.count
        },
        took_s=round(time.monotonic() - begun, 2),
    )  # fmt: skip


def _standing_still(workload: Workload, users: int) -> Workload:
    """`workload` as so many users who never pause and never end. Nobody looks on."""
    changed = {
        "users": users, "rate": None, "trace": None, "arrivals": "poisson", "messages": None,
        "run_time": None, "warm_up": 0.0, "think_time": None, "idle": None, "abnormal": (),
        "watch_share": 0.0,
    }  # fmt: skip
    return workload.model_copy(update=changed)


def _slice(target: Target, workload: Workload) -> LoadResult:
    """A short run, and a longer one if the machine let nothing happen in that."""
    for seconds in (SLICE_S, LONG_SLICE_S):
        result, error = _run(target, workload, seconds)
        if result.totals.accepted:
            return result
    raise Inconclusive(error or "nothing was sent")


def _run(target: Target, workload: Workload, seconds: float) -> tuple[LoadResult, str]:
    """What so many seconds give, and the last error of a session."""
    engine, collector = make_engine(target, workload), Collector()
    for _ in range(workload.users or 1):
        engine.add_user()
    stop = threading.Timer(seconds, engine.stop)
    stop.start()
    try:
        engine.run()
    finally:
        stop.cancel()
    for batch in engine.batches:
        collector.add("calibration", batch)
    return collector.result(), engine.last_error


def _speaks_tls(target: Target, workload: Workload) -> bool:
    asked = [workload.tls, *(one.tls for one in workload.traffic)]
    return any(tls not in (None, "none") for tls in (*asked, *(e.tls for e in target.endpoints.values())))


def _stand_in(target: Target, workload: Workload, ports: tuple[int, int]) -> Target:
    """`target` with a null sink at each of its endpoints."""
    endpoints = {
        role: Endpoint(
            port=ports[(workload.tls or endpoint.tls) == "implicit"],
            tls="none" if endpoint.tls == "none" else endpoint.tls,
        )
        for role, endpoint in target.endpoints.items()
    }
    changed = {
        "endpoints": endpoints, "tls": Tls(verify=False), "timeouts": Timeouts(connect=2.0, reply=2.0),
    }  # fmt: skip
    return target.model_copy(update=changed)


@contextmanager
def _null_sink(*, tls: bool) -> Iterator[tuple[int, int]]:
    """A null sink's ports: in clear, and with implicit TLS. It ends with us."""
    command = [sys.executable, "-m", "smtpbench.load.null_sink", *(["tls"] if tls else [])]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as sink:
        assert sink.stdout is not None
        assert sink.stdin is not None
        try:
            said = sink.stdout.readline().split()
            if len(said) != 2:
                raise SmtpbenchError("the null sink did not start")
            yield int(said[0]), int(said[1])
        finally:
            sink.stdin.close()
            sink.kill()
