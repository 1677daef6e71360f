"""One session before the load: is there an SMTP server at all, and what does it offer?"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from random import Random
from typing import Any

from smtpbench.errors import SessionError
from smtpbench.load.beside import AbnormalKind
from smtpbench.load.corpus.stock import Stock
from smtpbench.load.eventloop import EventLoop
from smtpbench.load.flow import Flow
from smtpbench.load.kinds import Kind
from smtpbench.load.opening import close_flow, open_flow
from smtpbench.load.recorder import Recorder
from smtpbench.load.setup import choose_endpoint, make_abnormal, make_kinds
from smtpbench.load.supply import Budget
from smtpbench.load.workload import Workload
from smtpbench.target import Target
from smtpbench.wire.ehlo import Extensions
from smtpbench.wire.replies import Reply


def probe(target: Target, workload: Workload) -> dict[str, Any]:
    """The target as it introduced itself, for a result.

    Each kind of session of the workload is opened once. Raises SessionError if one cannot be had, or
    if the target does not offer what it is made of; UsageError if it has no such endpoint.
    """
    random, stock = Random(0), Stock(rehearsal=True)
    kinds: list[Kind | AbnormalKind] = [
        *make_kinds(target, workload, random, stock),
        *make_abnormal(target, workload, random, stock),
    ]
    with asyncio.Runner(loop_factory=EventLoop) as runner:
        greeting, extensions = runner.run(_open_each(kinds))[0]
    first = workload.traffic[0].over(workload) if workload.traffic else workload
    role, endpoint, tls = choose_endpoint(target, first)
    return {
        "name": target.name, "endpoint": endpoint.address, "role": role.value, "tls": tls,
        "greeting": greeting.text, "extensions": sorted(filter(None, extensions)),
    }  # fmt: skip


async def _open_each(kinds: Sequence[Kind | AbnormalKind]) -> list[tuple[Reply, Extensions]]:
    found = []
    for kind in kinds:
        recorder = Recorder()
        make = partial(Flow, kind.script, recorder, Budget(recorder, 0))
        try:
            flow, greeting, extensions = await open_flow(kind.door, recorder, make)
        except SessionError as error:
            error.args = (f"{kind.name}: {error}" if kind.name else str(error),)
            raise
        await close_flow(flow)
        kind.check(extensions)
        found.append((greeting, extensions))
    return found
