"""`SmtpUser`: what a scenario file subclasses. Importing this imports Locust, which patches the process.

    class Steady(SmtpUser):
        workload = Workload(users=10, message_size=4096)

A Locust user starts a session task on the engine and stops it; the messages themselves never pass
through Locust. With a `rate` instead of `users` messages arrive by a plan, and Locust's users are idle.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, ClassVar

import gevent
from locust import User, constant, events, task
from locust.env import Environment
from locust.runners import WorkerRunner

from smtpbench.load.control import Control, control_of
from smtpbench.load.course import User as EngineUser
from smtpbench.load.locust_options import add_options
from smtpbench.load.locust_web import extend
from smtpbench.load.workload import Workload
from smtpbench.target import Target

CONNECTING_S = 0.05
A_LONG_TIME_S = 86_400  # a waiting user can be stopped at once; a working one could not

log = logging.getLogger(__name__)


class SmtpUser(User):
    """One SMTP user of `workload`: the same session again and again, or one that lasts.

    `target` is for a scenario that belongs to one target; Locust's ``--smtp-target FILE|URL`` goes
    before it, and ``--host smtp://HOST:PORT`` is for when neither is given.
    """

    abstract = True
    workload: ClassVar[Workload] = Workload(users=1)
    target: ClassVar[Target | None] = None
    wait_time = constant(A_LONG_TIME_S)

    _session: EngineUser | None = None

    def on_start(self) -> None:
        """Start the session task."""
        while self.environment.runner is None:  # a worker can be told to spawn while it still connects
            gevent.sleep(CONNECTING_S)
        self._session = control_of(self.environment).add_user()

    def on_stop(self) -> None:
        """Let it finish the message under way."""
        if self._session is not None:
            control_of(self.environment).remove_user(self._session)

    @task
    def _nothing(self) -> None:
        """Locust wants a task; ours runs on the engine."""


def _attach(environment: Environment, **_: Any) -> None:
    gevent.get_hub().loop.update_now()  # Locust's --run-time counts from what this shows
    control = control_of(environment)
    if environment.parsed_options is not None and environment.web_ui is not None:
        extend(environment.web_ui, control)  # `smtpbench load` does that itself
    if environment.parsed_options is None or isinstance(environment.runner, WorkerRunner):
        return  # a worker has no result, and `smtpbench load` shows its own
    environment.events.quit.add_listener(lambda **_: _warn(control))
    if path := environment.parsed_options.smtpbench_json:
        environment.events.quit.add_listener(lambda **_: write_result(control, Path(path)))


def _warn(control: Control) -> None:
    if reason := control.result().nothing_accepted:
        log.warning("%s", reason)


def write_result(control: Control, path: Path) -> None:
    """Write the result of `control` as JSON."""
    path.write_text(control.result().model_dump_json(by_alias=True, indent=2), encoding="utf-8")


events.init_command_line_parser.add_listener(add_options)
events.init.add_listener(_attach)
