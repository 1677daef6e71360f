"""``smtpbench compare``: files in, files and an exit code out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from smtpbench.campaign.fault_result import FaultResult, Judged, OverloadResult, Promises
from smtpbench.campaign.result import LedgerCounts
from smtpbench.cli.compare import compare, read_share
from smtpbench.conformance.result import CaseResult, ConformanceResult, Coverage, TargetInfo, Verdict
from smtpbench.errors import EXIT_FINDINGS, EXIT_OK, UsageError
from smtpbench.report import write_outputs


def saved(folder: Path, verdict: Verdict) -> Path:
    case = CaseResult(
        id="rfc5321.data.one", requirements=[], rfc=5321, section="4.2", level="MUST", verdict=verdict,
        title="One", expected="250", observed="550",
    )  # fmt: skip
    result = ConformanceResult(
        smtpbench="0", started="2026-01-02T03:04:05Z", duration_s=1, summary={verdict: 1}, cases=[case],
        target=TargetInfo(name="a server", endpoints={}), coverage=Coverage(requirements=1, tested=1),
    )  # fmt: skip
    write_outputs(result, out=folder)
    return folder


def test_a_regression_is_shown_written_and_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, new = saved(tmp_path / "base", Verdict.PASS), saved(tmp_path / "new", Verdict.FAIL)
    files = [tmp_path / f"out.{kind}" for kind in ("json", "html", "md")]
    assert compare(base, new / "conformance.json", json=files[0], html=files[1], markdown=files[2]) == (
        EXIT_FINDINGS
    )
    told = capsys.readouterr().out
    assert "1 worse" in told
    assert "rfc5321.data.one" in told
    assert json.loads(files[0].read_text())["cases"][0]["judged"] == "worse"
    assert "rfc5321.data.one" in files[1].read_text()
    assert "1 worse" in files[2].read_text()


def test_two_crash_campaigns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, verdict, lost in (("base", Verdict.PASS, 0), ("new", Verdict.FAIL, 2)):
        fault = FaultResult(fault="kill", first_accepted_s=0.1, ledger=LedgerCounts(accepted=9, lost=lost))
        kept = Promises(process_crash=Judged(verdict=verdict, reason=f"{lost} lost"))
        write_outputs(OverloadResult(faults=[fault], verdicts=kept), out=tmp_path / name)
    page = tmp_path / "page.html"
    assert compare(tmp_path / "base", tmp_path / "new" / "crash.json", html=page) == EXIT_FINDINGS
    told = capsys.readouterr().out
    for words in ("2 worse", "process-crash", "kill.lost"):
        assert words in told
        assert words in page.read_text()


def test_quiet_and_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = saved(tmp_path / "run", Verdict.FAIL)
    assert compare(run, run, quiet=True) == EXIT_OK
    assert capsys.readouterr().out == ""


def test_an_older_schema_is_a_line(tmp_path: Path) -> None:
    run = saved(tmp_path / "run", Verdict.PASS)
    old = tmp_path / "old.json"
    old.write_text('{"schema": "smtpbench.load/0"}')
    with pytest.raises(UsageError, match=r"old\.json: schema is 'smtpbench.load/0', expected one of"):
        compare(run, old)


@pytest.mark.parametrize(("text", "share"), [("5%", 0.05), ("0.1", 0.1), (".5", 0.5), ("0", 0)])
def test_shares(text: str, share: float) -> None:
    assert read_share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["", "5", "-1%", "100%", "five", "5 % more"])
def test_what_is_no_share(text: str) -> None:
    with pytest.raises(UsageError, match=r"--tolerance .*: expected a share such as 5% or 0\.05"):
        read_share(text)
