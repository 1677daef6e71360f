"""``smtpbench load [TARGET]``: load the target, show what was measured, exit with what it means."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from smtpbench.cli._capacity import (
    CapacityOptions,
    capacity_exit_code,
    prepare_search,
    refuse_what_the_search_chooses,
)
from smtpbench.cli._common import Outputs, TargetArg, complain, require_switch
from smtpbench.cli._listening import listen_address
from smtpbench.cli._workload import (
    DEFAULT_USERS,
    ThresholdOpt,
    WorkloadOptions,
    require_processes,
    workload_fields,
    workload_option,
)
from smtpbench.cli.live import watching
from smtpbench.errors import EXIT_FINDINGS, EXIT_INCONCLUSIVE, EXIT_OK, UsageError
from smtpbench.lab import open_target
from smtpbench.lab.options import TargetOptions
from smtpbench.load.abnormal import DOES
from smtpbench.load.abort import DEFAULT_GRACE_S, DEFAULT_HOLD_S, AbortRule
from smtpbench.load.calibration import WORTH_S
from smtpbench.load.order import DEFAULT_MASTER_PORT
from smtpbench.load.preflight import preflight as find_limits
from smtpbench.load.result import LoadResult, Notice
from smtpbench.load.run import run_load, run_worker
from smtpbench.load.scenario import find_scenario, is_toml, scenario_thresholds
from smtpbench.load.thresholds import parse_threshold, require_kinds, useless
from smtpbench.load.workload import make_workload, parse_duration, with_users
from smtpbench.report import Result, render_terminal, write_outputs
from smtpbench.report.text import visible
from smtpbench.target import Target

LOOPBACK = "127.0.0.1"


PORTS = {"min": 1, "max": 65_535}


def _processes(text: str, metavar: str | None = None, **more: Any) -> Any:
    return typer.Option(help=text, metavar=metavar, rich_help_panel="Processes", **more)


WarmUpOpt = Annotated[
    str | None, workload_option("How much of it, at the start, is not measured (none).", "TIME")
]
DkimOpt = Annotated[
    Path | None, workload_option("Sign what is sent with the RSA key in this PEM file (DKIM).", "KEYFILE")
]
DkimSelectorOpt = Annotated[
    str | None,
    workload_option("Its selector (smtpbench): the public key is at SELECTOR._domainkey.DOMAIN.", "NAME"),
]
DkimDomainOpt = Annotated[str | None, workload_option("The signing domain (the sender's).", "NAME")]
DkimEachOpt = Annotated[
    bool,
    typer.Option("--dkim-each", help="Sign each message by itself (about 100/s), not each content once.",
                 rich_help_panel="Workload"),
]  # fmt: skip
AbnormalOpt = Annotated[
    list[str],
    workload_option(
        f"Abnormal sessions beside the others, by their share of all: {', '.join(DOES)}. The others then "
        "carry one message each, if --messages-per-session says nothing else. Repeatable.", "KIND=SHARE",
    ),
]  # fmt: skip
WatchOpt = Annotated[
    float | None,
    workload_option(
        "Share of sessions watched for conformance, 0 to 1 (as many as 2 % of a core can watch).", "N"
    ),
]
CalibrateOpt = Annotated[
    bool | None,
    typer.Option(
        "--calibrate/--no-calibrate", show_default=False, rich_help_panel="Workload",
        help="Measure first what the generator can send to a null sink (about a second; if the run "
        f"lasts {WORTH_S:.0f} s or more).",
    ),
]  # fmt: skip
AbortOpt = Annotated[
    bool, workload_option("End early when a threshold stays broken, or can no longer be met; exit code 1.")
]
AbortGraceOpt = Annotated[
    str | None, workload_option(f"Not in the first so much of the run ({DEFAULT_GRACE_S:g}s).", "TIME")
]
AbortHoldOpt = Annotated[
    str | None, workload_option(f"When it stays broken for so long ({DEFAULT_HOLD_S:g}s).", "TIME")
]
PreflightOpt = Annotated[
    bool, typer.Option("--preflight/--no-preflight", rich_help_panel="Workload",
                       help="Look for limits of the target first, for a few seconds."),
]  # fmt: skip
ProcessesOpt = Annotated[int, _processes("Generator processes; with --master, workers to wait for.", "N")]
MasterOpt = Annotated[bool, _processes("Wait for workers instead of starting them.")]
WorkerOpt = Annotated[bool, _processes("Work for a master; the target and the workload are its to say.")]
MasterHostOpt = Annotated[str, _processes("Where the master listens.", "HOST")]
MasterPortOpt = Annotated[int, _processes("Its port.", "PORT", **PORTS)]
WebOpt = Annotated[bool, _processes("Serve Locust's web page on 127.0.0.1 during the run.")]
MetricsOpt = Annotated[
    str | None,
    _processes("Serve OpenMetrics for Prometheus there, at /metrics, during the run.", "[HOST:]PORT"),
]
WebPortOpt = Annotated[int, _processes("Its port.", "PORT", **PORTS)]


def load(
    target: TargetArg = "embedded",
    *,
    workload: WorkloadOptions,
    warm_up: WarmUpOpt = None,
    dkim: DkimOpt = None,
    dkim_selector: DkimSelectorOpt = None,
    dkim_domain: DkimDomainOpt = None,
    dkim_each: DkimEachOpt = False,
    abnormal: AbnormalOpt = [],  # noqa: B006 - typer's way to say "repeatable, none by default"
    watch_share: WatchOpt = None,
    calibrate: CalibrateOpt = None,
    threshold: ThresholdOpt = [],  # noqa: B006 - typer's way to say "repeatable, none by default"
    abort_on_threshold: AbortOpt = False,
    abort_grace: AbortGraceOpt = None,
    abort_hold: AbortHoldOpt = None,
    preflight: PreflightOpt = True,
    processes: ProcessesOpt = 1,
    master: MasterOpt = False,
    worker: WorkerOpt = False,
    master_host: MasterHostOpt = "127.0.0.1",
    master_port: MasterPortOpt = DEFAULT_MASTER_PORT,
    web: WebOpt = False,
    web_port: WebPortOpt = 8089,
    metrics: MetricsOpt = None,
    capacity: CapacityOptions,
    options: TargetOptions,
    outputs: Outputs,
) -> int:
    """Load the target with many concurrent sessions and measure it. Ctrl-C ends early and keeps the results.

    With --find-capacity the load is repeated at many rates, to find the highest that meets the thresholds.

    Exit code: 0 thresholds met (capacity found), 1 a threshold (at any rate) or a rule of SMTP broken,
    3 target unreachable, no message accepted, or we were the bottleneck (the capacity is at least
    what is said).
    """
    if worker:
        if master:
            raise UsageError("--worker, --master: one process is the one or the other")
        with watching(quiet=outputs.quiet) as watcher:
            run_worker(master_host, master_port, notice=watcher.notice)
        return EXIT_OK
    if not master:
        require_processes(processes)
    elif processes < 1:
        raise UsageError(f"--processes {processes}: expected 1 or more")
    threshold = [*scenario_thresholds(workload.scenario), *threshold]
    thresholds = [parse_threshold(text) for text in threshold]
    given = workload.given(
        dkim=_dkim(dkim, selector=dkim_selector, domain=dkim_domain, each=dkim_each or None),
        abnormal=abnormal or None,
        watch_share=watch_share,
    )
    scenario = workload.scenario
    abort = _abort_rule(abort_grace, abort_hold, threshold if abort_on_threshold else None)
    serve_metrics = listen_address(metrics, "--metrics", LOOPBACK) if metrics else None
    if capacity.find_capacity:
        refuse_what_the_search_chooses(
            {**given, "run_time": workload.run_time},
            master=master,
            web=web,
            metrics=metrics is not None,
            abort_on_threshold=abort_on_threshold,
        )
        search = prepare_search(capacity, warm_up, thresholds, workload_fields(scenario, None, **given))
        with open_target(target, options) as opened:
            locustfile = None if scenario is None or is_toml(scenario) else scenario
            noticed = notice_limits(opened, search.busiest, look=preflight, quiet=outputs.quiet)
            found = search.run(opened, scenario=locustfile, processes=processes, outputs=outputs)
            found.preflight = noticed
            write_and_show(found, outputs)  # before the target is taken down, which may take its time
        return capacity_exit_code(found)
    require_switch(capacity, "find_capacity")
    fields = workload_fields(
        scenario,
        workload.run_time,
        warm_up=parse_duration(warm_up, "--warm-up") if warm_up else None,
        **given,
    )
    if scenario is None or is_toml(find_scenario(scenario)):
        mix = make_workload(**fields)
        require_kinds(thresholds, [mix.traffic_name(number) for number in range(len(mix.traffic))])
    with open_target(target, options) as opened:
        noticed = notice_limits(opened, fields, look=preflight, quiet=outputs.quiet)
        with watching(quiet=outputs.quiet, thresholds=thresholds) as watcher:
            result = run_load(
                opened, fields, progress=watcher.progress, notice=watcher.notice, scenario=scenario,
                processes=processes, await_workers=master, master_host=master_host, master_port=master_port,
                web_port=web_port if web else None, abort=abort,
                calibrate=calibrate,
                metrics=serve_metrics,
            )  # fmt: skip
        result.preflight = noticed
        result.thresholds = [one.check(result) for one in thresholds]
        write_and_show(result, outputs)
    return load_exit_code(result)


def _abort_rule(grace: str | None, hold: str | None, thresholds: list[str] | None) -> AbortRule | None:
    """What ends a run early, if `thresholds` shall. Raises UsageError."""
    if thresholds is None:
        if grace or hold:
            raise UsageError(
                "--abort-grace and --abort-hold are about --abort-on-threshold, which is missing"
            )
        return None
    if not thresholds:
        raise UsageError("--abort-on-threshold: there is no --threshold to watch")
    return AbortRule(
        thresholds=tuple(thresholds),
        grace_s=parse_duration(grace, "--abort-grace") if grace else DEFAULT_GRACE_S,
        hold_s=parse_duration(hold, "--abort-hold") if hold else DEFAULT_HOLD_S,
    )


def notice_limits(target: Target, fields: Mapping[str, Any], *, look: bool, quiet: bool) -> list[Notice]:
    """Limits of the target that the load would run into, told on standard error before it begins."""
    if not look:
        return []
    noticed = find_limits(target, make_workload(**with_users(fields, DEFAULT_USERS)))
    for notice in noticed if not quiet else ():
        complain(f"preflight: {visible(notice.text)}")
    return noticed


def write_and_show(result: Result, outputs: Outputs) -> None:
    """Write the files that were asked for, and show a summary, whether or not these can be written."""
    try:
        write_outputs(
            result, json=outputs.json, junit=outputs.junit, html=outputs.html,
            markdown=outputs.markdown, out=outputs.out,
        )  # fmt: skip
    finally:
        if not outputs.quiet:
            Console().print(render_terminal(result))


def _dkim(key: Path | None, **given: Any) -> dict[str, Any] | None:
    said = {name: value for name, value in given.items() if value is not None}
    if key is None and said:
        raise UsageError(f"--dkim-{min(said)} is for signatures: give --dkim KEYFILE")
    return None if key is None else {"key": str(key), **said}


def load_exit_code(result: LoadResult) -> int:
    """What a run means: an invalid measurement proves nothing, not even a broken threshold.

    A run in which no message was accepted says nothing good of the target, unless a threshold on
    outcomes says that this is what was wanted; nor does one at whose end the target was gone.
    A rule of SMTP that was seen broken is a finding however good the measurement was: its wire log shows it.
    """
    if result.broken_rules:
        return EXIT_FINDINGS
    if not result.valid:
        return EXIT_INCONCLUSIVE
    if result.aborted or not all(one.met for one in result.thresholds):
        return EXIT_FINDINGS
    return EXIT_INCONCLUSIVE if useless(result) or result.target_gone_s else EXIT_OK
