"""A fault under load: load, strike, recover, wait for the first message, drain, ledger, judge.

The load goes on all the time, in processes of its own; a thread of this one strikes and recovers meanwhile.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from smtpbench.campaign.fault_judge import judge
from smtpbench.campaign.fault_result import Answers, FaultResult, RatePoint
from smtpbench.campaign.faults import COMMAND_S, Disturbance, Fault, NotPossible, disturbance
from smtpbench.campaign.figures import describe
from smtpbench.campaign.killing import Killing, Rhythm
from smtpbench.campaign.queue import Follow, Patience, choose, draining, introduce, queued, require_new
from smtpbench.campaign.result import QueueResult
from smtpbench.delivery.accounts import Balance
from smtpbench.delivery.depth import rates, times
from smtpbench.delivery.follow import Follower
from smtpbench.errors import SessionError, SmtpbenchError
from smtpbench.lab.machine import Machine
from smtpbench.load.result import LoadResult
from smtpbench.load.run import run_load
from smtpbench.load.visitor import Visitor
from smtpbench.load.workload import Workload, make_workload
from smtpbench.target import Target, Timeouts

NS = 1_000_000_000
LOOK_S = 0.2
FIRST_S = 30.0  # for the first message of the load to be accepted at all
PROBE = Timeouts(connect=5.0, reply=5.0)
RATE = 50.0  # messages a second, unless told otherwise: a fault is no measurement of capacity
SESSIONS = 100  # of the load, at most
PER_SESSION = 5  # messages: a load that keeps its sessions would not notice that no new one is greeted

Progress = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """Times in seconds: load before the strike, the fault, load after it; and how long the target may take to
    accept a message again (Postfix waits a minute after a failure of its own).
    """

    before_s: float = 3.0
    fault_s: float = 8.0
    after_s: float = 8.0
    patience_s: float = 120.0

    @property
    def load_s(self) -> float:
        """How long the load lasts at most: commands that strike and recover take time, too."""
        return FIRST_S + self.before_s + self.fault_s + self.after_s + 2 * COMMAND_S


class Director(threading.Thread):
    """Strikes when the load runs, recovers, and then asks for mail to be taken until it is."""

    def __init__(self, target: Target, workload: Workload, disturb: Disturbance, plan: Plan) -> None:
        super().__init__(name="smtpbench-director", daemon=True)
        self.figures: Mapping[str, Any] = {}  # of the load; the main thread puts them there
        self.before = Answers()
        self.struck_ns = 0  # wall clock, as the next two
        self.recovered_ns = 0
        self.accepted_ns = 0
        self.struck_s = 0.0
        self.error: SmtpbenchError | None = None
        self.over = threading.Event()  # the load has ended
        self.stop = threading.Event()  # leave early
        self._visitor = Visitor(target, workload, PROBE)
        self._disturb, self._plan = disturb, plan

    def run(self) -> None:
        """Until a message was accepted again, or patience has run out."""
        try:
            if not self._await_first():
                return
            self.stop.wait(self._plan.before_s)
            self.before = answers(self.figures["so_far"])
            self._strike()
            self.accepted_ns = asyncio.run(self._until_accepted())
        except SmtpbenchError as error:
            self.error = error

    @property
    def enough(self) -> bool:
        """Whether the load may end."""
        since = (time.time_ns() - self.recovered_ns) / NS
        return self.error is not None or bool(self.recovered_ns and since >= self._plan.after_s)

    def _await_first(self) -> bool:
        deadline = time.monotonic() + FIRST_S
        while not self.figures.get("accepted") and time.monotonic() < deadline:
            if self.stop.wait(LOOK_S) or self.over.is_set():
                return False
        return bool(self.figures.get("accepted"))

    def _strike(self) -> None:
        begun, self.struck_ns = time.monotonic(), time.time_ns()
        try:
            self._disturb.strike()
            self._disturb.last(self._plan.fault_s, self.stop)
        finally:
            self._disturb.recover()
            self.struck_s = round(time.monotonic() - begun, 3)
            self.recovered_ns = time.time_ns()

    async def _until_accepted(self) -> int:
        """When a message of ours was accepted, wall clock; 0 if none was."""
        deadline = time.monotonic() + self._plan.patience_s
        while time.monotonic() < deadline and not self.stop.is_set():
            with suppress(SessionError):
                session = await self._visitor.open()
                try:
                    if await self._visitor.deliver(session):
                        return time.time_ns()
                finally:
                    session.abort()
            await asyncio.sleep(LOOK_S)
        return 0


def answers(so_far: Mapping[str, Any] | LoadResult) -> Answers:
    """The counts of a result, or of its `so_far`, which leaves out what is 0."""
    shown = so_far.model_dump(include={"totals", "replies"}) if isinstance(so_far, LoadResult) else so_far
    totals, replies = shown.get("totals", {}), shown.get("replies", {})
    counts = {name: totals.get(name, 0) for name in Answers.model_fields if name != "replies_421"}
    return Answers(**counts, replies_421=replies.get("421", 0))


def run_fault(
    target: Target,
    fault: Fault,
    fields: Mapping[str, Any],
    folder: Path,
    *,
    plan: Plan = Plan(),
    size: int | None = None,
    machine: Machine | None = None,
    rhythm: Rhythm = Rhythm(),  # noqa: B008 - frozen
    follow: Follow | None = None,
    patience: Patience = Patience(),  # noqa: B008 - frozen
    progress: Progress | None = None,
) -> FaultResult:
    """Inflict `fault` on `target` under the load that `fields` ask for; the ledger is kept in `folder`.

    `size` is how many connections a crowd has; `machine` and `rhythm` are for the kill. Mail is followed as
    in a queue run then; else to the mailbox, unless there is none to read. `progress` gets what it gets in
    a queue run. Raises SmtpbenchError.
    """
    require_new(folder)
    result = FaultResult(fault=fault, patience_s=plan.patience_s)
    try:
        disturb = disturbance(fault, target, folder, size=size, machine=machine, rhythm=rhythm)
    except NotPossible as reason:
        result.untested = str(reason)
        return result
    result.words = disturb.words
    if follow is None and target.observe is not None and fault is not Fault.KILL:
        follow = Follow.MAILBOX
    source, own = choose(target, follow)
    gentle = {} if {"rate", "users"} & fields.keys() else {"rate": RATE, "max_sessions": SESSIONS}
    load_fields = {"run_time": plan.load_s, "messages_per_session": PER_SESSION, **gentle, **own, **fields}
    plan = replace(plan, fault_s=disturb.longest(plan.fault_s))
    director = Director(target, make_workload(**load_fields), disturb, plan)
    show = progress or (lambda _: None)
    arrived = 0
    with Follower(source, folder) as follower:
        introduce(follower.ledger, target, source)

        def shown(figures: Mapping[str, Any]) -> None:
            nonlocal arrived
            follower.check()
            director.figures = figures
            now = queued(follower, figures["accepted"])
            show({**figures, **now, "arrived_last_s": now["arrived"] - arrived})
            arrived = now["arrived"]

        director.start()
        try:
            load = run_load(
                target, load_fields, progress=shown, ledger=folder, calibrate=False,
                until=lambda: director.enough,
            )  # fmt: skip
            director.over.set()
            director.join()
        finally:
            director.stop.set()
            director.join()
        drain = follower.drain(
            settle_s=patience.settle(target), within_s=patience.within_s, linger_s=patience.linger(target),
            progress=lambda waited_s: show(draining(follower, waited_s)),
        )  # fmt: skip
    follower.check()
    if director.error is not None:
        follower.ledger.close()
        raise director.error
    result.closed, result.observer = drain.closed, source.where
    result.unsure = (
        (follower.looker.trouble or follower.looker.blind) if drain.gone else patience.unsure(target)
    )
    _describe(result, follower, director, load, disturb)
    follower.ledger.close()
    result.checks = judge(result)
    return result


def _describe(
    result: FaultResult, follower: Follower, director: Director, load: LoadResult, disturb: Disturbance
) -> None:
    result.before, result.since = director.before, answers(load) - director.before
    result.struck_s = director.struck_s
    result.connections = dict(disturb.met)
    if isinstance(disturb, Killing):
        result.cycles, result.wanted_cycles = disturb.cycles, disturb.wanted
        result.notes += [disturb.gone] if disturb.gone else []
    result.refusals = [one for one in (disturb.refusal, *load.refusals) if one]
    follower.ledger.import_journals()
    balance = follower.ledger.balance(closed=result.closed and not result.unsure)
    queue = QueueResult(**load.model_dump(exclude={"schema_"}))
    describe(queue, balance)
    result.ledger, result.examples, result.end_to_end = queue.ledger, queue.examples, queue.end_to_end
    result.queue_depth, result.drain_s = queue.queue_depth, queue.drain_s
    _describe_times(result, balance, director.struck_ns)
    if not director.recovered_ns:
        result.untested = "the load never got a message accepted, so there was nothing to disturb"
        return
    later = [at for at in balance.accepted_ns if at >= director.recovered_ns]
    times = [*later, *([director.accepted_ns] if director.accepted_ns else [])]
    if times:
        result.first_accepted_s = round((min(times) - director.recovered_ns) / NS, 3)


def _describe_times(result: FaultResult, balance: Balance, struck_ns: int) -> None:
    """What was accepted and settled over time, and when on that axis the target was struck."""
    if not balance.accepted_ns or not struck_ns:
        return
    accepted, closed = times(balance.accepted_ns), times(balance.closed_ns)
    begin = int(accepted[0])
    end = max(int(accepted[-1]), int(closed[-1]) if len(closed) else begin, struck_ns)
    result.struck_at_s = round((struck_ns - begin) / NS, 3)
    result.timeline = [
        RatePoint(t_s=t_s, span_s=span_s, accepted_per_s=round(taken, 3), delivered_per_s=round(done, 3))
        for t_s, span_s, taken, done in rates(accepted, closed, begin, end)
    ]
