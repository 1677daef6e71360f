"""`certify` end to end against the embedded server, and what it does when a half goes wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from smtpbench.cli import certify as command
from smtpbench.cli._common import Outputs
from smtpbench.cli.certify import certify
from smtpbench.conformance.result import CaseResult, ConformanceResult, Coverage, TargetInfo, Verdict
from smtpbench.errors import Inconclusive, SmtpbenchError, UsageError
from smtpbench.lab.options import TargetOptions
from smtpbench.load.result import LoadResult, PhaseStats, Rates
from smtpbench.report import read_run
from smtpbench.target import Target, from_url

FOLDER = {"conformance.json", "load.json", "junit.xml", "report.html", "report.md", "summary.txt"}
UNUSED = "smtp://127.0.0.1:2525"  # never connected to


def conformance(**counts: int) -> ConformanceResult:
    summary = {verdict: counts.get(verdict.name.lower(), 0) for verdict in Verdict}
    return ConformanceResult(
        smtpbench="0.1.0",
        started="2026-01-02T03:04:05+00:00",
        duration_s=1.0,
        target=TargetInfo(name="smtp://[::1]:2525", endpoints={}),
        summary=summary,
        coverage=Coverage(requirements=9, tested=sum(summary.values()) - summary[Verdict.UNTESTED]),
        cases=[],
    )


@pytest.fixture
def halves(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What the two halves give back, to be changed by a test; an exception is raised."""
    given: dict[str, object] = {
        "conformance": conformance(**{"pass": 3}),
        "load": LoadResult(
            phases={"body": PhaseStats(count=5, p99_ms=7.0)}, rates=Rates(accepted_per_s=100.0)
        ),
    }

    def give(name: str) -> object:
        found = given[name]
        if isinstance(found, Exception):
            raise found
        return found

    @contextmanager
    def opened(spec: str, _options: TargetOptions) -> Iterator[Target]:
        yield from_url(spec)

    monkeypatch.setattr(command, "open_target", opened)
    monkeypatch.setattr(command, "run_conformance", lambda *_args, **_named: give("conformance"))
    monkeypatch.setattr(command, "run_load", lambda *_args, **_named: give("load"))
    return given


def run(out: Path | None, **options: object) -> int:
    return certify(UNUSED, **options, options=TargetOptions(), outputs=Outputs(out=out, quiet=True))  # type: ignore[arg-type]


def test_the_embedded_server_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = certify(
        "embedded",
        select=["rfc5321.noop.*"],
        users=2,
        run_time="1s",
        threshold=["accepted > 0"],
        options=TargetOptions(),
        outputs=Outputs(out=tmp_path),
    )
    assert code == 0
    assert {path.name for path in tmp_path.iterdir()} == FOLDER
    result = read_run(tmp_path)
    assert result.conformance is not None
    assert result.load is not None
    assert result.conformance.summary[Verdict.PASS] > 0
    assert result.load.totals.accepted > 0
    assert f"report: {tmp_path / 'report.html'}" in capsys.readouterr().out


def test_all_well_is_0(halves: dict[str, object], tmp_path: Path) -> None:
    assert run(tmp_path, threshold=["body.p99 < 8ms"]) == 0


def test_a_broken_threshold_is_1(halves: dict[str, object], tmp_path: Path) -> None:
    assert run(tmp_path, threshold=["body.p99 < 6ms"]) == 1


def test_nothing_tested_is_3(halves: dict[str, object], tmp_path: Path) -> None:
    halves["conformance"] = conformance(untested=3)
    assert run(tmp_path) == 3


@pytest.mark.parametrize(
    ("error", "code"), [(Inconclusive("the target let nobody in"), 3), (SmtpbenchError("it broke"), 4)]
)
def test_a_load_that_fails_leaves_the_conformance_half(
    halves: dict[str, object], tmp_path: Path, error: SmtpbenchError, code: int
) -> None:
    halves["load"] = error
    assert run(tmp_path) == code
    assert {path.name for path in tmp_path.iterdir()} == FOLDER
    assert json.loads((tmp_path / "conformance.json").read_text())["summary"]["pass"] == 3
    load = read_run(tmp_path).load
    assert load is not None
    assert load.valid is False
    assert load.invalid_reasons == [f"the load could not be run: {error}"]


def test_a_run_that_is_ended_early_has_no_load(halves: dict[str, object], tmp_path: Path) -> None:
    halves["conformance"] = conformance(**{"pass": 3}).model_copy(update={"cut_off": True})
    assert run(tmp_path) == 3
    load = read_run(tmp_path).load
    assert load is not None
    assert load.invalid_reasons == ["the load could not be run: the run was ended before it began"]


def test_what_kills_us_in_the_load_leaves_the_conformance_half(
    halves: dict[str, object], tmp_path: Path
) -> None:
    halves["load"] = RuntimeError("out of memory, say")
    with pytest.raises(RuntimeError):
        run(tmp_path)
    assert json.loads((tmp_path / "conformance.json").read_text())["summary"]["pass"] == 3


def test_a_default_folder_that_cannot_be_is_refused_before_anything_runs(
    halves: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    halves["conformance"] = AssertionError("it was run")
    monkeypatch.chdir(tmp_path)
    Path("results").write_text("a file", encoding="utf-8")
    with pytest.raises(UsageError, match="results: cannot be written: Not a directory"):
        run(None)


def test_findings_outrank_a_load_that_fails(halves: dict[str, object], tmp_path: Path) -> None:
    halves["load"] = SmtpbenchError("it broke")
    assert run(tmp_path, threshold=["accepted > 0"]) == 4
    halves["load"] = LoadResult(valid=False, invalid_reasons=["too late"])
    assert run(tmp_path, threshold=["accepted > 0"]) == 3
    halves["conformance"] = failing = conformance(fail=1)
    failing.cases = [_failed_case()]
    assert run(tmp_path) == 1


def _failed_case() -> CaseResult:
    return CaseResult(
        id="rfc5321.x.y",
        requirements=["5321-A-1"],
        rfc=5321,
        section="4.2",
        level="MUST",
        verdict=Verdict.FAIL,
        title="x",
        expected="250",
        observed="550",
    )


def test_the_default_folder_is_named_for_the_time_and_the_target(
    halves: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(None) == 0
    (folder,) = (tmp_path / "results").iterdir()
    assert folder.name == "20260102T030405Z-smtp-1-2525"
    assert {path.name for path in folder.iterdir()} == FOLDER


@pytest.mark.parametrize(
    "wrong",
    [{"threshold": ["body.p99"]}, {"run_time": "soon"}, {"users": 0}],
    ids=["threshold", "time", "users"],
)
def test_a_wrong_option_is_found_before_anything_runs(
    halves: dict[str, object], tmp_path: Path, wrong: dict[str, object]
) -> None:
    halves["conformance"] = AssertionError("the cases were run")
    with pytest.raises(UsageError):
        run(tmp_path / "out", **wrong)
    assert not (tmp_path / "out").exists()
