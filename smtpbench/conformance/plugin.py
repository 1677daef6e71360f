"""pytest runs the cases: ``pytest --smtp-target TARGET conformance/`` (or ``--pyargs smtpbench.cases``).

Every Python file below a folder that has a ``catalogue/`` is read for cases, whatever it is called; each
case becomes an item. A `fail` fails its item, and so does an `error`, which says that it is ours;
`untested` skips it with the reason; `non-strict` passes with a section in the report, and fails with
``--smtp-strict``. Without a target the plugin does nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import pytest_asyncio

from smtpbench.conformance.bench import Bench, command_words
from smtpbench.conformance.cases import Case, cases_root
from smtpbench.conformance.discovery import ordered
from smtpbench.conformance.model import Catalogue, load_catalogue
from smtpbench.conformance.result import CaseResult, Verdict
from smtpbench.conformance.schedule import DEFAULT_JOBS, Schedule, in_turns
from smtpbench.conformance.survey import survey
from smtpbench.delivery.hop import Hop
from smtpbench.delivery.observers import Observer, open_observer
from smtpbench.errors import SmtpbenchError, UsageError
from smtpbench.lab.opening import open_target
from smtpbench.lab.options import TargetOptions
from smtpbench.lab.preflight import preflight_for_cases
from smtpbench.target import Relay, Role, Target

pytest_plugins = ["smtpbench.pytest_options"]


@dataclass
class Settings:
    """What one pytest session runs against, which cases, and who wants to hear of each result."""

    target: Target
    spec: str  # the target and its options as on the command line, quoted for a shell
    catalogue: Catalogue | None = None  # None: the one beside the first case
    endpoint: Role | None = None  # where cases go that name no endpoint; None: the target's main one
    strict: bool = False
    slow: bool = False
    jobs: int = DEFAULT_JOBS
    deadline: float | None = None  # seconds for all cases together
    seed: int = 0
    wanted: Callable[[Case], bool] = lambda case: True
    on_collected: Callable[[int], None] = lambda number: None
    on_result: Callable[[CaseResult], None] = lambda result: None
    bench: Bench | None = None  # set when the target has been asked what it is
    schedule: Schedule | None = None  # set while the cases run
    trouble: SmtpbenchError | None = None  # why there is no bench, or which file did not import


SETTINGS = pytest.StashKey[Settings]()
CASE = pytest.StashKey[Case]()
_CLOSING = pytest.StashKey[contextlib.ExitStack]()


def pytest_configure(config: pytest.Config) -> None:
    """Open the target that ``--smtp-target`` names; `run_conformance` has put its own settings there."""
    spec = config.getoption("--smtp-target")
    if spec is None or SETTINGS in config.stash:
        return
    options = TargetOptions(
        recipient=config.getoption("--smtp-recipient"),
        observe=config.getoption("--smtp-observe"),
        authorized=tuple(config.getoption("--smtp-authorized")),
    )
    stack = config.stash[_CLOSING] = contextlib.ExitStack()
    chosen = config.getoption("--smtp-endpoint")
    endpoint = Role(chosen) if chosen else None
    try:
        target = stack.enter_context(open_target(spec, options, check=partial(preflight_for_cases, endpoint)))
    except UsageError as error:
        raise pytest.UsageError(str(error)) from None
    except SmtpbenchError as error:
        pytest.exit(str(error), returncode=error.exit_code)
    strict, slow = config.getoption("--smtp-strict"), config.getoption("--smtp-slow")
    seed = config.getoption("--smtp-seed")
    config.stash[SETTINGS] = Settings(
        target,
        command_words(spec, endpoint, seed),
        endpoint=endpoint,
        strict=strict,
        slow=slow,
        seed=seed,
        jobs=config.getoption("--smtp-jobs") or DEFAULT_JOBS,
        deadline=config.getoption("--smtp-deadline"),
    )


def pytest_unconfigure(config: pytest.Config) -> None:
    """Close what was opened."""
    stack = config.stash.get(_CLOSING, None)
    if stack is not None:
        stack.close()


# Collection ---------------------------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """A Python file below the root of the cases is a module of cases, whatever its name."""
    if SETTINGS not in parent.config.stash or file_path.suffix != ".py" or file_path.name.startswith("_"):
        return None
    if cases_root(file_path) is None:
        return None
    return CaseFile.from_parent(parent, path=file_path)


class CaseFile(pytest.Module):
    """A file of cases; nothing else in it is collected."""

    def collect(self) -> Iterator[pytest.Item | pytest.Collector]:
        """One item for each case that is wanted, in the order of the file."""
        wanted = self.config.stash[SETTINGS].wanted
        cases = {name: value for name, value in vars(self.obj).items() if isinstance(value, Case)}
        # pytest looks an item's function up by its name in `obj`: there the cases are functions.
        self.obj = SimpleNamespace(**{name: _item_function(case) for name, case in cases.items()})
        for name, case in cases.items():
            if wanted(case):
                yield from self._items(name, case)

    def _items(self, name: str, case: Case) -> Iterator[pytest.Item]:
        # The hook, not Function.from_parent: pytest-asyncio makes coroutines its own items there.
        made = self.ihook.pytest_pycollect_makeitem(collector=self, name=name, obj=getattr(self.obj, name))
        for item in made:
            item.stash[CASE] = case
            yield item


def _item_function(case: Case) -> Callable[..., object]:
    @pytest.mark.asyncio(loop_scope="session")
    async def run(smtp_schedule: Schedule, request: pytest.FixtureRequest) -> None:
        settings = request.config.stash[SETTINGS]
        result = await smtp_schedule.result(case)
        settings.on_result(result)
        _report(result, request.node, strict=settings.strict)

    run.__doc__ = case.title
    run.__test__ = True  # type: ignore[attr-defined]  # collected although its name has no test_ prefix
    return run


def _report(result: CaseResult, item: pytest.Item, *, strict: bool) -> None:
    """Turn a verdict into pytest's words."""
    evidence = (
        f"{result.verdict}: {result.title} ({result.level}, RFC {result.rfc} §{result.section})\n"
        f"expected: {result.expected}\nobserved: {result.observed}\nagain: {result.repro}"
    )
    match result.verdict:
        case Verdict.UNTESTED:
            pytest.skip(result.reason or "untested")
        case Verdict.ERROR:
            pytest.fail(
                f"error of smtpbench or of the case, not of the target: {result.reason}", pytrace=False
            )
        case Verdict.FAIL:
            pytest.fail(evidence, pytrace=False)
        case Verdict.NON_STRICT if strict:
            pytest.fail(evidence, pytrace=False)
        case Verdict.NON_STRICT | Verdict.HARDENED | Verdict.INFO:
            item.add_report_section("call", result.verdict.value, evidence)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Each case after those it depends on."""
    settings = config.stash.get(SETTINGS, None)
    if settings is None:
        return
    by_id = {item.stash[CASE].id: item for item in items if CASE in item.stash}
    try:
        cases = ordered(item.stash[CASE] for item in items if CASE in item.stash)
        order = [case.id for case in in_turns(cases)]
    except SmtpbenchError as error:
        settings.trouble = error
        raise pytest.UsageError(str(error)) from None
    others = [item for item in items if CASE not in item.stash]
    items[:] = [by_id[key] for key in order] + others
    settings.on_collected(len(order))


# The bench ----------------------------------------------------------------------------------------


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def smtp_schedule(request: pytest.FixtureRequest) -> AsyncIterator[Schedule]:
    """All cases of the session, to be run side by side; each item awaits the result of its own.

    The target has been asked once what it is, and its observer is open for the whole session.
    """
    settings = request.config.stash[SETTINGS]
    async with contextlib.AsyncExitStack() as stack:
        try:
            settings.bench = await _set_up(settings, request.session, stack)
        except SmtpbenchError as error:
            settings.trouble = error
            pytest.exit(str(error), returncode=error.exit_code)
        cases = [item.stash[CASE] for item in request.session.items if CASE in item.stash]
        schedule = Schedule(settings.bench, cases, jobs=settings.jobs, deadline=settings.deadline)
        stack.push_async_callback(schedule.stop)  # with -x there are cases under way that nobody awaits
        settings.schedule = schedule
        yield schedule
        settings.schedule = None


async def _set_up(settings: Settings, session: pytest.Session, stack: contextlib.AsyncExitStack) -> Bench:
    target = settings.target
    catalogue = settings.catalogue or _catalogue_of(session)
    hop = await _open_hop(target.relay, stack) if target.relay is not None else None
    observer: Observer | None = None
    if hop is not None and target.observe is not None and target.observe.url == f"sink:{hop.where}":
        observer = hop  # one listener is both
    elif target.observe is not None:
        opened = open_observer(target.observe, auth=target.auth, tls=target.tls, timeouts=target.timeouts)
        observer = await stack.enter_async_context(opened)
    facts = await survey(target, observable=observer is not None, slow=settings.slow, main=settings.endpoint)
    facts = replace(facts, seed=settings.seed)
    return Bench(catalogue, facts, observer, settings.spec, hop=hop)


async def _open_hop(relay: Relay, stack: contextlib.AsyncExitStack) -> Hop:
    host, port = relay.address
    return await stack.enter_async_context(Hop(host, port, certificate=relay.certificate))


def _catalogue_of(session: pytest.Session) -> Catalogue:
    first = next(item.stash[CASE] for item in session.items if CASE in item.stash)
    return load_catalogue(cases_root(first.path))
