"""``smtpbench load --find-capacity``: its options, its progress and its exit code."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.status import Status

from smtpbench.cli._common import Outputs, option_group
from smtpbench.errors import EXIT_FINDINGS, EXIT_INCONCLUSIVE, EXIT_OK, UsageError
from smtpbench.load.capacity import CapacityRun, Settings
from smtpbench.load.capacity_result import CapacityResult, Trial
from smtpbench.load.recovery import Recovery
from smtpbench.load.result import LoadResult
from smtpbench.load.run import run_load
from smtpbench.load.search import End
from smtpbench.load.thresholds import Threshold, parse_threshold
from smtpbench.load.trial import DEFAULT_THRESHOLDS
from smtpbench.load.workload import is_trace, make_workload, parse_duration
from smtpbench.report import render_json
from smtpbench.report.capacity import latency_of, load_in_words, load_of
from smtpbench.report.text import milliseconds, number, visible
from smtpbench.report.write import write_text
from smtpbench.target import Target

_DEFAULT = Settings()
MOST_PRECISE, LEAST_PRECISE = 0.005, 0.5
MAX_USERS = 100_000  # of a workload
SHORTEST_TRIAL_S = 1.0  # latencies and rates come by the second
_OF_USERS = frozenset({"think_time"})  # what an open trial has no use for
_NOT_WITH = ("users", "rate", "messages", "run_time")  # what the search decides itself


def _option(text: str, metavar: str | None = None) -> Any:
    return typer.Option(help=text, metavar=metavar, rich_help_panel="Capacity search")


FindOpt = Annotated[
    bool,
    typer.Option(
        "--find-capacity", rich_help_panel="Capacity search",
        help=f"Find the highest rate that meets the thresholds ({' and '.join(DEFAULT_THRESHOLDS)}).",
    ),
]  # fmt: skip
StartOpt = Annotated[
    float | None, _option("Where to start (a quarter of what closed trials reached).", "PER_SECOND")
]
MaximumOpt = Annotated[float | None, _option("No trial above this rate.", "PER_SECOND")]
RequireOpt = Annotated[float | None, _option("Exit code 1 if it does not hold this rate.", "PER_SECOND")]
TrialTimeOpt = Annotated[str, _option(f"Measured time of a trial ({_DEFAULT.trial_s:g}s).", "TIME")]
PrecisionOpt = Annotated[
    str, _option("Half the width of the interval to search for, such as 10%.", "PERCENT")
]
MaxUsersOpt = Annotated[
    int, _option("Closed trials at 1, 2, 4 … so many users, for the scalability law; 0: none.", "N")
]
BudgetOpt = Annotated[str, _option("No more time than this, all in all.", "TIME")]
RecoveryOpt = Annotated[str, _option("How long the target may take to recover before a trial.", "TIME")]


@dataclass(frozen=True, slots=True)
class CapacityOptions:
    """The option group of the capacity search."""

    find_capacity: bool = False
    start_rate: float | None = None
    max_rate: float | None = None
    require_rate: float | None = None
    trial_time: str = "10s"
    precision: str = "10%"
    max_users: int = 64
    budget: str = "15m"
    recovery: str = "10s"


option_group(
    CapacityOptions,
    {
        "find_capacity": FindOpt, "start_rate": StartOpt, "max_rate": MaximumOpt,
        "require_rate": RequireOpt, "trial_time": TrialTimeOpt,
        "precision": PrecisionOpt, "max_users": MaxUsersOpt, "budget": BudgetOpt, "recovery": RecoveryOpt,
    },
)  # fmt: skip


def refuse_what_the_search_chooses(given: Mapping[str, Any], **of_one_run: bool) -> None:
    """Raise UsageError for an option that says what the search finds out, or that fits one run only."""
    for name in _NOT_WITH:
        if given.get(name) is not None:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(
                f"--find-capacity: {option} is for the search to choose; see --trial-time, --max-rate"
            )
    if is_trace(given.get("arrivals") or "poisson"):
        raise UsageError(
            "--find-capacity: --arrivals: a trace has one rate only; expected poisson or constant"
        )
    for name, said in of_one_run.items():
        if said:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"--find-capacity: {option} belongs to one run, and a search makes many")


def prepare_search(
    options: CapacityOptions, warm_up: str | None, thresholds: Sequence[Threshold], fields: Mapping[str, Any]
) -> PreparedSearch:
    """All of a search but its target. Raises UsageError."""
    standard = [parse_threshold(text) for text in DEFAULT_THRESHOLDS]
    dropped = {*_NOT_WITH, "trace"} | ({"arrivals"} if is_trace(fields.get("arrivals", "poisson")) else set())
    own = {name: value for name, value in fields.items() if name not in dropped}
    settings = settings_of(options, warm_up, int(own.get("seed", _DEFAULT.seed)))
    return PreparedSearch(own, settings, thresholds or standard, options.require_rate)


def settings_of(options: CapacityOptions, warm_up: str | None, seed: int) -> Settings:
    """What the search may do. Raises UsageError."""
    text = options.precision.strip().removesuffix("%")
    try:
        precision = float(text) / 100
    except ValueError:
        precision = 0.0
    if not MOST_PRECISE <= precision <= LEAST_PRECISE:
        raise UsageError(
            f"--precision {options.precision!r}: expected such as 10%, "
            f"from {MOST_PRECISE:.1%} to {LEAST_PRECISE:.0%}"
        )
    for name in ("start_rate", "max_rate", "require_rate"):
        value = getattr(options, name)
        if value is not None and not 0 < value <= _DEFAULT.maximum:
            raise UsageError(f"--{name.replace('_', '-')} {value:g}: expected more than 0, at most 1,000,000")
    if not 0 <= options.max_users <= MAX_USERS:
        raise UsageError(f"--max-users {options.max_users}: expected 0 to {MAX_USERS:,}")
    settings = Settings(
        start=options.start_rate,
        maximum=options.max_rate or _DEFAULT.maximum,
        trial_s=parse_duration(options.trial_time, "--trial-time"),
        warm_up_s=parse_duration(warm_up, "--warm-up") if warm_up else _DEFAULT.warm_up_s,
        precision=precision,
        max_users=options.max_users,
        budget_s=parse_duration(options.budget, "--budget"),
        recovery_s=parse_duration(options.recovery, "--recovery"),
        seed=seed,
    )
    if settings.trial_s < SHORTEST_TRIAL_S:
        raise UsageError(f"--trial-time {options.trial_time}: expected {SHORTEST_TRIAL_S:g}s or more")
    if settings.budget_s < settings.one_trial_s:
        raise UsageError(f"--budget {options.budget}: one trial takes {settings.one_trial_s:.0f} s")
    return settings


@dataclass(frozen=True, slots=True)
class PreparedSearch:
    """A search that was found to make sense, of a target that is still to be opened."""

    fields: Mapping[str, Any]
    settings: Settings
    thresholds: Sequence[Threshold]
    required: float | None = None

    @property
    def busiest(self) -> dict[str, Any]:
        """An open workload of the search, for its limits: it may open as many sessions as any trial."""
        fields = {name: value for name, value in self.fields.items() if name not in _OF_USERS}
        return {**fields, "rate": self.settings.start or self.settings.maximum}

    def run(
        self, target: Target, *, scenario: Path | None, processes: int, outputs: Outputs
    ) -> CapacityResult:
        """The capacity of `target`; each trial is shown on standard error."""
        with _progress(quiet=outputs.quiet) as status:

            def trial(load: Mapping[str, Any]) -> LoadResult:
                unfit = _OF_USERS if "rate" in load else frozenset[str]()
                fields = {name: value for name, value in self.fields.items() if name not in unfit}
                return run_load(
                    target, {**fields, **load}, progress=status.show, scenario=scenario,
                    processes=processes, calibrate="rate" in load,  # once: the answer is kept
                )  # fmt: skip

            one_user = make_workload(**{**self.fields, "users": 1})
            found = CapacityRun(
                run=trial, recover=Recovery(target, one_user, self.settings.recovery_s).wait,
                thresholds=self.thresholds, settings=self.settings, keep=_keeper(outputs.out),
                begin=status.begin, tell=status.tell,
            ).search()  # fmt: skip
        found.required_per_s = self.required
        return found


def capacity_exit_code(result: CapacityResult) -> int:
    """0: the answer is known; 1: it is not what is required; 3: the search could not settle it."""
    if result.end is End.BELOW or result.meets is False:
        return EXIT_FINDINGS
    known = result.end in (End.FOUND, End.MAXIMUM) or result.meets
    return EXIT_OK if known else EXIT_INCONCLUSIVE


def _keeper(out: Path | None) -> Callable[[Trial, LoadResult], str | None]:
    """Writes the result of each trial below the run folder, if there is one."""

    def keep(trial: Trial, result: LoadResult) -> str | None:
        if out is None:
            return None
        load = f"{trial.users}-users" if trial.users is not None else f"{trial.rate:g}-per-s"
        name = f"trials/{trial.number:03}-{trial.step}-{load}.json"
        write_text(out / name, render_json(result))
        return name

    return keep


class _Status:
    """A line for each trial on standard error, and on a terminal what goes on in the present one."""

    def __init__(self, console: Console, status: Status | None) -> None:
        self._console, self._status = console, status
        self._trial = ""

    def begin(self, step: str, rate: float | None, users: int | None) -> None:
        """A trial is about to be made, once the target has recovered from the last."""
        self._trial = f"{step} {load_in_words(rate, users)}"
        if self._status is not None:
            self._status.update(f"{self._trial}  the target recovers")

    def tell(self, trial: Trial) -> None:
        """A trial was made."""
        self._console.print(trial_line(trial), markup=False, highlight=False, soft_wrap=True)

    def show(self, figures: Mapping[str, Any]) -> None:
        """A second of the trial has passed."""
        if self._status is not None:
            self._status.update(
                f"{self._trial}  {figures['t_s']:.0f} s  {number(figures['accepted_last_s'])}/s accepted  "
                f"{number(figures['failed'])} failed  p99 {milliseconds(figures['p99_ms'])}"
            )


@contextmanager
def _progress(*, quiet: bool) -> Iterator[_Status]:
    console = Console(stderr=True, quiet=quiet)
    with console.status("", spinner="dots") if console.is_terminal else nullcontext() as status:
        yield _Status(console, status)


def trial_line(trial: Trial) -> str:
    """A trial in a line of plain text."""
    load, latency = load_of(trial), latency_of(trial)
    line = (
        f"trial {trial.number:>2}  {trial.step:<11}  {load:>10}  {trial.verdict:<7}  "
        f"{number(trial.accepted_per_s):>8}/s accepted  p99 {milliseconds(latency)}"
    )
    return f"{line}  ({visible(trial.why)})" if trial.why else line
