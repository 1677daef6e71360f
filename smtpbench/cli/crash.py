"""``smtpbench crash [TARGET]``: kill the target under load, or strike it otherwise; balance the ledger."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console

from smtpbench import __version__
from smtpbench.campaign.fault_result import FaultResult, OverloadResult, PowerLoss
from smtpbench.campaign.faults import DOES, SIZES, Fault
from smtpbench.campaign.killing import CYCLES, EVERY_S, Rhythm
from smtpbench.campaign.overload import Plan, run_fault
from smtpbench.campaign.power import LEFT_OUT, MESSAGES, trace_power
from smtpbench.cli._common import Outputs, TargetArg
from smtpbench.cli._workload import WorkloadOptions
from smtpbench.cli.live import queue_progress
from smtpbench.cli.queue import DrainOpt, FollowOpt, SettleOpt, ledger_folder, patience_of
from smtpbench.conformance.result import Verdict
from smtpbench.errors import EXIT_FINDINGS, EXIT_INCONCLUSIVE, EXIT_OK, SmtpbenchError, UsageError
from smtpbench.lab import is_lab, open_running, open_target
from smtpbench.lab.machine import Machine
from smtpbench.lab.options import TargetOptions
from smtpbench.load.scenario import find_scenario, is_toml
from smtpbench.load.workload import parse_duration
from smtpbench.report import render_terminal, write_outputs
from smtpbench.target import Target

PLAN = Plan()


def _fault(text: str, metavar: str | None = None) -> Any:
    return typer.Option(help=text, metavar=metavar, rich_help_panel="Fault")


FaultOpt = Annotated[
    list[Fault],
    _fault(
        "What is done, kill if nothing is said; repeatable: "
        + "; ".join(f"{one}: {DOES[one]}" for one in Fault)
        + "."
    ),
]
ConnectionsOpt = Annotated[
    int | None,
    _fault(
        "How many connections a crowd opens, never more "
        f"({', '.join(f'{name} {size}' for name, size in SIZES.items())}).", "N",
    ),
]  # fmt: skip
CyclesOpt = Annotated[int, _fault("How often it is killed; every other time in a final dot.", "N")]
EveryOpt = Annotated[str, _fault("Load between two kills, on average.", "TIME")]
TraceOpt = Annotated[
    bool,
    typer.Option(
        "--trace/--no-trace",
        help="Before the kills, trace the system calls of some messages with strace: power-loss safe?",
        rich_help_panel="Fault",
    ),
]
TracedOpt = Annotated[int, _fault("How many messages are traced.", "N")]
BeforeOpt = Annotated[str, _fault("How long the load goes on before.", "TIME")]
ForOpt = Annotated[str, _fault("How long the fault lasts, if it is no kill.", "TIME")]
AfterOpt = Annotated[str, _fault("How long the load goes on afterwards.", "TIME")]
WithinOpt = Annotated[str, _fault("By when mail has to be accepted again.", "TIME")]


def crash(
    target: TargetArg = "embedded",
    *,
    fault: FaultOpt = [],  # noqa: B006 - typer's way to say "repeatable, none by default"
    cycles: CyclesOpt = CYCLES,
    every: EveryOpt = f"{EVERY_S:g}s",
    trace: TraceOpt = True,
    traced: TracedOpt = MESSAGES,
    connections: ConnectionsOpt = None,
    before: BeforeOpt = f"{PLAN.before_s:g}s",
    fault_time: ForOpt = f"{PLAN.fault_s:g}s",
    after: AfterOpt = f"{PLAN.after_s:g}s",
    within: WithinOpt = f"{PLAN.patience_s:g}s",
    workload: WorkloadOptions,
    follow: FollowOpt = None,
    settle: SettleOpt = None,
    drain: DrainOpt = None,
    options: TargetOptions,
    outputs: Outputs,
) -> int:
    """Kill the target while mail goes through it, start it again, and say what became of each message.

    A lab server is one of its own then; another target needs [crash] with kill and start in its file. The
    moments are drawn by --seed, and every other kill waits for a message whose final dot is not answered yet.
    It shows that a server is process-crash safe. Whether it is power-loss safe no kill can show: before the
    kills some messages are sent while strace is attached to the target, and it is looked at whether the file
    of each message, and its directory, were synced before the 250.

    Other faults: --fault. Each has a load and a ledger of its own (DIR/ledger/FAULT with --out). Lab servers
    say how their disk fills up and how they run out of descriptors; another target needs strike and recover,
    two commands, in the sections shortage.disk-full and shortage.descriptors of its file. Without
    --rate or --users the load is a gentle one: 50 messages a second, five in a session.

    Exit code: 0 the target came back and nothing it accepted is missing; 1 something was lost or corrupted,
    it did not come back, or is not power-loss safe; 3 target unreachable, something still on its way, or a
    fault not inflicted.
    """
    if cycles < 1:
        raise UsageError(f"--cycles {cycles}: expected 1 or more")
    if traced < 1:
        raise UsageError(f"--traced {traced}: expected 1 or more")
    if connections is not None and connections < 1:
        raise UsageError(f"--connections {connections}: expected 1 or more")
    times = {"--before": before, "--fault-time": fault_time, "--after": after, "--within": within}
    plan = Plan(*(parse_duration(text, option) for option, text in times.items()))
    patience = patience_of(settle, drain)
    fields = _fields(workload, options)
    rhythm = Rhythm(cycles, parse_duration(every, "--every"), int(fields.get("seed") or 1))
    wanted = list(dict.fromkeys(fault)) or [Fault.KILL]
    result = OverloadResult(
        smtpbench=__version__, started=datetime.now(UTC).isoformat(timespec="seconds"), seed=rhythm.seed
    )
    begun = time.monotonic()
    with (
        ledger_folder(outputs.out) as folder,
        _opened(target, options, killed=Fault.KILL in wanted) as (opened, machine),
        queue_progress(quiet=outputs.quiet) as show,
    ):
        result.target = {"name": opened.name, "endpoint": opened.main.address}
        if machine is not None:
            result.verdicts.power_loss = PowerLoss(reason=LEFT_OUT)
            if trace:
                result.verdicts.power_loss = trace_power(
                    opened, machine, fields, messages=traced, follow_to=follow, fetch=is_lab(target)
                )
        for one in wanted:
            try:
                found = run_fault(
                    opened, one, fields, folder / one, plan=plan, size=connections, machine=machine,
                    rhythm=rhythm, follow=follow, patience=patience, progress=show,
                )  # fmt: skip
            except SmtpbenchError as error:
                if not result.faults or isinstance(error, UsageError):
                    raise
                found = FaultResult(fault=one, untested=f"{error} (after {result.faults[-1].fault})")
            result.add(found)
    result.duration_s = round(time.monotonic() - begun, 3)
    write_outputs(
        result, json=outputs.json, junit=outputs.junit, html=outputs.html,
        markdown=outputs.markdown, out=outputs.out,
    )  # fmt: skip
    if not outputs.quiet:
        Console().print(render_terminal(result))
    return crash_exit_code(result)


@contextmanager
def _opened(spec: str, options: TargetOptions, *, killed: bool) -> Iterator[tuple[Target, Machine | None]]:
    """The target, and its processes if they shall be killed."""
    if killed:
        with open_running(spec, options) as running:
            yield running.target, running.machine
    else:
        with open_target(spec, options) as target:
            yield target, None


def _fields(workload: WorkloadOptions, options: TargetOptions) -> dict[str, Any]:
    """The workload, but for its length, which is the plan's."""
    given = workload.given(recipient=options.recipient, sender=options.sender)
    if workload.run_time is not None or given.get("messages") is not None:
        raise UsageError("--run-time, --messages: the load lasts for --before, --fault-time and --after")
    if workload.scenario is None:
        return {name: value for name, value in given.items() if value is not None}
    if not is_toml(find_scenario(workload.scenario)):
        raise UsageError(f"--scenario {workload.scenario}: expected a TOML file")
    fields = workload.fields(recipient=options.recipient, sender=options.sender)
    return {name: value for name, value in fields.items() if name not in ("run_time", "messages")}


def crash_exit_code(result: OverloadResult) -> int:
    """What the verdicts of all faults mean together."""
    unsafe = result.verdicts.power_loss.verdict is Verdict.FAIL
    if unsafe or Verdict.FAIL in result.graded or any(fault.gone for fault in result.faults):
        return EXIT_FINDINGS
    return EXIT_INCONCLUSIVE if Verdict.UNTESTED in result.graded else EXIT_OK
