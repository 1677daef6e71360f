"""One session before the load: is there an SMTP server at all, and what does it offer?"""

from __future__ import annotations

import asyncio
from typing import Any

from smtpbench.load.flow import Flow
from smtpbench.load.opening import close_flow, open_flow
from smtpbench.load.recorder import Recorder
from smtpbench.load.setup import choose_endpoint, make_door, make_script
from smtpbench.load.supply import Budget
from smtpbench.load.workload import Workload
from smtpbench.target import Target


def probe(target: Target, workload: Workload) -> dict[str, Any]:
    """The target as it introduced itself, for a result. Raises SessionError if no session can be had."""
    door, script = make_door(target, workload), make_script(target, workload)

    async def once() -> dict[str, Any]:
        recorder = Recorder()
        flow, greeting, extensions = await open_flow(
            door, recorder, lambda: Flow(script, recorder, Budget(recorder, 0))
        )
        await close_flow(flow)
        role, endpoint, tls = choose_endpoint(target, workload)
        return {
            "name": target.name, "endpoint": endpoint.address, "role": role.value, "tls": tls,
            "greeting": greeting.text, "extensions": sorted(filter(None, extensions)),
        }  # fmt: skip

    return asyncio.run(once())
