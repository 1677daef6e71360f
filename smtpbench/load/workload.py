"""What to send, how fast and for how long: the validated workload."""

from __future__ import annotations

import errno
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, model_validator

from smtpbench.errors import UsageError
from smtpbench.load.abnormal import Abnormal
from smtpbench.load.arrivals import read_trace
from smtpbench.load.manner import GENERATED, Dkim, Dsn, Manner, Traffic, replaced_by
from smtpbench.load.quantities import Pause
from smtpbench.load.rates import Profile, Rate

DEFAULT_RUN_TIME_S = 30.0  # of a run that was told no end
MAX_SESSIONS = 1_000  # an open workload opens more sessions as the target slows down; a bound keeps us alive

_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?")


PROCESSES = ("poisson", "constant")  # how messages arrive at a rate; else `arrivals` names a trace file
_TRAVEL = {"trace", "corpora"}  # to workers; nobody writes them
MODELS = {"users", "rate", "trace"}  # one of them makes a workload closed or open


def _seconds(value: Any) -> Any:
    """``"5m"`` as 300; what is no text is left as it is."""
    try:
        return parse_duration(value) if isinstance(value, str) else value
    except UsageError as error:
        raise ValueError(f"expected {str(error).partition('expected ')[2]}") from None


class Workload(Manner):
    """Closed (`users`: each sends its next message when the last is answered) or open (`rate`, or a trace).

    An open workload keeps its arrival plan however slow the target becomes; `max_sessions` bounds the
    connections it may use for that. `run_time` is in seconds; without it a `rate` that changes over
    time has a length of its own (`rates`). `rate` is in messages a second over all processes.
    `arrivals` is ``poisson``, ``constant`` or a file of arrival times (`arrivals.read_trace`), which
    are then in `trace`. A user pauses for `think_time` seconds after each message, in the session or
    between two; `idle` goes before it inside a session. What happens in the first `warm_up` seconds
    is part of `run_time` and is not measured. `corpora` says what is at each `corpus`, so that each
    process can see whether it has the same. With `traffic` each session's kind is drawn by its
    share, and `abnormal` ones run beside these. A session then carries one message, if
    `messages_per_session` says no other: its kind is drawn when it begins. The same `seed` draws the same.
    """

    users: Annotated[int, Field(ge=1, le=100_000)] | None = None
    rate: Rate | None = None
    arrivals: str = "poisson"
    trace: tuple[float, ...] | None = Field(default=None, repr=False)
    seed: Annotated[int, Field(ge=0)] = 1
    max_sessions: Annotated[int, Field(ge=1, le=100_000)] = MAX_SESSIONS

    run_time: Annotated[float, BeforeValidator(_seconds), Field(gt=0, le=30 * 86_400)] | None = None
    messages: Annotated[int, Field(ge=0)] | None = None
    warm_up: Annotated[float, BeforeValidator(_seconds), Field(ge=0, le=86_400)] = 0.0
    think_time: Pause | None = None
    corpora: dict[str, str] = Field(default={}, repr=False)
    traffic: tuple[Traffic, ...] = ()
    abnormal: tuple[Abnormal, ...] = ()

    watch_share: Annotated[float, Field(ge=0, le=1)] | None = None  # of sessions; None: see load/watch.py

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, data: Any) -> Any:
        """The times of a trace travel with the workload; where sessions are drawn, there are many of them."""
        if not isinstance(data, Mapping):
            return data
        data = dict(data)
        if data.get("traffic") or data.get("abnormal"):
            data.setdefault("messages_per_session", 1)
        if is_trace(data.get("arrivals")) and data.get("trace") is None:
            try:
                data["trace"] = read_trace(Path(data["arrivals"]))
            except ValueError as error:
                expected = "expected poisson, constant or a file of arrival times"
                raise ValueError(f"arrivals: {data['arrivals']}: {error}: {expected}") from None
        return data

    @model_validator(mode="after")
    def _one_model(self) -> Self:
        if sum(value is not None for value in (self.users, self.rate, self.trace)) != 1:
            raise ValueError("users or rate or a trace is needed, and not both")
        return self

    @model_validator(mode="after")
    def _mostly_normal(self) -> Self:
        total = math.fsum(one.share for one in self.abnormal)
        if total >= 1:
            raise ValueError(f"abnormal: {total:.0%} of all sessions: expected less than 100% together")
        return self

    @model_validator(mode="after")
    def _users_think(self) -> Self:
        if self.think_time is not None and self.is_open:
            raise ValueError("think_time: is for users; in an open workload the plan says when, or set idle")
        return self

    @model_validator(mode="after")
    def _time_after_the_warm_up(self) -> Self:
        if self.run_time is not None and self.warm_up >= self.run_time:
            raise ValueError(
                f"warm_up: {self.warm_up:g} s leave nothing of a run_time of {self.run_time:g} s"
            )
        return self

    @property
    def is_open(self) -> bool:
        """Whether messages arrive by a plan instead of one after the other."""
        return self.users is None

    @property
    def lasts(self) -> float | None:
        """Seconds after which the run ends, if time ends it: as said, or as long as its rate changes."""
        if self.run_time is None and isinstance(self.rate, Profile):
            return self.rate.lasts
        return self.run_time

    @property
    def corpus_paths(self) -> list[str]:
        """The mail that is replayed, each once."""
        return list(dict.fromkeys(one.corpus for one in self._manners if one.corpus is not None))

    @property
    def _manners(self) -> list[Manner]:
        return [self, *(traffic.over(self) for traffic in self.traffic)]

    def require_files(self) -> None:
        """That the files it names are there, which are read when they are needed. Raises UsageError."""
        named = [("corpus", path) for path in self.corpus_paths]
        named += [("dkim: key", one.dkim.key) for one in self._manners if one.dkim is not None]
        for what, path in named:
            if not Path(path).exists():
                raise UsageError(f"{what} {path}: {os.strerror(errno.ENOENT)}")

    def traffic_name(self, number: int) -> str:
        """What an entry of the mix is called in results: as it says, or by its endpoint; all different."""
        names = [one.name or one.described for one in self.traffic]
        name = names[number]
        return name if names.count(name) == 1 else f"{name} {names[: number + 1].count(name)}"

    def shown(self) -> dict[str, Any]:
        """For a result: what was said and the defaults, without the times of a trace.

        Of the kinds of a mix their names and what was said: what they leave out is the workload's.
        """
        hidden = {"trace", "traffic", "abnormal"} | (GENERATED if self.corpus else set())
        hidden |= set() if self.corpora else {"corpora"}
        hidden |= set() if self.is_open else {"arrivals", "max_sessions"}
        found = self.model_dump(mode="json", exclude_none=True, exclude=hidden)
        if self.traffic:
            found["traffic"] = [
                {"name": self.traffic_name(number), **_said(one)} for number, one in enumerate(self.traffic)
            ]
        if self.abnormal:
            found["abnormal"] = [_said(one) for one in self.abnormal]
        return found


