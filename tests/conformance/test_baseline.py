"""Accepted findings: read, matched, drafted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from smtpbench.conformance.baseline import Baseline, draft_baseline, load_baseline
from smtpbench.conformance.result import CaseResult, ConformanceResult, Coverage, TargetInfo, Verdict
from smtpbench.errors import UsageError

TEXT = '[[accepted]]\ncase = "a.b"\nverdict = "non-strict"\nreason = "ticket 1"\n'


def result(identity: str, verdict: Verdict) -> CaseResult:
    return CaseResult(
        id=identity,
        requirements=["T-1"],
        rfc=5321,
        section="1",
        level="MUST",
        verdict=verdict,
        title="…",
        expected="…",
        observed="…",
    )


def whole(*cases: CaseResult) -> ConformanceResult:
    return ConformanceResult(
        smtpbench="0",
        started="",
        duration_s=0,
        target=TargetInfo(name="t", endpoints={}),
        summary={},
        coverage=Coverage(requirements=1, tested=1),
        cases=list(cases),
    )


def test_toml_and_json_say_the_same(tmp_path: Path) -> None:
    toml, as_json = tmp_path / "b.toml", tmp_path / "b.json"
    toml.write_text(TEXT)
    as_json.write_text(
        json.dumps({"accepted": [{"case": "a.b", "verdict": "non-strict", "reason": "ticket 1"}]})
    )
    assert load_baseline(toml) == load_baseline(as_json)


def test_an_entry_accepts_one_case_with_one_verdict(tmp_path: Path) -> None:
    path = tmp_path / "b.toml"
    path.write_text(TEXT)
    known = load_baseline(path)
    assert known.reason(result("a.b", Verdict.NON_STRICT)) == "ticket 1"
    assert known.reason(result("a.b", Verdict.FAIL)) is None
    assert known.reason(result("a.c", Verdict.NON_STRICT)) is None
    assert known.stale(whole(result("a.b", Verdict.NON_STRICT))) == []
    assert known.stale(whole(result("a.b", Verdict.PASS))) == [(known.accepted[0], Verdict.PASS)]
    assert known.stale(whole(result("a.b", Verdict.UNTESTED))) == []  # it was not answered
    assert known.gone({"a.b"}) == []
    assert known.gone({"a.c"}) == list(known.accepted)
    assert known.stale(whole()) == []  # it did not run


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (TEXT.replace("ticket 1", " "), "accepted.0.reason: a reason is needed"),
        (TEXT.replace('reason = "ticket 1"', ""), "accepted.0.reason: a reason is needed"),
        (TEXT.replace("non-strict", "bad"), "accepted.0.verdict: input should be "),
        (TEXT + TEXT.replace("non-strict", "fail"), "a.b: listed more than once"),
        ("x = [", "neither TOML nor JSON: "),
    ],
)
def test_mistakes(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "b.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as raised:
        load_baseline(path)
    assert str(raised.value).startswith(f"{path}: {complaint}")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.toml: No such file"):
        load_baseline(tmp_path / "none.toml")


def test_a_draft_keeps_known_reasons_and_asks_for_the_others(tmp_path: Path) -> None:
    path = tmp_path / "b.toml"
    path.write_text(TEXT)
    known = load_baseline(path)
    path.write_text(draft_baseline(whole(result("a.b", Verdict.NON_STRICT)), known))
    assert load_baseline(path) == known
    path.write_text(draft_baseline(whole(result("a.b", Verdict.UNTESTED)), known))
    assert load_baseline(path) == known  # it was not asked: the entry stands
    path.write_text(draft_baseline(whole(result("a.b", Verdict.PASS)), known))
    assert load_baseline(path) == Baseline()
    path.write_text(draft_baseline(whole(result("a.c", Verdict.FAIL)), Baseline()))
    with pytest.raises(UsageError, match="a reason is needed"):
        load_baseline(path)
