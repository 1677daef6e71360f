"""The control plane in a Locust process: starts and stops the engine, and brings its batches home.

A worker and a local runner have an engine of their own. A master has none: it tells each worker
its share before Locust tells it to spawn, and adds up the batches that come in the workers' reports.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from weakref import WeakKeyDictionary

import gevent
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

from smtpbench import __version__
from smtpbench.errors import SmtpbenchError, UsageError
from smtpbench.load.collect import Collector
from smtpbench.load.engine import Engine, User
from smtpbench.load.locust_stats import fold
from smtpbench.load.recorder import Batch
from smtpbench.load.result import LoadResult
from smtpbench.load.setup import Share, choose_endpoint, make_engine, make_plan
from smtpbench.load.workload import Workload
from smtpbench.target import Target, from_url, require_authorized

POLL_S = 0.1
READY = "smtpbench.ready"  # worker to master: its listeners are in place (Locust's own "ready" comes before)
ASSIGN = "smtpbench.assign"  # master to worker: what to do
REPORT = "smtpbench"  # key of our batches in Locust's worker reports
LOCAL = "local"

log = logging.getLogger(__name__)
_controls: WeakKeyDictionary[Environment, Control] = WeakKeyDictionary()


def control_of(environment: Environment) -> Control:
    """The control of a Locust environment, made and attached at the first call."""
    if environment not in _controls:
        _controls[environment] = Control(environment)
    return _controls[environment]


class Control:
    """One Locust environment's engine or, on a master, the sum of its workers' engines.

    `target` and `workload` may be set before the test starts; else they come from the user class
    and from Locust's ``--host``. `finished` tells that the workload has no more messages.
    """

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.collector = Collector()
        self.target: Target | None = None
        self.workload: Workload | None = None
        self.error: Exception | None = None
        self.expected = 1  # processes that have a share
        self.workers: set[str] = set()
        self.started = ""
        self.on_spent: Callable[[], None] = self._end
        self._share = Share()
        self._settled: tuple[Target, Workload] | None = None
        self._engine: Engine | None = None
        self._poller: Any = None
        self._outbox: list[dict[str, Any]] = []
        runner = environment.runner
        environment.events.test_start.add_listener(self._on_test_start)
        environment.events.test_stop.add_listener(self._on_test_stop)
        if isinstance(runner, WorkerRunner):
            runner.register_message(ASSIGN, self._on_assign)
            environment.events.report_to_master.add_listener(self._on_report_to_master)
            runner.send_message(READY)
        elif isinstance(runner, MasterRunner):
            runner.register_message(READY, self._on_ready)
            environment.events.worker_report.add_listener(self._on_worker_report)

    # --- users ---

    def add_user(self) -> User | None:
        """A session task for a Locust user; None where messages arrive by a plan, not by users."""
        if self._engine is None or self._settled is None or self._settled[1].is_open:
            return None
        return self._engine.add_user()

    def remove_user(self, user: User) -> None:
        """The end of that task, after the message under way."""
        if self._engine is not None:
            self._engine.remove_user(user)

    @property
    def spent(self) -> bool:
        """Whether every process has sent all its messages."""
        return self.collector.spent(self.expected)

    def result(self) -> LoadResult:
        """The run so far, or the whole run once it has stopped."""
        result = self.collector.result()
        result.smtpbench, result.started = __version__, self.started
        if self._settled is not None:
            target, workload = self._settled
            result.target = {"name": target.name, "endpoint": choose_endpoint(target, workload)[1].address}
            if not workload.is_open:  # Locust has the last word on how many users there are
                users = getattr(self.environment.runner, "target_user_count", 0) or workload.users
                workload = workload.model_copy(update={"users": users})
            result.workload = workload.model_dump(mode="json", exclude_none=True)
        return result

    # --- Locust's events ---

    def _on_test_start(self, environment: Environment, **_: Any) -> None:
        self.collector = Collector()
        self.started = datetime.now(UTC).isoformat(timespec="seconds")
        try:
            target, workload = self._settle()
            if isinstance(environment.runner, MasterRunner):
                self._assign(environment.runner, target, workload)
            else:
                self._begin(target, workload)
        except SmtpbenchError as error:
            self.error = error
            log.error("%s", error)
            environment.process_exit_code = error.exit_code
            gevent.spawn(self._end)

    def _settle(self) -> tuple[Target, Workload]:
        """What to test and how, from whoever said it."""
        classes = [cls for cls in self.environment.user_classes if hasattr(cls, "workload")]
        if len(classes) != 1:
            raise UsageError(f"a scenario needs one SmtpUser class, found {len(classes)}")
        target = self.target or getattr(classes[0], "target", None)
        if target is None:
            host = self.environment.host or classes[0].host
            if not host:
                raise UsageError("no target: give --host smtp://HOST:PORT")
            target = from_url(host)
            require_authorized(target, frozenset())
        self._settled = target, self.workload or classes[0].workload
        return self._settled

    def _begin(self, target: Target, workload: Workload) -> None:
        self._engine = make_engine(target, workload, self._share)
        self._engine.start()
        if workload.is_open:
            self._engine.start_arrivals(make_plan(workload, self._share))
        self._poller = gevent.spawn(self._poll, self._engine)

    def _on_test_stop(self, **_: Any) -> None:
        if self._engine is not None:
            self._engine.stop()
            self._poller.join()  # bounded: the engine waits no longer than a reply may take
            self._engine = None

    # --- batches ---

    def _poll(self, engine: Engine) -> None:
        while True:
            finished = engine.finished
            while engine.batches:
                self._take(engine.batches.popleft())
            if finished:
                return
            gevent.sleep(POLL_S)

    def _take(self, batch: Batch) -> None:
        fold(self.environment.stats, batch)
        runner = self.environment.runner
        if isinstance(runner, WorkerRunner):
            self._outbox.append(batch.to_plain())
            report: dict[str, Any] = {}  # now, and not only with Locust's own report every three seconds
            self.environment.events.report_to_master.fire(client_id=runner.client_id, data=report)
            runner.send_message("stats", report)
        else:
            self._add(LOCAL, batch)

    def _add(self, process: str, batch: Batch) -> None:
        before = self.spent
        self.collector.add(process, batch)
        if self.spent and not before:
            gevent.spawn(self.on_spent)

    def _end(self) -> None:
        """The test is over: leave, or stay for the web page."""
        environment = self.environment
        assert environment.runner is not None
        if environment.web_ui is None:
            environment.runner.quit()
        else:
            environment.runner.stop()

    # --- master and workers ---

    def _assign(self, runner: MasterRunner, target: Target, workload: Workload) -> None:
        workers = [client.id for client in runner.clients.ready]
        self.expected = len(workers)
        for part, worker in enumerate(workers):
            order = {
                "target": target.model_dump(mode="json", exclude_unset=True),
                "workload": workload.model_dump(mode="json", exclude_unset=True),
                "part": part, "parts": len(workers),
            }  # fmt: skip
            runner.send_message(ASSIGN, order, client_id=worker)

    def _on_ready(self, msg: Any, **_: Any) -> None:
        self.workers.add(msg.node_id)

    def _on_assign(self, msg: Any, **_: Any) -> None:
        self.target = Target.model_validate(msg.data["target"])
        self.workload = Workload.model_validate(msg.data["workload"])
        self._share = Share(msg.data["part"], msg.data["parts"])

    def _on_report_to_master(self, data: dict[str, Any], **_: Any) -> None:
        data[REPORT], self._outbox = self._outbox, []

    def _on_worker_report(self, client_id: str, data: dict[str, Any], **_: Any) -> None:
        for plain in data.get(REPORT, ()):
            self._add(client_id, Batch.from_plain(plain))
