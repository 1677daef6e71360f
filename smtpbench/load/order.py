"""What passes between `run_load` and the process that runs Locust for it: one JSON line each way at a time.

Locust patches sockets, threads and TLS of the whole process when it is imported, so it gets a process of
its own. The order goes in on standard input, whose end means "stop now"; standard output brings
``{"progress": …}`` once a second and ``{"notice": …}`` when something happens, then ``{"result": …}``
or ``{"error": …}``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from smtpbench.load.abort import AbortRule
from smtpbench.target import Target

DEFAULT_MASTER_PORT = 5557  # Locust's own


class Order(BaseModel):
    """One run. `workload` has the fields that were given; a scenario's own fill the gaps.

    `role`: ``local`` runs `processes` on this machine and needs no other; ``master`` waits for as
    many workers to connect; ``worker`` connects to a master and does as it says. `ledger` is the folder for
    the journals of processes on this machine, if a ledger is kept.
    """

    model_config = ConfigDict(extra="forbid")

    role: Literal["local", "master", "worker"] = "local"
    target: Target | None = None
    workload: dict[str, Any] = {}
    scenario: Path | None = None
    processes: int = 1
    master_host: str = "127.0.0.1"
    master_port: int = DEFAULT_MASTER_PORT
    web_port: int | None = None
    metrics: tuple[str, int] | None = None  # where to serve OpenMetrics; port 0 is any
    abort: AbortRule | None = None
    ledger: Path | None = None
