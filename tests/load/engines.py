"""A whole workload in one engine, without Locust: begin it, wait for its end, add up what it handed over."""

from __future__ import annotations

import asyncio
import json

from smtpbench.load.collect import Collector
from smtpbench.load.engine import Engine
from smtpbench.load.recorder import Batch
from smtpbench.load.result import LoadResult
from smtpbench.load.setup import make_engine, make_plan
from smtpbench.load.workload import Workload
from smtpbench.target import Target


def begun(target: Target, **fields: object) -> Engine:
    """An engine that has all of its workload before it, and runs when it is awaited."""
    workload = Workload(**fields)
    engine = make_engine(target, workload)
    if workload.is_open:
        engine.start_arrivals(make_plan(workload))
    for _ in range(workload.users or 0):
        engine.add_user()
    return engine


async def ended(engine: Engine, within_s: float) -> LoadResult:
    """What `engine` measured, once it has come to its end by itself."""
    try:
        await asyncio.wait_for(asyncio.to_thread(engine.run), within_s)
    finally:
        engine.stop()
    return collected(engine)


def collected(engine: Engine) -> LoadResult:
    """What `engine` has handed over; its batches come as from another process."""
    collector = Collector()
    for batch in engine.batches:
        collector.add("test", Batch.from_plain(json.loads(json.dumps(batch.to_plain()))))
    return collector.result()
