"""The result of a conformance run: the public schema ``smtpbench.conformance/1``."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

SCHEMA = "smtpbench.conformance/1"


class Verdict(StrEnum):
    """The seven words of the design; `fail` accuses, so it is the rarest."""

    PASS = "pass"  # noqa: S105 - a verdict, no password
    FAIL = "fail"
    NON_STRICT = "non-strict"
    HARDENED = "hardened"
    INFO = "info"
    UNTESTED = "untested"
    ERROR = "error"


class _Model(BaseModel):
    model_config = ConfigDict(populate_by_name=True, extra="forbid")


class TranscriptLine(_Model):
    """One write or read. `bytes` is escaped: printable ASCII, and backslash escapes for the rest."""

    t_s: float
    sender: str = Field(alias="from")  # "client", "server" or "note" (TLS begun, connection closed)
    bytes: str


class CaseResult(_Model):
    """One case: what was expected, what was seen, the verdict and its evidence."""

    id: str
    requirements: list[str]
    rfc: int
    section: str
    level: str
    verdict: Verdict
    title: str
    expected: str
    observed: str
    reason: str | None = None
    duration_s: float = 0.0
    transcript: list[TranscriptLine] = []
    repro: str = ""


class TargetInfo(_Model):
    """The target as it introduced itself."""

    name: str
    endpoints: dict[str, str]
    endpoint: str = ""  # the role of the one that greeting and extensions are of, and most cases ran on
    greeting: str = ""
    extensions: list[str] = []


class Coverage(_Model):
    """Rows of the catalogue, and how many of them this run gave a verdict other than untested/error."""

    requirements: int
    tested: int


class ConformanceResult(_Model):
    """A whole run, as ``conform --json`` writes it (``model_dump_json(by_alias=True)``)."""

    schema_: str = Field(default=SCHEMA, alias="schema")
    smtpbench: str
    started: str  # ISO 8601, UTC
    duration_s: float
    target: TargetInfo
    summary: dict[Verdict, int]
    coverage: Coverage
    interrupted: int = 0  # cases that are untested because the target, or the run's time, failed
    cut_off: bool = False  # the user ended the run before its time
    notes: list[str] = []  # what happened in the run at large: fewer cases at a time, say
    cases: list[CaseResult]
