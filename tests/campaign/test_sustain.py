"""The search for the sustainable rate, on targets whose rate is known."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from smtpbench.campaign.result import Estimate, LedgerCounts, QueueResult
from smtpbench.campaign.sustain import OVERHEAD_S, Settings, SustainableRun, judge_growth, put_into, start_of
from smtpbench.errors import SessionError
from smtpbench.load.result import Totals
from smtpbench.load.search import End, Verdict
from smtpbench.report.delivery import sentences


def estimate(per_s: float, reach: float = 1.0) -> Estimate:
    return Estimate(per_s=per_s, low=per_s - reach, high=per_s + reach)


def queue_run(offered: float, capacity: float, **more: object) -> QueueResult:
    """A run of a target that takes everything and delivers at most `capacity` a second."""
    grows = max(offered - capacity, 0.0)
    count = int(offered * 12)
    fields: dict[str, object] = {
        "valid": True, "closed": True, "drain_s": 1.0, "load_s": 12.0,
        "growth": "growing" if grows else "sustained",
        "depth_slope": estimate(grows), "accept_rate": estimate(offered),
        "delivery_rate": estimate(min(offered, capacity)),
        "totals": Totals(offered=count, accepted=count), "workload": {"run_time": 12.0},
        "ledger": LedgerCounts(accepted=count, delivered=count),
    }  # fmt: skip
    return QueueResult.model_validate({**fields, **more})


class Target:
    """Trials of a target of that capacity, give or take `noise`, and a clock that they move."""

    def __init__(self, capacity: float, noise: float = 0.0, **more: object) -> None:
        self.capacity, self.noise, self.more = capacity, noise, more
        self.now, self.rates = 0.0, list[float]()
        self._random = Random(7)

    def run(self, rate: float, run_time: float, _number: int) -> QueueResult:
        self.now += run_time + OVERHEAD_S
        self.rates.append(rate)
        return queue_run(
            rate, self.capacity * self._random.uniform(1 - self.noise, 1 + self.noise), **self.more
        )

    def search(self, start: float | None, run: Callable[..., QueueResult] | None = None, **settings: float):
        return SustainableRun(
            run or self.run, Settings(**{"budget_s": 2000.0, **settings}), clock=lambda: self.now
        ).search(start)


@pytest.mark.parametrize("start", [None, 20, 110, 2000])
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_it_comes_close_wherever_it_begins(start: float | None, noise: float) -> None:
    found = Target(137, noise).search(start)
    assert found.end is End.FOUND
    assert found.rate_per_s == pytest.approx(137, rel=0.25)
    assert found.rate_per_s <= 137 * (1 + noise)
    assert found.low_per_s is not None
    assert found.high_per_s is not None
    assert found.low_per_s < 137 * (1 + noise)
    assert found.high_per_s > 137 * (1 - noise)


def test_it_keeps_to_its_budget_and_says_so() -> None:
    target = Target(137)
    found = target.search(20, budget_s=65.0)
    assert target.now <= 65
    assert (found.end, len(found.trials)) == (End.UNFINISHED, 3)
    assert "the budget of 65 s was used up" in found.reason
    result = queue_run(10, 100)
    put_into(result, found)
    assert result.sustainable_reason.startswith("not confirmed")


def test_it_goes_no_higher_than_it_may() -> None:
    found = Target(1000).search(20, maximum=50.0)
    assert (found.end, found.rate_per_s) == (End.MAXIMUM, 50)


def test_what_went_wrong_in_a_trial_is_not_forgotten() -> None:
    found = Target(50, ledger=LedgerCounts(accepted=100, delivered=99, lost=1)).search(20, maximum=30.0)
    assert found.wrong["lost"] == len(found.trials)
    result = queue_run(10, 100)
    put_into(result, found)
    assert any("lost" in sentence for sentence in sentences(result))


def test_a_target_that_lets_nobody_in_any_more() -> None:
    target = Target(137)

    def run(rate: float, run_time: float, number: int) -> QueueResult:
        if number == 2:
            raise SessionError("refused")
        return target.run(rate, run_time, number)

    found = target.search(20, run)
    assert found.reason == "after trial 1 the target let nobody in: refused"
    assert found.rate_per_s == 20


def test_an_interrupt_keeps_what_is_known() -> None:
    target = Target(137)

    def run(rate: float, run_time: float, number: int) -> QueueResult:
        if number == 3:
            raise KeyboardInterrupt
        return target.run(rate, run_time, number)

    found = target.search(20, run)
    assert (found.reason, len(found.trials)) == ("interrupted", 2)


@pytest.mark.parametrize(
    ("more", "verdict"),
    [
        ({}, Verdict.HELD),
        ({"growth": "growing", "depth_slope": estimate(30)}, Verdict.FAILED),
        ({"growth": "unclear", "depth_slope": estimate(5, 20)}, Verdict.FAILED),
        ({"growth": "unclear", "depth_slope": estimate(1, 20)}, Verdict.HELD),
        ({"growth": "growing", "depth_slope": estimate(1.5, 0.5)}, Verdict.HELD),  # nine messages in all
        ({"closed": False}, Verdict.FAILED),
        ({"totals": Totals(offered=1200, accepted=1100, rejected_4xx=100)}, Verdict.FAILED),
        ({"totals": Totals(offered=1200, accepted=1100, missed=100)}, Verdict.FAILED),
        ({"valid": False, "invalid_reasons": ["the observer was the bottleneck"]}, Verdict.INVALID),
        ({"depth_slope": None}, Verdict.INVALID),
    ],
)
def test_what_a_trial_shows(more: dict[str, object], verdict: Verdict) -> None:
    assert judge_growth(queue_run(100, 1000, **more)).verdict is verdict


def test_it_begins_below_what_the_first_run_delivered() -> None:
    assert start_of(queue_run(200, 100)) == 60
    assert start_of(QueueResult()) is None


def test_the_answer_takes_the_place_of_the_estimate() -> None:
    result = queue_run(10, 100)
    put_into(result, Target(137).search(100))
    assert result.sustainable_per_s == pytest.approx(137, rel=0.2)
    assert result.sustainable_reason == ""
    assert "Sustainable: " in " ".join(sentences(result))
    assert result.search is not None
    assert QueueResult.model_validate_json(result.model_dump_json(by_alias=True)) == result


def test_nothing_found_is_null_with_the_reason() -> None:
    result = queue_run(10, 100)
    put_into(result, Target(0.01).search(20))
    assert result.sustainable_per_s is None
    assert "no rate was found" in result.sustainable_reason
