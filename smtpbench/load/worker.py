"""The worker's side of a run over several processes: connect, work, and leave when the master does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import gevent
from locust import events
from locust.env import Environment

from smtpbench.errors import Inconclusive
from smtpbench.load.control import be_impatient, control_of
from smtpbench.load.distribution import introduction

POLL_S = 0.05
SOON_S = 1.0  # a master that is there answers sooner
MASTER_SILENT_S = 10.0  # its heartbeat comes each second; Locust itself would go on for a minute

Say = Callable[[dict[str, Any]], None]


def work(environment: Environment, host: str, port: int, *, stopped: Callable[[], bool], say: Say) -> None:
    """Serve a master until it says quit, or is gone, or we are `stopped`.

    Raises Inconclusive if no master answers, if it goes silent, or if it had no work left when we came;
    UsageError if it is of another version.
    """
    be_impatient(environment)
    connecting = gevent.spawn(environment.create_worker_runner, host, port)
    gevent.wait([connecting], SOON_S)
    if not connecting.ready():
        say({"notice": f"no master at {host}:{port} yet, waiting for one"})
    while not (stopped() or connecting.ready()):
        gevent.sleep(POLL_S)
    if not connecting.successful():
        connecting.kill()
        raise Inconclusive(f"no master at {host}:{port}")
    runner = connecting.value
    control = control_of(environment)
    events.init.fire(environment=environment, runner=runner, web_ui=None)
    say({"notice": f"worker {introduction()['name']} is ready for the master at {host}:{port}"})
    silent = False
    while not (stopped() or silent or control.error) and len(runner.greenlet):
        gevent.sleep(POLL_S)
        silent = _silent(runner.last_heartbeat_timestamp)
    runner.quit()
    environment.events.quitting.fire(environment=environment, reverse=True)  # tells the master
    if control.error is not None:
        raise control.error
    if silent:
        raise Inconclusive(f"the master at {host}:{port} said nothing for {MASTER_SILENT_S:g} s")
    say({"done": True})


def _silent(last_heartbeat: float | None) -> bool:
    return last_heartbeat is not None and time.time() - last_heartbeat > MASTER_SILENT_S
