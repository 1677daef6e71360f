"""The comparison of two runs: the public schema ``smtpbench.comparison/1``, and what it concludes."""

from __future__ import annotations

from collections import Counter
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from smtpbench.errors import EXIT_FINDINGS, EXIT_INCONCLUSIVE, EXIT_OK
from smtpbench.report.conclusion import Conclusion

SCHEMA = "smtpbench.comparison/1"

Part = Literal["load", "delivery", "capacity", "crash"]
Judgement = Literal["worse", "better", "changed", "no change", "not judged"]
"""`changed` has no better or worse; `not judged` is shown for the reader, who knows more than we do."""


class _Model(BaseModel):
    model_config = ConfigDict(populate_by_name=True, extra="forbid")


class Side(_Model):
    """One of the two runs: where it was read from, and what it was of."""

    path: str
    target: str
    started: str


class CaseChange(_Model):
    """A case whose verdict is another one. None is a case that the run did not have."""

    id: str
    title: str
    level: str
    base: str | None
    new: str | None
    judged: Judgement
    observed: str = ""  # in the new run, or the reason there


class Figure(_Model):
    """One figure of both runs. `change` and `noise` are fractions of the base; None where there is none.

    `noise` is how far the figure goes up and down within the runs; a change within it is no change.
    """

    part: Part
    name: str
    unit: Literal["ms", "per_s", "share", "count", "s", "us"]
    base: float | None
    new: float | None
    change: float | None = None
    noise: float | None = None
    judged: Judgement = "not judged"


class Comparison(_Model):
    """Two runs of one kind, as ``compare --json`` writes it."""

    schema_: str = Field(default=SCHEMA, alias="schema")
    smtpbench: str = ""
    base: Side
    new: Side
    tolerance: float  # a fraction: a smaller change of a figure is no change
    inconclusive: list[str] = []  # why figures could not be judged
    notes: list[str] = []
    cases: list[CaseChange] = []
    figures: list[Figure] = []

    @property
    def counts(self) -> Counter[Judgement]:
        """How many cases and figures were judged how."""
        return Counter([case.judged for case in self.cases]) + Counter(
            [figure.judged for figure in self.figures]
        )

    @property
    def exit_code(self) -> int:
        """1 if something is worse; 3 if a part of the question could not be answered; else 0."""
        if self.counts["worse"]:
            return EXIT_FINDINGS
        return EXIT_INCONCLUSIVE if self.inconclusive else EXIT_OK

    @property
    def conclusion(self) -> Conclusion:
        """All of it in a line."""
        words: tuple[Judgement, ...] = ("worse", "better", "changed")
        told = ", ".join(f"{self.counts[word]} {word}" for word in words if self.counts[word])
        if self.counts["worse"]:
            return Conclusion("bad", told)
        if self.inconclusive:
            return Conclusion("warn", "; ".join(filter(None, ("not comparable", told))))
        return Conclusion("good", told or "no change")
