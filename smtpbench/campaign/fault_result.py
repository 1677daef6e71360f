"""What faults under load did to a target: the public schema ``smtpbench.crash/1``."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from smtpbench.campaign.result import DepthPoint, LedgerCounts
from smtpbench.conformance.grading import grade
from smtpbench.conformance.model import Level
from smtpbench.conformance.observation import Observation
from smtpbench.conformance.result import Verdict
from smtpbench.load.result import PhaseStats

SCHEMA = "smtpbench.crash/1"
NOT_TRACED = "the system calls were not traced; what a process has written survives its death"


KEPT = "keeps-what-it-accepted"
BACK = "serves-again"


class _Model(BaseModel):
    model_config = ConfigDict(populate_by_name=True, extra="forbid")


class Check(_Model):
    """One question about a fault. `section` is of RFC 5321; "" where only this campaign asks for it."""

    id: str
    section: str = ""
    level: Level
    verdict: Verdict
    expected: str
    observed: str
    reason: str | None = None

    @classmethod
    def of(cls, name: str, section: str, level: Level, seen: Observation) -> Check:
        """Graded as a case of conformance is."""
        return cls(
            id=name, section=section, level=level, verdict=grade(level, seen.outcome),
            expected=seen.expected, observed=seen.observed, reason=seen.reason,
        )  # fmt: skip


class Answers(_Model):
    """What became of the load's messages, `accepted` and not; `replies_421` is how many replies were 421."""

    accepted: int = 0
    rejected_4xx: int = 0
    rejected_5xx: int = 0
    dropped: int = 0
    timeouts: int = 0
    missed: int = 0
    replies_421: int = 0

    def __sub__(self, other: Answers) -> Answers:
        mine, others = self.model_dump(), other.model_dump()
        return Answers(**{name: max(mine[name] - others[name], 0) for name in mine})

    @property
    def refused(self) -> int:
        """Messages that were not accepted, for whatever reason."""
        return self.rejected_4xx + self.rejected_5xx + self.dropped + self.timeouts


class Cycle(_Model):
    """One kill, `at_s` after the strike.

    `sessions` and `final_dots` (messages whose end of data was sent and not answered) are what the engines
    had open just before. `aimed`: it waited for such a message, if not for ever.
    """

    number: int
    aimed: bool
    at_s: float
    sessions: int
    final_dots: int
    down_s: float | None = None  # until it greeted again; None if it did not


class RatePoint(_Model):
    """Messages a second in the `span_s` from `t_s` on, after the first was accepted.

    `delivered_per_s` has those that a report was given of, too.
    """

    t_s: float
    span_s: float
    accepted_per_s: float
    delivered_per_s: float


class Judged(_Model):
    """A verdict and its reason."""

    verdict: Verdict = Verdict.UNTESTED
    reason: str


class TracedCall(_Model):
    """A system call that mattered, so long before the reply was begun (less than 0: after it)."""

    before_reply_ms: float
    pid: int
    call: str
    path: str


class MessageTrace(_Model):
    """One traced message: the files that held it when the reply to its final dot was begun, which of their
    directories had been synced, and the calls that did it, in their order.
    """

    verdict: Verdict
    observed: str = ""
    reason: str | None = None
    files: list[str] = Field(default_factory=list)
    file_synced: bool = False
    directory_synced: bool = False
    synced_before_reply_ms: float | None = None
    calls: list[TracedCall] = Field(default_factory=list)


class PowerLoss(Judged):
    """Whether what was accepted was on disk, by the system calls of some messages."""

    reason: str = NOT_TRACED
    evidence: list[MessageTrace] = Field(default_factory=list)


class Promises(_Model):
    """Two that are not one: what a process has written survives its SIGKILL, and not a loss of power."""

    process_crash: Judged = Judged(reason="the target was not killed")
    power_loss: PowerLoss = PowerLoss()


