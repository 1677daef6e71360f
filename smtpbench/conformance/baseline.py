"""Findings that are known and accepted, each with its reason, so that CI fails for new ones only.

[[accepted]]
case = "rfc5321.data.…"
verdict = "non-strict"
reason = "our gateway in front rejects these; see ticket 123"
"""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from collections.abc import Container
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from smtpbench.conformance.result import CaseResult, ConformanceResult, Verdict
from smtpbench.errors import UsageError

NO_ANSWER = frozenset({Verdict.UNTESTED, Verdict.ERROR})
FINDINGS = frozenset({Verdict.FAIL, Verdict.NON_STRICT})
_HEAD = "# Findings accepted on purpose. Each needs a reason; an empty one is refused.\n"

Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class Accepted(BaseModel):
    """One finding, accepted as long as its verdict stays this one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    case: str
    verdict: Verdict
    reason: Reason


class Baseline(BaseModel):
    """All accepted findings of one target."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    accepted: tuple[Accepted, ...] = ()

    def reason(self, result: CaseResult) -> str | None:
        """Why `result` is accepted, or None if it is not."""
        found = (item for item in self.accepted if (item.case, item.verdict) == (result.id, result.verdict))
        return next((item.reason for item in found), None)

    def stale(self, result: ConformanceResult) -> list[tuple[Accepted, Verdict]]:
        """Entries whose case was answered and gives another verdict now, each with that verdict."""
        verdicts = {case.id: case.verdict for case in result.cases if case.verdict not in NO_ANSWER}
        return [
            (item, verdicts[item.case])
            for item in self.accepted
            if verdicts.get(item.case, item.verdict) != item.verdict
        ]

    def gone(self, ids: Container[str]) -> list[Accepted]:
        """Entries whose case is none of `ids`, which are all that there are."""
        return [item for item in self.accepted if item.case not in ids]

    def not_asked(self, result: ConformanceResult) -> list[Accepted]:
        """Entries whose case got no answer in this run, or was not selected: they still stand."""
        answered = {case.id for case in result.cases if case.verdict not in NO_ANSWER}
        return [item for item in self.accepted if item.case not in answered]


def load_baseline(path: Path) -> Baseline:
    """The baseline in a TOML or JSON file. Raises UsageError, one line per mistake."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        data: Any = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
        return _without_duplicates(path, Baseline.model_validate(data))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except ValidationError as error:
        raise UsageError("\n".join(_one_line(path, item) for item in error.errors())) from None
    except ValueError as error:  # both parsers' errors, and a wrong encoding, are ValueErrors
        raise UsageError(f"{path}: neither TOML nor JSON: {error}") from None


def _without_duplicates(path: Path, baseline: Baseline) -> Baseline:
    counts = Counter(item.case for item in baseline.accepted)
    twice = [case for case, number in counts.items() if number > 1]
    if twice:
        raise UsageError("\n".join(f"{path}: {case}: listed more than once" for case in twice))
    return baseline


def _one_line(path: Path, item: Any) -> str:
    key = ".".join(str(part) for part in item["loc"])
    if item["loc"] and item["loc"][-1] == "reason":
        return f"{path}: {key}: a reason is needed"
    return f"{path}: {key}: {item['msg'][:1].lower()}{item['msg'][1:]}"


def draft_baseline(result: ConformanceResult, known: Baseline) -> str:
    """A baseline file of the findings of `result`, and of entries whose case it did not ask.

    Reasons that are `known` are kept; the others are left to be written.
    """
    blocks = [_HEAD]
    entries = [(item.case, item.verdict, item.reason) for item in known.not_asked(result)]
    entries += [
        (case.id, case.verdict, known.reason(case) or "") for case in result.cases if case.verdict in FINDINGS
    ]
    for case, verdict, reason in sorted(entries):
        fields = {"case": case, "verdict": verdict.value, "reason": reason}
        lines = [
            f"{key} = {json.dumps(value)}" for key, value in fields.items()
        ]  # JSON strings are TOML's too
        blocks.append("\n".join(["[[accepted]]", *lines, ""]))
    return "\n".join(blocks)
