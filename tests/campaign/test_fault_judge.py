"""Verdicts on faults, from counts that are known."""

from __future__ import annotations

from typing import Any

import pytest

from smtpbench.campaign.fault_judge import judge
from smtpbench.campaign.fault_result import Answers, FaultResult
from smtpbench.campaign.result import LedgerCounts


def verdicts(fault: str = "disk-full", **fields: Any) -> dict[str, str]:
    given = {
        "fault": fault, "closed": True, "patience_s": 60, "first_accepted_s": 0.5,
        "ledger": LedgerCounts(accepted=10, delivered=10), "since": Answers(accepted=5, rejected_4xx=5),
    }  # fmt: skip
    return {check.id: check.verdict.value for check in judge(FaultResult(**{**given, **fields}))}


def test_a_server_that_does_all_of_it_passes() -> None:
    assert verdicts() == {
        "keeps-what-it-accepted": "pass", "serves-again": "info",
        "refuses-for-now": "pass", "delivers-once": "info",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("check", "verdict", "fields"),
    [
        ("keeps-what-it-accepted", "fail", {"ledger": LedgerCounts(accepted=10, delivered=9, lost=1)}),
        ("keeps-what-it-accepted", "fail", {"ledger": LedgerCounts(accepted=10, delivered=10, corrupted=1)}),
        ("keeps-what-it-accepted", "untested", {"ledger": LedgerCounts(accepted=10, delivered=9, pending=1)}),
        ("keeps-what-it-accepted", "untested", {"ledger": LedgerCounts()}),
        ("serves-again", "info", {"first_accepted_s": None}),
        (
            "keeps-what-it-accepted",
            "untested",
            {"ledger": LedgerCounts(accepted=10, delivered=9, pending=1), "unsure": "no schedule"},
        ),
        ("refuses-for-now", "non-strict", {"since": Answers(rejected_5xx=1)}),
        (
            "refuses-for-now",
            "untested",
            {"since": Answers(rejected_5xx=9), "before": Answers(rejected_5xx=1)},
        ),
        ("refuses-for-now", "info", {"since": Answers(accepted=5)}),
        ("refuses-for-now", "pass", {"since": Answers(dropped=5)}),
        ("refuses-for-now", "non-strict", {"fault": "flood", "connections": {"5yz": 1}}),
        ("refuses-for-now", "pass", {"fault": "slowloris", "connections": {"5yz": 1}}),
        ("delivers-once", "info", {"ledger": LedgerCounts(accepted=10, delivered=10, duplicated=1)}),
    ],
)
def test_each_finding(check: str, verdict: str, fields: dict[str, Any]) -> None:
    assert verdicts(**fields)[check] == verdict


def test_a_fault_that_was_not_inflicted_has_no_verdict() -> None:
    result = FaultResult(fault="disk-full", untested="no commands")
    assert judge(result) == []
    assert [verdict.value for verdict in result.verdicts] == ["untested"]
