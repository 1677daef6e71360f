"""Reading results back: a run folder, or one JSON file, told apart by its `schema` field."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

import smtpbench.conformance.result as conformance
from smtpbench.campaign import fault_result as overload
from smtpbench.campaign import result as queue_result
from smtpbench.campaign.killed import recover_faults
from smtpbench.campaign.queue import recover
from smtpbench.delivery.ledger import FILE
from smtpbench.errors import UsageError
from smtpbench.load import capacity_result as capacity
from smtpbench.load import result as load
from smtpbench.report import model
from smtpbench.report.model import Result, Run

CONFORMANCE_FILE = "conformance.json"
LOAD_FILE = "load.json"
QUEUE_FILE = "queue.json"
CAPACITY_FILE = "capacity.json"
OVERLOAD_FILE = "crash.json"
LEDGER_FOLDER = "ledger"

_FILES = (CONFORMANCE_FILE, LOAD_FILE, QUEUE_FILE, CAPACITY_FILE, OVERLOAD_FILE)

_MODELS: dict[str, type[Result | Run]] = {
    conformance.SCHEMA: conformance.ConformanceResult,
    load.SCHEMA: load.LoadResult,
    queue_result.SCHEMA: queue_result.QueueResult,
    capacity.SCHEMA: capacity.CapacityResult,
    overload.SCHEMA: overload.OverloadResult,
    model.SCHEMA: Run,
}


def read_run(path: Path) -> Run:
    """The run that a folder or a JSON file holds. Raises UsageError that names the file and what is wrong.

    A folder with a ledger and no result is that of a run that was killed: the ledger tells what is known.
    """
    if not path.is_dir():
        return _read_file(path)
    files = [file for name in _FILES if (file := path / name).is_file()]
    if not files and (path / LEDGER_FOLDER).is_dir():
        ledger = path / LEDGER_FOLDER
        return Run.of(recover(ledger) if (ledger / FILE).is_file() else recover_faults(ledger))
    if not files:
        raise UsageError(f"{path}: none of {', '.join(_FILES)} is in this folder")
    halves = [_read_file(file) for file in files]
    return Run(
        conformance=next((half.conformance for half in halves if half.conformance), None),
        load=next((half.load for half in halves if half.load), None),
        capacity=next((half.capacity for half in halves if half.capacity), None),
        overload=next((half.overload for half in halves if half.overload), None),
    )


def _read_file(path: Path) -> Run:
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"), parse_constant=_no_number)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not JSON: {error}") from None
    schema = data.get("schema") if isinstance(data, dict) else None
    if not isinstance(schema, str) or schema not in _MODELS:
        raise UsageError(f"{path}: schema is {schema!r}, expected one of {', '.join(_MODELS)}")
    try:
        run = Run.of(_MODELS[schema].model_validate(data))
    except ValidationError as error:
        raise UsageError(f"{path}: {_first(error)}") from None
    if not run.halves:
        raise UsageError(f"{path}: no result is in it")
    return run


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _first(error: ValidationError) -> str:
    item = error.errors(include_url=False, include_context=False)[0]
    key = ".".join(str(part) for part in item["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{key}: {item['msg'][:1].lower()}{item['msg'][1:]}{more}"
