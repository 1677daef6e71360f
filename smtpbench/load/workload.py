"""What to send, how fast and for how long: the validated workload."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from smtpbench.errors import UsageError

SMALLEST_MESSAGE = 512  # room for the headers with addresses of ordinary length; checked exactly by Template
DEFAULT_RUN_TIME_S = 30.0  # of a run that was told no end
MAX_SESSIONS = 1_000  # an open workload opens more sessions as the target slows down; a bound keeps us alive

_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?")


class Workload(BaseModel):
    """Either closed (`users`: each sends its next message when the last is answered) or open (`rate`).

    An open workload keeps its arrival plan however slow the target becomes; `max_sessions` bounds the
    connections it may use for that. `run_time` is in seconds, `rate` in messages a second over all
    processes, `message_size` in octets of content before dot-stuffing (RFC 5321 §4.5.2).
    `messages_per_session` None keeps a session for the whole run. What happens in the first `warm_up` seconds
    is part of `run_time` and is not measured.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    users: Annotated[int, Field(ge=1, le=100_000)] | None = None
    rate: Annotated[float, Field(gt=0, le=1_000_000)] | None = None
    arrivals: Literal["poisson", "constant"] = "poisson"
    seed: int = 1
    max_sessions: Annotated[int, Field(ge=1, le=100_000)] = MAX_SESSIONS

    run_time: Annotated[float, Field(gt=0, le=30 * 86_400)] | None = None
    messages: Annotated[int, Field(ge=0)] | None = None
    warm_up: Annotated[float, Field(ge=0, le=86_400)] = 0.0

    pipelining: bool = True
    chunking: bool = False  # BDAT instead of DATA where it is offered (RFC 3030)
    messages_per_session: Annotated[int, Field(ge=1)] | None = None
    message_size: Annotated[int, Field(ge=SMALLEST_MESSAGE, le=1 << 30)] = 1024
    recipients: Annotated[int, Field(ge=1, le=1000)] = 1
    sender: str | None = None
    recipient: str | None = None
    tls: Literal["none", "starttls", "implicit"] | None = None
    auth: bool = True

    @model_validator(mode="after")
    def _one_model(self) -> Self:
        if (self.users is None) == (self.rate is None):
            raise ValueError("users or rate is needed, and not both")
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
        return self.rate is not None


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
