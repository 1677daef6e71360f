"""``smtpbench conform [TARGET]``: run the cases, show what was found, exit with what it means."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from smtpbench.cli._common import Outputs, TargetArg, ending_signals, require_writable
from smtpbench.conformance import passive
from smtpbench.conformance.baseline import FINDINGS, Baseline, draft_baseline, load_baseline
from smtpbench.conformance.cases import Case
from smtpbench.conformance.discovery import load_cases, selected
from smtpbench.conformance.model import STRENGTH, Level, find_cases, load_catalogue
from smtpbench.conformance.result import CaseResult, ConformanceResult, Verdict
from smtpbench.conformance.run import Listener, run_conformance
from smtpbench.conformance.schedule import DEFAULT_JOBS
from smtpbench.errors import EXIT_FINDINGS, EXIT_INCONCLUSIVE, EXIT_INTERNAL, EXIT_OK
from smtpbench.lab.opening import open_target
from smtpbench.lab.options import TargetOptions
from smtpbench.lab.preflight import preflight_for_cases
from smtpbench.report import render_terminal, write_outputs
from smtpbench.report.write import write_text
from smtpbench.target import Role

SelectOpt = Annotated[list[str], typer.Option(metavar="GLOB", help="Only cases or requirements like this.")]
ExcludeOpt = Annotated[list[str], typer.Option(metavar="GLOB", help="Not those like this.")]
LevelOpt = Annotated[
    Level | None, typer.Option(help="Only what binds at least as much.", case_sensitive=False)
]
BaselineOpt = Annotated[Path | None, typer.Option(metavar="FILE", help="Findings that are accepted.")]
WriteBaselineOpt = Annotated[Path | None, typer.Option(metavar="FILE", help="Write this run's findings.")]
StrictOpt = Annotated[bool, typer.Option("--strict", help="A non-strict case counts as a finding.")]
SlowOpt = Annotated[bool, typer.Option("--slow", help="Also the cases that take minutes.")]
EndpointOpt = Annotated[
    Role | None, typer.Option(help="Where cases go that name no endpoint: default mx, else the first.")
]
SeedOpt = Annotated[int, typer.Option(min=0, help="Of random dialogues: the same seed, the same dialogues.")]
JobsOpt = Annotated[
    int, typer.Option(min=1, max=64, metavar="N", help="Cases at a time; 1 runs one after another.")
]
DeadlineOpt = Annotated[
    float | None,
    typer.Option(min=1, metavar="SECONDS", help="For all cases together; default 1800, with --slow 3600."),
]
ListOpt = Annotated[bool, typer.Option("--list", help="List the cases; contact nobody.")]

_QUIET_VERDICTS = frozenset({Verdict.PASS, Verdict.INFO, Verdict.UNTESTED, Verdict.HARDENED})


def conform(
    target: TargetArg = "embedded",
    *,
    select: SelectOpt = [],  # noqa: B006 - typer's way to say "repeatable, none by default"
    exclude: ExcludeOpt = [],  # noqa: B006
    level: LevelOpt = None,
    baseline: BaselineOpt = None,
    write_baseline: WriteBaselineOpt = None,
    strict: StrictOpt = False,
    slow: SlowOpt = False,
    seed: SeedOpt = 0,
    endpoint: EndpointOpt = None,
    jobs: JobsOpt = DEFAULT_JOBS,
    deadline: DeadlineOpt = None,
    list_only: ListOpt = False,
    options: TargetOptions,
    outputs: Outputs,
) -> int:
    """Check the target's behaviour against the RFCs, requirement by requirement.

    Ctrl-C ends the run early and keeps the results.

    Exit code: 0 conforms, 1 findings, 3 target unreachable, nothing could be tested, the run was ended early,
    or half of what was put to the target got no answer because it, or the run's time, failed.
    """
    if list_only:
        _list(tuple(select), tuple(exclude), level)
        return EXIT_OK
    require_writable(Outputs(json=write_baseline))
    known = load_baseline(baseline) if baseline else Baseline()
    check = partial(preflight_for_cases, endpoint)
    with (
        open_target(target, options, check=check) as opened,
        conformance_progress(quiet=outputs.quiet) as listener,
    ):
        result = run_conformance(
            opened,
            spec=target,
            select=select,
            exclude=exclude,
            level=level,
            slow=slow,
            seed=seed,
            endpoint=endpoint,
            jobs=jobs,
            deadline=deadline,
            listener=listener,
            cut_by=ending_signals(),
        )
    new = new_findings(result, known, strict=strict)
    try:
        write_outputs(
            result,
            json=outputs.json,
            junit=outputs.junit,
            html=outputs.html,
            markdown=outputs.markdown,
            out=outputs.out,
            strict=strict,
        )
        if write_baseline:
            write_text(write_baseline, draft_baseline(result, known))
    finally:
        if not outputs.quiet:
            _show(result, known, new)
    return exit_code(result, new)


def exit_code(result: ConformanceResult, new_findings: Sequence[CaseResult]) -> int:
    """What a run means: findings before our own errors before too little tested."""
    if new_findings:
        return EXIT_FINDINGS
    answered = sum(result.summary[verdict] for verdict in Verdict) - result.summary[Verdict.UNTESTED]
    if result.summary[Verdict.ERROR]:
        return EXIT_INTERNAL
    return EXIT_OK if answered > result.interrupted and not result.cut_off else EXIT_INCONCLUSIVE


def new_findings(result: ConformanceResult, known: Baseline, *, strict: bool) -> list[CaseResult]:
    """Findings that count and are not accepted; the accepted ones get their reason written beside them."""
    counting = FINDINGS if strict else FINDINGS - {Verdict.NON_STRICT}
    new = []
    for case in result.cases:
        reason = known.reason(case)
        if reason is not None:
            case.reason = f"accepted in the baseline: {reason}"
        elif case.verdict in counting:
            new.append(case)
    return new


def _show(result: ConformanceResult, known: Baseline, new: Sequence[CaseResult]) -> None:
    console = Console()
    console.print(render_terminal(result))
    for note in result.notes:
        console.print(f"note: {note}", markup=False)
    for item, now in known.stale(result):
        words = f"{item.case} is no longer {item.verdict} but {now}"
        advice = "change" if now in FINDINGS else "remove"
        console.print(f"baseline: {words}: {advice} the entry", markup=False)
    for item in known.gone(_all_ids()) if known.accepted else ():
        console.print(f"baseline: there is no case {item.case}: remove the entry", markup=False)
    if known.accepted:
        console.print(
            f"{len(new)} new finding{'' if len(new) == 1 else 's'} beside the baseline", markup=False
        )


def _all_ids() -> frozenset[str]:
    return frozenset(item.id for item in _everything(find_cases()))


def _everything(root: Path) -> list[Case | passive.Rule]:
    return [*load_cases(root), *passive.RULES]


def _list(select: tuple[str, ...], exclude: tuple[str, ...], at_least: Level | None) -> None:
    root = find_cases()
    catalogue, console = load_catalogue(root), Console()
    for case in _everything(root):
        level = catalogue.strongest(case.requirements).level
        strong = at_least is None or STRENGTH[level] >= STRENGTH[at_least]
        if strong and selected(case, select, exclude):
            needs = ", ".join(need.name for need in case.needs) if isinstance(case, Case) else ""
            console.print(
                f"{case.id}  [bold]{level}[/]  {escape(case.title)}", soft_wrap=True, highlight=False
            )
            console.print(
                f"    {', '.join(case.requirements)}{f'; needs {needs}' if needs else ''}", style="dim"
            )


@contextmanager
def conformance_progress(*, quiet: bool) -> Iterator[Listener]:
    """A bar on a terminal, one line a case elsewhere, on standard error."""
    console = Console(stderr=True)
    if quiet:
        yield Listener()
    elif not console.is_terminal:
        yield Listener(result=lambda result: console.print(_line(result), markup=False, soft_wrap=True))
    else:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task("conformance", total=None)

            def show(result: CaseResult) -> None:
                bar.advance(task)
                if result.verdict not in _QUIET_VERDICTS:
                    bar.console.print(_line(result), markup=False, soft_wrap=True)

            yield Listener(collected=lambda number: bar.update(task, total=number), result=show)


def _line(result: CaseResult) -> str:
    return f"{result.verdict.value:<10} {result.id}"
