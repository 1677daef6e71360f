"""Two crash campaigns: the promises and verdicts that changed, what became of the messages, how long it took.

A verdict is judged as one of conformance is. More that is lost or corrupted is worse, and so is a target that
comes back no more. Duplicates are shown: a queue that could not write down that it had delivered delivers
again, which no RFC forbids. The time until a killed target greets has a sample for each kill: it is judged.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean, stdev

from smtpbench.campaign.fault_result import KEPT, FaultResult, OverloadResult
from smtpbench.conformance.model import Level
from smtpbench.report.compare_cases import judge_verdicts, sorted_changes
from smtpbench.report.compare_figures import (
    FEWEST_SAMPLES,
    SIGMAS,
    Interval,
    count_figures,
    judge_intervals,
    latency_figures,
    with_change,
)
from smtpbench.report.comparison import CaseChange, Figure

_PROMISES = {
    "process_crash": "the death of all its processes costs nothing that was accepted",
    "power_loss": "a loss of power costs nothing that was accepted",
}
_WORSE = ("lost", "corrupted")

Pair = tuple[FaultResult, FaultResult]


def compare_faults(
    base: OverloadResult, new: OverloadResult, tolerance: float
) -> tuple[list[CaseChange], list[Figure], list[str], list[str]]:
    """The changes, the figures, why the comparison is inconclusive, and notes."""
    before, after = ({one.fault: one for one in run.faults} for run in (base, new))
    pairs = [(one, after[name]) for name, one in before.items() if name in after]
    changes = [*_promises(base, new), *(change for pair in pairs for change in _checks(pair))]
    figures = [figure for pair in pairs for figure in _figures(pair, tolerance)]
    reasons = [
        f"not asked of {where}: {', '.join(names)}"
        for where, names in (("NEW", before.keys() - after), ("BASE", after.keys() - before))
        if names
    ]
    reasons += [
        f"{one.fault} of {where} could not be inflicted: {one.untested}"
        for where, run in (("BASE", base), ("NEW", new))
        for one in run.faults
        if one.untested
    ]
    return sorted_changes(changes), figures, reasons, list(_notes(base, new, pairs))


def _notes(base: OverloadResult, new: OverloadResult, pairs: list[Pair]) -> Iterator[str]:
    if base.seed != new.seed:
        yield f"the moments were drawn from other seeds: {base.seed}, {new.seed}"
    for before, after in pairs:
        kills = len(before.cycles), len(after.cycles)
        if kills[0] != kills[1]:
            yield f"{before.fault}: {kills[0]} and {kills[1]} kills"


def _promises(base: OverloadResult, new: OverloadResult) -> Iterator[CaseChange]:
    for name, title in _PROMISES.items():
        before, after = getattr(base.verdicts, name), getattr(new.verdicts, name)
        if before.verdict is not after.verdict:
            yield CaseChange(
                id=name.replace("_", "-"), title=title, level=Level.MUST_NOT, base=before.verdict.value,
                new=after.verdict.value, judged=judge_verdicts(before.verdict, after.verdict),
                observed=after.reason,
            )  # fmt: skip


def _checks(pair: Pair) -> Iterator[CaseChange]:
    """What the promises do not say already."""
    before, after = ({one.id: one for one in fault.checks} for fault in pair)
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        was, now = (one.verdict if one else None for one in (old, new))
        shown = new or old
        if shown is not None and was is not now and not (name == KEPT and all(one.killed for one in pair)):
            yield CaseChange(
                id=f"{pair[1].fault}.{name}", title=shown.expected, level=shown.level,
                base=was and was.value, new=now and now.value, judged=judge_verdicts(was, now),
                observed=(new.reason or new.observed) if new else "",
            )  # fmt: skip
    if pair[0].gone is not pair[1].gone and not (pair[0].untested or pair[1].untested):
        words, judged = ("came back", "gone"), "worse"
        if pair[0].gone:
            words, judged = ("gone", "came back"), "better"
        yield CaseChange(
            id=f"{pair[1].fault}.takes-mail-again", title="it takes mail again", level=Level.INFO,
            base=words[0], new=words[1], judged=judged, observed="; ".join(pair[1].notes),
        )  # fmt: skip


def _figures(pair: Pair, tolerance: float) -> Iterator[Figure]:
    base, new = pair
    if base.untested or new.untested:
        return
    prefix = f"{new.fault}."
    yield from count_figures(base.ledger.model_dump(), new.ledger.model_dump(), "crash", prefix, worse=_WORSE)
    yield from latency_figures(base.end_to_end, new.end_to_end, "crash", f"{prefix}end_to_end")
    yield from _until_it_greets(pair, tolerance)
    for name in ("first_accepted_s", "drain_s"):
        figure = Figure(
            part="crash", name=f"{prefix}{name.removesuffix('_s')}", unit="s",
            base=getattr(base, name), new=getattr(new, name),
        )  # fmt: skip
        yield with_change(figure)


def _until_it_greets(pair: Pair, tolerance: float) -> Iterator[Figure]:
    before, after = ([one.down_s for one in fault.cycles if one.down_s is not None] for fault in pair)
    if before and after:
        figure = Figure(
            part="crash", name=f"{pair[1].fault}.down", unit="s", base=fmean(before), new=fmean(after)
        )
        yield judge_intervals(figure, _mean(before), _mean(after), tolerance, more_is_better=False)


def _mean(samples: list[float]) -> Interval:
    """The interval of their mean, (None, None) of too few."""
    if len(samples) < FEWEST_SAMPLES:
        return None, None
    reach = SIGMAS * stdev(samples) / len(samples) ** 0.5
    return fmean(samples) - reach, fmean(samples) + reach
