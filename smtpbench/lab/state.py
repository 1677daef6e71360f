"""Which lab servers are up: one JSON file for each, written by its keeper, believed only while that lives.

A process id alone may since have gone to another process, so the file also holds when the keeper
started (field 22 of /proc/PID/stat, in clock ticks since boot).
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from smtpbench.target import Target


@dataclass(frozen=True, slots=True)
class Up:
    """A server that is up: its keeper's process id, when that started, and the target."""

    name: str
    pid: int
    started: str
    target: Target


def folder() -> Path:
    """``$XDG_STATE_HOME/smtpbench/lab``, made if need be."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    place = Path(base) / "smtpbench" / "lab"
    place.mkdir(parents=True, exist_ok=True)
    return place


def started_at(pid: int) -> str | None:
    """When process `pid` started, as the kernel counts; None if there is none, or it is a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name before it, in brackets, may hold anything
    return None if fields[0] == "Z" else fields[19]


def write(name: str, target: Target) -> None:
    """Record that this process keeps `name` up."""
    pid = os.getpid()
    record = {
        "pid": pid,
        "started": started_at(pid),
        "target": target.model_dump(mode="json", exclude_unset=True),
    }
    path = folder() / f"{name}.json"
    temporary = path.with_suffix(f".{pid}")
    temporary.write_text(json.dumps(record), encoding="utf-8")
    temporary.replace(path)


def remove(name: str) -> None:
    """Forget `name`."""
    (folder() / f"{name}.json").unlink(missing_ok=True)


def find(name: str) -> Up | None:
    """The record of `name` if its keeper lives; a record that outlived its keeper is removed."""
    try:
        data = json.loads((folder() / f"{name}.json").read_text(encoding="utf-8"))
        up = Up(name, int(data["pid"]), str(data["started"]), Target.model_validate(data["target"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, ValidationError):
        remove(name)
        return None
    if started_at(up.pid) != up.started:
        remove(name)
        return None
    return up
