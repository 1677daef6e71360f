"""A whole run: pytest inside, one result outside, whatever surrounds it."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from smtpbench.conformance.model import Level
from smtpbench.conformance.result import CaseResult, ConformanceResult
from smtpbench.conformance.run import Listener, run_conformance
from smtpbench.errors import Inconclusive, SmtpbenchError, Unreachable, UsageError
from smtpbench.lab.preflight import preflight, preflight_for_cases
from smtpbench.server import ServerConfig
from smtpbench.server.server import Server
from smtpbench.target import Endpoint, Role, Target

pytest_plugins = ["pytester"]

CASES = '''
from smtpbench.conformance import *

@case("T-2", after="group.good")
async def near_miss(peer):
    """FOO is answered 502."""
    return expect(await peer.command(b"FOO"), codes(502), near=severity(5))

@case("T-1")
async def good(peer):
    """NOOP is answered 250."""
    return expect(await peer.command(b"NOOP"), codes(250))

@case("T-1", "T-2")
async def bad(peer):
    """NOOP is answered 251."""
    return expect(await peer.command(b"NOOP"), codes(251))

@case("T-3", needs=[EXTENSION("NOSUCH")])
async def unmet(peer):
    """Never asked."""

@case("T-3")
async def broken(peer):
    """Breaks."""
    return 1 / 0
'''
VERDICTS = {
    "group.good": "pass",
    "group.near-miss": "non-strict",
    "group.bad": "fail",
    "group.unmet": "untested",
    "group.broken": "error",
}

Folder = Callable[[str], Path]


def verdicts(result: ConformanceResult) -> dict[str, str]:
    return {case.id: case.verdict.value for case in result.cases}


def test_a_run(lab_reference: Target, case_folder: Folder) -> None:
    result = run_conformance(lab_reference, spec="lab:reference", root=case_folder(CASES))
    assert verdicts(result) == VERDICTS
    assert list(verdicts(result))[:2] == ["group.good", "group.near-miss"]  # dependencies first
    assert {verdict.value: n for verdict, n in result.summary.items() if n} == dict.fromkeys(
        VERDICTS.values(), 1
    )
    assert (result.coverage.requirements, result.coverage.tested) == (4, 2)
    assert result.target.greeting.startswith("220 mx.example.com")
    assert "8BITMIME" in result.target.extensions
    assert result.cases[0].repro == "smtpbench conform lab:reference --select group.good"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"select": ["*.good", "*.bad"]}, {"group.good", "group.bad"}),
        ({"select": ["T-1"]}, {"group.good", "group.bad"}),
        ({"exclude": ["T-3", "*.bad"]}, {"group.good", "group.near-miss"}),
        ({"level": Level.MUST}, {"group.good", "group.bad"}),
        ({"level": Level.SHOULD}, {"group.good", "group.bad", "group.near-miss"}),
    ],
)
def test_selection(
    lab_reference: Target, case_folder: Folder, arguments: dict[str, object], expected: set[str]
) -> None:
    result = run_conformance(lab_reference, root=case_folder(CASES), **arguments)  # type: ignore[arg-type]
    assert set(verdicts(result)) == expected


def test_an_endpoint_of_the_users_choice(lab_reference: Target, case_folder: Folder) -> None:
    root = case_folder(CASES)
    result = run_conformance(lab_reference, spec="lab:reference", root=root, endpoint=Role.LMTP)
    assert result.target.endpoint == "lmtp"
    assert result.target.greeting.startswith("220 mx.example.com LMTP")
    assert result.cases[0].repro == "smtpbench conform lab:reference --endpoint lmtp --select group.good"
    mx = Target(endpoints={Role.MX: lab_reference.main})
    with pytest.raises(UsageError, match="has no submission endpoint, only mx"):
        run_conformance(mx, root=root, endpoint=Role.SUBMISSION)


def test_a_server_that_takes_no_mail_is_asked_about_that(beside: Callable[[Server], Server]) -> None:
    server = beside(Server(ServerConfig(takes_no_mail=True)))
    target = Target(endpoints={Role.MX: Endpoint(port=server.port)})
    preflight_for_cases(None, target)
    result = run_conformance(target, select=["rfc5321.greeting.*"])
    with pytest.raises(Inconclusive, match="turns us away"):
        preflight(target)
    verdict = verdicts(result)
    assert verdict["rfc5321.greeting.server-that-takes-no-mail-waits-for-quit"] == "pass"
    assert verdict["rfc5321.greeting.server-that-takes-no-mail-answers-503"] == "pass"
    assert "fail" not in verdict.values()


def test_only_the_endpoint_of_the_cases_has_to_be_there(lab_reference: Target, unused_tcp_port: int) -> None:
    endpoints = {Role.MX: lab_reference.main, Role.LMTP: Endpoint(port=unused_tcp_port)}
    target = Target(endpoints=endpoints)
    preflight_for_cases(None, target)
    for check in (partial(preflight_for_cases, Role.LMTP), preflight):
        with pytest.raises(Unreachable):
            check(target)


def test_progress_is_told(lab_reference: Target, case_folder: Folder) -> None:
    numbers: list[int] = []
    results: list[CaseResult] = []
    listener = Listener(collected=numbers.append, result=results.append)
    result = run_conformance(lab_reference, root=case_folder(CASES), listener=listener)
    assert numbers == [5]
    assert results == result.cases


def test_nothing_of_the_users_pytest_takes_part(
    lab_reference: Target, case_folder: Folder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --no-such-option\n")
    (tmp_path / "conftest.py").write_text("raise RuntimeError('not mine')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTEST_ADDOPTS", "--no-such-option-either")
    assert verdicts(run_conformance(lab_reference, root=case_folder(CASES))) == VERDICTS
    assert os.environ["PYTEST_ADDOPTS"] == "--no-such-option-either"
    assert not list(tmp_path.rglob(".pytest_cache"))


def test_trouble_is_raised_as_what_it_is(
    lab_reference: Target, case_folder: Folder, unused_tcp_port: int
) -> None:
    root = case_folder(CASES)
    with pytest.raises(Unreachable, match="cannot connect"):
        run_conformance(Target(endpoints={Role.MX: Endpoint(port=unused_tcp_port)}), root=root)
    with pytest.raises(UsageError, match="no case is selected"):
        run_conformance(lab_reference, root=root, select=["nothing.like.this"])
    (root / "unimportable.py").write_text("import nothing_of_this_name\n")
    with pytest.raises(SmtpbenchError, match=r"unimportable\.py: .*nothing_of_this_name"):
        run_conformance(lab_reference, root=root)
    (root / "unimportable.py").unlink()
    (root / "group.py").write_text(CASES.replace('"T-3")', '"T-9")'))
    with pytest.raises(UsageError, match="'T-9' is not in the catalogue"):
        run_conformance(lab_reference, root=root)


# The plugin under plain pytest


def plain(pytester: pytest.Pytester, target: Target, root: Path, *more: str) -> pytest.RunResult:
    url = f"smtp://{target.main.address}"
    return pytester.runpytest_subprocess("-q", "-rA", f"--smtp-target={url}", *more, str(root))


def test_plain_pytest(pytester: pytest.Pytester, lab_reference: Target, case_folder: Folder) -> None:
    result = plain(pytester, lab_reference, case_folder(CASES))
    result.assert_outcomes(passed=2, failed=2, skipped=1)
    result.stdout.fnmatch_lines(
        [
            "fail: NOOP is answered 251. (MUST, RFC 5321 §1)",
            "expected: 251",
            "observed: NOOP → 250*",
            "error of smtpbench or of the case, not of the target: ZeroDivisionError*",
            "*Captured non-strict call*",
            "SKIPPED*NOSUCH is not offered",
        ],
        consecutive=False,
    )


def test_plain_pytest_strict(pytester: pytest.Pytester, lab_reference: Target, case_folder: Folder) -> None:
    plain(pytester, lab_reference, case_folder(CASES), "--smtp-strict").assert_outcomes(
        passed=1, failed=3, skipped=1
    )


def test_plain_pytest_by_name(pytester: pytest.Pytester, lab_reference: Target, case_folder: Folder) -> None:
    plain(pytester, lab_reference, case_folder(CASES), "-k", "good").assert_outcomes(passed=1, deselected=4)


ENDLESS = '''
import asyncio

@case("T-1")
async def endless(peer):
    """Waits for what does not come."""
    await peer.until_ready()
    await asyncio.Event().wait()
'''


def test_plain_pytest_stops_at_the_first_failure(
    pytester: pytest.Pytester, lab_reference: Target, case_folder: Folder
) -> None:
    root = case_folder(CASES + ENDLESS)
    result = plain(
        pytester,
        lab_reference,
        root,
        "-x",
        "-W",
        "error::pytest.PytestUnraisableExceptionWarning",
        "-k",
        "bad or endless",
    )
    result.assert_outcomes(failed=1, deselected=4)
    assert result.duration < 15  # `endless` was under way, and was not waited for
    result.stdout.no_fnmatch_line("*never awaited*")
    result.stdout.no_fnmatch_line("*was destroyed*")


def test_one_case_after_another(lab_reference: Target, case_folder: Folder) -> None:
    assert verdicts(run_conformance(lab_reference, root=case_folder(CASES), jobs=1)) == VERDICTS


def test_a_run_has_a_deadline(lab_reference: Target, case_folder: Folder) -> None:
    result = run_conformance(lab_reference, root=case_folder(CASES + ENDLESS), deadline=1.0)
    (endless,) = [case for case in result.cases if case.id == "group.endless"]
    assert (endless.verdict, endless.reason) == ("untested", "the run's time was over: 1 s (--deadline)")
    assert result.interrupted == 1
    assert {case.id: case.verdict.value for case in result.cases if case is not endless} == VERDICTS


def test_plain_pytest_without_a_target(pytester: pytest.Pytester, case_folder: Folder) -> None:
    result = pytester.runpytest_subprocess("-q", str(case_folder(CASES)))
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_plain_pytest_with_an_unusable_target(
    pytester: pytest.Pytester, case_folder: Folder, unused_tcp_port: int
) -> None:
    root = str(case_folder(CASES))
    refused = pytester.runpytest_subprocess("--smtp-target=smtp://192.0.2.1:25", root)
    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    refused.stderr.fnmatch_lines(["ERROR: 192.0.2.1 is not a loopback address*"])
    dead = pytester.runpytest_subprocess(f"--smtp-target=smtp://127.0.0.1:{unused_tcp_port}", root)
    assert dead.ret == 3
    dead.stderr.fnmatch_lines(["*cannot connect*"])
