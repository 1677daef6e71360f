"""The depth of the queue, and whether it grows: against queues that were made with a known answer."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpbench.delivery.depth import Growth, depth_at, jain, rates, series, times, trend

NS = 1_000_000_000


def queue(rate, service, seconds, seed):
    """Poisson arrivals at one server that takes an exponential time for each: accepted and closed, in ns."""
    random = np.random.default_rng(seed)
    arrivals = np.cumsum(random.exponential(1 / rate, int(rate * seconds * 1.2)))
    arrivals = arrivals[arrivals < seconds]
    done = np.cumsum(took := random.exponential(1 / service, len(arrivals)))
    ends = done + np.maximum.accumulate(
        arrivals - (done - took)
    )  # who comes waits until all before have gone
    return (arrivals * NS).astype(np.int64), (ends * NS).astype(np.int64)


def judged(rate, service, seconds=30.0):
    queues = (queue(rate, service, seconds, seed) for seed in range(40))
    return [trend(accepted, closed, 0, int(seconds * NS)) for accepted, closed in queues]


def test_the_depth_is_what_was_accepted_and_is_not_closed():
    accepted, closed = times([1, 2, 3]), times([2, 5])
    assert depth_at(accepted, closed, times([0, 1, 2, 3, 4, 5])).tolist() == [0, 1, 1, 2, 2, 1]


def test_a_copy_that_is_earlier_than_its_reply_makes_no_negative_depth():
    assert depth_at(times([5]), times([4]), times([4, 5])).tolist() == [0, 0]


def test_the_series_goes_to_the_end_and_has_no_more_points_than_asked():
    accepted, closed = times(range(0, 10 * NS, NS // 10)), times([])
    assert series(accepted, closed, 0, NS) == [(0.0, 1), (0.25, 3), (0.5, 6), (0.75, 8), (1.0, 11)]
    long = series(accepted, closed, 0, 10_000 * NS, points=100)
    assert len(long) <= 102
    assert long[-1][0] >= 10_000


@pytest.mark.parametrize("rate", [400, 900, 970])
def test_a_queue_below_its_capacity_of_1000_is_never_said_to_grow(rate):
    found = [one.growth for one in judged(rate, 1000, 60.0)]
    assert Growth.GROWING not in found
    assert found.count(Growth.SUSTAINED) >= 36


def test_a_queue_above_its_capacity_grows_and_tells_its_capacity():
    found = judged(1200, 1000)
    assert {one.growth for one in found} == {Growth.GROWING}
    assert np.mean([one.slope.per_s for one in found]) == pytest.approx(200, rel=0.05)
    assert np.mean([one.closed.per_s for one in found]) == pytest.approx(1000, rel=0.01)
    covered = sum(one.closed.low <= 1000 <= one.closed.high for one in found)
    assert covered >= 34  # of 40; 38 are expected of intervals of 95 %


def test_a_short_run_or_an_empty_one_is_unclear():
    accepted, closed = queue(100, 200, 1.0, 1)
    assert trend(accepted, closed, 0, NS).growth is Growth.UNCLEAR
    assert trend(times([]), times([]), 0, 60 * NS).slope is None


def test_fairness():
    assert jain([1, 1, 1]) == 1
    assert jain([1, 0, 0, 0]) == 0.25
    assert jain([]) is None
    assert jain([0, 0]) is None


@given(st.lists(st.integers(0, 50)), st.lists(st.integers(0, 50)))
def test_after_all_is_over_the_depth_is_the_difference(accepted, closed):
    left = max(len(accepted) - len(closed), 0)
    assert depth_at(times(accepted), times(closed), times([51])).tolist() == [left]


@given(st.lists(st.integers(0, 50 * NS), min_size=1), st.lists(st.integers(0, 50 * NS)))
def test_the_rates_add_up_to_what_there_was(accepted, closed):
    taken, done = times(accepted), times(closed)
    found = rates(taken, done, 0, 50 * NS, points=20)
    assert len(found) <= 21
    assert sum(span * rate for _, span, rate, _ in found) == pytest.approx(len(accepted))
    assert sum(span * rate for _, span, _, rate in found) == pytest.approx(len(closed))
    assert [at for at, *_ in found] == pytest.approx([number * found[0][1] for number in range(len(found))])
