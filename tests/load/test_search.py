from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from functools import cache
from random import Random
from statistics import median

import pytest

from smtpbench.load.search import Answer, Ask, Bounds, End, Search, Step, Verdict

LIMIT_S = 1.0
FASTEST = 1e6


def searched(bounds: Bounds, trial: Callable[[float], Verdict]) -> tuple[Answer, list[Ask]]:
    """A whole search of a target whose trials come out as `trial` says."""
    search, asked = Search(bounds), []
    while (ask := search.next) is not None:
        asked.append(ask)
        search.tell(trial(ask.rate))
    return search.answer(), asked


def queue(capacity: float, noise: float, random: Random) -> Callable[[float], Verdict]:
    """An M/M/1 server whose capacity differs from trial to trial by a lognormal factor.

    The time in the system is exponential with rate μ - λ, so its p99 is ln 100 / (μ - λ).
    """

    def trial(rate: float) -> Verdict:
        spare = capacity * random.lognormvariate(0, noise) - rate
        return Verdict.HELD if spare > math.log(100) / LIMIT_S else Verdict.FAILED

    return trial


@cache
def simulated(noise: float, confidence: float) -> tuple[list[Answer], list[float]]:
    """200 searches of servers of 50 to 20,000 messages a second, and their true edges."""
    random, answers, truths = Random(17), [], []
    for _ in range(200):
        capacity = math.exp(random.uniform(math.log(50), math.log(20_000)))
        bounds = Bounds(start=capacity * random.uniform(0.1, 1.5), maximum=FASTEST, confidence=confidence)
        answers.append(searched(bounds, queue(capacity, noise, random))[0])
        truths.append(capacity - math.log(100) / LIMIT_S)
    return answers, truths


@pytest.mark.parametrize(("noise", "within"), [(0.01, 0.03), (0.05, 0.06), (0.1, 0.1)])
def test_the_interval_covers_the_edge_as_often_as_stated(noise: float, within: float) -> None:
    """95 % intervals cover the truth in 92 or more of 100; 95 of 100 edges are right within `within`."""
    answers, truths = simulated(noise, 0.95)
    covered = errors = 0
    for answer, truth in zip(answers, truths, strict=True):
        assert answer.edge is not None
        covered += answer.edge.low <= truth <= answer.edge.high
        errors += abs(answer.edge.rate / truth - 1) > within
    assert covered / 200 >= 0.92
    assert errors / 200 <= 0.05
    assert sum(answer.end is End.FOUND for answer in answers) >= 160


def test_a_lower_confidence_is_a_narrower_interval_that_covers_less_often() -> None:
    """At 80 % and with 10 % noise: 70 to 90 of 100."""
    answers, truths = simulated(0.1, 0.8)
    covered = sum(
        answer.edge is not None and answer.edge.low <= truth <= answer.edge.high
        for answer, truth in zip(answers, truths, strict=True)
    )
    assert 0.7 <= covered / 200 <= 0.9


def test_the_rate_that_is_reported_holds_nine_times_in_ten() -> None:
    answers, truths = simulated(0.05, 0.95)
    random = Random(3)
    shares = []
    for answer, truth in zip(answers, truths, strict=True):
        if answer.end is End.FOUND:
            assert answer.rate is not None
            server = queue(truth + math.log(100) / LIMIT_S, 0.05, random)
            shares.append(sum(server(answer.rate) is Verdict.HELD for _ in range(50)) / 50)
            assert answer.rate > 0.7 * truth
    assert sum(shares) / len(shares) >= 0.9
    assert median(shares) >= 0.9


def hard(limit: float) -> Callable[[float], Verdict]:
    return lambda rate: Verdict.HELD if rate <= limit else Verdict.FAILED


def test_the_three_steps_in_order() -> None:
    answer, asked = searched(Bounds(start=100, maximum=FASTEST), hard(1000))
    assert [ask.rate for ask in asked if ask.step is Step.GROW] == [100, 200, 400, 800, 1600]
    assert list(dict.fromkeys(ask.step for ask in asked)) == [
        Step.GROW,
        Step.BISECT,
        Step.CONFIRM,
    ]
    assert answer.end is End.FOUND
    assert answer.edge is not None
    assert answer.edge.low <= 1000 <= answer.edge.high
    assert answer.edge.width <= 0.1
    assert answer.rate is not None
    assert 900 <= answer.rate <= 1000
    assert (answer.held, answer.tried) >= (4, 4)


