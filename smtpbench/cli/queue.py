"""``smtpbench queue [TARGET]``: load the target, follow every message to where it arrives, balance."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from smtpbench.campaign.queue import (
    RETRIES,
    SETTLE_S,
    WITHIN_S,
    Follow,
    Patience,
    Slow,
    run_queue,
)
from smtpbench.campaign.result import QueueResult
from smtpbench.campaign.retry import WAIT_S, run_retries
from smtpbench.cli._common import Outputs, TargetArg
from smtpbench.cli._sustainable import SustainableOptions, search_on, settings_of
from smtpbench.cli._workload import LocalProcessesOpt, ThresholdOpt, WorkloadOptions, require_processes
from smtpbench.cli.live import queue_progress
from smtpbench.cli.load import write_and_show
from smtpbench.conformance.result import Verdict
from smtpbench.errors import EXIT_FINDINGS, EXIT_INCONCLUSIVE, EXIT_OK, UsageError
from smtpbench.lab import open_target
from smtpbench.lab.options import TargetOptions
from smtpbench.load.thresholds import parse_threshold, useless
from smtpbench.load.workload import parse_duration
from smtpbench.server.sink_script import load_script

LEDGER = "ledger"  # the folder of the ledger in a run folder


def _delivery(text: str, metavar: str | None = None) -> Any:
    return typer.Option(help=text, metavar=metavar, rich_help_panel="Delivery")


FollowOpt = Annotated[
    Follow | None,
    _delivery("To the next hop, which we are (if the target has [relay]), or into the mailbox it names."),
]
DomainOpt = Annotated[
    list[str],
    _delivery(
        "Send to this domain and others so named in turn, not to the target's relay domain; repeatable. The "
        "target must send all of them on to us (those below its relay domain, in the lab).", "NAME",
    ),
]  # fmt: skip
HopScriptOpt = Annotated[
    Path | None,
    _delivery("How our next hop misbehaves: TOML as `smtpbench sink --script-help` says.", "FILE"),
]
HopRuleOpt = Annotated[
    list[str],
    _delivery(
        """One rule, ahead of the file's: 'on = "rcpt", share = 0.2, reply = "451"'; repeatable.""", "RULE"
    ),
]
SlowDomainOpt = Annotated[
    str | None,
    _delivery("One of the domains that our hop is slow for, from half-way on: are others held up?", "NAME"),
]
SlowDelayOpt = Annotated[str, _delivery("How slow: for each message.", "TIME")]
SettleOpt = Annotated[
    str | None,
    _delivery(
        "What is missing is lost once nothing has arrived for so long "
        f"({SETTLE_S:g}s, or {RETRIES} times the target's retry_s; pending if that is not stated).", "TIME",
    ),
]  # fmt: skip
DrainOpt = Annotated[
    str | None, _delivery(f"Longest wait for the rest when the load is over ({WITHIN_S:g}s).", "TIME")
]


def _retries(text: str, metavar: str | None = None) -> Any:
    return typer.Option(help=text, metavar=metavar, rich_help_panel="Retries")


RetriesOpt = Annotated[
    bool,
    _retries(
        "No load: a few messages, each for a hop of ours that fails in its own way. Is it tried again, "
        "and when; does it end in delivery or in one bounce (RFC 5321 §4.5.4.1)?"
    ),
]
RetryFactorOpt = Annotated[
    float | None,
    _retries(
        "The target's schedule is so many times as fast as in production: 30 minutes of the RFC are "
        "30 min / F. Without it, or queue.retry_factor in the target file, intervals are not judged.", "F",
    ),
]  # fmt: skip
WaitOpt = Annotated[
    str | None, _retries(f"All ends within it ({WAIT_S:g}s); what has not is pending.", "TIME")
]


