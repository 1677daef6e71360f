"""``smtpbench queue --find-sustainable``: its options and its progress."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from rich.console import Console

from smtpbench.campaign.queue import Patience
from smtpbench.campaign.result import QueueResult, SustainableTrial
from smtpbench.campaign.sustain import OVERHEAD_S, Settings, SustainableRun, put_into, start_of
from smtpbench.cli._common import option_group, require_switch
from smtpbench.errors import UsageError
from smtpbench.load.workload import parse_duration
from smtpbench.report.delivery import trial_line

TRIAL_DRAIN_S = 60.0  # a trial whose queue takes longer has failed, and the next begins with what is left
TRIAL_LINGER_S = 1.0
SHORTEST_TRIAL_S = 5.0  # growth is judged in the second half, in slices of a quarter of a second
_NOT_IN_A_TRIAL = frozenset({"users", "rate", "messages", "run_time", "warm_up", "think_time", "arrivals"})

RunWith = Callable[[Mapping[str, Any], str, Patience], QueueResult]  # fields, name of the ledger, patience


def _option(text: str, metavar: str | None = None) -> Any:
    return typer.Option(help=text, metavar=metavar, rich_help_panel="Sustainable rate")


FindOpt = Annotated[
    bool, _option("After the run, search for the highest rate at which the queue does not grow.")
]
TrialTimeOpt = Annotated[str, _option("How long a trial loads the target.", "TIME")]
BudgetOpt = Annotated[str, _option("No more time than this for the search.", "TIME")]
MaxRateOpt = Annotated[float | None, _option("No trial above this rate.", "PER_SECOND")]


@dataclass(frozen=True, slots=True)
class SustainableOptions:
    """The option group of the search."""

    find_sustainable: bool = False
    trial_time: str = "12s"
    budget: str = "7m"
    max_rate: float | None = None


option_group(
    SustainableOptions,
    {
        "find_sustainable": FindOpt, "trial_time": TrialTimeOpt, "budget": BudgetOpt, "max_rate": MaxRateOpt,
    },
)  # fmt: skip


def settings_of(options: SustainableOptions, fields: Mapping[str, Any], *, slow: bool) -> Settings | None:
    """What the search may do; None if there shall be none. Raises UsageError."""
    if not options.find_sustainable:
        require_switch(options, "find_sustainable")
        return None
    if slow or fields.get("corpus") or fields.get("trace"):
        raise UsageError("--find-sustainable: not with --slow-domain, --corpus or a trace of arrivals")
    settings = Settings(
        maximum=options.max_rate if options.max_rate is not None else Settings().maximum,
        trial_s=parse_duration(options.trial_time, "--trial-time"),
        budget_s=parse_duration(options.budget, "--budget"),
    )  # fmt: skip
    if settings.trial_s < SHORTEST_TRIAL_S:
        raise UsageError(f"--trial-time {options.trial_time}: expected {SHORTEST_TRIAL_S:g}s or more")
    if settings.budget_s < settings.trial_s + OVERHEAD_S:
        takes = settings.trial_s + OVERHEAD_S
        raise UsageError(f"--budget {options.budget}: one trial takes {takes:.0f} s")
    if not 0 < settings.maximum <= 1_000_000:
        raise UsageError(f"--max-rate {settings.maximum:g}: expected more than 0, at most 1,000,000")
    return settings


def search_on(
    first: QueueResult, settings: Settings, fields: Mapping[str, Any], settle_s: float | None,
    run: RunWith, *, quiet: bool,
) -> None:  # fmt: skip
    """Search after the `first` run, and put what was found into it; a line on standard error for a trial."""
    own = {name: value for name, value in fields.items() if name not in _NOT_IN_A_TRIAL}
    patience = Patience(settle_s, TRIAL_DRAIN_S, TRIAL_LINGER_S)
    console = Console(stderr=True, quiet=quiet)

    def trial(rate: float, run_time: float, number: int) -> QueueResult:
        seed = own.get("seed", 1) + number  # a plan of its own, so that trials are independent
        load = {**own, "rate": rate, "run_time": run_time, "seed": seed}
        return run(load, f"trials/{number:03}", patience)

    def tell(one: SustainableTrial) -> None:
        console.print(trial_line(one), markup=False, highlight=False, soft_wrap=True)

    put_into(first, SustainableRun(trial, settings, tell=tell).search(start_of(first)))