class FaultResult(_Model):
    """One fault: what was done, what the target did, and whether it came back.

    `before` is what the load met until the strike, `since` from then to its end. `connections` is
    what became of connections that were part of the fault (see load/crowd.py).
    `first_accepted_s` is from the recovery on, None if nothing was accepted within `patience_s`. `untested`
    is why the target could not be struck.
    """

    fault: str
    words: str = ""
    untested: str = ""
    struck_at_s: float | None = None  # after the first message was accepted; None if that was never seen
    struck_s: float = 0.0
    patience_s: float = 0.0
    before: Answers = Answers()
    since: Answers = Answers()
    connections: dict[str, int] = Field(default_factory=dict)
    cycles: list[Cycle] = Field(default_factory=list)
    wanted_cycles: int = 0
    refusals: list[str] = Field(default_factory=list)
    first_accepted_s: float | None = None
    observer: str = ""
    closed: bool = False
    unsure: str = ""  # why what is missing cannot be called lost
    ledger: LedgerCounts = LedgerCounts()
    examples: dict[str, list[str]] = Field(default_factory=dict)
    end_to_end: PhaseStats = PhaseStats()
    timeline: list[RatePoint] = Field(default_factory=list)
    queue_depth: list[DepthPoint] = Field(default_factory=list)
    drain_s: float | None = None  # from the last accepted to the last settled; None if not all were
    checks: list[Check] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)

    @property
    def gone(self) -> bool:
        """Whether it took no mail any more. No RFC forbids that, and all the same it is a finding."""
        return not self.untested and self.first_accepted_s is None

    @property
    def accepted_again_s(self) -> float | None:
        """When a message was first accepted after the fault, on the axis of `timeline`; None if none was."""
        if self.struck_at_s is None or self.first_accepted_s is None:
            return None
        return self.struck_at_s + self.struck_s + self.first_accepted_s

    @property
    def killed(self) -> Judged | None:
        """Whether what it had accepted survived the death of the processes; None if it was not killed."""
        check = next((one for one in self.checks if one.id == KEPT), None)
        if not self.cycles or check is None:
            return None
        return Judged(
            verdict=check.verdict, reason=f"{len(self.cycles)} kills; {check.reason or check.observed}"
        )

    @property
    def verdicts(self) -> list[Verdict]:
        """One for each check; of a fault that could not be inflicted, `untested`."""
        return [Verdict.UNTESTED] if self.untested else [check.verdict for check in self.checks]


class OverloadResult(_Model):
    """A whole run, as ``crash --json`` writes it (``model_dump_json(by_alias=True)``).

    `ledger` is of all faults together; `end_to_end`, `queue_depth` and `drain_s` are of the last, as there is
    a load for each. `sustainable_per_s` is null: a target that is struck shows no rate that it sustains.
    """

    schema_: str = Field(default=SCHEMA, alias="schema")
    smtpbench: str = ""
    started: str = ""
    duration_s: float = 0.0
    target: dict[str, Any] = Field(default_factory=dict)
    seed: int = 1
    faults: list[FaultResult] = Field(default_factory=list)
    ledger: LedgerCounts = LedgerCounts()
    end_to_end: PhaseStats = PhaseStats()
    queue_depth: list[DepthPoint] = Field(default_factory=list)
    drain_s: float | None = None
    sustainable_per_s: float | None = None
    verdicts: Promises = Promises()

    def add(self, fault: FaultResult) -> None:
        """One more fault, and what it says of the whole."""
        self.faults.append(fault)
        self.ledger = LedgerCounts.total(one.ledger for one in self.faults)
        self.end_to_end, self.queue_depth, self.drain_s = fault.end_to_end, fault.queue_depth, fault.drain_s
        if kept := fault.killed:
            self.verdicts = self.verdicts.model_copy(update={"process_crash": kept})

    @property
    def graded(self) -> set[Verdict]:
        """Those that were met."""
        return {verdict for fault in self.faults for verdict in fault.verdicts}