def _said(one: BaseModel) -> dict[str, Any]:
    return one.model_dump(mode="json", exclude_unset=True, exclude={"name"})


def is_trace(arrivals: Any) -> bool:
    """Whether `arrivals` names a file instead of a process."""
    return isinstance(arrivals, str | Path) and str(arrivals) not in PROCESSES


def overlay(own: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a scenario with those that were `given` on top: one model takes the place of another."""
    replaced = set(replaced_by(given))
    if given.keys() & MODELS or is_trace(given.get("arrivals")):
        replaced |= MODELS | ({"arrivals"} if is_trace(own.get("arrivals")) else set())
        replaced |= set() if "users" in given else {"think_time"}
    return {**{name: value for name, value in own.items() if name not in replaced}, **given}


def with_users(given: Mapping[str, Any], users: int) -> dict[str, Any]:
    """`given`, with so many users if it names no model."""
    named = given.keys() & MODELS or is_trace(given.get("arrivals"))
    return dict(given) if named else {"users": users, **given}


def make_workload(**fields: Any) -> Workload:
    """A workload of `fields` with those that are None left at their default. Raises UsageError."""
    return validated(fields, "workload")


def validated(fields: Mapping[str, Any], where: str) -> Workload:
    """The same; `where` begins each line of an error."""
    try:
        return Workload.model_validate({key: value for key, value in fields.items() if value is not None})
    except ValidationError as error:
        lines = [_one_line(where, item) for item in error.errors()]
        raise UsageError("\n".join(dict.fromkeys(lines))) from None


def _one_line(where: str, item: Any) -> str:
    """Where it is, what it is, and what was expected."""
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in item["loc"])[1:]
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        message = f"unknown key, expected one of {', '.join(_known_keys(item['loc']))}"
    message = message[:1].lower() + message[1:]
    message = message.replace("input should be", "expected").replace("a valid tuple", "a list")
    return f"{where}: {key}: {item['input']!r}: {message}" if key else f"{where}: {message}"


_TABLES: dict[str, type[BaseModel]] = {"traffic": Traffic, "dkim": Dkim, "dsn": Dsn, "abnormal": Abnormal}


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    """What is known in the innermost table of an error's location."""
    tables = [_TABLES[str(part)] for part in location[:-1] if part in _TABLES]
    return [name for name in (tables or [Workload])[-1].model_fields if name not in _TRAVEL]


def parse_duration(text: str, option: str = "") -> float:
    """Seconds of ``90``, ``90s``, ``5m``, ``1h30m``. Raises UsageError, which names the `option`."""
    match = _DURATION.fullmatch(text.strip())
    parts = [float(part or 0) for part in match.groups()] if match and text.strip() else []
    seconds = math.fsum(part * unit for part, unit in zip(parts, (3600, 60, 1), strict=False))
    if seconds <= 0:
        raise UsageError(f"{option} {text!r} is not a duration: expected such as 20s, 5m or 1h30m".lstrip())
    return seconds
