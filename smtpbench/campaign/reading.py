"""How long it takes until the recipient has read a message, and how exactly that is known."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from smtpbench.campaign.figures import latencies
from smtpbench.campaign.result import QueueResult, ReadStats
from smtpbench.delivery.arrival import Read
from smtpbench.delivery.looking import Looker, Reader

EXACT_FOR = 99  # percent of the times are as exact as is said, or more


def describe_reading(result: QueueResult, reads: Iterable[Read], begun_ns: Mapping[bytes, int]) -> None:
    """Put what was read into `result`. `begun_ns` is when the transaction of each accepted message began."""
    first: dict[str, dict[bytes, Read]] = defaultdict(dict)
    for one in reads:
        if one.identifier in begun_ns:
            first[one.protocol].setdefault(one.identifier, one)
    for protocol, messages in first.items():
        found = list(messages.values())
        stats = ReadStats(
            **latencies([one.at_ns - begun_ns[one.identifier] for one in found]).model_dump(),
            resolution_ms=_resolution_ms(found),
            internal_date=latencies(
                [one.stated_ns - begun_ns[one.identifier] for one in found if one.stated_ns is not None]
            ),
        )
        if protocol == result.observed_by:
            result.resolution_ms = stats.resolution_ms
        if protocol:
            result.read[protocol] = stats


def describe_lookers(result: QueueResult, looker: Looker, readers: Sequence[Reader]) -> None:
    """How it went with looking: what was away and for how long."""
    result.observer_down_s, result.observer_trouble = round(looker.down_s + looker.away_s, 3), looker.trouble
    for reader in readers:
        stats = result.read.setdefault(reader.protocol, ReadStats())
        stats.where, stats.trouble = reader.source.where, reader.trouble
        stats.down_s = round(reader.down_s + reader.away_s, 3)
        if reader.away_s:
            result.valid = False
            result.invalid_reasons.append(f"the mailbox could not be read to the end: {reader.trouble}")
    if result.observed_by:
        stats = result.read.setdefault(result.observed_by, ReadStats())
        stats.where, stats.trouble, stats.down_s = result.observer, looker.trouble, result.observer_down_s


def _resolution_ms(found: Sequence[Read]) -> float:
    """How long before a message was read there was, at most, a look that did not find it."""
    return round(float(np.percentile([one.at_ns - one.since_ns for one in found], EXACT_FOR)) / 1e6, 3)
