"""What the engines make of an arrival plan: when each message was due for them, and when it began.

A message begins late where the machine has no processor for us; it says nothing of the plan. So the
times that messages were due are held against the law, and the lateness of most against a limit.
"""

from __future__ import annotations

import asyncio
from itertools import repeat
from random import Random
from time import perf_counter_ns

import numpy as np
import pytest

from smtpbench.load.engine import NS, Engine
from smtpbench.load.recorder import Recorder
from smtpbench.load.setup import Share, make_kinds, make_plan
from smtpbench.load.supply import Backlog
from smtpbench.load.workload import Workload
from smtpbench.target import Target
from tests.load.conftest import Running
from tests.load.test_arrivals import KS_CRITICAL, kolmogorov_smirnov
from tests.load.test_engine import finish

RATE, SECONDS = 100.0, 4.0
ON_TIME_S = 0.005  # of one in ten, on a machine that others keep busy


class Noting(Backlog):
    """A backlog that notes when each message was due and when it was taken (s)."""

    def __init__(self, notes: list[tuple[float, float]]) -> None:
        super().__init__()
        self._notes = notes

    def take(self) -> int:
        due = super().take()
        if due:
            self._notes.append((due / NS, perf_counter_ns() / NS))
        return due


async def carried_out(target: Target, workload: Workload, parts: int) -> tuple[np.ndarray, np.ndarray]:
    """When the messages of a workload were due and when they began, in so many engines that share it."""
    notes: list[tuple[float, float]] = []
    engines = []
    for part in range(parts):
        (kind,) = make_kinds(target, workload, Random(1))
        engine = Engine(repeat(kind).__next__, Noting(notes), Recorder(), deadline_s=10, max_sessions=1000)
        engine.start_arrivals(make_plan(workload, Share(part, parts)), workload.lasts)
        engines.append(engine)
    await asyncio.gather(*map(finish, engines))
    due, began = np.array(sorted(notes)).T
    return due, began


@pytest.mark.parametrize("parts", [1, 2])
async def test_messages_are_due_as_a_poisson_process_and_begin_then(running: Running, parts: int) -> None:
    workload = Workload(rate=RATE, run_time=SECONDS, seed=8)
    async with running() as (_, target):
        due, began = await carried_out(target, workload, parts)
    planned = len(list(make_plan(workload)))
    assert planned * 0.95 <= len(due) <= planned  # the last ones may have missed the end
    if parts == 1:  # engines begin at their own moment
        assert kolmogorov_smirnov(-np.expm1(-RATE * np.diff(due))) < KS_CRITICAL
    assert kolmogorov_smirnov((due - due[0]) / SECONDS) < KS_CRITICAL
    late = began - due
    assert late.min() >= 0
    assert np.quantile(late, 0.1) < ON_TIME_S


async def test_evenly_spaced_messages_are_no_poisson_process(running: Running) -> None:
    workload = Workload(rate=RATE, arrivals="constant", run_time=SECONDS)
    async with running() as (_, target):
        due, _ = await carried_out(target, workload, 1)
    assert kolmogorov_smirnov(-np.expm1(-RATE * np.diff(due))) > 5 * KS_CRITICAL


async def test_a_spike_is_where_it_was_planned(running: Running) -> None:
    workload = Workload(rate="spike:10-200,2s,1s", arrivals="constant", messages_per_session=1)
    async with running() as (_, target):
        due, _ = await carried_out(target, workload, 1)
    assert len(due) == pytest.approx(10 * 5 + 190, abs=3)
    inside = (due - due[0] > 1.95) & (due - due[0] < 3.05)
    assert np.sum(inside) == pytest.approx(200, abs=3)
