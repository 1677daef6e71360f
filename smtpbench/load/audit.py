"""Whether a run says something about the target, or about the generator that measured it.

Two ways to speak: a *reason* makes the run not valid (exit code 3), because the client was the bottleneck; a
*warning* tells what a reader must know, and leaves the judgement to them. Each limit says why it is there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from smtpbench.load.recorder import Batch
from smtpbench.load.result import Calibration, Generator, LoadResult, ProcessUse

NS = 1_000_000_000

BUSY = 0.9
"""Of a second, on a core. In a queue that is busy for 90 % of the time an event waits for nine times its own
service; above that, replies wait for us and not for the target. Time in which the loop waited for a core
counts as well, once the loop is no light load itself (`LIGHT`): neighbours have only tipped it over then."""

LIGHT = 0.25
"""Of a second. A loop that uses less than a quarter of a core and is starved by others, the target on the
same machine perhaps, is warned of: that is how one machine is when its target is saturated, which may be what
is looked for. What becomes of it is judged by the lag of loop and schedule."""

SATURATED_MAX = 0.1
"""Of the run, in saturated seconds. With one second in ten the 90th percentile begins to be ours."""

BUSY_PROCESS = 0.95
"""Of a core, by all threads of one process together. Only one thread of a Python process runs at a time, so
its other threads (Locust's control plane) then take turns with the loop."""

CEILING = 0.8
"""Of what the loop can send to a sink that does nothing. Above it a queue forms in front of our loop."""

WAITED = 0.1
"""Of the run, ready to run and without a core: one reply in ten finds the loop waiting (a warning)."""

STOLEN_MAX = 0.1
"""Of the machine's CPU time, given to others by the hypervisor: the clock ran on, and we did not."""

THROTTLED_MAX = 0.02
"""Of the run, held back by a CPU quota. That cuts in for tens of ms at a time: at 2 % it makes the p99."""

GC_MAX = 0.05
"""Of the run, in the garbage collector, during which nothing else runs."""

SCHEDULE_LAG_MAX_MS = 50.0
"""Of one arrival in a hundred: the plan was not kept."""

LOOP_LAG_MAX_MS = 250.0
"""Of one look in a hundred. There are few (20 a second), so this is only what no busy neighbour explains."""

SEND_BUFFER_MAX = 0.25
"""Of the time in which connections had something to send, with our own send buffer full while the network and
the target would have taken more: then it is our buffer that is measured."""

LAG_SHARE, LAG_FLOOR_MS = 0.5, 5.0
"""Of the transaction's p99: above it, more of that figure may be ours than the target's (a warning)."""

MACHINE_BUSY = 0.95
"""Of the machine's CPU time, with the target on the same machine: they compete (a warning)."""

GC_PAUSE_MS = 50.0
"""One pause of the garbage collector that a reader of the maximum should know of (a warning)."""


@dataclass(slots=True)
class Use:
    """What one process used so far. Sums of `Meter.take`, over the measured part of the run."""

    span_ns: int = 0
    saturated_ns: int = 0
    answered: int = 0
    gc_max_ns: int = 0
    sums: Counter[str] = field(default_factory=Counter)
    limits: Counter[str] = field(default_factory=Counter)
    crowded: int = 0  # batches in which all sessions were in use and arrivals waited

    def add(self, batch: Batch, answered: int) -> None:
        """Add one batch, in which so many messages had an outcome."""
        self.span_ns += batch.span_ns
        self.answered += answered
        used = batch.used
        wanted_ns = batch.cpu_ns
        if batch.cpu_ns > LIGHT * batch.span_ns:
            wanted_ns += used.get("waited_ns", 0)
        if wanted_ns > BUSY * batch.span_ns:
            self.saturated_ns += batch.span_ns
        self.gc_max_ns = max(self.gc_max_ns, used.get("gc_max_ns", 0))
        self.sums.update({name: value for name, value in used.items() if name != "gc_max_ns"})
        self.sums["cpu_ns"] += batch.cpu_ns
        self.limits.update(batch.limits)
        self.crowded += batch.crowded and batch.waiting > 0

    def share(self, name: str) -> float:
        """How much of the run `name` (ns) took."""
        return self.sums[name] / self.span_ns if self.span_ns else 0.0

    def shown(self, name: str) -> ProcessUse:
        """For a result."""
        return ProcessUse(
            name=name, span_s=_s(self.span_ns), loop_cpu_s=_s(self.sums["cpu_ns"]),
            process_cpu_s=_s(self.sums["process_ns"]),
            waited_s=_s(self.sums["waited_ns"]) if "waited_ns" in self.sums else None,
            saturated_s=_s(self.saturated_ns), gc_s=_s(self.sums["gc_ns"]),
        )  # fmt: skip


def _s(ns: int) -> float:
    return round(ns / NS, 3)


def measured(uses: Mapping[str, Use], *, loop_lag_ms: float, schedule_lag_ms: float) -> Generator:
    """What the load cost us, for a result."""
    sums = _together(uses)
    answered = sum(use.answered for use in uses.values())
    cpu_ns = sums["cpu_ns"]
    return Generator(
        cpu_s=_s(cpu_ns),
        cpu_us_per_message=round(cpu_ns / 1000 / answered, 1) if answered else 0.0,
        loop_lag_p99_ms=loop_lag_ms, schedule_lag_p99_ms=schedule_lag_ms,
        gc_s=_s(sums["gc_ns"]),
        gc_max_ms=round(max((use.gc_max_ns for use in uses.values()), default=0) / 1e6, 3),
        machine_busy=_of_machine(uses, lambda use: use.sums["ticks"] - use.sums["idle"]),
        stolen=_of_machine(uses, lambda use: use.sums["stolen"]),
        processes=[use.shown(name) for name, use in uses.items()],
    )  # fmt: skip


def _together(uses: Mapping[str, Use]) -> Counter[str]:
    return sum((use.sums for use in uses.values()), Counter())


def _of_machine(uses: Mapping[str, Use], ticks_of: Callable[[Use], int]) -> float:
    """The share of its machine's CPU time, in the process where it was largest: each sees one machine."""
    shares = (ticks_of(use) / use.sums["ticks"] for use in uses.values() if use.sums["ticks"] > 0)
    return round(max(shares, default=0.0), 3)


def reasons(result: LoadResult, uses: Mapping[str, Use]) -> list[str]:
    """Why the figures say more about us than about the target, if they do."""
    return [*_accounts(result), *_late(result.generator), *_starved(uses), *_limited(uses)]


def _accounts(result: LoadResult) -> Iterator[str]:
    if astray := result.totals.unaccounted:
        yield f"{astray:+,} messages are not accounted for: the generator has lost count"
    if not result.answered:
        yield "no message was sent"


def _late(generator: Generator) -> Iterator[str]:
    if generator.loop_lag_p99_ms > LOOP_LAG_MAX_MS:
        yield f"the generator's loop was late: p99 {generator.loop_lag_p99_ms:.0f} ms"
    if generator.schedule_lag_p99_ms > SCHEDULE_LAG_MAX_MS:
        yield f"arrivals were started late: p99 {generator.schedule_lag_p99_ms:.0f} ms"
    if generator.stolen > STOLEN_MAX:
        yield f"the hypervisor gave {generator.stolen:.0%} of this machine's CPU time to others"


def _starved(uses: Mapping[str, Use]) -> Iterator[str]:
    """Each reason once, of the process that it is worst in."""
    if not (alive := [use for use in uses.values() if use.span_ns]):
        return
    worst = max(alive, key=lambda use: use.saturated_ns / use.span_ns)
    saturated = worst.saturated_ns / worst.span_ns
    busiest = max(use.share("process_ns") for use in alive)
    if saturated > SATURATED_MAX:
        yield (
            f"the generator was the bottleneck: its loop used {worst.share('cpu_ns'):.0%} of a core"
            f"{_waiting(worst)}, and was saturated for {saturated:.0%} of the run; add --processes"
        )
    elif busiest > BUSY_PROCESS:
        yield f"the generator was the bottleneck: one of its processes used {busiest:.0%} of a core"
    if (held := max(use.sums["throttled_us"] * 1000 / use.span_ns for use in alive)) > THROTTLED_MAX:
        yield f"the CPU quota of its container held the generator back for {held:.0%} of the time"
    if (collecting := max(use.share("gc_ns") for use in alive)) > GC_MAX:
        yield f"the generator spent {collecting:.0%} of the time in the garbage collector"


def _waiting(use: Use) -> str:
    waited = use.share("waited_ns")
    return f" and waited for one for {waited:.0%} of the time" if waited > WAITED else ""


_ADVICE = {
    "EMFILE": "raise the limit on open files (ulimit -n), or use --processes",
    "ENFILE": "raise fs.file-max",
    "EADDRNOTAVAIL": "no local port was left (net.ipv4.ip_local_port_range): keep sessions longer",
    "ENOBUFS": "the kernel had no buffer space left",
    "ENOMEM": "the kernel had no memory left",
}


def _limited(uses: Mapping[str, Use]) -> Iterator[str]:
    limits: Counter[str] = sum((use.limits for use in uses.values()), Counter())
    for name, count in limits.items():
        advice = _ADVICE.get(name, "a limit of this machine")
        yield f"{count:,} sessions failed on a limit of this machine, not of the target: {name}: {advice}"
    sums = _together(uses)
    if sums["sending_us"] and (full := sums["send_buffer_us"] / sums["sending_us"]) > SEND_BUFFER_MAX:
        yield (
            f"our own send buffer was full for {full:.0%} of the time in which there was something to send: "
            "raise net.ipv4.tcp_wmem"
        )


def warnings(result: LoadResult, uses: Mapping[str, Use], *, target_is_local: bool) -> list[str]:
    """What a reader must know, in a run that may be valid all the same."""
    return [
        *_noise(result), *_waits(uses, target_is_local), *_shared(result.generator, target_is_local),
        *_crowded(uses),
    ]  # fmt: skip


def _noise(result: LoadResult) -> Iterator[str]:
    generator, transaction = result.generator, result.phases.get("transaction")
    lag = generator.loop_lag_p99_ms
    if transaction and lag > max(LAG_FLOOR_MS, LAG_SHARE * transaction.p99_ms):
        yield f"the loop was late by {lag:.1f} ms (p99): much of a transaction's p99 may be the generator's"
    if generator.gc_max_ms > GC_PAUSE_MS:
        yield f"a pause of the garbage collector took {generator.gc_max_ms:.0f} ms: see it in the maximum"
    if any(use.waited_s is None for use in generator.processes):
        yield "this kernel does not say how long the generator waited for a core"


def _waits(uses: Mapping[str, Use], target_is_local: bool) -> Iterator[str]:
    waited = max((use.share("waited_ns") for use in uses.values()), default=0.0)
    if waited > WAITED:
        who = "the target or other work on its machine" if target_is_local else "other work on its machine"
        yield f"{who} kept the loop waiting for a core for {waited:.0%} of the time: latencies contain that"


def _shared(generator: Generator, target_is_local: bool) -> Iterator[str]:
    if target_is_local and generator.machine_busy > MACHINE_BUSY:
        yield (
            f"the target runs on the generator's machine, which was busy to {generator.machine_busy:.0%}: "
            "they competed for its cores"
        )


def _crowded(uses: Mapping[str, Use]) -> Iterator[str]:
    if seconds := sum(use.crowded for use in uses.values()):
        yield (
            f"for {seconds} s all sessions were in use and arrivals waited for one: the limit is "
            "--max-sessions, and what they waited is in the times from the intended start"
        )


def used_up(result: LoadResult, calibration: Calibration) -> float:
    """The share of the generator's own ceiling at which the run was, over all its processes."""
    ceiling = calibration.per_s * max(len(result.generator.processes), 1)
    return round(result.answered / result.duration_s / ceiling, 3) if result.duration_s and ceiling else 0.0


def apply_calibration(result: LoadResult, calibration: Calibration) -> None:
    """Write `calibration` into `result`, which is not valid if the run was too near to the ceiling."""
    calibration.used = used_up(result, calibration)
    result.generator.calibration = calibration
    if calibration.used > CEILING:
        result.invalid_reasons.append(
            f"the run was at {calibration.used:.0%} of what the generator can send at all "
            f"({calibration.per_s:,.0f}/s to a null sink with each of its loops); add --processes"
        )
        result.valid = False
