"""Run a load and get its result. Locust runs in a process of its own; this one is left unpatched."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from smtpbench import errors
from smtpbench.load.abort import AbortRule
from smtpbench.load.audit import apply_calibration
from smtpbench.load.calibration import calibrate as measure_ceiling
from smtpbench.load.calibration import worth_it
from smtpbench.load.order import DEFAULT_MASTER_PORT, Order
from smtpbench.load.probe import probe
from smtpbench.load.result import Calibration, LoadResult
from smtpbench.load.scenario import find_scenario, is_toml, read_scenario
from smtpbench.load.workload import Workload, make_workload, overlay, with_users
from smtpbench.target import Target

GIVE_UP_S = 30.0  # for a process that has said its result to leave

Progress = Callable[[Mapping[str, Any]], None]
Notice = Callable[[str], None]


def run_load(
    target: Target,
    workload: Workload | Mapping[str, Any],
    *,
    progress: Progress | None = None,
    notice: Notice | None = None,
    scenario: Path | None = None,
    processes: int = 1,
    await_workers: bool = False,
    master_host: str = "127.0.0.1",
    master_port: int = DEFAULT_MASTER_PORT,
    web_port: int | None = None,
    metrics: tuple[str, int] | None = None,
    abort: AbortRule | None = None,
    ledger: Path | None = None,
    calibrate: bool | None = None,
    until: Callable[[], bool] | None = None,
) -> LoadResult:
    """Load `target` and return what was measured; KeyboardInterrupt ends the run early and keeps the results.

    `workload` as a mapping holds the fields to lay over those of the `scenario`, a TOML or a Locust file.
    `progress` gets a mapping once a second, see `Control.progress`.
    `notice` gets lines worth reading at once, such as that a worker came or went.
    `processes` run on this machine, or with `await_workers` connect to us from elsewhere.
    `metrics` is the host and port at which OpenMetrics are served meanwhile.
    A threshold of `abort` that stays broken ends the run early. `web_port` serves Locust's page on
    loopback meanwhile. `ledger` is a folder for journals of what was acknowledged (see delivery/ledger.py),
    of processes on this machine. `calibrate` the generator first, or not; None does so before runs that last
    (see calibration.py); a Locust file and workers elsewhere are not calibrated. Once `until` is true, which
    is asked with each progress, the run ends as if its time were over. Raises SmtpbenchError:
    UsageError for a workload or scenario that makes no sense, SessionError if the target lets nobody in.
    """
    given = (
        workload.model_dump(mode="json", exclude_unset=True)
        if isinstance(workload, Workload)
        else dict(workload)
    )
    scenario = scenario and find_scenario(scenario)
    if scenario is not None and is_toml(scenario):
        given, scenario = overlay(read_scenario(scenario), given), None
    # what kinds of sessions a Locust file has is known where it is loaded: its conductor asks the target
    introduction = probe(target, make_workload(**with_users(given, 1))) if scenario is None else {}
    order = Order(
        role="master" if await_workers else "local", target=target, workload=given, scenario=scenario,
        processes=processes, master_host=master_host, master_port=master_port, web_port=web_port, abort=abort,
        metrics=metrics, ledger=ledger,
    )  # fmt: skip
    ceiling = None if scenario or await_workers else _calibrated(target, make_workload(**given), calibrate)
    said = _conduct(order, progress, notice, until)
    result = LoadResult.model_validate(said["result"])
    if isinstance(ceiling, str):
        result.generator.warnings.append(f"the generator was not calibrated: {ceiling}")
    elif ceiling is not None:
        apply_calibration(result, ceiling)
    result.target = introduction or result.target
    result.interrupted = said.get("interrupted", False)
    return result


def _calibrated(target: Target, workload: Workload, wanted: bool | None) -> Calibration | str | None:
    """The generator's own ceiling; why it is not known; None if it was not to be measured."""
    if wanted is False or (wanted is None and not worth_it(workload)):
        return None
    try:
        return measure_ceiling(target, workload)
    except errors.SmtpbenchError as error:
        return str(error)


def run_worker(
    master_host: str = "127.0.0.1", master_port: int = DEFAULT_MASTER_PORT, *, notice: Notice | None = None
) -> None:
    """Work for a master until it ends the run.

    Raises Inconclusive if there is none, if it goes silent, or if it has no work left, and UsageError if
    it is of another version.
    """
    order = Order(role="worker", master_host=master_host, master_port=master_port)
    _conduct(order, None, notice)


def _conduct(
    order: Order, progress: Progress | None, notice: Notice | None, until: Callable[[], bool] | None = None
) -> dict[str, Any]:
    """What the conductor said last. A first interrupt ends the run, a second kills it."""
    command = [sys.executable, "-m", "smtpbench.load.conductor"]
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True
        ) as process,
    ):

        def told(figures: Mapping[str, Any]) -> None:
            if progress is not None:
                progress(figures)
            if until is not None and until():
                _end_order(process)

        try:
            said = _order_and_listen(process, order, {"progress": told, "notice": notice or _ignore})
        finally:
            _end_order(process)
            _leave(process)
        if said is None:
            raise errors.SmtpbenchError(f"the load process ended early: {_last_words(process, log)}")
        return said


def _order_and_listen(
    process: subprocess.Popen[bytes], order: Order, heard: Mapping[str, Callable[[Any], None]]
) -> dict[str, Any] | None:
    try:
        _order(process, order)
        return _listen(process, heard)
    except KeyboardInterrupt:
        _end_order(process)
        said = _listen(process, heard)
        return said and {**said, "interrupted": True}


def _leave(process: subprocess.Popen[bytes]) -> None:
    """Wait for a process that has said its last word, but not for ever."""
    try:
        process.wait(GIVE_UP_S)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.kill()


def _order(process: subprocess.Popen[bytes], order: Order) -> None:
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(order.model_dump_json(exclude_unset=True).encode() + b"\n")
        process.stdin.flush()


def _end_order(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()


def _ignore(_: Any) -> None:
    """Nobody wants to hear it."""


def _listen(
    process: subprocess.Popen[bytes], heard: Mapping[str, Callable[[Any], None]]
) -> dict[str, Any] | None:
    """Pass progress and notices on until the last word is said. Raises the error that was said."""
    assert process.stdout is not None
    for line in process.stdout:
        said: dict[str, Any] = json.loads(line)
        kind = next(iter(said))
        if kind in heard:
            heard[kind](said[kind])
        elif kind == "error":
            raise getattr(errors, said["error"]["kind"], errors.SmtpbenchError)(said["error"]["text"])
        else:
            return said
    return None


def _last_words(process: subprocess.Popen[bytes], log: IO[bytes]) -> str:
    """The last line it wrote, or what killed it: the kernel, perhaps, for want of memory."""
    if process.returncode and process.returncode < 0:
        return f"it was killed by {signal.Signals(-process.returncode).name}"
    log.seek(0)
    lines = log.read().decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
