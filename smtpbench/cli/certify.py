"""``smtpbench certify [TARGET]``: conformance, then load, in one folder with one verdict."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

import smtpbench
from smtpbench.cli._common import Outputs, TargetArg, ending_signals, require_writable
from smtpbench.cli._workload import RunTimeOpt, ThresholdOpt, UsersOpt, workload_fields
from smtpbench.cli.conform import SelectOpt, StrictOpt, conformance_progress, exit_code, new_findings
from smtpbench.cli.live import watching
from smtpbench.cli.load import load_exit_code, notice_limits
from smtpbench.conformance.baseline import Baseline
from smtpbench.conformance.result import ConformanceResult
from smtpbench.conformance.run import run_conformance
from smtpbench.errors import (
    EXIT_FINDINGS,
    EXIT_INCONCLUSIVE,
    EXIT_INTERNAL,
    EXIT_OK,
    EXIT_USAGE,
    Inconclusive,
    SmtpbenchError,
    UsageError,
)
from smtpbench.lab import open_target
from smtpbench.lab.options import TargetOptions
from smtpbench.load.result import LoadResult
from smtpbench.load.run import run_load
from smtpbench.load.thresholds import parse_threshold
from smtpbench.report import Run, render_terminal, write_outputs
from smtpbench.target import Target

RESULTS = Path("results")
ENDED = "the run was ended before it began"
_WORST_FIRST = (EXIT_FINDINGS, EXIT_INTERNAL, EXIT_USAGE, EXIT_INCONCLUSIVE, EXIT_OK)


def certify(
    target: TargetArg = "embedded",
    *,
    select: SelectOpt = [],  # noqa: B006 - typer's way to say "repeatable, none by default"
    strict: StrictOpt = False,
    users: UsersOpt = None,
    run_time: RunTimeOpt = None,
    threshold: ThresholdOpt = [],  # noqa: B006
    options: TargetOptions,
    outputs: Outputs,
) -> int:
    """Conformance, then load, in one folder with one verdict.

    The folder is ``results/TIME-TARGET`` unless ``--out`` names another. Exit code: 0 conforms and
    thresholds met, 1 findings or a threshold broken, 3 inconclusive. If the load cannot be run, the
    conformance half is written all the same, and the load half as not valid.
    """
    thresholds = [parse_threshold(text) for text in threshold]
    workload = workload_fields(None, run_time, users=users)
    require_writable(Outputs(out=outputs.out or RESULTS))
    with open_target(target, options) as opened:
        with conformance_progress(quiet=outputs.quiet) as listener:
            conformance = run_conformance(
                opened, spec=target, select=select, listener=listener, cut_by=ending_signals()
            )
        folder = outputs.out or RESULTS / _folder_name(conformance)
        with suppress(UsageError):  # whatever the load does to us; if it cannot be written, the end says so
            write_outputs(conformance, out=folder, strict=strict)
        load, trouble = _load(opened, workload, quiet=outputs.quiet, wanted=not conformance.cut_off)
    load.thresholds = [one.check(load) for one in thresholds]
    run = Run(conformance=conformance, load=load)
    try:
        write_outputs(
            run,
            json=outputs.json,
            junit=outputs.junit,
            html=outputs.html,
            markdown=outputs.markdown,
            out=folder,
            strict=strict,
        )
    finally:
        if not outputs.quiet:
            _show(run, folder)
    findings = new_findings(conformance, Baseline(), strict=strict)
    return _worst(exit_code(conformance, findings), trouble or load_exit_code(load))


def _load(target: Target, workload: dict[str, Any], *, quiet: bool, wanted: bool) -> tuple[LoadResult, int]:
    """What was measured and 0, or, if nothing could be, a result that says why and the error's exit code."""
    started = datetime.now(UTC).isoformat(timespec="seconds")
    try:
        if not wanted:
            raise Inconclusive(ENDED)
        noticed = notice_limits(target, workload, look=True, quiet=quiet)
        with watching(quiet=quiet) as watcher:
            result = run_load(target, workload, progress=watcher.progress, notice=watcher.notice)
        result.preflight = noticed
        return result, EXIT_OK
    except KeyboardInterrupt:
        trouble: SmtpbenchError = Inconclusive(ENDED)
    except SmtpbenchError as error:
        trouble = error
    result = LoadResult(
        smtpbench=smtpbench.__version__,
        started=started,
        valid=False,
        invalid_reasons=[f"the load could not be run: {trouble}"],
        target={"name": target.name},
        workload=workload,
    )
    return result, trouble.exit_code


def _worst(*codes: int) -> int:
    """The exit code of the whole: findings before our own error before inconclusive."""
    return min(codes, key=_WORST_FIRST.index)


def _folder_name(result: ConformanceResult) -> str:
    """``20260102T030405Z-target``: the start and the target's name, in characters every file system takes."""
    started = datetime.fromisoformat(result.started).astimezone(UTC)
    name = re.sub(r"[^A-Za-z0-9.]+", "-", result.target.name).strip("-.") or "target"
    return f"{started:%Y%m%dT%H%M%SZ}-{name}"


def _show(run: Run, folder: Path) -> None:
    console = Console()
    console.print(render_terminal(run))
    console.print(Text(f"\nreport: {folder / 'report.html'}"), soft_wrap=True)
