"""The control plane in a Locust process: starts and stops the engine, and brings its batches home.

A worker and a local runner have an engine of their own. A master has none: it tells each worker
that asks what its share is, and adds up the batches that come in the workers' reports. A worker asks,
because Locust may tell it to spawn while it still connects, and then nothing of ours is in place to be told.
It introduces itself first (`distribution`), so that a master works with its own kind only.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from weakref import WeakKeyDictionary, WeakSet

import gevent
from gevent.event import Event
from locust.env import Environment
from locust.runners import STATE_MISSING, STATE_RUNNING, STATE_SPAWNING, MasterRunner, WorkerRunner

from smtpbench import __version__
from smtpbench.errors import SmtpbenchError
from smtpbench.load.collect import Collector
from smtpbench.load.course import User
from smtpbench.load.distribution import (
    LOCAL,
    complete,
    introduced_name,
    introduction,
    refusal,
    refused_by,
)
from smtpbench.load.engine import Engine
from smtpbench.load.locust_options import settle
from smtpbench.load.locust_stats import fold
from smtpbench.load.meter import is_local
from smtpbench.load.recorder import Batch
from smtpbench.load.result import LoadResult
from smtpbench.load.roster import Roster
from smtpbench.load.setup import Share, choose_endpoint, make_engine, make_plan
from smtpbench.load.workload import Workload
from smtpbench.target import Target

POLL_S = 0.1
WATCH_S = 0.25  # how often a master looks whether its workers are still there
HELLO = "smtpbench.hello"  # worker to master: who I am
ASK = "smtpbench.ask"  # worker to master: who I am, and the test has started: what am I to do?
ASSIGN = "smtpbench.assign"  # master to worker: its share
REFUSE = "smtpbench.refuse"  # master to worker: there is no work for it, and why
FAILED = "smtpbench.failed"  # worker to master: it could not begin, and why
REPORT = "smtpbench"  # key of our batches in Locust's worker reports

log = logging.getLogger(__name__)
_controls: WeakKeyDictionary[Environment, Control] = WeakKeyDictionary()
_impatient: WeakSet[Environment] = WeakSet()


def control_of(environment: Environment) -> Control:
    """The control of a Locust environment, made and attached at the first call."""
    if environment not in _controls:
        _controls[environment] = Control(environment)
    return _controls[environment]


def be_impatient(environment: Environment) -> None:
    """The worker of `environment` leaves if it comes too late. To be said before it connects.

    A user that Locust spawns at once makes the control, and the answer to its first word is the refusal.
    """
    _impatient.add(environment)


class Control:
    """One Locust environment's engine or, on a master, the sum of its workers' engines.

    `target` and `workload` may be set before the test starts; else they come from the user class
    and from Locust's command line. `on_spent` is called when the workload has no more messages,
    `tell` with each line that somebody who watches the run should read. A worker that came too
    late for a test waits for the next one if it is `patient`; else that is its error.
    """

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.collector = Collector()
        self.target: Target | None = None
        self.workload: Workload | None = None
        self.ledger: Path | None = None  # the folder for our engines' journals, if a ledger is kept
        self.error: Exception | None = None
        self.roster = Roster()
        self.started = ""
        self.on_spent: Callable[[], None] = self._end
        self.tell: Callable[[str], None] = log.warning
        self.patient = environment not in _impatient
        self._stopping = False
        self._asked = False
        self._begun = Event()
        self._settled: tuple[Target, Workload] | None = None
        self._engine: Engine | None = None
        self._poller: Any = None
        self._outbox: list[dict[str, Any]] = []
        runner = environment.runner
        environment.events.test_start.add_listener(self._on_test_start)
        environment.events.test_stopping.add_listener(self._on_test_stopping)
        environment.events.test_stop.add_listener(self._on_test_stop)
        if isinstance(runner, WorkerRunner):
            runner.register_message(ASSIGN, self._on_assign)
            runner.register_message(REFUSE, self._on_refuse)
            environment.events.report_to_master.add_listener(self._on_report_to_master)
            runner.send_message(HELLO, introduction())
            if runner.worker_state in (STATE_SPAWNING, STATE_RUNNING):
                self._ask(runner)
        elif isinstance(runner, MasterRunner):
            runner.register_message(HELLO, self._on_hello)
            runner.register_message(ASK, self._on_ask)
            runner.register_message(FAILED, self._on_failed)
            environment.events.worker_report.add_listener(self._on_worker_report)

    # --- users ---

    def add_user(self) -> User | None:
        """A session task for a Locust user, once there is an engine; None where messages arrive by a plan.

        Waits without limit: Locust ends the users of a test that is over.
        """
        self._begun.wait()
        if self._engine is None or self._settled is None or self._settled[1].is_open:
            return None
        return self._engine.add_user()

    def remove_user(self, user: User) -> None:
        """The end of that task, after the message under way."""
        if self._engine is not None:
            self._engine.remove_user(user)

    def wait_for_the_rest(self, limit_s: float) -> None:
        """Until every engine has handed over its last batch; workers may take so long.

        Locust calls a test stopped before it tells us so: a load shape that has come to its end stops it
        in a greenlet of its own.
        """
        if self._engine is not None:
            self._engine.stop()
        if self._poller is not None:
            self._poller.join()
        with gevent.Timeout(limit_s, exception=False):
            while self.roster.working:
                gevent.sleep(POLL_S)

    @property
    def spent(self) -> bool:
        """Whether every process has sent all its messages, or is gone."""
        sent = [worker_id for worker_id, worker in self.roster.items() if worker.part is not None]
        gone = ("lost", "left", "finished")
        return bool(sent) and all(
            self.collector.spent(worker_id) or self.roster[worker_id].state in gone for worker_id in sent
        )

    def progress(self) -> dict[str, Any]:
        """The run so far (`Collector.progress`), and what is known of target, end and workers."""
        known = {name for name, worker in self.roster.items() if worker.state in ("working", "finished")}
        figures = self.collector.progress(known)
        figures["workers"] = dict(Counter(worker.state for _, worker in self.roster.items()))
        if self._settled is not None:
            target, workload = self._settled
            figures["target"] = f"{target.name} at {choose_endpoint(target, workload)[1].address}"
            figures["ends_s"] = workload.lasts and workload.lasts - workload.warm_up
            figures["ends_messages"] = workload.messages
            if not workload.is_open:  # nothing is offered that is not taken, and nothing waits
                figures["offered_last_s"] = figures["waiting"] = None
        return figures

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
            result.workload = workload.shown()
        is_open = self._settled is not None and self._settled[1].is_open
        complete(result, self.roster, self.collector, is_open=is_open)
        return result

    # --- Locust's events ---

    def _on_test_start(self, environment: Environment, **_: Any) -> None:
        self.collector, self._stopping = Collector(), False
        self.started = datetime.now(UTC).isoformat(timespec="seconds")
        runner = environment.runner
        if isinstance(runner, WorkerRunner):
            self._ask(runner)
            return
        with self._failing():
            target, workload = self._settled = settle(environment, self.target, self.workload)
            self.collector = Collector(workload.warm_up)
            self.collector.target_is_local = is_local(choose_endpoint(target, workload)[1].host)
            if isinstance(runner, MasterRunner):
                ready = [client.id for client in runner.clients.ready]
                self.roster.deal(one for one in ready if self.roster[one].state != "refused")
                gevent.spawn(self._watch, runner)
            else:
                self.roster.deal([LOCAL])
                self._begin(target, workload, Share())

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """An error of ours ends the test; the master of a worker hears of it."""
        try:
            yield
        except SmtpbenchError as error:
            self._fail(error)
            if isinstance(self.environment.runner, WorkerRunner):
                self.environment.runner.send_message(FAILED, {"reason": str(error)})

    def _fail(self, error: SmtpbenchError) -> None:
        self.error = error
        log.error("%s", error)
        self.environment.process_exit_code = error.exit_code
        if self.patient:  # else `work` sees the error and leaves
            gevent.spawn(self._end)

    def _begin(self, target: Target, workload: Workload, share: Share) -> None:
        self._engine = make_engine(target, workload, share, ledger=self.ledger)
        self._engine.start()
        if workload.is_open:
            self._engine.start_arrivals(make_plan(workload, share), workload.lasts)
        self._poller = gevent.spawn(self._poll, self._engine)
        self._begun.set()

    def _on_test_stopping(self, **_: Any) -> None:
        self._stopping = True

    def _on_test_stop(self, **_: Any) -> None:
        self._asked = False
        self._begun.clear()
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
                break
            gevent.sleep(POLL_S)
        with self._failing():
            if engine.failure is not None:
                raise engine.failure

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
        if self.roster[process].part is None:
            return  # of a test before this one
        with self._noticing_the_end():
            self.collector.add(process, batch)
            if self.roster.heard(process):
                self.tell(f"worker {self.roster[process].name} is back")
            if batch.ended:
                self.roster.ended(process, early=not (batch.spent or self._stopping))

    @contextmanager
    def _noticing_the_end(self) -> Iterator[None]:
        before = self.spent
        yield
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

    def _ask(self, runner: WorkerRunner) -> None:
        self._asked = True
        runner.send_message(ASK, introduction())

    def _on_hello(self, msg: Any, **_: Any) -> None:
        """A worker has come. The messages are shared out already when it comes late."""
        self._welcome(msg.node_id, msg.data)

    def _welcome(self, worker_id: str, introduced: Any) -> bool:
        """Whether there is work for this worker; it is told if not."""
        self.roster.introduce(worker_id, introduced_name(introduced, worker_id))
        if reason := refusal(introduced):
            self.refuse(worker_id, "refused", reason)
            return False
        if self._settled is None or self._stopping or self.roster[worker_id].part is not None:
            return True
        workload = self._settled[1]
        if workload.is_open or workload.messages is not None:
            self.refuse(worker_id, "late", "it came when the run had begun and its messages were shared out")
            return False
        return True

    def refuse(self, worker_id: str, state: Literal["late", "refused"], reason: str) -> None:
        """Tell a worker, and whoever watches, that it gets no work."""
        if self.roster[worker_id].part is not None:
            self._lose(worker_id, reason)
        elif self.roster.refuse(worker_id, state, reason):
            self.tell(f"worker {self.roster[worker_id].name} gets no work: {reason}")
        if self.environment.runner is not None:
            self.environment.runner.send_message(REFUSE, {"reason": reason, "state": state}, worker_id)

    def _on_ask(self, msg: Any, **_: Any) -> None:
        """Tell a worker its share."""
        runner = self.environment.runner
        if self._settled is None or runner is None or not self._welcome(msg.node_id, msg.data):
            return  # the test failed before it began, or goes on without this worker
        target, workload = self._settled
        if self.roster[msg.node_id].part is None:
            self.roster.join(msg.node_id)
        order = {
            "target": target.model_dump(mode="json", exclude_unset=True),
            "workload": workload.model_dump(mode="json", exclude_unset=True),
            "part": self.roster[msg.node_id].part, "parts": self.roster.parts,
            "ledger": self.ledger and str(self.ledger),
        }  # fmt: skip
        runner.send_message(ASSIGN, order, client_id=msg.node_id)

    def _on_failed(self, msg: Any, **_: Any) -> None:
        self._lose(msg.node_id, f"it could not begin: {msg.data['reason']}")

    def _lose(self, worker_id: str, reason: str) -> None:
        with self._noticing_the_end():
            if self.roster.lose(worker_id, reason):
                self.tell(f"worker {self.roster[worker_id].name} is lost: {reason}")

    def _watch(self, runner: MasterRunner) -> None:
        """Notice workers that go without a word, until each has had its last one."""
        collector = self.collector
        while self.collector is collector and self.roster.working:
            for worker_id in self.roster.working:
                client = runner.clients.get(worker_id)
                if client is None or client.state == STATE_MISSING:
                    self._lose(worker_id, "it went away without a word")
            gevent.sleep(WATCH_S)

    def _on_assign(self, msg: Any, **_: Any) -> None:
        if not self._asked or self._engine is not None:
            return  # the test was over before the answer came
        with self._failing():
            target, workload = self._settled = (
                Target.model_validate(msg.data["target"]), Workload.model_validate(msg.data["workload"]),
            )  # fmt: skip
            self.ledger = Path(msg.data["ledger"]) if msg.data["ledger"] else None
            self._begin(target, workload, Share(msg.data["part"], msg.data["parts"]))

    def _on_refuse(self, msg: Any, **_: Any) -> None:
        runner = self.environment.runner
        assert isinstance(runner, WorkerRunner)
        error = refused_by(runner.master_host, runner.master_port, msg.data)
        if msg.data["state"] == "late" and self.patient:
            log.warning("%s", error)
        else:
            self._fail(error)

    def _on_report_to_master(self, data: dict[str, Any], **_: Any) -> None:
        data[REPORT], self._outbox = self._outbox, []

    def _on_worker_report(self, client_id: str, data: dict[str, Any], **_: Any) -> None:
        for plain in data.get(REPORT, ()):
            self._add(client_id, Batch.from_plain(plain))
