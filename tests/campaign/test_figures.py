"""From a balance to figures, against figures that are known."""

import pytest

from smtpbench.campaign.figures import describe, latencies
from smtpbench.campaign.result import QueueResult
from smtpbench.delivery.accounts import Entry, balance
from smtpbench.delivery.arrival import Arrival
from smtpbench.delivery.fingerprint import make_identifier
from smtpbench.delivery.journal import Content, Outcome

MS, S = 1_000_000, 1_000_000_000
RUN = b"0123abcd"


def described(delay_of, *, rate=100, seconds=20, domains=("a.example",)):
    """A message every 1/rate s, answered 2 ms after its start, which arrives `delay_of(n)` ns after that."""
    entries, arrivals = [], []
    for number in range(rate * seconds):
        begun = S + number * S // rate
        answered = begun + 2 * MS
        to = f"x@{domains[number % len(domains)]}"
        identifier = make_identifier(RUN, number)
        content = Content(b"d", b"")
        entries.append(Entry(identifier, Outcome.ACCEPTED, begun, answered, (RUN, 1), number, (to,), content))
        if (delay := delay_of(number)) is not None:
            arrivals.append(Arrival(identifier, answered + delay, "s@a.example", (to,), b"d"))
    result = QueueResult()
    describe(result, balance(entries, arrivals, [], runs={RUN}, closed=True))
    return result


def test_a_constant_delay():
    result = described(lambda _: 50 * MS)
    assert result.ledger.accepted == result.ledger.delivered == 2000
    assert result.in_queue.p50_ms == result.in_queue.max_ms == pytest.approx(50, rel=0.001)
    assert result.end_to_end.p99_ms == pytest.approx(52, rel=0.001)
    assert [point.depth for point in result.queue_depth[1:80]] == [5] * 79  # Little: 100/s for 50 ms
    assert result.load_s == pytest.approx(20, abs=0.02)
    assert result.drain_s == 0.05
    assert (result.growth, result.sustainable_at_least) == ("sustained", True)
    assert result.sustainable_per_s == pytest.approx(100, rel=0.01)
    assert result.fairness is None


def test_a_target_that_delivers_60_of_100_a_second():
    result = described(lambda n: n * S // 60 - n * S // 100)
    assert (result.growth, result.sustainable_at_least) == ("growing", False)
    assert result.sustainable_per_s == pytest.approx(60, rel=0.01)
    assert result.depth_slope.per_s == pytest.approx(40, rel=0.01)
    assert result.drain_s == pytest.approx(20 * 100 / 60 - 20, rel=0.01)
    depth = {point.t_s: point.depth for point in result.queue_depth}
    assert depth[10] == pytest.approx(400, abs=3)
    assert max(depth.values()) == pytest.approx(800, abs=5)
    assert result.queue_depth[-1].depth == 0


def test_what_is_lost_leaves_the_queue_undrained():
    result = described(lambda n: None if n % 100 == 0 else 50 * MS)
    assert (result.ledger.lost, result.drain_s) == (20, None)
    assert result.ledger.wrong == {"lost": 20}
    assert len(result.examples["lost"]) == 10


def test_one_slow_domain_of_two_is_unfair():
    result = described(lambda n: 10 * MS if n % 2 else 60 * S, domains=("slow.example", "fast.example"))
    fast, slow = result.domains
    assert (fast.domain, fast.copies, fast.in_time) == ("fast.example", 1000, pytest.approx(1, abs=0.002))
    assert (slow.copies, slow.delivered, slow.in_time) == (1000, 1000, 0)
    assert fast.in_queue.p99_ms == pytest.approx(10, rel=0.001)
    assert slow.in_queue.p50_ms == pytest.approx(60_000, rel=0.001)
    assert result.fairness == 0.5
    assert described(lambda _: 10 * MS, domains=("a.example", "b.example")).fairness == pytest.approx(1)


def test_nothing_accepted_says_nothing():
    result = described(lambda _: None, seconds=0)
    assert (result.queue_depth, result.sustainable_per_s, result.growth) == ([], None, "unclear")


def test_a_copy_that_comes_before_its_reply_took_no_time():
    assert latencies([-5, 10_000]).p50_ms == 0
