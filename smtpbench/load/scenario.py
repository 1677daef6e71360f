"""A workload in a TOML file: the fields of `Workload`, and ``[[traffic]]`` for a mix.

rate = "spike:50-500,30s,10s"
message_size = { kind = "lognormal", median = "8k", sigma = 1.2, max = "1m" }

[[traffic]]
share = "70%"
endpoint = "mx"

[[traffic]]
share = "30%"
endpoint = "submission"
auth = true

``thresholds = ["error_rate < 0.1%"]`` before the first table is what the command line has as ``--threshold``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import smtpbench
from smtpbench.errors import UsageError
from smtpbench.load.thresholds import parse_threshold
from smtpbench.load.workload import Workload, is_trace, validated, with_users

_EMPIRICAL = "empirical:"
_THRESHOLDS = "thresholds"  # of a file, beside the workload


def is_toml(scenario: Path) -> bool:
    """Whether a scenario is for us to read, and not for Locust."""
    return scenario.suffix == ".toml"


def find_scenario(scenario: Path) -> Path:
    """A file of the user, or one of ours by its bare name. Raises UsageError that names ours."""
    ours = {path.stem: path for path in _ours() if path.suffix in (".py", ".toml")}
    if scenario.exists() or scenario.name != str(scenario) or (scenario.suffix and scenario.stem not in ours):
        return scenario
    if scenario.stem not in ours:
        raise UsageError(f"--scenario {scenario}: no such file, and none of ours: {', '.join(sorted(ours))}")
    return ours[scenario.stem]


def _ours() -> list[Path]:
    """``scenarios/`` of a checkout, ``smtpbench/scenarios`` of the wheel."""
    package = Path(smtpbench.__file__).parent
    return [*package.parent.glob("scenarios/*"), *package.glob("scenarios/*")]


def read_scenario(path: Path) -> dict[str, Any]:
    """The fields that a TOML file gives a workload, checked; it may leave `users` and `rate` to the caller.

    Files it names are looked for beside it, and what is in them is in the fields. Raises UsageError,
    a line for each mistake: file, key, value, what was expected.
    """
    data = _read(path)
    workload = validated(with_users(data, 1), str(path))
    fields = workload.model_dump(mode="json", exclude_unset=True)
    return {name: value for name, value in fields.items() if name in data or name != "users"}


def scenario_thresholds(scenario: Path | None) -> list[str]:
    """What a TOML file asks of a run: ``thresholds = ["body.p99 < 500ms"]``. Raises UsageError."""
    if scenario is None or not is_toml(path := find_scenario(scenario)):
        return []
    found = _load(path).get(_THRESHOLDS, [])
    if not isinstance(found, list):
        raise UsageError(f"{path}: {_THRESHOLDS}: {found!r}: expected a list such as ['body.p99 < 500ms']")
    for number, text in enumerate(found):
        try:
            parse_threshold(str(text))
        except UsageError as error:
            reason = str(error).removeprefix("--threshold ")
            raise UsageError(f"{path}: {_THRESHOLDS}[{number}]: {reason}") from None
    return [str(text) for text in found]


def workload_of(path: Path) -> Workload:
    """The workload of a TOML file, with one user if it names no model; for a Locust file to build on."""
    return validated(with_users(_read(path), 1), str(path))


def _load(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not TOML: {error}") from None


def _read(path: Path) -> dict[str, Any]:
    """What it says of the workload, with the files it names made absolute."""
    data = _load(path)
    data.pop(_THRESHOLDS, None)
    if is_trace(data.get("arrivals")):
        data["arrivals"] = str(path.parent / data["arrivals"])
    for table in (data, *data.get("traffic", ())):
        if (
            isinstance(table, dict)
            and isinstance(table.get("corpus"), str)
            and table["corpus"] != "generated"
        ):
            table["corpus"] = str(path.parent / table["corpus"])
        if isinstance(table, dict) and isinstance(table.get("dkim"), dict) and "key" in table["dkim"]:
            table["dkim"]["key"] = str(path.parent / str(table["dkim"]["key"]))
    return {key: _beside(value, path.parent) for key, value in data.items()}


def _beside(value: Any, folder: Path) -> Any:
    """`value` with the files of measured distributions in it found in `folder`."""
    if isinstance(value, str) and value.startswith(_EMPIRICAL):
        name, comma, bounds = value.removeprefix(_EMPIRICAL).partition(",")
        return f"{_EMPIRICAL}{folder / name.strip()}{comma}{bounds}"
    if isinstance(value, Mapping):
        if value.get("kind") == "empirical" and "file" in value:
            return {**value, "file": str(folder / str(value["file"]))}
        return {key: _beside(inner, folder) for key, inner in value.items()}
    return [_beside(inner, folder) for inner in value] if isinstance(value, list) else value
