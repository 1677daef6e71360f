"""The process that runs Locust for `run_load`: ``python -m smtpbench.load.conductor`` (see order.py)."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import gevent
from gevent.fileobject import FileObject
from locust import LoadTestShape, events
from locust.env import Environment
from locust.exception import RPCError
from locust.runners import STATE_INIT, MasterRunner
from locust.util.load_locustfile import load_locustfile

from smtpbench import errors
from smtpbench.errors import Inconclusive, SmtpbenchError, UsageError
from smtpbench.load.abort import AbortWatch
from smtpbench.load.control import Control, control_of
from smtpbench.load.locust_user import SmtpUser
from smtpbench.load.locust_web import PATH as WEB_PATH
from smtpbench.load.locust_web import extend
from smtpbench.load.metrics_server import MetricsServer
from smtpbench.load.native import run_in_native_thread
from smtpbench.load.order import Order
from smtpbench.load.probe import probe
from smtpbench.load.worker import Say, work
from smtpbench.load.workload import (
    DEFAULT_RUN_TIME_S,
    MODELS,
    Workload,
    is_trace,
    make_workload,
    overlay,
)
from smtpbench.target import Target

POLL_S = 0.05
PROGRESS_S = 0.9  # batches come once a second, more or less
CONNECT_S = 60.0  # for workers to import and connect; a master on the command line waits without limit
START_S = 10.0  # Locust ramps up within a second, and waits another for its workers' reports
GOODBYE_S = 5.0
DRAIN_S = 20.0  # beyond the time of one reply: two goodbyes, and a hand-over once a second
INTRODUCE_S = 5.0  # a worker of ours does so as soon as it has connected
WEB_HOST = "127.0.0.1"


class Strangers:
    """Connected workers that have yet to introduce themselves; one that never does is none of ours."""

    def __init__(self, runner: MasterRunner, control: Control) -> None:
        self._runner, self._control = runner, control
        self._since: dict[str, float] = {}

    def introduced(self) -> int:
        """How many workers are ready and known to be of our kind; strangers are sent away in time."""
        roster, now, known = self._control.roster, time.monotonic(), 0
        for client in self._runner.clients.ready:
            if client.id in roster:
                known += roster[client.id].state == "ready"
            elif now - self._since.setdefault(client.id, now) > INTRODUCE_S:
                self._control.refuse(client.id, "refused", "it does not say which smtpbench it is")
                self._runner.send_message("quit", client_id=client.id)
        return known


class Conductor:
    """One run, from the order to the result."""

    def __init__(self, order: Order, say: Say) -> None:
        self._order = order
        self._say = say
        self._stopped = False
        self._workers: list[subprocess.Popen[bytes]] = []
        self._introduction: dict[str, Any] = {}
        self._abort = AbortWatch(order.abort) if order.abort else None
        self._aborted = ""

    def stop(self) -> None:
        """End the run early and keep what was measured."""
        self._stopped = True

    def run(self) -> None:
        """Do what the order says, and say the result. Raises SmtpbenchError."""
        user_class, shape = self._user_class()
        environment = Environment(user_classes=[user_class], shape_class=shape, events=events)
        if self._order.role == "worker":
            host, port = self._order.master_host, self._order.master_port
            work(environment, host, port, stopped=lambda: self._stopped, say=self._say)
            return
        alone = self._order.role == "local" and self._order.processes == 1
        if alone:
            environment.create_local_runner()
        else:
            self._listen(environment)
        control = control_of(environment)  # at once: a worker may be connecting already
        control.tell = lambda line: self._say({"notice": line})
        if self._order.metrics is not None:
            server = MetricsServer(control, *self._order.metrics)
            control.tell(f"OpenMetrics at {server.url}")
        if self._order.web_port is not None:
            _require_free(self._order.web_port)
            extend(environment.create_web_ui(WEB_HOST, self._order.web_port), control)
            control.tell(
                f"charts at http://{WEB_HOST}:{self._order.web_port}{WEB_PATH}/, Locust's page above"
            )
        events.init.fire(environment=environment, runner=environment.runner, web_ui=environment.web_ui)
        control.target, control.workload = self._order.target, user_class.workload
        control.ledger = self._order.ledger
        control.on_spent = self.stop
        try:
            if self._order.scenario is not None:
                self._introduce(user_class.workload)
            if not alone:
                self._gather(environment, control)
            self._measure(environment, control)
        finally:
            self._dismiss(environment)
        if control.error is not None:
            raise control.error
        self._say({"result": self._result(control).model_dump(mode="json", by_alias=True)})

    def _user_class(self) -> tuple[type[SmtpUser], LoadTestShape | None]:
        """The user class to run: the scenario's, with what the order says about the workload on top."""
        order, given = self._order, dict(self._order.workload)
        if order.scenario is None:
            workload = Workload(users=1) if order.role == "worker" else make_workload(**given)
            return type("LoadUser", (SmtpUser,), {"workload": workload, "abstract": False}), None
        classes, shapes = _load_scenario(order.scenario)
        user_class = classes[0]
        own = user_class.workload.model_dump(exclude_unset=True)
        user_class.workload = make_workload(**overlay(own, given))
        if not shapes or given.keys() & MODELS or is_trace(given.get("arrivals")):
            return user_class, None
        if user_class.workload.is_open:
            raise UsageError(
                f"--scenario {order.scenario}: {type(shapes[0]).__name__} steers users, and its workload has "
                "none: give a rate that changes, such as ramp:10-200,60s, or users"
            )
        return user_class, shapes[0]

    def _introduce(self, workload: Workload) -> None:
        """Ask the target once for each kind of session of a scenario. Raises SessionError, UsageError."""
        assert self._order.target is not None
        asked: list[dict[str, Any] | SmtpbenchError] = []
        ask = partial(_answer_or_error, asked, self._order.target, workload)
        run_in_native_thread(ask, "smtpbench-probe")  # the loop of a probe is not for greenlets
        while not asked:
            gevent.sleep(POLL_S)
        if isinstance(asked[0], SmtpbenchError):
            raise asked[0]
        self._introduction = asked[0]

    def _listen(self, environment: Environment) -> None:
        """Become a master: on a port of any number for our own workers, else on the one announced."""
        port = 0 if self._order.role == "local" else self._order.master_port
        try:
            environment.create_master_runner(self._order.master_host, port)
        except RPCError as error:
            place = f"--master-host {self._order.master_host}, --master-port {port}"
            raise UsageError(f"{place}: {error}") from None

    def _gather(self, environment: Environment, control: Control) -> None:
        """Start or await the workers, and let them introduce themselves."""
        runner, wanted = environment.runner, self._order.processes
        assert isinstance(runner, MasterRunner)
        limit = math.inf
        if self._order.role == "local":
            limit = time.monotonic() + CONNECT_S
            for _ in range(wanted):
                gevent.sleep(0)  # an order to stop is heard between two
                if not self._stopped:
                    self._workers.append(_start_worker(runner.server.port, self._order.scenario))
        else:
            where = f"{self._order.master_host}:{runner.server.port}"
            self._say({"notice": f"waiting for {wanted} worker{'s' * (wanted != 1)} on {where}"})
        strangers = Strangers(runner, control)
        while (here := strangers.introduced()) < wanted and not self._stopped:
            gone = [worker.pid for worker in self._workers if worker.poll() is not None]
            if gone or time.monotonic() > limit:
                why = f": the one with pid {gone[0]} ended" if gone else ""
                raise Inconclusive(f"{here} of {wanted} workers connected{why}")
            gevent.sleep(POLL_S)

    def _measure(self, environment: Environment, control: Control) -> None:
        """Start, report once a second, and stop at the first of: time, messages, shape, order, error."""
        runner, workload = environment.runner, self._workload(control)
        assert runner is not None
        if self._stopped:
            return
        users = workload.users or 1
        runner.update_state(STATE_INIT)  # workers that came and went have left Locust "stopped"
        if environment.shape_class is not None:
            starting = gevent.spawn(runner.start_shape)
        else:
            starting = gevent.spawn(runner.start, users, users)
        end = time.monotonic() + self._run_time(environment, workload)
        told = 0.0
        while not (self._stopped or control.error) and time.monotonic() < end and runner.state != "stopped":
            gevent.sleep(POLL_S)
            if control.collector.elapsed >= told + PROGRESS_S:
                told = control.collector.elapsed
                self._say({"progress": control.progress()})
                self._watch(control)
        starting.join(START_S)  # a master that is stopped while it starts comes to rest as "running"
        starting.kill()
        runner.stop()
        control.wait_for_the_rest(self._drain_s(control))

    def _watch(self, control: Control) -> None:
        """End the run if a threshold says so."""
        if self._abort is not None and not self._aborted and control.collector.seconds:
            self._aborted = self._abort.see(control.collector.seconds, control.collector.glance())
            self._stopped = self._stopped or bool(self._aborted)

    def _run_time(self, environment: Environment, workload: Workload) -> float:
        """Seconds until the end; a number of messages, a trace or a load shape is an end of its own.

        An open workload ends by its own clock, which starts when the engine does; ours is there in case.
        """
        if workload.lasts is not None:
            return workload.lasts + (START_S if workload.is_open else 0)
        endless = workload.messages is None and workload.trace is None and environment.shape_class is None
        return DEFAULT_RUN_TIME_S if endless else math.inf

    def _drain_s(self, control: Control) -> float:
        """How long an engine may take to end: a reply that is under way, and its goodbyes."""
        assert control.target is not None
        return control.target.timeouts.reply + DRAIN_S

    def _workload(self, control: Control) -> Workload:
        assert control.workload is not None
        return control.workload

    def _dismiss(self, environment: Environment) -> None:
        assert environment.runner is not None
        with contextlib.suppress(gevent.Timeout), gevent.Timeout(GOODBYE_S):
            environment.runner.quit()
        if environment.web_ui is not None:
            environment.web_ui.stop()
        for worker in self._workers:
            try:
                worker.wait(GOODBYE_S)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()

    def _result(self, control: Control) -> Any:
        result = control.result()
        result.target = self._introduction or result.target
        if control.environment.shape_class is not None:
            result.workload["shape"] = type(control.environment.shape_class).__name__
        result.aborted = self._aborted
        return result


