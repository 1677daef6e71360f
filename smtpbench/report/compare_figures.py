"""Two loads, queue runs or capacity searches, figure by figure, with the noise of the runs in view.

A figure that has samples over time is judged: its change must be more than the tolerance, and more than what
19 of 20 seconds of either run keep within. A share is judged by the test of two proportions, an estimate with
an interval by whether the intervals part. What has neither is shown, and judged by the reader.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from statistics import fmean, stdev
from typing import Any

from smtpbench.campaign.result import Estimate, QueueResult
from smtpbench.load.capacity_result import CapacityResult
from smtpbench.load.result import PHASES, LoadResult, PhaseStats, TimelinePoint
from smtpbench.load.thresholds import error_rate
from smtpbench.report.comparison import Figure, Judgement, Part
from smtpbench.report.text import fact

SIGMAS = 2.0  # 95 % of what is normal; also the z of the test of two proportions
FEWEST_SAMPLES = 5  # seconds of a run, without its first and its last
_NOT_OF_THE_LOAD = frozenset({"seed", "thresholds"})
Interval = tuple[float | None, float | None]
# Figure → its samples in the timeline, which are of the whole transaction, and the part of all beyond it.
_QUANTILES = {"p50": ("p50_ms", 0.5), "p90": ("p99_ms", 0.1), "p99": ("p99_ms", 0.01)}
_WRONG = ("lost", "duplicated", "corrupted")
FEWEST_BEYOND = 50  # a quantile with fewer values beyond it moves by chance


def not_comparable(base: LoadResult, new: LoadResult, tolerance: float) -> tuple[list[str], list[str]]:
    """Why the figures of the two say nothing about a change of the target; and what a reader should know."""
    reasons = [
        f"{name} is not a valid measurement: {'; '.join(run.invalid_reasons) or 'no reason given'}"
        for name, run in (("BASE", base), ("NEW", new))
        if not run.valid
    ]
    reasons += other_workload(base.workload, new.workload)
    reasons += [
        f"{name} is too short to know its noise: {len(_inner(run))} whole seconds, {FEWEST_SAMPLES} needed"
        for name, run in (("BASE", base), ("NEW", new))
        if len(_inner(run)) < FEWEST_SAMPLES
    ]
    return reasons, _machine(base, new, tolerance)


def other_workload(base: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """That the workloads are not the same, and in what; [] if they are."""
    other = [
        f"{key} {fact(base.get(key))} → {fact(new.get(key))}"
        for key in sorted((base.keys() | new.keys()) - _NOT_OF_THE_LOAD)
        if base.get(key) != new.get(key)
    ]
    return [f"the workloads are not the same: {', '.join(other)}"] if other else []


def _machine(base: LoadResult, new: LoadResult, tolerance: float) -> list[str]:
    """The null sink is the same in both: another ceiling is another machine, or one that was busy."""
    before, after = base.generator.calibration, new.generator.calibration
    change = _change(before.per_s, after.per_s) if before and after else None
    if change is None or abs(change) <= tolerance:
        return []
    return [f"the machine is not the same, or was busy: calibration differs by {change:+.0%}"]


def load_figures(base: LoadResult, new: LoadResult, tolerance: float, *, judge: bool) -> list[Figure]:
    """Rates, errors, percentiles of each phase, and what the generator cost; judged if `judge`."""
    rates = [
        _judged(
            Figure(part="load", name=name, unit="per_s", base=getattr(base.rates, name),
                   new=getattr(new.rates, name), noise=_noise(base, new, name.removesuffix("_per_s"))),
            tolerance, judge=judge and name == "accepted_per_s", more_is_better=True,
        )
        for name in ("accepted_per_s", "offered_per_s")
    ]  # fmt: skip
    cpu = Figure(
        part="load", name="generator.cpu_per_message", unit="us",
        base=base.generator.cpu_us_per_message, new=new.generator.cpu_us_per_message,
    )  # fmt: skip
    return [*rates, _errors(base, new, tolerance, judge=judge),
            *_phases(base, new, tolerance, judge=judge), with_change(cpu)]  # fmt: skip


def _phases(base: LoadResult, new: LoadResult, tolerance: float, *, judge: bool) -> Iterator[Figure]:
    pairs = [(name, base.phases.get(name), new.phases.get(name)) for name in PHASES]
    intended = "transaction"
    pairs.append(("intended", base.from_intended_start.get(intended), new.from_intended_start.get(intended)))
    for name, before, after in pairs:
        if before and after and before.count and after.count:
            yield from _latencies(base, new, name, before, after, tolerance, judge=judge)


def _latencies(
    base: LoadResult,
    new: LoadResult,
    name: str,
    before: PhaseStats,
    after: PhaseStats,
    tolerance: float,
    *,
    judge: bool,
) -> Iterator[Figure]:
    for quantile, (samples, beyond) in _QUANTILES.items():
        figure = Figure(
            part="load", name=f"{name}.{quantile}", unit="ms", base=getattr(before, f"{quantile}_ms"),
            new=getattr(after, f"{quantile}_ms"), noise=_noise(base, new, samples),
        )  # fmt: skip
        enough = min(before.count, after.count) * beyond >= FEWEST_BEYOND
        yield _judged(figure, tolerance, judge=judge and enough)


def _errors(base: LoadResult, new: LoadResult, tolerance: float, *, judge: bool) -> Figure:
    figure = Figure(part="load", name="error_rate", unit="share", base=error_rate(base), new=error_rate(new))
    if not judge or figure.base is None or figure.new is None:
        return figure
    counts = base.answered, new.answered
    pooled = (figure.base * counts[0] + figure.new * counts[1]) / sum(counts)
    error = math.sqrt(pooled * (1 - pooled) * sum(1 / count for count in counts))
    difference = figure.new - figure.base
    if abs(difference) <= max(SIGMAS * error, tolerance * figure.base):
        return figure.model_copy(update={"judged": "no change"})
    return figure.model_copy(update={"judged": "worse" if difference > 0 else "better"})


def delivery_figures(base: QueueResult, new: QueueResult, tolerance: float, *, judge: bool) -> list[Figure]:
    """What became of the messages, the sustainable rate, and how long delivery took.

    A message lost, duplicated or corrupted more is worse whatever the load was.
    """
    before, after = (
        {**run.ledger.model_dump(), **dict.fromkeys(_WRONG, 0), **run.wrong} for run in (base, new)
    )
    counts = count_figures(before, after, "delivery", worse=_WRONG)
    times = [
        *latency_figures(base.end_to_end, new.end_to_end, "delivery", "end_to_end"),
        *latency_figures(base.in_queue, new.in_queue, "delivery", "in_queue"),
    ]
    drain = Figure(part="delivery", name="drain", unit="s", base=base.drain_s, new=new.drain_s)
    return [*counts, _sustainable(base, new, tolerance, judge=judge), *times, with_change(drain)]


def count_figures(
    before: Mapping[str, int],
    after: Mapping[str, int],
    part: Part,
    prefix: str = "",
    *,
    worse: Collection[str],
) -> list[Figure]:
    """Counts of a ledger: more of a word in `worse` is worse; others are shown where they are not 0."""
    figures = []
    for word in before:
        was, now = before[word], after[word]
        if word in worse:
            judged: Judgement = "worse" if now > was else "better" if now < was else "no change"
        elif was or now:
            judged = "not judged"
        else:
            continue
        name = f"{prefix}{word}"
        figures.append(Figure(part=part, name=name, unit="count", base=was, new=now, judged=judged))
    return figures


def latency_figures(before: PhaseStats, after: PhaseStats, part: Part, name: str) -> list[Figure]:
    """Percentiles for the reader to judge: they have no samples over time."""
    return [
        with_change(
            Figure(part=part, name=f"{name}.{quantile}", unit="ms",
                   base=getattr(before, f"{quantile}_ms"), new=getattr(after, f"{quantile}_ms"))
        )
        for quantile in _QUANTILES
    ]  # fmt: skip


def _sustainable(base: QueueResult, new: QueueResult, tolerance: float, *, judge: bool) -> Figure:
    """Judged where both queues grew: of one that did not, only a lower bound is known."""
    figure = Figure(
        part="delivery", name="sustainable_per_s", unit="per_s",
        base=base.sustainable_per_s, new=new.sustainable_per_s,
    )  # fmt: skip
    if not judge or base.sustainable_at_least or new.sustainable_at_least:
        return with_change(figure)
    return judge_intervals(figure, _interval(base.sustainable), _interval(new.sustainable), tolerance)


def capacity_figures(
    base: CapacityResult, new: CapacityResult, tolerance: float, *, judge: bool
) -> list[Figure]:
    """The rate that held, and the edge above it, which is judged by its interval."""
    held = Figure(
        part="capacity", name="held_per_s", unit="per_s",
        base=base.capacity.rate_per_s, new=new.capacity.rate_per_s,
    )  # fmt: skip
    edge = Figure(
        part="capacity", name="edge_per_s", unit="per_s",
        base=base.capacity.edge_per_s, new=new.capacity.edge_per_s,
    )  # fmt: skip
    before, after = ((run.capacity.low_per_s, run.capacity.high_per_s) for run in (base, new))
    return [
        with_change(held),
        judge_intervals(edge, before, after, tolerance) if judge else with_change(edge),
    ]


def _interval(estimate: Estimate | None) -> Interval:
    return (estimate.low, estimate.high) if estimate else (None, None)


def judge_intervals(
    figure: Figure, before: Interval, after: Interval, tolerance: float, *, more_is_better: bool = True
) -> Figure:
    """`figure`, judged by whether the two intervals have no point in common."""
    figure = with_change(figure)
    (low, high), (new_low, new_high) = before, after
    if figure.change is None or low is None or high is None or new_low is None or new_high is None:
        return figure
    judged: Judgement = "no change"
    if abs(figure.change) > tolerance and (new_high < low or new_low > high):
        judged = "better" if (new_low > high) is more_is_better else "worse"
    return figure.model_copy(update={"judged": judged})


def _judged(figure: Figure, tolerance: float, *, judge: bool, more_is_better: bool = False) -> Figure:
    figure = with_change(figure)
    if not judge or figure.change is None or figure.noise is None:
        return figure
    judged: Judgement = "no change"
    if abs(figure.change) > max(tolerance, figure.noise):
        judged = "better" if (figure.change > 0) is more_is_better else "worse"
    return figure.model_copy(update={"judged": judged})


def with_change(figure: Figure) -> Figure:
    """`figure` with its change, if both runs have it."""
    if figure.base is None or figure.new is None:
        return figure
    return figure.model_copy(update={"change": _change(figure.base, figure.new)})


def _change(before: float, after: float) -> float | None:
    return after / before - 1 if before else None


def _inner(run: LoadResult) -> list[TimelinePoint]:
    """The whole seconds of a run: its first and its last are not."""
    return run.timeline[1:-1]


def _noise(base: LoadResult, new: LoadResult, field: str) -> float | None:
    """How far `field` goes from its mean in a second, as a fraction: of the run that is less steady."""
    spreads = []
    for run in (base, new):
        samples = [float(getattr(point, field)) for point in _inner(run) if point.accepted]
        if len(samples) < FEWEST_SAMPLES or not fmean(samples):
            return None
        spreads.append(SIGMAS * stdev(samples) / fmean(samples))
    return max(spreads)
