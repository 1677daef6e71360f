"""From a balance to the figures of a queue result: latencies, depth, growth, drain, domains."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from smtpbench.campaign.result import DepthPoint, DomainStats, Estimate, HeadOfLine, LedgerCounts, QueueResult
from smtpbench.delivery.accounts import Balance, Copy, domain_of
from smtpbench.delivery.depth import Growth, jain, series, times, trend
from smtpbench.load.recorder import COUNTS_LENGTH, HIGHEST_US, histogram, indices, phase_stats
from smtpbench.load.result import PhaseStats

NS = 1_000_000_000
HELD_UP = 1.5  # times the median before; less is what any busy machine does
_REASONS = {
    Growth.GROWING: "what was delivered while the queue grew",
    Growth.SUSTAINED: "what was accepted while the queue did not grow: more may be sustainable",
    Growth.UNCLEAR: "the load is too short or too uneven to tell whether the queue grew",
}
FEW_DOMAINS = 50  # most frequent ones that are shown


def describe(result: QueueResult, balance: Balance) -> None:
    """Put everything into `result` that the balance says."""
    result.ledger = LedgerCounts.of(balance.counts)
    result.examples = balance.examples
    result.end_to_end = latencies([copy.arrived_ns - copy.begun_ns for copy in balance.copies])
    result.in_queue = latencies([copy.arrived_ns - copy.answered_ns for copy in balance.copies])
    if balance.accepted_ns:
        _describe_depth(result, balance)
        _describe_domains(result, balance, max(balance.accepted_ns))


def head_of_line(copies: Sequence[Copy], slow_domain: str, since_ns: int) -> HeadOfLine:
    """How long mail for other domains took before `slow_domain` grew slow at `since_ns`, and since."""
    others = [copy for copy in copies if domain_of(copy.recipient) != slow_domain.lower()]
    taken = [(copy.answered_ns >= since_ns, copy.arrived_ns - copy.answered_ns) for copy in others]
    before = latencies([took for late, took in taken if not late])
    since = latencies([took for late, took in taken if late])
    ratio = round(since.p50_ms / before.p50_ms, 3) if before.p50_ms and since.count else None
    held_up = None if ratio is None else ratio > HELD_UP
    return HeadOfLine(slow_domain=slow_domain, before=before, since=since, ratio=ratio, held_up=held_up)


def latencies(durations_ns: Sequence[int]) -> PhaseStats:
    """The percentiles of durations; one below zero (a copy that was earlier than its reply) is zero."""
    if not durations_ns:
        return PhaseStats()
    micros = np.clip(np.asarray(durations_ns, np.int64) // 1000, 0, HIGHEST_US)
    return phase_stats(histogram(np.bincount(indices(micros), minlength=COUNTS_LENGTH)))


def _describe_depth(result: QueueResult, balance: Balance) -> None:
    accepted, closed = times(balance.accepted_ns), times(balance.closed_ns)
    begin, end = int(accepted[0]), int(accepted[-1])
    last = max(end, int(closed[-1])) if len(closed) else end
    result.queue_depth = [
        DepthPoint(t_s=t_s, depth=depth) for t_s, depth in series(accepted, closed, begin, last)
    ]
    result.load_s = round((end - begin) / NS, 3)
    settled = len(closed) == len(accepted)
    result.drain_s = round(max(last - end, 0) / NS, 3) if settled else None
    found = trend(accepted, closed, begin, end)
    result.growth = found.growth.value
    result.depth_slope = Estimate.of(found.slope)
    result.accept_rate, result.delivery_rate = Estimate.of(found.accepted), Estimate.of(found.closed)
    if found.growth is Growth.GROWING:
        result.sustainable = (
            result.delivery_rate
        )  # the queue was never empty: that is all the target could do
    elif found.growth is Growth.SUSTAINED:
        result.sustainable, result.sustainable_at_least = result.accept_rate, True
    result.sustainable_per_s = result.sustainable.per_s if result.sustainable else None
    result.sustainable_reason = _REASONS[found.growth]


def _describe_domains(result: QueueResult, balance: Balance, load_end: int) -> None:
    by_domain: dict[str, list[Copy]] = defaultdict(list)
    for copy in balance.copies:
        by_domain[domain_of(copy.recipient)].append(copy)
    busiest = sorted(name for name, _ in balance.owed.most_common(FEW_DOMAINS))
    result.domains = [_domain(name, balance.owed[name], by_domain[name], load_end) for name in busiest]
    if len(result.domains) > 1:
        index = jain([domain.in_time for domain in result.domains])
        result.fairness = None if index is None else round(index, 4)


def _domain(name: str, owed: int, copies: Sequence[Copy], load_end: int) -> DomainStats:
    in_time = sum(copy.arrived_ns <= load_end for copy in copies)
    return DomainStats(
        domain=name, copies=owed, delivered=len(copies), in_time=round(in_time / owed, 4),
        in_queue=latencies([copy.arrived_ns - copy.answered_ns for copy in copies]),
    )  # fmt: skip
