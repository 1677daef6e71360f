"""The proof matrix: every case can turn red, and turns red for the fault it names and no other.

The reference server runs once with no fault (all must be green) and once with each fault (the cases that
name it must be red, the others must not, unless ``proof.toml`` beside the cases explains why).
Red means that the case saw a violation or a near miss, whatever the level makes of it.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import shutil
import threading
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from multiprocessing.util import Finalize
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from smtpbench.conformance import passive
from smtpbench.conformance.bench import Bench
from smtpbench.conformance.cases import Case
from smtpbench.conformance.discovery import load_cases
from smtpbench.conformance.grading import ADVICE
from smtpbench.conformance.model import STRENGTH, Catalogue, load_catalogue
from smtpbench.conformance.observation import Outcome
from smtpbench.conformance.reference import MX, Profile, reference
from smtpbench.conformance.result import CaseResult, Verdict
from smtpbench.conformance.schedule import Schedule
from smtpbench.conformance.survey import survey
from smtpbench.delivery.hop import Hop
from smtpbench.errors import EXIT_INTERNAL, SmtpbenchError, UsageError
from smtpbench.lab.workspace import Workspace, workspace
from smtpbench.server.faults import FAULTS

EXPLANATIONS = "proof.toml"
CONCURRENT_CASES = 16  # they wait most of the time: for silence, or for a reply that a fault holds back
_RED = frozenset({Outcome.VIOLATES, Outcome.NEAR})
_RED_VERDICTS = frozenset({Verdict.FAIL, Verdict.NON_STRICT})


@dataclass(frozen=True)
class Subject:
    """A case or a passive rule, as far as the proof is concerned."""

    id: str
    requirements: tuple[str, ...]
    broken_by: tuple[str, ...]
    accuses: bool = True


@dataclass(frozen=True)
class Run:
    """What turned red with one fault (None: without any); `trouble` says why there was no run."""

    fault: str | None
    red: dict[str, str] = field(default_factory=dict)  # id → what was observed
    errors: dict[str, str] = field(default_factory=dict)  # id → our own error
    untested: dict[str, str] = field(default_factory=dict)  # id → reason
    trouble: str | None = None
    profile: str = MX.name


@dataclass(frozen=True)
class Row:
    """One line of the matrix."""

    fault: str | None
    named: tuple[str, ...]
    green: tuple[str, ...]  # named, and did not turn red
    related: tuple[str, ...]  # red, not named, about a requirement of the fault or explained
    unrelated: tuple[str, ...]  # red for no stated reason
    errors: tuple[str, ...]
    trouble: str | None = None
    why: Mapping[str, str] = field(default_factory=dict)  # id → what was observed, or why it was not asked
    profile: str = MX.name
    answered: int = 0  # subjects that were neither red nor untested nor broken

    @property
    def holds(self) -> bool:
        """Whether the line is as it should be."""
        return not (self.green or self.unrelated or self.errors or self.trouble)


class Explanation(BaseModel):
    """Why cases that do not name a fault turn red with it, as ``proof.toml`` has it."""

    model_config = ConfigDict(extra="forbid")

    fault: str
    cases: list[str]  # globs over case ids
    reason: str


class Unjudged(BaseModel):
    """Why no case turns red with a fault, as ``proof.toml`` has it."""

    model_config = ConfigDict(extra="forbid")

    fault: str
    reason: str


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    explained: list[Explanation] = []
    unjudged: list[Unjudged] = []


def load_explanations(root: Path) -> list[Explanation]:
    """The explanations beside the cases. Raises UsageError."""
    return _load(root).explained


def load_unjudged(root: Path) -> list[Unjudged]:
    """The faults that no case is to turn red, from beside the cases. Raises UsageError."""
    return _load(root).unjudged


def _load(root: Path) -> _File:
    path = root / EXPLANATIONS
    if not path.exists():
        return _File()
    try:
        file = _File.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise UsageError(f"{path}: {str(error).splitlines()[0]}") from None
    listed = {item.fault for item in file.explained} | {item.fault for item in file.unjudged}
    unknown = sorted(listed - set(FAULTS))
    if unknown:
        raise UsageError(f"{path}: unknown fault {', '.join(unknown)}")
    return file


def subjects(cases: Iterable[Case]) -> list[Subject]:
    """All that can turn red: the cases and the passive rules."""
    return [
        *(Subject(case.id, case.requirements, case.broken_by, case.accuses) for case in cases),
        *(Subject(rule.id, rule.requirements, rule.broken_by) for rule in passive.RULES),
    ]


def unknown_faults(of: Iterable[Subject]) -> list[str]:
    """Names in `broken_by` that are no fault, each with the case that has it."""
    return [f"{subject.id}: {name}" for subject in of for name in subject.broken_by if name not in FAULTS]


def unproven(of: Iterable[Subject], catalogue: Catalogue) -> list[str]:
    """Those that can say fail or non-strict (they accuse, at a level above MAY) and name no fault."""
    return [
        f"{subject.id} ({level.value}) names no fault, so that nothing shows that it can fail"
        for subject in of
        if subject.accuses
        and not subject.broken_by
        and STRENGTH[level := catalogue.strongest(subject.requirements).level] >= ADVICE
    ]


def unused_faults(of: Iterable[Subject]) -> list[str]:
    """Faults that no case names."""
    named = {name for subject in of for name in subject.broken_by}
    return [name for name in FAULTS if name not in named]


def gaps(of: Sequence[Subject], unjudged: Iterable[Unjudged]) -> list[str]:
    """What is wrong with the list of faults that no case names, in words; nothing if it is complete."""
    unused, excused = set(unused_faults(of)), {item.fault for item in unjudged}
    return [
        *(
            f"named by no case, and not unjudged in {EXPLANATIONS}: {name}"
            for name in sorted(unused - excused)
        ),
        *(f"unjudged in {EXPLANATIONS}, and named by a case: {name}" for name in sorted(excused - unused)),
    ]


def judge(run: Run, of: Sequence[Subject], explanations: Sequence[Explanation]) -> Row:
    """Set what turned red against what should."""
    why = {**run.untested, **run.red, **run.errors}
    answered = sum(subject.id not in why for subject in of)
    if run.fault is None:
        red, errors = tuple(run.red), tuple(run.errors)
        return Row(None, (), (), (), red, errors, run.trouble, why, run.profile, answered)
    about = set(FAULTS[run.fault].requirements)
    named = tuple(subject.id for subject in of if run.fault in subject.broken_by)
    rows = {subject.id: set(subject.requirements) for subject in of}
    patterns = [pattern for item in explanations if item.fault == run.fault for pattern in item.cases]
    others = [key for key in run.red if key not in named]
    related = tuple(
        key for key in others if rows[key] & about or any(fnmatchcase(key, pattern) for pattern in patterns)
    )
    return Row(
        fault=run.fault,
        named=named,
        green=tuple(key for key in named if key not in run.red),
        related=related,
        unrelated=tuple(key for key in others if key not in related),
        errors=tuple(run.errors),
        trouble=run.trouble,
        why=why,
        answered=answered,
    )


def idle_explanations(
    runs: Iterable[Run], of: Sequence[Subject], explanations: Sequence[Explanation]
) -> list[str]:
    """``fault: glob`` of each explanation that no case of these runs needed: it can go."""
    unexplained = {run.fault: judge(run, of, ()).unrelated for run in runs}
    return [
        f"{item.fault}: {pattern}"
        for item in explanations
        for pattern in item.cases
        if item.fault in unexplained and not any(fnmatchcase(key, pattern) for key in unexplained[item.fault])
    ]


# Running ------------------------------------------------------------------------------------------


async def run_fault(
    root: Path, cases: Sequence[Case], place: Workspace, fault: str | None, profile: Profile = MX
) -> Run:
    """All `cases` and passive rules against the reference server with `fault`, run as `profile` says."""
    loop = asyncio.get_running_loop()
    crashes: list[str] = []
    loop.set_exception_handler(
        lambda _, context: crashes.append(str(context.get("exception") or context["message"]))
    )
    catalogue = load_catalogue(root)
    try:
        chosen = (fault,) if fault else ()
        async with (
            Hop(certificate=place.chain) as hop,
            reference(
                place,
                *chosen,
                takes_no_mail=profile.takes_no_mail,
                no_mail_code=profile.no_mail_code,
                hop=hop,
            ) as (target, observer),
        ):
            facts = await survey(target, observable=True, slow=True, main=profile.endpoint)
            bench = Bench(catalogue, facts, observer, hop=hop)
            await Schedule(bench, cases, jobs=CONCURRENT_CASES).run()
    except SmtpbenchError as error:
        trouble = "; ".join(dict.fromkeys([*crashes, str(error)]))
        return Run(fault, trouble=trouble, profile=profile.name)
    results = [*bench.results.values(), *passive.judge_all(bench.seen, catalogue)]
    return Run(
        fault,
        red={result.id: result.observed for result in results if _is_red(result, bench)},
        errors={result.id: result.reason or "" for result in results if result.verdict is Verdict.ERROR},
        untested={result.id: result.reason or "" for result in results if result.verdict is Verdict.UNTESTED},
        trouble=f"the reference server raised {crashes[0]}" if crashes else None,
        profile=profile.name,
    )


def _is_red(result: CaseResult, bench: Bench) -> bool:
    outcome = bench.outcomes.get(result.id)
    return outcome in _RED if outcome is not None else result.verdict in _RED_VERDICTS


_worker: dict[Path, tuple[list[Case], Workspace]] = {}  # by root: read once, and one certificate, a worker


def _end_with_parent() -> None:
    """A worker whose parent was killed waits for work for ever; this one goes, and takes its folder along."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        for _, place in _worker.values():
            shutil.rmtree(place.folder, ignore_errors=True)
        os._exit(EXIT_INTERNAL)

    threading.Thread(target=wait, daemon=True).start()


