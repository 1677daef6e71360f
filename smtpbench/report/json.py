"""The public JSON forms: ``smtpbench.conformance/1``, ``…load/1``, ``…capacity/1`` and ``…certify/1``."""

from __future__ import annotations

import json

from smtpbench.report.model import Result, Run


def render_json(result: Result | Run) -> str:
    """`result` in its public schema, indented, all ASCII. A run of one half is that half alone."""
    if isinstance(result, Run) and len(result.halves) == 1:
        result = result.halves[0]
    return json.dumps(result.model_dump(by_alias=True), indent=2) + "\n"
