"""The conform and catalogue commands: exit codes, files, baseline, lists."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import smtpbench.cli.conform as command
from smtpbench.cli._common import Outputs
from smtpbench.cli.catalogue import catalogue
from smtpbench.cli.conform import conform
from smtpbench.conformance.result import CaseResult, ConformanceResult, Coverage, TargetInfo, Verdict
from smtpbench.errors import UsageError
from smtpbench.lab import recipes
from smtpbench.lab.options import TargetOptions
from smtpbench.target import Endpoint, Role, Target

QUIET = Outputs(quiet=True)


def found(*verdicts: Verdict) -> ConformanceResult:
    """A result with one case for each of `verdicts`, called by its number."""
    cases = [
        CaseResult(
            id=f"a.{number}",
            requirements=["5321-B-1"],
            rfc=5321,
            section="1",
            level="MUST",
            verdict=verdict,
            title="…",
            expected="…",
            observed="…",
        )
        for number, verdict in enumerate(verdicts)
    ]
    return ConformanceResult(
        smtpbench="0",
        started="2026-01-01T00:00:00+00:00",
        duration_s=0,
        target=TargetInfo(name="t", endpoints={}),
        summary={verdict: verdicts.count(verdict) for verdict in Verdict},
        coverage=Coverage(requirements=1, tested=1),
        cases=cases,
    )


@pytest.fixture
def result(monkeypatch: pytest.MonkeyPatch) -> list[ConformanceResult]:
    """What the next run finds: put it there."""
    given: list[ConformanceResult] = []

    @contextmanager
    def opened(spec: str, options: TargetOptions, **_: object) -> Iterator[Target]:
        yield Target(endpoints={Role.MX: Endpoint(port=25)})

    monkeypatch.setattr(command, "open_target", opened)
    monkeypatch.setattr(command, "run_conformance", lambda *_args, **_named: given.pop())
    return given


def run(**options: object) -> int:
    return conform("smtp://127.0.0.1", **options, options=TargetOptions(), outputs=QUIET)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("verdicts", "strict", "code"),
    [
        ((Verdict.PASS, Verdict.INFO, Verdict.HARDENED), False, 0),
        ((Verdict.PASS, Verdict.FAIL), False, 1),
        ((Verdict.PASS, Verdict.NON_STRICT), False, 0),
        ((Verdict.PASS, Verdict.NON_STRICT), True, 1),
        ((Verdict.UNTESTED, Verdict.UNTESTED), False, 3),
        ((Verdict.PASS, Verdict.UNTESTED), False, 0),
        ((Verdict.PASS, Verdict.ERROR), False, 4),
        ((Verdict.FAIL, Verdict.ERROR), False, 1),
    ],
)
def test_exit_codes(
    result: list[ConformanceResult], verdicts: tuple[Verdict, ...], strict: bool, code: int
) -> None:
    result.append(found(*verdicts))
    assert run(strict=strict) == code


@pytest.mark.parametrize(("interrupted", "code"), [(0, 0), (2, 0), (3, 3), (5, 3)])
def test_half_of_the_cases_interrupted_is_inconclusive(
    result: list[ConformanceResult], interrupted: int, code: int
) -> None:
    made = found(*[Verdict.PASS] * 3, *[Verdict.UNTESTED] * (interrupted + 10))
    result.append(made.model_copy(update={"interrupted": interrupted}))
    assert run() == code


def test_a_baseline_from_first_draft_to_stale_entry(
    result: list[ConformanceResult], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    baseline = tmp_path / "baseline.toml"
    result.append(found(Verdict.FAIL))
    assert run(write_baseline=baseline) == 1
    with pytest.raises(UsageError, match="a reason is needed"):
        run(baseline=baseline)
    baseline.write_text(baseline.read_text().replace('reason = ""', 'reason = "ticket 1"'))
    result.append(found(Verdict.FAIL))
    assert run(baseline=baseline) == 0
    result.append(found(Verdict.FAIL, Verdict.FAIL))
    assert run(baseline=baseline) == 1
    result.append(found(Verdict.PASS))
    code = conform("x", baseline=baseline, options=TargetOptions(), outputs=Outputs())
    assert code == 0
    assert "a.0 is no longer fail but pass: remove the entry" in capsys.readouterr().out


def test_the_reference_server_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    code = conform(
        "lab:reference", select=["rfc5321.noop.*"], options=TargetOptions(), outputs=Outputs(out=out)
    )
    assert code == 0
    saved = json.loads((out / "conformance.json").read_text())
    assert saved["schema"] == "smtpbench.conformance/1"
    assert saved["summary"]["pass"] == len(saved["cases"]) > 2
    assert saved["cases"][0]["transcript"][0]["from"] == "server"
    captured = capsys.readouterr()
    assert captured.err.count("pass       rfc5321.noop.") == len(saved["cases"])
    assert "smtpbench reference" in captured.out


def test_the_list_contacts_nobody(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(recipes, "recipe", None)
    code = conform(
        "lab:nobody", list_only=True, select=["5321-B-21"], options=TargetOptions(), outputs=Outputs()
    )
    assert code == 0
    assert "rfc5321.noop.noop-is-answered-250  MUST" in capsys.readouterr().out


def test_the_catalogue(capsys: pytest.CaptureFixture[str]) -> None:
    assert catalogue() == 0
    assert "5321-B-21" in capsys.readouterr().out
    assert catalogue(coverage_wanted=True) == 0
    assert "missing" in capsys.readouterr().out


def test_the_proof_of_one_fault(capsys: pytest.CaptureFixture[str]) -> None:
    assert catalogue(proof=True, fault=["leading-dot-kept"], workers=1) == 0
    assert "2 of 2 hold" in capsys.readouterr().out
    with pytest.raises(UsageError, match="no such fault: leading-dots"):
        catalogue(proof=True, fault=["leading-dots"])


def test_files_that_cannot_be_written_cost_no_summary(
    result: list[ConformanceResult], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result[:] = [found(Verdict.PASS)]
    with pytest.raises(UsageError, match="cannot be written"):
        conform("t", options=TargetOptions(), outputs=Outputs(json=tmp_path))
    assert "Conforms" in capsys.readouterr().out


def test_a_baseline_that_cannot_be_written_is_refused_before_anything_runs(
    result: list[ConformanceResult], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="cannot be written: Is a directory"):
        conform("t", write_baseline=tmp_path, options=TargetOptions(), outputs=QUIET)


def test_a_run_that_was_ended_early_is_inconclusive_unless_it_found_something(result) -> None:
    result[:] = [found(Verdict.PASS, Verdict.PASS, Verdict.UNTESTED).model_copy(update={"cut_off": True})]
    assert conform("t", options=TargetOptions(), outputs=QUIET) == 3
    result[:] = [found(Verdict.PASS, Verdict.FAIL).model_copy(update={"cut_off": True})]
    assert conform("t", options=TargetOptions(), outputs=QUIET) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_early_and_keeps_the_results(tmp_path: Path, number: signal.Signals) -> None:
    out = tmp_path / "result.json"
    command = [sys.executable, "-m", "smtpbench", "conform", "lab:reference", "--json", str(out)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        first = running.stderr.readline()
        running.send_signal(number)
        said, _ = running.communicate(timeout=60)
    assert running.returncode == 3, said
    assert "Inconclusive: ended early" in said
    kept = ConformanceResult.model_validate_json(out.read_text(encoding="utf-8"))
    assert first.split()[1] in {one.id for one in kept.cases if one.verdict is not Verdict.UNTESTED}
    reasons = {one.reason for one in kept.cases if one.verdict is Verdict.UNTESTED}
    assert f"the run was ended early ({number.name})" in reasons
    assert kept.cut_off