def _in_worker(root: Path, fault: str | None, profile: Profile) -> Run:
    if root not in _worker:
        place = workspace()
        _worker[root] = (load_cases(root), place.__enter__())
        # A worker of a process pool ends without atexit; multiprocessing has its own list of what to undo.
        Finalize(None, place.__exit__, args=(None, None, None), exitpriority=0)
    return asyncio.run(run_fault(root, *_worker[root], fault, profile))


def prove(
    root: Path,
    faults: Sequence[str | None],
    *,
    profiles: Sequence[Profile] = (MX,),
    workers: int | None = None,
    on_run: Callable[[Run], None] = lambda run: None,
) -> list[Run]:
    """One `Run` for each of `faults`, in their order, `workers` at a time (the cores).

    None is no fault, and is run once in each of `profiles`.
    """
    jobs = [(fault, profile) for fault in faults for profile in (profiles if fault is None else (MX,))]
    number = workers or os.cpu_count() or 1
    context = multiprocessing.get_context("spawn")  # fork would copy whatever loop or thread there is
    with ProcessPoolExecutor(number, mp_context=context, initializer=_end_with_parent) as pool:
        futures = [pool.submit(_in_worker, root, *job) for job in jobs]
        runs: dict[tuple[str | None, str], Run] = {}
        try:
            for future in as_completed(futures):
                run = future.result()
                runs[run.fault, run.profile] = run
                on_run(run)
        except BaseException:  # an interrupt does not wait for the faults that nobody has begun
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [runs[fault, profile.name] for fault, profile in jobs]