def _answer_or_error(into: list[dict[str, Any] | SmtpbenchError], target: Target, workload: Workload) -> None:
    try:
        into.append(probe(target, workload))
    except SmtpbenchError as error:
        into.append(error)
    except BaseException:
        into.append(SmtpbenchError("the target could not be asked"))
        raise


def _load_scenario(path: Path) -> tuple[list[type[SmtpUser]], list[LoadTestShape]]:
    """The SmtpUser classes and load shapes of a scenario file. Raises UsageError."""
    if not path.is_file():
        raise UsageError(f"--scenario {path}: no such file")
    try:
        users, shapes = load_locustfile(str(path))
    except Exception as error:  # noqa: BLE001 - the user's own code may raise anything
        raise UsageError(f"--scenario {path}: {type(error).__name__}: {error}") from None
    classes = [cls for cls in users.values() if issubclass(cls, SmtpUser)]
    if len(classes) != 1:
        raise UsageError(f"--scenario {path}: expected one SmtpUser class, found {len(classes)}")
    return classes, list(shapes)


def _require_free(port: int) -> None:
    """Locust's web server would die in a greenlet of its own."""
    try:
        socket.create_server((WEB_HOST, port)).close()
    except OSError as error:
        raise UsageError(f"--web-port {port}: {os.strerror(error.errno or 0)}") from None


