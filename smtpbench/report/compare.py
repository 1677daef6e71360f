"""Comparing two runs of one kind: which verdicts and figures are worse, and not by chance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from smtpbench import __version__
from smtpbench.errors import UsageError
from smtpbench.load.capacity_result import CapacityResult
from smtpbench.report.compare_cases import compare_cases
from smtpbench.report.compare_faults import compare_faults
from smtpbench.report.compare_figures import (
    capacity_figures,
    delivery_figures,
    load_figures,
    not_comparable,
    other_workload,
)
from smtpbench.report.comparison import Comparison, Side
from smtpbench.report.model import Run

TOLERANCE = 0.05


def compare_runs(
    base: Run, new: Run, paths: tuple[Path, Path], *, tolerance: float = TOLERANCE
) -> Comparison:
    """What is different in `new`. `tolerance` is a fraction: a smaller change of a figure is none.

    Raises UsageError if the two are not of one kind.
    """
    if kinds(base) != kinds(new):
        raise UsageError(
            f"{paths[0]} is {' and '.join(kinds(base))}, {paths[1]} is {' and '.join(kinds(new))}: "
            "only runs of the same kind can be compared"
        )
    sides = (_side(base, paths[0]), _side(new, paths[1]))
    found = Comparison(smtpbench=__version__, base=sides[0], new=sides[1], tolerance=tolerance)
    if sides[0].target != sides[1].target:
        found.notes.append(f"the targets are not the same: {sides[0].target}, {sides[1].target}")
    if base.conformance and new.conformance:
        found.cases, notes, reasons = compare_cases(base.conformance, new.conformance)
        found.notes += notes
        found.inconclusive += reasons
    if base.load and new.load:
        reasons, notes = not_comparable(base.load, new.load, tolerance)
        found.inconclusive += reasons
        found.notes += notes
        found.figures += load_figures(base.load, new.load, tolerance, judge=not reasons)
    if base.queue and new.queue:
        found.figures += delivery_figures(base.queue, new.queue, tolerance, judge=not reasons)
    if base.capacity and new.capacity:
        reasons = other_workload(*(_asked(run) for run in (base.capacity, new.capacity)))
        found.inconclusive += reasons
        found.figures += capacity_figures(base.capacity, new.capacity, tolerance, judge=not reasons)
    if base.overload and new.overload:
        changes, figures, reasons, notes = compare_faults(base.overload, new.overload, tolerance)
        found.cases += changes
        found.figures += figures
        found.inconclusive += reasons
        found.notes += notes
    return found


def kinds(run: Run) -> list[str]:
    """The kinds of results in `run`, in words."""
    return [
        *(["a conformance run"] if run.conformance else []),
        *(["a queue run"] if run.queue else ["a load run"] if run.load else []),
        *(["a capacity search"] if run.capacity else []),
        *(["a crash campaign"] if run.overload else []),
    ]


def _asked(search: CapacityResult) -> dict[str, Any]:
    """What a search was of: the workload, and what has to hold."""
    return {**search.workload, "what has to hold": search.thresholds}


def _side(run: Run, path: Path) -> Side:
    return Side(path=str(path), target=run.target.name, started=run.halves[0].started)
