"""What a report is made from: one run, with either half or both, or a capacity search."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from smtpbench.campaign.fault_result import OverloadResult
from smtpbench.campaign.result import QueueResult
from smtpbench.campaign.retry_result import Retries
from smtpbench.conformance.result import ConformanceResult, TargetInfo
from smtpbench.load.capacity_result import CapacityResult
from smtpbench.load.result import LoadResult

SCHEMA = "smtpbench.certify/1"

Result = ConformanceResult | LoadResult | QueueResult | CapacityResult | OverloadResult


class Run(BaseModel):
    """The halves of one run, as ``certify --json`` writes them. At least one is there."""

    model_config = ConfigDict(populate_by_name=True, extra="forbid")

    schema_: str = Field(default=SCHEMA, alias="schema")
    conformance: ConformanceResult | None = None
    load: LoadResult | None = None
    capacity: CapacityResult | None = None
    overload: OverloadResult | None = None

    @classmethod
    def of(cls, result: Result | Run) -> Run:
        """`result` as a run; a run is returned as it is."""
        if isinstance(result, Run):
            return result
        if isinstance(result, ConformanceResult):
            return cls(conformance=result)
        if isinstance(result, OverloadResult):
            return cls(overload=result)
        return cls(capacity=result) if isinstance(result, CapacityResult) else cls(load=result)

    @property
    def queue(self) -> QueueResult | None:
        """The load as a queue run, if its messages were followed."""
        return self.load if isinstance(self.load, QueueResult) else None

    @property
    def retries(self) -> Retries | None:
        """The retry campaign, if the run is one: then there was no load."""
        return self.queue.retries if self.queue else None

    @property
    def measured(self) -> LoadResult | None:
        """The load, if its figures are known: those of a run that was killed are not."""
        return None if self.retries or (self.queue and self.queue.cut_off) else self.load

    @property
    def halves(self) -> tuple[Result, ...]:
        """The results there are, conformance first."""
        halves = (self.conformance, self.load, self.capacity, self.overload)
        return tuple(half for half in halves if half is not None)

    @property
    def target(self) -> TargetInfo:
        """The target as it introduced itself, to the conformance half if there is one."""
        if self.conformance:
            return self.conformance.target
        measured = self.load or self.capacity or self.overload
        facts = measured.target if measured else {}
        endpoint = facts.get("endpoint")
        return TargetInfo(
            name=str(facts.get("name", "target")),
            endpoints={str(facts.get("role", "endpoint")): str(endpoint)} if endpoint else {},
            greeting=str(facts.get("greeting", "")),
            extensions=[str(keyword) for keyword in facts.get("extensions", [])],
        )

    @property
    def duration_s(self) -> float:
        """How long the halves took together, in seconds."""
        return sum(half.duration_s for half in self.halves)