def test_a_start_that_is_too_high_is_divided_until_it_holds() -> None:
    answer, asked = searched(Bounds(start=10_000, maximum=FASTEST), hard(30))
    assert [ask.rate for ask in asked[:6]] == [10_000, 2500, 625, 156, 39, 9.75]
    assert answer.edge is not None
    assert answer.edge.rate == pytest.approx(30, rel=0.05)


def test_nothing_holds() -> None:
    answer, _ = searched(Bounds(start=100, maximum=FASTEST), hard(0))
    assert answer.end is End.BELOW
    assert answer.rate is None
    assert answer.reason.startswith("not even 0.")


def test_the_highest_rate_that_was_asked_for_holds() -> None:
    answer, asked = searched(Bounds(start=100, maximum=300), hard(5000))
    assert answer.end is End.MAXIMUM
    assert (answer.rate, answer.held, answer.tried) == (300, 4, 4)
    assert answer.edge is None
    assert max(ask.rate for ask in asked) == 300
    assert "no higher rate was to be tried than 300/s" in answer.reason


def test_a_generator_that_is_the_bottleneck_ends_the_growth_with_what_held() -> None:
    answer, asked = searched(
        Bounds(start=100, maximum=FASTEST), lambda rate: Verdict.INVALID if rate > 900 else Verdict.HELD
    )
    assert answer.end is End.AT_LEAST
    assert answer.rate == 800
    assert answer.reason == "the generator was the bottleneck at 1600/s"
    assert [ask.rate for ask in asked if ask.rate > 900] == [1600, 1600, 1600]


def test_a_generator_that_is_the_bottleneck_from_the_start_is_no_answer() -> None:
    answer, asked = searched(Bounds(start=100, maximum=FASTEST), lambda rate: Verdict.INVALID)
    assert answer.end is End.UNKNOWN
    assert len(asked) == 3


def test_one_invalid_trial_is_repeated() -> None:
    turns = Counter[float]()

    def trial(rate: float) -> Verdict:
        turns[rate] += 1
        return Verdict.INVALID if rate == 800 and turns[rate] == 1 else hard(1000)(rate)

    answer, _ = searched(Bounds(start=100, maximum=FASTEST), trial)
    assert answer.end is End.FOUND


def test_a_generator_that_is_too_weak_between_held_and_failed_leaves_a_wider_interval() -> None:
    answer, _ = searched(
        Bounds(start=100, maximum=FASTEST),
        lambda rate: Verdict.INVALID if 900 < rate < 1500 else hard(1200)(rate),
    )
    assert answer.end is End.FOUND
    assert answer.rate is not None
    assert 700 <= answer.rate <= 900
    assert answer.edge is not None
    assert answer.edge.low <= 1200 <= answer.edge.high


def test_a_failure_by_bad_luck_does_not_hide_the_edge() -> None:
    turns = Counter[float]()

    def trial(rate: float) -> Verdict:
        turns[rate] += 1
        return Verdict.FAILED if rate == 400 and turns[rate] == 1 else hard(1000)(rate)

    answer, _ = searched(Bounds(start=100, maximum=FASTEST), trial)
    assert answer.edge is not None
    assert answer.edge.rate == pytest.approx(1000, rel=0.1)


def test_a_search_that_is_stopped_says_what_it_knows() -> None:
    search = Search(Bounds(start=100, maximum=FASTEST))
    assert search.answer().end is End.UNKNOWN
    for verdict in (Verdict.HELD, Verdict.HELD, Verdict.FAILED):
        search.tell(verdict)
    answer = search.answer()
    assert answer.end is End.UNFINISHED
    assert (answer.rate, answer.held, answer.tried) == (200, 1, 1)
    assert answer.edge is not None
    assert 170 < answer.edge.low < answer.edge.high < 900


def test_trials_without_end_are_bounded() -> None:
    random = Random(1)
    answer, asked = searched(
        Bounds(start=100, maximum=FASTEST, precision=0.001, most_trials=30),
        lambda rate: Verdict.HELD if random.random() < 0.7 else Verdict.FAILED,
    )
    assert len(asked) <= 30
    assert answer.end in (End.UNFINISHED, End.FOUND)
