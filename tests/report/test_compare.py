"""Comparing two runs: which changes are worse, which are noise, and what cannot be compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpbench.campaign.fault_judge import judge
from smtpbench.campaign.fault_result import Cycle, FaultResult, OverloadResult
from smtpbench.campaign.result import Estimate, LedgerCounts, QueueResult
from smtpbench.conformance.result import ConformanceResult, Verdict
from smtpbench.errors import EXIT_FINDINGS, EXIT_INCONCLUSIVE, EXIT_OK, UsageError
from smtpbench.load.capacity_result import Capacity, CapacityResult
from smtpbench.load.result import Calibration, LoadResult, TimelinePoint, Totals
from smtpbench.report import Result, Run
from smtpbench.report.compare import compare_runs
from smtpbench.report.compare_render import (
    render_comparison_html,
    render_comparison_json,
    render_comparison_markdown,
)
from smtpbench.report.comparison import Comparison, Figure
from tests.report.conftest import case

PATHS = (Path("base"), Path("new"))


def compared(base: Result, new: Result, tolerance: float = 0.05) -> Comparison:
    return compare_runs(Run.of(base), Run.of(new), PATHS, tolerance=tolerance)


def figure(comparison: Comparison, name: str) -> Figure:
    return next(figure for figure in comparison.figures if figure.name == name)


def with_verdicts(result: ConformanceResult, verdicts: dict[str, Verdict]) -> ConformanceResult:
    cases = [case(verdict, name=name) for name, verdict in verdicts.items()]
    return result.model_copy(update={"cases": cases})


def at_rate(result: LoadResult, factor: float, wobble: float = 0.01) -> LoadResult:
    """`result` with another rate, and seconds that go up and down by `wobble` of it."""
    run = result.model_copy(deep=True)
    run.rates.accepted_per_s *= factor
    run.timeline = [
        TimelinePoint(t_s=t, accepted=round(5000 * factor * (1 + (t % 2 * 2 - 1) * wobble)), sessions=8,
                      p50_ms=1.5, p99_ms=4.0 + 0.01 * (t % 2))
        for t in range(12)
    ]  # fmt: skip
    return run


# --- conformance ---


@pytest.mark.parametrize(
    ("before", "after", "judged"),
    [
        ("pass", "fail", "worse"),
        ("pass", "non-strict", "worse"),
        ("non-strict", "fail", "worse"),
        ("untested", "fail", "worse"),
        (None, "fail", "worse"),
        ("untested", "non-strict", "changed"),
        ("fail", "pass", "better"),
        ("fail", "non-strict", "better"),
        ("non-strict", "hardened", "better"),
        ("pass", "hardened", "changed"),
        ("info", "pass", "changed"),
        ("pass", "untested", "changed"),
        ("fail", "untested", "changed"),
        ("fail", None, "changed"),
    ],
)
def test_how_a_verdict_changed(
    conformance: ConformanceResult, before: str | None, after: str | None, judged: str
) -> None:
    runs = [
        with_verdicts(conformance, {"other": Verdict.PASS} | ({"one": Verdict(word)} if word else {}))
        for word in (before, after)
    ]
    found = compared(runs[0], runs[1])
    assert [(change.id, change.judged) for change in found.cases] == [("rfc5321.data.one", judged)]
    assert found.exit_code == (EXIT_FINDINGS if judged == "worse" else EXIT_OK)


def test_the_worst_comes_first_and_what_stayed_is_not_told(conformance: ConformanceResult) -> None:
    base = with_verdicts(conformance, dict.fromkeys("abcd", Verdict.PASS) | {"e": Verdict.FAIL})
    new = with_verdicts(
        conformance,
        {"a": Verdict.INFO, "b": Verdict.NON_STRICT, "c": Verdict.FAIL, "d": Verdict.PASS, "e": Verdict.PASS},
    )
    found = compared(base, new)
    assert [change.id[-1] for change in found.cases] == ["c", "b", "e", "a"]
    assert found.conclusion.text == "2 worse, 1 better, 1 changed"


def test_a_run_that_the_target_cut_short_is_inconclusive(conformance: ConformanceResult) -> None:
    found = compared(conformance, conformance.model_copy(update={"interrupted": 3}))
    assert found.exit_code == EXIT_INCONCLUSIVE
    assert "3 cases of NEW" in found.inconclusive[0]


# --- load ---


@pytest.mark.parametrize(
    ("factor", "judged"), [(0.8, "worse"), (0.97, "no change"), (1.03, "no change"), (1.3, "better")]
)
def test_a_rate_is_judged_by_the_tolerance(load: LoadResult, factor: float, judged: str) -> None:
    found = compared(at_rate(load, 1), at_rate(load, factor))
    assert figure(found, "accepted_per_s").judged == judged
    assert found.exit_code == (EXIT_FINDINGS if judged == "worse" else EXIT_OK)


def test_a_change_within_the_noise_of_either_run_is_none(load: LoadResult) -> None:
    for base, new in ((0.01, 0.2), (0.2, 0.01)):
        found = figure(compared(at_rate(load, 1, base), at_rate(load, 0.8, new)), "accepted_per_s")
        assert found.judged == "no change"
        assert found.noise is not None
        assert found.noise > 0.3


def test_a_slower_phase_is_worse_and_the_generators_cpu_is_not_judged(load: LoadResult) -> None:
    base, new = at_rate(load, 1), at_rate(load, 1)
    new.phases["body"].p50_ms *= 2
    new.generator.cpu_us_per_message *= 2
    found = compared(base, new)
    assert [one.name for one in found.figures if one.judged == "worse"] == ["body.p50"]
    assert figure(found, "generator.cpu_per_message").judged == "not judged"


@pytest.mark.parametrize(("dropped", "judged"), [(1, "no change"), (40, "worse")])
def test_errors_are_worse_only_if_chance_does_not_explain_them(
    load: LoadResult, dropped: int, judged: str
) -> None:
    base, new = at_rate(load, 1), at_rate(load, 1)
    base.totals, new.totals = Totals(accepted=5000), Totals(accepted=5000 - dropped, dropped=dropped)
    assert figure(compared(base, new), "error_rate").judged == judged
    assert figure(compared(new, base), "error_rate").judged == ("better" if judged == "worse" else judged)


@given(factor=st.floats(0.2, 5), wobble=st.floats(0, 0.3), tolerance=st.floats(0, 0.5))
def test_the_other_way_round_worse_is_better(factor: float, wobble: float, tolerance: float) -> None:
    load = LoadResult.model_validate({"rates": {"accepted_per_s": 500}})
    base, new = at_rate(load, 1, wobble), at_rate(load, factor, wobble)
    there = figure(compared(base, new, tolerance), "accepted_per_s").judged
    back = figure(compared(new, base, tolerance), "accepted_per_s").judged
    assert {there, back} in (
        {"worse", "better"},
        {"no change"},
        {"no change", "better"},
        {"no change", "worse"},
    )
    assert figure(compared(base, base, tolerance), "accepted_per_s").judged == "no change"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"valid": False, "invalid_reasons": ["loop saturated"]}, "NEW is not a valid measurement: loop sat"),
        ({"workload": {"users": 9}}, "workloads are not the same: message_size"),
        ({"timeline": []}, "NEW is too short to know its noise"),
    ],
)
def test_what_cannot_be_compared_is_shown_and_not_judged(
    load: LoadResult, changes: dict[str, Any], reason: str
) -> None:
    found = compared(at_rate(load, 1), at_rate(load, 0.5).model_copy(update=changes))
    assert reason in found.inconclusive[0]
    assert {one.judged for one in found.figures} == {"not judged"}
    assert found.exit_code == EXIT_INCONCLUSIVE


def test_another_seed_is_the_same_workload(load: LoadResult) -> None:
    new = at_rate(load, 1)
    new.workload = new.workload | {"seed": 7, "thresholds": ["error_rate < 1%"]}
    assert compared(at_rate(load, 1), new).exit_code == EXIT_OK


def test_another_machine_is_told(load: LoadResult) -> None:
    base, new = at_rate(load, 1), at_rate(load, 1)
    base.generator.calibration, new.generator.calibration = Calibration(per_s=100), Calibration(per_s=50)
    assert compared(base, new).notes == [
        "the machine is not the same, or was busy: calibration differs by -50%"
    ]


@pytest.mark.parametrize(("count", "judged"), [(99, "not judged"), (100, "worse")])
def test_a_median_of_a_few_values_is_not_judged(load: LoadResult, count: int, judged: str) -> None:
    base, new = at_rate(load, 1), at_rate(load, 1)
    base.phases["connect"].count = new.phases["connect"].count = count
    new.phases["connect"].p50_ms *= 3
    assert figure(compared(base, new), "connect.p50").judged == judged


def capacity(edge: float, **fields: Any) -> CapacityResult:
    found = Capacity(rate_per_s=edge * 0.9, edge_per_s=edge, low_per_s=edge * 0.95, high_per_s=edge * 1.05)
    return CapacityResult(capacity=found, **fields)


@pytest.mark.parametrize(("edge", "judged"), [(80, "worse"), (95, "no change"), (130, "better")])
def test_an_edge_is_judged_by_its_interval(edge: float, judged: str) -> None:
    assert figure(compared(capacity(100), capacity(edge)), "edge_per_s").judged == judged


def test_searches_for_different_thresholds_cannot_be_compared() -> None:
    found = compared(capacity(100), capacity(50, thresholds=["error_rate < 1%"]))
    assert found.exit_code == EXIT_INCONCLUSIVE
    assert figure(found, "edge_per_s").judged == "not judged"


# --- delivery ---


def queue(load: LoadResult, **fields: Any) -> QueueResult:
    return QueueResult.model_validate(at_rate(load, 1).model_dump(exclude={"schema_"}) | fields)


def test_a_message_that_is_lost_is_worse_even_if_the_load_cannot_be_compared(load: LoadResult) -> None:
    base = queue(load, ledger=LedgerCounts(accepted=10, delivered=10))
    new = queue(load, ledger=LedgerCounts(accepted=10, delivered=9, lost=1), valid=False)
    found = compared(base, new)
    assert figure(found, "lost").judged == "worse"
    assert figure(found, "delivered").judged == "not judged"
    assert found.exit_code == EXIT_FINDINGS
    assert figure(compared(base, new.model_copy(update={"excused": ["lost"]})), "lost").judged == "no change"


@pytest.mark.parametrize(("low", "high", "judged"), [(40, 50, "worse"), (50, 62, "no change")])
def test_a_sustainable_rate_is_judged_by_its_interval(
    load: LoadResult, low: float, high: float, judged: str
) -> None:
    base = queue(load, sustainable_per_s=65, sustainable=Estimate(per_s=65, low=60, high=70))
    middle = (low + high) / 2
    new = queue(load, sustainable_per_s=middle, sustainable=Estimate(per_s=middle, low=low, high=high))
    assert figure(compared(base, new), "sustainable_per_s").judged == judged
    bound = new.model_copy(update={"sustainable_at_least": True})
    assert figure(compared(base, bound), "sustainable_per_s").judged == "not judged"


# --- forms ---


def test_runs_of_two_kinds_are_a_line(conformance: ConformanceResult, load: LoadResult) -> None:
    with pytest.raises(
        UsageError, match="base is a conformance run, new is a load run: only runs of the same"
    ):
        compared(conformance, load)


def test_what_a_server_said_is_escaped(conformance: ConformanceResult, load: LoadResult) -> None:
    base = conformance.model_copy(
        update={"cases": [one.model_copy(update={"verdict": Verdict.PASS}) for one in conformance.cases]}
    )
    found = compared(base, conformance)
    found.figures = compared(at_rate(load, 1), at_rate(load, 0.8)).figures
    page, text = render_comparison_html(found), render_comparison_markdown(found)
    assert "<script" not in page
    assert "\x1b" not in page + text
    assert "<script" not in text
    assert "accepted_per_s" in page
    assert "-20.0%" in page
    assert Comparison.model_validate(json.loads(render_comparison_json(found))) == found


# --- crash campaigns ---


def crashed(
    *, lost: int = 0, duplicated: int = 0, down_s: float = 0.5, first_accepted_s: float | None = 0.1,
    untested: str = "", fault: str = "kill", kills: int = 6, seed: int = 1,
) -> OverloadResult:  # fmt: skip
    cycles = [
        Cycle(number=n, aimed=False, at_s=n, sessions=5, final_dots=0, down_s=down_s * (1 + 0.02 * (n % 2)))
        for n in range(1, kills + 1)
    ]
    one = FaultResult(
        fault=fault, untested=untested, cycles=cycles if fault == "kill" else [],
        wanted_cycles=kills if fault == "kill" else 0,
        first_accepted_s=first_accepted_s, closed=True, drain_s=1.0,
        ledger=LedgerCounts(accepted=100, delivered=100 - lost, lost=lost, duplicated=duplicated),
    )  # fmt: skip
    one.checks = judge(one)
    result = OverloadResult(target={"name": "mine"}, seed=seed)
    result.add(one)
    return result


def test_a_crash_that_loses_now_is_worse_once_in_verdicts_and_once_in_figures() -> None:
    found = compared(crashed(), crashed(lost=3))
    assert [(one.id, one.judged) for one in found.cases] == [("process-crash", "worse")]
    assert figure(found, "kill.lost").judged == "worse"
    assert found.exit_code == EXIT_FINDINGS
    assert compared(crashed(lost=3), crashed()).counts["better"] == 2


def test_the_same_crash_is_no_change_and_duplicates_are_shown() -> None:
    found = compared(crashed(), crashed(duplicated=7))
    assert [one.id for one in found.cases] == []
    assert figure(found, "kill.duplicated").judged == "not judged"
    assert figure(found, "kill.duplicated").new == 7
    assert found.exit_code == EXIT_OK
    assert "kill.duplicated" in render_comparison_markdown(found)


@pytest.mark.parametrize(
    ("before", "after", "kills", "judged"),
    [
        (0.5, 1.0, 6, "worse"),
        (1.0, 0.5, 6, "better"),
        (0.5, 0.51, 6, "no change"),
        (0.5, 1.0, 4, "not judged"),
    ],
)
def test_the_time_until_it_greets_is_judged_by_its_samples(
    before: float, after: float, kills: int, judged: str
) -> None:
    found = compared(crashed(down_s=before, kills=kills), crashed(down_s=after, kills=kills))
    assert figure(found, "kill.down").judged == judged


def test_a_target_that_comes_back_no_more_is_worse() -> None:
    found = compared(crashed(fault="flood"), crashed(fault="flood", first_accepted_s=None))
    (change,) = found.cases
    assert (change.id, change.base, change.new, change.judged) == (
        "flood.takes-mail-again", "came back", "gone", "worse",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("new", "words"),
    [
        (crashed(untested="no commands"), "kill of NEW could not be inflicted: no commands"),
        (crashed(fault="flood"), "not asked of NEW: kill"),
    ],
)
def test_what_was_not_asked_is_inconclusive(new: OverloadResult, words: str) -> None:
    found = compared(crashed(), new)
    assert words in found.inconclusive
    assert found.exit_code == EXIT_INCONCLUSIVE


def test_other_moments_are_told() -> None:
    notes = compared(crashed(), crashed(seed=2, kills=5)).notes
    assert notes == ["the moments were drawn from other seeds: 1, 2", "kill: 6 and 5 kills"]


def test_a_crash_is_compared_with_a_crash_only(load: LoadResult) -> None:
    with pytest.raises(UsageError, match="base is a crash campaign, new is a load run"):
        compared(crashed(), load)
