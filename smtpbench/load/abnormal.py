"""Abnormal traffic as a user asks for it: sessions such as no honest client has, beside the measured ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from smtpbench.load.manner import Strict, TlsMode, read_share
from smtpbench.load.quantities import PAUSE, Pause
from smtpbench.target import Role

AbnormalName = Literal[
    "unknown-recipient", "oversize-declared", "oversize", "abort-in-data", "drop-without-quit",
    "slow-drip", "churn", "idle-holder",
]  # fmt: skip

DOES: dict[str, str] = {
    "unknown-recipient": "a message to a mailbox that is not there",
    "oversize-declared": "SIZE= of one octet more than the server takes",
    "oversize": "a content of more octets than the server takes",
    "abort-in-data": "half a content, then the connection is closed",
    "drop-without-quit": "a message, then the connection is dropped",
    "slow-drip": "a content that trickles in",
    "churn": "greeting, EHLO and QUIT",
    "idle-holder": "a session that says nothing after EHLO",
}
"""Each kind → what its sessions send."""

COUNTS = (
    "sent", "accepted", "rejected_4xx", "rejected_5xx", "dropped", "timeouts", "unanswered", "held_back",
)  # fmt: skip
"""What is counted of each kind; all but the first and the last add up to the first."""


def _read_text(value: Any) -> Any:
    """``"idle-holder=1%"``, as the command line has it."""
    if not isinstance(value, str):
        return value
    kind, equals, share = value.partition("=")
    if not equals:
        raise ValueError("expected KIND=SHARE, such as idle-holder=1%")
    return {"kind": kind.strip(), "share": share.strip()}


class Abnormal(Strict):
    """One kind of abnormal sessions and its `share` of all sessions: 0.05 or "5%".

    `hold` is how long an idle-holder holds its session, and how long a slow-drip takes over a message.
    """

    kind: AbnormalName
    share: Annotated[float, BeforeValidator(read_share), Field(gt=0, lt=1)]
    endpoint: Role | None = None
    tls: TlsMode | None = None
    hold: Pause = PAUSE.read("30s")

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return _read_text(value)


def new_counts() -> dict[str, Any]:
    """Nothing yet."""
    return {**dict.fromkeys(COUNTS, 0), "first_refusal": ""}


def add_counts(total: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Add `more` to `total`; of the words of servers the first stay."""
    for name in COUNTS:
        total[name] += more[name]
    total["first_refusal"] = total["first_refusal"] or more["first_refusal"]
