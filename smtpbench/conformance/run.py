"""`run_conformance`: the cases against a target, through pytest in this process, to one result."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import pytest

import smtpbench
from smtpbench.conformance import passive
from smtpbench.conformance.bench import Bench, command_words
from smtpbench.conformance.discovery import Selectable, selected
from smtpbench.conformance.model import STRENGTH, Catalogue, Level, find_cases, load_catalogue
from smtpbench.conformance.plugin import SETTINGS, Settings
from smtpbench.conformance.result import CaseResult, ConformanceResult, Coverage, TargetInfo, Verdict
from smtpbench.conformance.schedule import DEFAULT_JOBS
from smtpbench.conformance.survey import main_role
from smtpbench.errors import SmtpbenchError, UsageError
from smtpbench.target import Role, Target

# Nothing of the user's: no pytest.ini or conftest of the current folder, no other plugins, no cache.
_PYTEST_ARGUMENTS = (
    "--config-file",
    os.devnull,
    "--noconftest",
    "--disable-plugin-autoload",
    "--import-mode=importlib",
    "--capture=no",
    "-pno:cacheprovider",
    "-pno:terminal",
    "-pno:faulthandler",
    "-ppytest_asyncio.plugin",
    "-psmtpbench.conformance.plugin",
    "-oasyncio_mode=strict",
    "-oasyncio_default_fixture_loop_scope=session",
)
RUN_DEADLINE = 1_800.0  # seconds: a target that takes a second for each reply needs about a third of it
SLOW_RUN_DEADLINE = 3_600.0
_ANSWERED = frozenset(Verdict) - {Verdict.UNTESTED, Verdict.ERROR}


@dataclass(frozen=True)
class Listener:
    """Who is told: how many cases there are, and each result as it comes."""

    collected: Callable[[int], None] = lambda number: None
    result: Callable[[CaseResult], None] = lambda result: None


def run_conformance(
    target: Target,
    *,
    spec: str = "",
    select: Sequence[str] = (),
    exclude: Sequence[str] = (),
    level: Level | None = None,
    slow: bool = False,
    seed: int = 0,
    endpoint: Role | None = None,
    jobs: int = DEFAULT_JOBS,
    deadline: float | None = None,
    root: Path | None = None,
    listener: Listener | None = None,
    cut_by: Collection[signal.Signals] = (),
) -> ConformanceResult:
    """Run the cases below `root` (the installed ones) against `target`.

    `select` and `exclude` are globs over case ids and requirement ids; `level` leaves out what binds
    less than it; `spec` is how the user named the target, for each case's `repro`; `seed` is that of what
    cases draw at random; `endpoint` is where the cases go that name no endpoint of their own (None: the
    target's main one). `jobs` cases run at a time; what is not done after `deadline` seconds (30 minutes,
    with `slow` 60) is untested. The first of the signals `cut_by` that comes while cases run does the same
    at once, and the result says `cut_off`; a second one, or one that comes earlier, is a KeyboardInterrupt.
    Raises UsageError (nothing selected, catalogue broken), SessionError (target unreachable),
    SmtpbenchError (a case file does not import).
    """
    folder = root or find_cases()
    catalogue = load_catalogue(folder)
    tell = listener or Listener()

    def wanted(item: Selectable) -> bool:
        strength = STRENGTH[catalogue.strongest(item.requirements).level]
        return selected(item, select, exclude) and (level is None or strength >= STRENGTH[level])

    main_role(target, endpoint)
    words = command_words(spec, endpoint, seed)
    cases: list[CaseResult] = []

    def told(result: CaseResult) -> None:
        cases.append(result)
        tell.result(result)

    settings = Settings(
        target,
        words,
        endpoint=endpoint,
        catalogue=catalogue,
        slow=slow,
        jobs=jobs,
        deadline=deadline or (SLOW_RUN_DEADLINE if slow else RUN_DEADLINE),
        seed=seed,
        wanted=wanted,
        on_collected=tell.collected,
        on_result=told,
    )
    started, begin = datetime.now(UTC), time.perf_counter()
    with _cut_off(settings, cut_by) as cut:
        bench = _pytest(folder, settings)
    place = {result.id: number for number, result in enumerate(cases)}
    bench.seen.breaches.sort(key=lambda breach: place[breach.case])  # whichever case was done first
    judged = passive.judge_all(bench.seen, catalogue, spec=words, wanted=wanted)
    results = [*cases, *judged]
    return ConformanceResult(
        smtpbench=smtpbench.__version__,
        started=started.isoformat(timespec="seconds"),
        duration_s=round(time.perf_counter() - begin, 3),
        target=_target_info(bench),
        summary=_summary(results),
        coverage=_coverage(catalogue, results),
        interrupted=len(bench.interrupted),
        cut_off=bool(cut),
        notes=bench.notes,
        cases=results,
    )


def _pytest(folder: Path, settings: Settings) -> Bench:
    session = _Session(settings)
    with _without_environment("PYTEST_ADDOPTS", "PYTEST_PLUGINS"), _modules_forgotten(folder):
        code = pytest.main([*_PYTEST_ARGUMENTS, f"--rootdir={folder}", str(folder)], plugins=[session])
    if code == pytest.ExitCode.INTERRUPTED and settings.trouble is None and not session.broken:
        raise KeyboardInterrupt
    if settings.trouble is not None:
        raise settings.trouble
    if session.broken:
        raise SmtpbenchError("\n".join(session.broken))
    if code == pytest.ExitCode.NO_TESTS_COLLECTED:
        raise UsageError("no case is selected: `smtpbench conform --list` shows their ids")
    if settings.bench is None:
        raise SmtpbenchError(f"pytest ended with {code!r} before the first case: {session.internal_error}")
    return settings.bench


class _Session:
    """The plugin that hands the settings to pytest and keeps what went wrong in it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.broken: list[str] = []
        self.internal_error = "no reason given"

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        config.stash[SETTINGS] = self._settings

    def pytest_exception_interact(
        self, call: pytest.CallInfo[object], report: pytest.CollectReport | pytest.TestReport
    ) -> None:
        if not isinstance(report, pytest.CollectReport) or call.excinfo is None:
            return
        if isinstance(call.excinfo.value, SmtpbenchError):
            self._settings.trouble = call.excinfo.value
        else:
            self.broken.append(f"{report.nodeid}: {report.longreprtext.strip().splitlines()[-1]}")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and report.when != "call":  # a case reports through its result, never like this
            self.internal_error = f"{report.nodeid}: {report.longreprtext.strip().splitlines()[-1]}"

    def pytest_internalerror(self, excrepr: object) -> None:
        self.internal_error = str(excrepr).strip().splitlines()[-1]


