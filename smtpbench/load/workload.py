"""What to send, how fast and for how long: the validated workload."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from smtpbench.errors import UsageError
from smtpbench.load.arrivals import read_trace
from smtpbench.load.quantities import RECIPIENTS, SIZE, Messages, Recipients, Sizes
from smtpbench.load.rates import Profile, Rate

DEFAULT_RUN_TIME_S = 30.0  # of a run that was told no end
MAX_SESSIONS = 1_000  # an open workload opens more sessions as the target slows down; a bound keeps us alive

_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?")


PROCESSES = ("poisson", "constant")  # how messages arrive at a rate; else `arrivals` names a trace file
_MODELS = {"users", "rate", "trace"}


class Workload(BaseModel):
    """Closed (`users`: each sends its next message when the last is answered) or open (`rate`, or a trace).

    An open workload keeps its arrival plan however slow the target becomes; `max_sessions` bounds the
    connections it may use for that. `run_time` is in seconds; without it a `rate` that changes over
    time has a length of its own (`rates`). `rate` is in messages a second over all processes.
    `arrivals` is ``poisson``, ``constant`` or a file of arrival times (`arrivals.read_trace`), which
    are then in `trace`. `message_size` is in octets of content before dot-stuffing (RFC 5321
    §4.5.2); it, `recipients` and `messages_per_session` are numbers or distributions (`quantities`).
    `messages_per_session` None keeps a session for the whole run. What happens in the first
    `warm_up` seconds is part of `run_time` and is not measured. The same `seed` draws the same.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    users: Annotated[int, Field(ge=1, le=100_000)] | None = None
    rate: Rate | None = None
    arrivals: str = "poisson"
    trace: tuple[float, ...] | None = Field(default=None, repr=False)
    seed: Annotated[int, Field(ge=0)] = 1
    max_sessions: Annotated[int, Field(ge=1, le=100_000)] = MAX_SESSIONS

    run_time: Annotated[float, Field(gt=0, le=30 * 86_400)] | None = None
    messages: Annotated[int, Field(ge=0)] | None = None
    warm_up: Annotated[float, Field(ge=0, le=86_400)] = 0.0

    pipelining: bool = True
    chunking: bool = False  # BDAT instead of DATA where it is offered (RFC 3030)
    messages_per_session: Messages | None = None
    message_size: Sizes = SIZE.read(1024)
    recipients: Recipients = RECIPIENTS.read(1)
    sender: str | None = None
    recipient: str | None = None
    tls: Literal["none", "starttls", "implicit"] | None = None
    auth: bool = True

    @model_validator(mode="before")
    @classmethod
    def _read_trace(cls, data: Any) -> Any:
        """The times of a trace travel with the workload: a worker need not have the file."""
        if (
            not isinstance(data, Mapping)
            or data.get("trace") is not None
            or not is_trace(data.get("arrivals"))
        ):
            return data
        try:
            return {**data, "trace": read_trace(Path(data["arrivals"]))}
        except ValueError as error:
            raise ValueError(f"arrivals: {data['arrivals']}: {error}") from None

    @model_validator(mode="after")
    def _one_model(self) -> Self:
        if sum(value is not None for value in (self.users, self.rate, self.trace)) != 1:
            raise ValueError("users or rate or a trace is needed, and not both")
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

    def shown(self) -> dict[str, Any]:
        """For a result: what was said and the defaults, without the times of a trace."""
        return self.model_dump(mode="json", exclude_none=True, exclude={"trace"})


def is_trace(arrivals: Any) -> bool:
    """Whether `arrivals` names a file instead of a process."""
    return isinstance(arrivals, str | Path) and str(arrivals) not in PROCESSES


def overlay(own: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a scenario with those that were `given` on top: one model takes the place of another."""
    replaced: set[str] = set()
    if given.keys() & _MODELS or is_trace(given.get("arrivals")):
        replaced = _MODELS | ({"arrivals"} if is_trace(own.get("arrivals")) else set())
    return {**{name: value for name, value in own.items() if name not in replaced}, **given}


def with_users(given: Mapping[str, Any], users: int) -> dict[str, Any]:
    """`given`, with so many users if it names no model."""
    named = given.keys() & _MODELS or is_trace(given.get("arrivals"))
    return dict(given) if named else {"users": users, **given}


def make_workload(**fields: Any) -> Workload:
    """A workload of `fields` with those that are None left at their default. Raises UsageError."""
    try:
        return Workload.model_validate({key: value for key, value in fields.items() if value is not None})
    except ValidationError as error:
        raise UsageError("\n".join(_one_line(item) for item in error.errors())) from None


def _one_line(item: Any) -> str:
    key = ".".join(str(part) for part in item["loc"])
    message = item["msg"].removeprefix("Value error, ")
    return f"workload: {key}: {item['input']!r}: {message[:1].lower()}{message[1:]}" if key else message


def parse_duration(text: str) -> float:
    """Seconds of ``90``, ``90s``, ``5m``, ``1h30m``. Raises UsageError."""
    match = _DURATION.fullmatch(text.strip())
    parts = [float(part or 0) for part in match.groups()] if match and text.strip() else []
    seconds = math.fsum(part * unit for part, unit in zip(parts, (3600, 60, 1), strict=False))
    if seconds <= 0:
        raise UsageError(f"{text!r} is not a duration: expected such as 20s, 5m or 1h30m")
    return seconds
