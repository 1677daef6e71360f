"""``smtpbench load [TARGET]``: load the target, show what was measured, exit with what it means."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from rich.console import Console

from smtpbench.cli._capacity import (
    CapacityOptions,
    capacity_exit_code,
    prepare_search,
    refuse_what_the_search_chooses,
)
from smtpbench.cli._common import Outputs, TargetArg, complain
from smtpbench.cli._listening import listen_address
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
from smtpbench.load.scenario import find_scenario, is_toml, read_scenario, scenario_thresholds
from smtpbench.load.thresholds import parse_threshold, useless
from smtpbench.load.workload import DEFAULT_RUN_TIME_S, make_workload, overlay, parse_duration, with_users
from smtpbench.report import Result, render_terminal, write_outputs
from smtpbench.report.text import visible
from smtpbench.target import Target

DEFAULT_USERS = 10
LOOPBACK = "127.0.0.1"


class TlsMode(StrEnum):
    """How TLS begins."""

    NONE = "none"
    STARTTLS = "starttls"
    IMPLICIT = "implicit"


def _workload(text: str, metavar: str | None = None) -> Any:
    return typer.Option(help=text, metavar=metavar, rich_help_panel="Workload")


def _processes(text: str, metavar: str | None = None) -> Any:
    return typer.Option(help=text, metavar=metavar, rich_help_panel="Processes")


ScenarioOpt = Annotated[
    Path | None,
    _workload(
        "A TOML file, or a Locust file with an SmtpUser, or one of ours by name: abnormal, diurnal, mixed, "
        "newsletter, ramp, soak, spike, steady. Options go on top of it.",
        "FILE",
    ),
]
UsersOpt = Annotated[
    int | None,
    _workload(f"Closed model: so many users, back to back ({DEFAULT_USERS} if nothing is said).", "N"),
]
RateOpt = Annotated[
    str | None,
    _workload(
        "Open model: so many messages a second, however slow the target; or ramp:10-200,60s, "
        "spike:50-500,30s,10s, diurnal:20-200,10m, stages:0@0s,100@1m.", "RATE",
    ),
]  # fmt: skip
ArrivalsOpt = Annotated[
    str | None,
    _workload("How they arrive (poisson), or a file of arrival times, seconds, one a line.",
              "poisson|constant|FILE"),
]  # fmt: skip
SeedOpt = Annotated[int | None, _workload("Seed of all that is drawn by chance (1).", "N")]
MaxSessionsOpt = Annotated[int | None, _workload("Most sessions of the open model (1000).", "N")]
RunTimeOpt = Annotated[
    str | None, _workload(f"How long: 20s, 5m, 1h30m ({DEFAULT_RUN_TIME_S:.0f}s if no end is given).", "TIME")
]
WarmUpOpt = Annotated[str | None, _workload("How much of it, at the start, is not measured (none).", "TIME")]
MessagesOpt = Annotated[int | None, _workload("Stop after so many messages.", "N")]
PipeliningOpt = Annotated[
    bool | None, typer.Option("--pipelining/--no-pipelining", help="Use PIPELINING if offered (yes).",
                              rich_help_panel="Workload", show_default=False),
]  # fmt: skip
ChunkingOpt = Annotated[
    bool | None, typer.Option("--chunking/--no-chunking", help="Send by BDAT if CHUNKING is offered (no).",
                              rich_help_panel="Workload", show_default=False),
]  # fmt: skip
PerSessionOpt = Annotated[
    str | None, _workload("Messages a session, such as exponential:10 (no limit).", "N")
]
SizeOpt = Annotated[
    str | None,
    _workload(
        "Octets of a message, headers included, such as 8k, uniform:1k-64k, lognormal:8k,1.2 or "
        "choice:1k@70,64k@25,1m@5 (1024).", "SIZE",
    ),
]  # fmt: skip
ContentOpt = Annotated[
    str | None,
    _workload(
        "What is generated: plain, html, attachment, quoted-printable, headers, long-lines, dots, 8bit; or "
        "mime, a mixture; with weights: plain@6,mime@3,8bit (plain).", "KINDS",
    ),
]  # fmt: skip
CorpusOpt = Annotated[
    str | None,
    _workload("Mail to replay: a folder of .eml files, a Maildir, an mbox. Its addresses are not used.",
              "generated|FOLDER|FILE"),
]  # fmt: skip
DkimOpt = Annotated[
    Path | None, _workload("Sign what is sent with the RSA key in this PEM file (DKIM).", "KEYFILE")
]
DkimSelectorOpt = Annotated[
    str | None,
    _workload("Its selector (smtpbench): the public key is at SELECTOR._domainkey.DOMAIN.", "NAME"),
]
DkimDomainOpt = Annotated[str | None, _workload("The signing domain (the sender's).", "NAME")]
DkimEachOpt = Annotated[
    bool,
    typer.Option("--dkim-each", help="Sign each message by itself (about 100/s), not each content once.",
                 rich_help_panel="Workload"),
]  # fmt: skip
RecipientsOpt = Annotated[str | None, _workload("Recipients a message, such as 2 or uniform:1-10 (1).", "N")]
IdleOpt = Annotated[
    str | None,
    _workload("How long a session lies idle after each message, such as exponential:2s (0).", "TIME"),
]
ThinkTimeOpt = Annotated[
    str | None, _workload("Pause of a user after each message, in a session and between two (0).", "TIME")
]
AbnormalOpt = Annotated[
    list[str],
    _workload(
        f"Abnormal sessions beside the others, by their share of all: {', '.join(DOES)}. The others then "
        "carry one message each, if --messages-per-session says nothing else. Repeatable.", "KIND=SHARE",
    ),
]  # fmt: skip
TlsOpt = Annotated[TlsMode | None, _workload("How TLS begins (as the target says).")]
WatchOpt = Annotated[
    float | None,
    _workload("Share of sessions watched for conformance, 0 to 1 (as many as 2 % of a core can watch).", "N"),
]
CalibrateOpt = Annotated[
    bool | None,
    typer.Option(
        "--calibrate/--no-calibrate", show_default=False, rich_help_panel="Workload",
        help="Measure first what the generator can send to a null sink (about a second; if the run "
        f"lasts {WORTH_S:.0f} s or more).",
    ),
]  # fmt: skip
ThresholdOpt = Annotated[
    list[str], _workload("Such as 'body.p99 < 500ms' or 'error_rate < 0.1%'; repeatable.", "EXPR")
]
AbortOpt = Annotated[
    bool, _workload("End early when a threshold stays broken, or can no longer be met; exit code 1.")
]
AbortGraceOpt = Annotated[str, _workload("Not in the first so much of the run.", "TIME")]
AbortHoldOpt = Annotated[str, _workload("When it stays broken for so long.", "TIME")]
PreflightOpt = Annotated[
    bool, typer.Option("--preflight/--no-preflight", rich_help_panel="Workload",
                       help="Look for limits of the target first, for a few seconds."),
]  # fmt: skip
ProcessesOpt = Annotated[int, _processes("Generator processes; with --master, workers to wait for.", "N")]
MasterOpt = Annotated[bool, _processes("Wait for workers instead of starting them.")]
WorkerOpt = Annotated[bool, _processes("Work for a master; the target and the workload are its to say.")]
MasterHostOpt = Annotated[str, _processes("Where the master listens.", "HOST")]
MasterPortOpt = Annotated[int, _processes("Its port.", "PORT")]
WebOpt = Annotated[bool, _processes("Serve Locust's web page on 127.0.0.1 during the run.")]
MetricsOpt = Annotated[
    str | None,
    _processes("Serve OpenMetrics for Prometheus there, at /metrics, during the run.", "[HOST:]PORT"),
]
WebPortOpt = Annotated[int, _processes("Its port.", "PORT")]


def load(
    target: TargetArg = "embedded",
    *,
    scenario: ScenarioOpt = None,
    users: UsersOpt = None,
    rate: RateOpt = None,
    arrivals: ArrivalsOpt = None,
    seed: SeedOpt = None,
    max_sessions: MaxSessionsOpt = None,
    run_time: RunTimeOpt = None,
    warm_up: WarmUpOpt = None,
    messages: MessagesOpt = None,
    pipelining: PipeliningOpt = None,
    chunking: ChunkingOpt = None,
    messages_per_session: PerSessionOpt = None,
    message_size: SizeOpt = None,
    content: ContentOpt = None,
    corpus: CorpusOpt = None,
    dkim: DkimOpt = None,
    dkim_selector: DkimSelectorOpt = None,
    dkim_domain: DkimDomainOpt = None,
    dkim_each: DkimEachOpt = False,
    recipients: RecipientsOpt = None,
    idle: IdleOpt = None,
    think_time: ThinkTimeOpt = None,
    abnormal: AbnormalOpt = [],  # noqa: B006 - typer's way to say "repeatable, none by default"
    tls: TlsOpt = None,
    watch_share: WatchOpt = None,
    calibrate: CalibrateOpt = None,
    threshold: ThresholdOpt = [],  # noqa: B006 - typer's way to say "repeatable, none by default"
    abort_on_threshold: AbortOpt = False,
    abort_grace: AbortGraceOpt = f"{DEFAULT_GRACE_S:g}s",
    abort_hold: AbortHoldOpt = f"{DEFAULT_HOLD_S:g}s",
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
        with watching(quiet=outputs.quiet) as watcher, interruptible():
            run_worker(master_host, master_port, notice=watcher.notice)
        return EXIT_OK
    if processes < 1:
        raise UsageError(f"--processes {processes}: expected 1 or more")
    threshold = [*scenario_thresholds(scenario), *threshold]
    thresholds = [parse_threshold(text) for text in threshold]
    given = {
        "users": users, "rate": rate, "arrivals": arrivals, "seed": seed, "max_sessions": max_sessions,
        "messages": messages, "pipelining": pipelining, "chunking": chunking,
        "messages_per_session": messages_per_session, "message_size": message_size,
        "content": content, "corpus": corpus,
        "dkim": _dkim(dkim, selector=dkim_selector, domain=dkim_domain, each=dkim_each or None),
        "recipients": recipients, "idle": idle, "think_time": think_time, "abnormal": abnormal or None,
        "tls": tls and tls.value, "watch_share": watch_share,
    }  # fmt: skip
    abort = _abort_rule(threshold, abort_grace, abort_hold) if abort_on_threshold else None
    if capacity.find_capacity:
        refuse_what_the_search_chooses(
            {**given, "run_time": run_time}, master=master, web=web, abort_on_threshold=abort_on_threshold
        )
        search = prepare_search(capacity, warm_up, thresholds, workload_fields(scenario, None, **given))
        with open_target(target, options) as opened, interruptible():
            locustfile = None if scenario is None or is_toml(scenario) else scenario
            noticed = notice_limits(opened, search.busiest, look=preflight, quiet=outputs.quiet)
            found = search.run(opened, scenario=locustfile, processes=processes, outputs=outputs)
            found.preflight = noticed
            write_and_show(found, outputs)  # before the target is taken down, which may take its time
        return capacity_exit_code(found)
    fields = workload_fields(
        scenario, run_time, warm_up=parse_duration(warm_up) if warm_up else None, **given
    )
    with open_target(target, options) as opened, interruptible():
        noticed = notice_limits(opened, fields, look=preflight, quiet=outputs.quiet)
        with watching(quiet=outputs.quiet, thresholds=thresholds) as watcher:
            result = run_load(
                opened, fields, progress=watcher.progress, notice=watcher.notice, scenario=scenario,
                processes=processes, await_workers=master, master_host=master_host, master_port=master_port,
                web_port=web_port if web else None, abort=abort,
                calibrate=calibrate,
                metrics=listen_address(metrics, "--metrics", LOOPBACK) if metrics else None,
            )  # fmt: skip
        result.preflight = noticed
        result.thresholds = [one.check(result) for one in thresholds]
        write_and_show(result, outputs)
    return load_exit_code(result)


def _abort_rule(thresholds: list[str], grace: str, hold: str) -> AbortRule:
    """What ends a run early. Raises UsageError."""
    if not thresholds:
        raise UsageError("--abort-on-threshold: there is no --threshold to watch")
    return AbortRule(thresholds=tuple(thresholds), grace_s=parse_duration(grace), hold_s=parse_duration(hold))


def notice_limits(target: Target, fields: Mapping[str, Any], *, look: bool, quiet: bool) -> list[Notice]:
    """Limits of the target that the load would run into, told on standard error before it begins."""
    if not look:
        return []
    noticed = find_limits(target, make_workload(**with_users(fields, DEFAULT_USERS)))
    for notice in noticed if not quiet else ():
        complain(f"preflight: {visible(notice.text)}")
    return noticed


def write_and_show(result: Result, outputs: Outputs) -> None:
    """Write the files that were asked for, and a summary to the terminal."""
    write_outputs(
        result, json=outputs.json, junit=outputs.junit, html=outputs.html,
        markdown=outputs.markdown, out=outputs.out,
    )  # fmt: skip
    if not outputs.quiet:
        Console().print(render_terminal(result))


def _dkim(key: Path | None, **given: Any) -> dict[str, Any] | None:
    said = {name: value for name, value in given.items() if value is not None}
    if key is None and said:
        raise UsageError(f"--dkim-{min(said)} is for signatures: give --dkim KEYFILE")
    return None if key is None else {"key": str(key), **said}


def workload_fields(scenario: Path | None, run_time: str | None, **given: Any) -> dict[str, Any]:
    """The fields of a workload that were given; without a scenario to fill the gaps, our defaults do."""
    fields = {name: value for name, value in given.items() if value is not None}
    if run_time is not None:
        fields["run_time"] = parse_duration(run_time)
    scenario = scenario and find_scenario(scenario)
    if scenario is not None and is_toml(scenario):
        fields = overlay(read_scenario(scenario), fields)
    elif scenario is not None:
        return fields
    fields = with_users(fields, DEFAULT_USERS)
    make_workload(**fields).require_files()  # to find mistakes before the target is started
    return fields


def load_exit_code(result: LoadResult) -> int:
    """What a run means: an invalid measurement proves nothing, not even a broken threshold.

    A run in which no message was accepted says nothing good of the target, unless a threshold on
    outcomes says that this is what was wanted. A rule of SMTP that was seen broken is a finding however
    good the measurement was: its wire log shows it.
    """
    if result.broken_rules:
        return EXIT_FINDINGS
    if not result.valid:
        return EXIT_INCONCLUSIVE
    if result.aborted or not all(one.met for one in result.thresholds):
        return EXIT_FINDINGS
    return EXIT_INCONCLUSIVE if useless(result) else EXIT_OK


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM ends a run as Ctrl-C does: early, with the results kept."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