@contextmanager
def _cut_off(settings: Settings, signals: Collection[signal.Signals]) -> Iterator[list[str]]:
    """The first of `signals` ends the cases early; its name is then in the list. Handlers are put back."""
    came: list[str] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        if settings.schedule is None or came:
            raise KeyboardInterrupt
        came.append(signal.Signals(number).name)
        settings.schedule.cut_off(f"the run was ended early ({came[0]})")

    previous = {number: signal.signal(number, handle) for number in signals}
    try:
        yield came
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def _without_environment(*names: str) -> Iterator[None]:
    """Options that the user has set for pytest are not meant for us."""
    kept = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


@contextmanager
def _modules_forgotten(folder: Path) -> Iterator[None]:
    """pytest names modules by their path below the root; another root must not find ours under its names."""
    try:
        yield
    finally:
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None)
            if file is not None and Path(file).is_relative_to(folder):
                del sys.modules[name]


def _target_info(bench: Bench) -> TargetInfo:
    target, extensions = bench.facts.target, bench.facts.extensions
    return TargetInfo(
        name=target.name,
        endpoints={role.value: endpoint.address for role, endpoint in target.endpoints.items()},
        endpoint=bench.facts.role.value,
        greeting=bench.facts.greeting,
        extensions=[" ".join((keyword, *values)) for keyword, values in extensions.items()],
    )


def _summary(results: Sequence[CaseResult]) -> dict[Verdict, int]:
    counts = Counter(result.verdict for result in results)
    return {verdict: counts[verdict] for verdict in Verdict}


def _coverage(catalogue: Catalogue, results: Sequence[CaseResult]) -> Coverage:
    tested = {row for result in results if result.verdict in _ANSWERED for row in result.requirements}
    return Coverage(requirements=len(catalogue), tested=len(tested & set(catalogue)))