def queue(
    target: TargetArg = "embedded",
    *,
    workload: WorkloadOptions,
    threshold: ThresholdOpt = [],  # noqa: B006 - typer's way to say "repeatable, none by default"
    processes: LocalProcessesOpt = 1,
    follow: FollowOpt = None,
    domain: DomainOpt = [],  # noqa: B006
    slow_domain: SlowDomainOpt = None,
    slow_delay: SlowDelayOpt = "1s",
    hop_script: HopScriptOpt = None,
    hop_rule: HopRuleOpt = [],  # noqa: B006
    settle: SettleOpt = None,
    drain: DrainOpt = None,
    retries: RetriesOpt = False,
    retry_factor: RetryFactorOpt = None,
    wait: WaitOpt = None,
    sustainable: SustainableOptions,
    options: TargetOptions,
    outputs: Outputs,
) -> int:
    """Load the target, follow every message to where it arrives, and say what became of each.

    With --find-sustainable the load is then repeated at many rates, to find the highest at which the queue
    of the target does not grow.

    Ctrl-C ends the load, and once more the wait for the rest. With --out the ledger is kept in DIR/ledger,
    and `smtpbench report DIR` works even if we were killed. With --retries there is no load.

    Exit code: 0 all that was accepted arrived once and whole, or was bounced; 1 something was lost,
    duplicated or corrupted, or a threshold broken; 3 target unreachable, or something still on its way.
    """
    if retries:
        if workload != WorkloadOptions() or any(
            (threshold, domain, slow_domain, hop_script, hop_rule, follow)
        ):
            raise UsageError(
                "--retries has messages and a hop of its own: leave out what a load is asked for"
            )
        return _play_retries(target, options, outputs, retry_factor, wait, settle)
    if retry_factor is not None or wait is not None:
        raise UsageError("--retry-factor and --wait are about --retries, which is missing")
    require_processes(processes)
    thresholds = [parse_threshold(text) for text in threshold]
    patience = patience_of(settle, drain)
    fields = workload.fields(recipient=options.recipient, sender=options.sender)
    if follow is None and options.observe is not None:
        follow = Follow.MAILBOX
    script = load_script(hop_script, hop_rule) if hop_script or hop_rule else None
    settings = settings_of(sustainable, fields, slow=slow_domain is not None)
    slow = _slow(slow_domain, parse_duration(slow_delay, "--slow-delay"), domain, fields.get("run_time"))
    with (
        ledger_folder(outputs.out) as folder,
        open_target(target, options) as opened,
        queue_progress(quiet=outputs.quiet, thresholds=thresholds) as show,
    ):

        def run(
            fields: Mapping[str, Any], name: str, patience: Patience, slow: Slow | None = None
        ) -> QueueResult:
            return run_queue(
                opened, fields, folder / name, follow=follow, domains=domain, script=script, slow=slow,
                patience=patience, progress=show, scenario=workload.scenario, processes=processes,
            )  # fmt: skip

        result = run(fields, "", patience, slow)
        if settings is not None and not result.interrupted:
            search_on(result, settings, fields, patience.settle_s, run, quiet=outputs.quiet)
    result.thresholds = [one.check(result) for one in thresholds]
    write_and_show(result, outputs)
    return queue_exit_code(result)


def _play_retries(
    target: str, options: TargetOptions, outputs: Outputs, factor: float | None, wait: str | None,
    settle: str | None,
) -> int:  # fmt: skip
    if factor is not None and not factor >= 1:
        raise UsageError(f"--retry-factor {factor:g}: expected 1 (as in production) or more")
    with open_target(target, options) as opened, queue_progress(quiet=outputs.quiet) as show:
        result = run_retries(
            opened, factor=factor, wait_s=parse_duration(wait, "--wait") if wait else WAIT_S,
            silence_s=parse_duration(settle, "--settle") if settle else None, progress=show,
        )  # fmt: skip
    write_and_show(result, outputs)
    return retries_exit_code(result)


def retries_exit_code(result: QueueResult) -> int:
    """What a retry campaign means: 1 a rule was broken, 3 too much could not be told."""
    assert result.retries is not None
    if result.retries.count(Verdict.FAIL):
        return EXIT_FINDINGS
    return EXIT_INCONCLUSIVE if result.retries.inconclusive or result.interrupted else EXIT_OK


def _slow(name: str | None, delay_s: float, domains: list[str], run_time: float | None) -> Slow | None:
    """The domain that grows slow half-way through the load."""
    if name is None:
        return None
    if name not in domains or len(domains) < 2:
        raise UsageError(f"--slow-domain {name}: expected one of several --domain")
    if run_time is None:
        raise UsageError("--slow-domain needs --run-time: the domain grows slow half-way")
    return Slow(name, delay_s, run_time / 2)


def patience_of(settle: str | None, drain: str | None) -> Patience:
    """How long ``--settle`` and ``--drain`` say to wait for what is missing. Raises UsageError."""
    return Patience(
        parse_duration(settle, "--settle") if settle else None,
        parse_duration(drain, "--drain") if drain else WITHIN_S,
    )


@contextmanager
def ledger_folder(out: Path | None) -> Iterator[Path]:
    """Where the ledger goes: into the run folder, or away when the run is over."""
    if out is not None:
        yield out / LEDGER
    else:
        with tempfile.TemporaryDirectory(prefix="smtpbench-ledger-") as folder:
            yield Path(folder)


def queue_exit_code(result: QueueResult) -> int:
    """What a run means. A message that was lost is a finding even where the measurement is not valid."""
    if result.wrong or result.broken_rules or (result.search and result.search.wrong):
        return EXIT_FINDINGS
    if not result.valid or not result.closed or result.ledger.pending:
        return EXIT_INCONCLUSIVE
    if not all(one.met for one in result.thresholds):
        return EXIT_FINDINGS
    return EXIT_INCONCLUSIVE if useless(result) else EXIT_OK