def _start_worker(master_port: int, scenario: Path | None) -> subprocess.Popen[bytes]:
    order = Order(role="worker", master_port=master_port, scenario=scenario)
    worker = subprocess.Popen(
        [sys.executable, "-m", "smtpbench.load.conductor"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    assert worker.stdin is not None
    worker.stdin.write(order.model_dump_json().encode() + b"\n")
    worker.stdin.flush()
    return worker


def _claim_stdout() -> Say:
    """Standard output for our lines alone; what others print goes to standard error."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(line: dict[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(line), file=out, flush=True)

    return say


def _public_kind(error: SmtpbenchError) -> str:
    """The name in the error tree of what this is a kind of."""
    return next(kind.__name__ for kind in type(error).__mro__ if hasattr(errors, kind.__name__))


def main() -> None:
    """Run one order."""
    logging.basicConfig(level=logging.ERROR)
    say = _claim_stdout()
    orders = FileObject(0, "rb", closefd=False)
    conductor = Conductor(Order.model_validate_json(orders.readline()), say)

    def watch() -> None:
        orders.read()
        conductor.stop()

    gevent.spawn(watch)
    try:
        conductor.run()
    except SmtpbenchError as error:
        say({"error": {"kind": _public_kind(error), "text": str(error)}})


if __name__ == "__main__":
    main()
