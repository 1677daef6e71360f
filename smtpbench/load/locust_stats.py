"""Our batches in Locust's own statistics, so that its web page, CSV files and worker reports show them.

Each phase is an entry of type SMTP. Locust counts in milliseconds with two digits; the exact figures are
in the histograms. A message counts once in Locust's total, by its transaction; it fails by its outcome.
"""

from __future__ import annotations

import time
from typing import cast

import numpy as np
from locust.stats import RequestStats, StatsEntry, StatsError
from numpy.typing import NDArray

from smtpbench.load.recorder import Batch, Sparse, values
from smtpbench.load.result import FAILURES, PHASES

KIND = "SMTP"
MESSAGE = "transaction"


def fold(stats: RequestStats, batch: Batch) -> None:
    """Add `batch` to `stats`."""
    now = time.time()
    for name in PHASES:
        sparse = batch.series.get(name)
        if sparse is not None:
            entry = _entry(stats, name, sparse, now)
            stats.get(name, KIND).extend(entry)
            if name == MESSAGE:
                stats.total.extend(entry)
    for outcome in FAILURES:
        if count := batch.counters[outcome]:
            _fail(stats, outcome.replace("_", " "), count, now)


def _entry(stats: RequestStats, name: str, sparse: Sparse, now: float) -> StatsEntry:
    """The interval's latencies as an entry of Locust's."""
    ms = values(sparse.positions) / 1000
    buckets, where = np.unique(_locust_buckets(ms), return_inverse=True)
    count = int(sparse.counts.sum())
    entry = StatsEntry(stats, name, KIND)
    entry.num_requests = count
    # Locust declares int and takes fractions of a ms, as it does from its own HTTP client
    entry.total_response_time = cast("int", float(ms @ sparse.counts))
    entry.min_response_time = cast("int", float(ms[0]))
    entry.max_response_time = cast("int", float(ms[-1]))
    entry.response_times = dict(
        zip(buckets.tolist(), np.bincount(where, sparse.counts).astype(int).tolist(), strict=True)
    )
    entry.num_reqs_per_sec = {int(now): count}
    entry.last_request_timestamp = now
    return entry


def _locust_buckets(ms: NDArray[np.float64]) -> NDArray[np.int64]:
    """Whole ms below 100, above that two digits, as `locust.stats.bucket_response_time` has it."""
    step = np.select([ms < 100, ms < 1000, ms < 10_000], [1, 10, 100], 1000)
    result: NDArray[np.int64] = (np.round(ms / step) * step).astype(np.int64)
    return result


def _fail(stats: RequestStats, error: str, count: int, now: float) -> None:
    """`count` messages failed: no latency, but requests all the same."""
    failed = StatsEntry(stats, MESSAGE, KIND)
    failed.num_requests = failed.num_none_requests = failed.num_failures = count
    failed.num_reqs_per_sec = {int(now): count}
    failed.num_fail_per_sec = {int(now): count}
    failed.last_request_timestamp = now
    stats.get(MESSAGE, KIND).extend(failed)
    stats.total.extend(failed)
    key = StatsError.create_key(KIND, MESSAGE, error)
    known = stats.errors.setdefault(key, StatsError(KIND, MESSAGE, error))
    known.occurrences += count
