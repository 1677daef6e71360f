"""What a workload asks of the limits of a target, in figures and in words."""

from __future__ import annotations

import math
from dataclasses import dataclass

from smtpbench.load.manner import Manner
from smtpbench.load.workload import Workload

_LIMITS = {
    "recipients": "at most {limit} recipients in a message",
    "recipient-rate": "a limit on recipients from one client, met after {limit}",
    "session-messages": "at most {limit} messages in a session",
    "message-rate": "a limit on messages from one client, met after {limit}",
    "connections": "at most {limit} connections at once",
    "connection-rate": "a limit on new connections from one client, met after {limit}",
}


def in_words(kind: str, limit: int) -> str:
    """A limit as the beginning of a sentence."""
    return _LIMITS[kind].format(limit=f"{limit:,}")


@dataclass(frozen=True, slots=True)
class Demand:
    """What the workload asks of a limit: in a session, in a message, at once; `math.inf` is without bound."""

    transactions: float
    recipients: int
    size: int
    connections: int
    sure: bool  # that so many connections will be open: those of users are, those of arrivals may be

    def of(self, kind: str, needed: float, limit: int) -> str:
        """How the workload stands to a limit of `kind`: the end of a sentence."""
        if needed <= limit:
            return "this workload stays below it"
        if kind == "recipients":
            return f"this workload has up to {needed:,.0f}"
        if kind == "connections":
            return f"this workload {'opens' if self.sure else 'may open'} {needed:,.0f}"
        if kind == "session-messages" and math.isinf(needed):
            return "this workload keeps a session for all of its messages"
        if kind == "session-messages":
            return f"this workload sends up to {needed:,.0f}"
        return "a load goes beyond it"


def demand_of(workload: Workload, manner: Manner) -> Demand:
    """The most that `workload` asks for in sessions of `manner`."""
    per_session = manner.messages_per_session
    return Demand(
        transactions=math.inf if per_session is None else per_session.highest,
        recipients=int(manner.recipients.highest),
        size=int(manner.message_size.highest),
        connections=workload.users or workload.max_sessions,
        sure=workload.users is not None,
    )
