"""Findings that are known and accepted, each with its reason, so that CI fails for new ones only.

[[accepted]]
case = "rfc5321.data.…"
verdict = "non-strict"
reason = "our gateway in front rejects these; see ticket 123"
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from smtpbench.conformance.result import CaseResult, ConformanceResult, Verdict
from smtpbench.errors import UsageError

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

    def stale(self, result: ConformanceResult) -> list[Accepted]:
        """Entries whose case ran and no longer gives that verdict."""
        verdicts = {case.id: case.verdict for case in result.cases}
        return [item for item in self.accepted if verdicts.get(item.case, item.verdict) != item.verdict]


def load_baseline(path: Path) -> Baseline:
    """The baseline in a TOML or JSON file. Raises UsageError, one line per mistake."""
    try:
        text = path.read_text(encoding="utf-8")
        data: Any = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
        return Baseline.model_validate(data)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except ValidationError as error:
        raise UsageError("\n".join(_one_line(path, item) for item in error.errors())) from None
    except ValueError as error:  # both parsers' errors, and a wrong encoding, are ValueErrors
        raise UsageError(f"{path}: neither TOML nor JSON: {error}") from None


def _one_line(path: Path, item: Any) -> str:
    key = ".".join(str(part) for part in item["loc"])
    if item["loc"] and item["loc"][-1] == "reason":
        return f"{path}: {key}: a reason is needed"
    return f"{path}: {key}: {item['msg'][:1].lower()}{item['msg'][1:]}"


def draft_baseline(findings: Sequence[CaseResult], known: Baseline) -> str:
    """A baseline file of `findings`. Reasons that are `known` are kept; the others are left to be written."""
    blocks = [_HEAD]
    for result in findings:
        fields = {"case": result.id, "verdict": result.verdict.value, "reason": known.reason(result) or ""}
        lines = [
            f"{key} = {json.dumps(value)}" for key, value in fields.items()
        ]  # JSON strings are TOML's too
        blocks.append("\n".join(["[[accepted]]", *lines, ""]))
    return "\n".join(blocks)
