"""Latency recording: lists of µs in the loop thread, folded into HdrHistogram counts by numpy.

HdrHistogram's Python `record_value` costs about 1 µs a value, which would be a tenth of our whole budget
for a message. Its counts array is plain, though: with a unit of 1 µs and three digits, the index of
a value needs its bit length and a shift. So the hot path appends an integer to an array, and when there
are many, and once a second, they are turned into counts in bulk. `histogram` gives back a true HdrHistogram.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hdrh.histogram import HdrHistogram
from numpy.typing import NDArray

from smtpbench.load.chat import Series
from smtpbench.load.result import FAILURES, MISSED, OUTCOMES, PHASES, PhaseStats

MUCH = 4096  # replies; to fold what belongs to them takes less than a millisecond
OF_A_REPLY = 16  # octets that `take_visit` takes for each
LOWEST_US = 1
REFUSAL_MAX = 300  # characters kept of the words of a server
REFUSALS_MAX = 20  # … for so many reply codes
HIGHEST_US = 3_600_000_000  # one hour: more than the longest timeout of RFC 5321 §4.5.3.2
DIGITS = 3
_SUB_BUCKET_BITS = 11  # 2 * 10**DIGITS values take 11 bits; below 2**11 every µs has a count of its own
_HALF = 1 << (_SUB_BUCKET_BITS - 1)

INTENDED = "intended"  # an accepted message, measured from when the plan had it due
INTENDED_OF = {name: f"{INTENDED}_{name}" for name in (*FAILURES, MISSED)}  # … and one that was not
LOOP_LAG = "loop_lag"
SCHEDULE_LAG = "schedule_lag"
SERIES = (*PHASES, *FAILURES, INTENDED, *INTENDED_OF.values(), LOOP_LAG, SCHEDULE_LAG)

Counts = NDArray[np.int64]
Append = Callable[[int], None]


def new_histogram() -> Any:
    """An empty histogram of 1 µs to 1 h with three digits."""
    return HdrHistogram(LOWEST_US, HIGHEST_US, DIGITS)


COUNTS_LENGTH: int = new_histogram().counts_len


def indices(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """The index in HdrHistogram's counts array of each value (µs)."""
    if not len(values) or values.max() < 2 * _HALF:
        return values  # the usual case: every µs has a count of its own
    bit_length = np.frexp(values.astype(np.float64))[1]
    shift = np.maximum(bit_length - _SUB_BUCKET_BITS, 0).astype(np.int64)
    result: NDArray[np.int64] = shift * _HALF + (values >> shift)
    return result


def values(positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """The lowest value (µs) that each index of the counts array stands for."""
    shift = np.maximum(positions // _HALF - 1, 0)
    result: NDArray[np.int64] = (positions - shift * _HALF) << shift
    return result


@dataclass(slots=True)
class Sparse:
    """The counts of one series over one interval: only those that are not zero."""

    positions: NDArray[np.int64]
    counts: Counts


def percentile(positions: NDArray[np.int64], counts: NDArray[Any], percent: float) -> int:
    """The µs (to three digits) that `percent` of the values do not exceed; `positions` ascend."""
    running = np.cumsum(counts)
    rank = max(round(percent * int(running[-1]) / 100), 1)
    return int(values(positions[np.searchsorted(running, rank)]))


@dataclass(slots=True)
class Batch:
    """What happened in one process since its last batch. Plain data: it travels between processes."""

    span_ns: int = 0
    cpu_ns: int = 0  # of the loop thread, all recording included
    used: dict[str, int] = field(default_factory=dict)  # see smtpbench.load.meter
    limits: dict[str, int] = field(default_factory=dict)  # sessions lost to a limit of our machine, by errno
    crowded: bool = False  # an open workload has as many sessions as it may have
    sessions_open: int = 0
    under_way: int = 0  # messages that a session took and that have no outcome yet
    waiting: int = 0  # arrivals that wait for a session
    ended: bool = False  # the engine's last batch
    spent: bool = False  # the workload has no more messages and none is under way
    series: dict[str, Sparse] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)
    replies: dict[int, int] = field(default_factory=dict)
    traffic: dict[str, dict[str, int]] = field(default_factory=dict)  # counters by kind, if there are several
    abnormal: dict[str, dict[str, Any]] = field(default_factory=dict)  # counts by kind
    refusals: dict[str, str] = field(default_factory=dict)  # by reply code, the first of the whole run
    watched: dict[str, Any] = field(default_factory=dict)  # see smtpbench.load.watch

    def to_plain(self) -> dict[str, Any]:
        """Numbers, strings, lists and dicts only, as msgpack and JSON take them."""
        plain = {name: getattr(self, name) for name in _AS_THEY_ARE}
        plain["series"] = {
            name: [sparse.positions.tolist(), sparse.counts.tolist()] for name, sparse in self.series.items()
        }
        plain["replies"] = list(self.replies.items())
        return plain

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Batch:
        """The batch that `to_plain` was called on."""
        series = {
            name: Sparse(np.array(positions, np.int64), np.array(counts, np.int64))
            for name, (positions, counts) in plain["series"].items()
        }
        replies = {int(code): int(count) for code, count in plain["replies"]}
        return cls(**{**plain, "series": series, "replies": replies})


_AS_THEY_ARE = tuple(name for name in Batch.__slots__ if name not in ("series", "replies"))

COUNTERS = ("sessions", *OUTCOMES, "offered", MISSED)
OF_A_KIND = ("sessions", *OUTCOMES)  # those of them that are counted for each kind of session


def series_of(kind: str, name: str) -> str:
    """Where a batch has what the sessions of one kind measured of series `name`; "" is the whole."""
    return f"{name} {kind}" if kind else name


class Recorder:
    """What the sessions of one engine report. Used from the loop thread only.

    Each series has an `append` of its name that takes µs: ``recorder.mail(412)``; `reply` takes a code.
    """

    __slots__ = (
        *SERIES,
        "_chatted",
        "_codes",
        "_folded",
        "_kinds",
        "_raw",
        "_replies",
        "_visits",
        "counters",
        "limits",
        "refusals",
        "reply",
    )
    connect: Append
    tls: Append
    banner: Append
    ehlo: Append
    starttls: Append
    auth: Append
    mail: Append
    rcpt: Append
    data: Append
    body: Append
    transaction: Append
    session: Append
    intended: Append
    loop_lag: Append
    schedule_lag: Append

    def __init__(self) -> None:
        self._raw: dict[str, array[int]] = {name: array("q") for name in SERIES}
        self._folded: dict[str, Counts] = {}
        self._codes: array[int] = array("h")
        self._replies = np.zeros(1000, np.int64)
        self._chatted = [self._raw[name] for name in ("mail", "rcpt", "data", "body", "transaction")]
        self._visits: dict[int, bytearray] = defaultdict(bytearray)  # by how long one of them is
        self.reply = self._codes.append
        for name in SERIES:
            setattr(self, name, self._raw[name].append)
        self.counters = dict.fromkeys(COUNTERS, 0)
        self.refusals: dict[str, str] = {}
        self.limits: Counter[str] = Counter()
        self._kinds: dict[str, Recorder] = {}

    def of_kind(self, name: str) -> Recorder:
        """What the sessions of one kind report to, where there are several: it has counters and series of
        its own, which are in the whole as well. Replies are counted here. "" is the whole."""
        if not name:
            return self
        if name not in self._kinds:
            kind = self._kinds[name] = Recorder()
            kind.reply, kind.refusals, kind._codes = self.reply, self.refusals, self._codes
        return self._kinds[name]

    def take_in(self, series: Series) -> None:
        """What `_chat.c` has measured: reply codes as int16, and the µs of `mail`, `rcpt`, `data`, `body` and
        `transaction` as int64, in octets."""
        codes, *phases = series
        self._codes.frombytes(codes)
        for raw, octets in zip(self._chatted, phases, strict=True):
            raw.frombytes(octets)

    def take_visit(self, whole: bytes) -> None:
        """What `_chat.c` has seen of a session of one message: when it began, then code and time of the
        connection and of each reply, from the greeting to that to QUIT; int64, times in ns."""
        self._visits[len(whole)] += whole

    def fail(self, outcome: str, took_ns: int, since_due_ns: int | None) -> None:
        """A message failed as `outcome`, so long after it began and (open workloads) after it was due."""
        self.counters[outcome] += 1
        self._raw[outcome].append(took_ns // 1000)
        if since_due_ns is not None:
            self._raw[INTENDED_OF[outcome]].append(since_due_ns // 1000)

    def miss(self, waited_ns: int) -> None:
        """An arrival has waited so long for a session that it never gets."""
        self.counters[MISSED] += 1
        self._raw[INTENDED_OF[MISSED]].append(waited_ns // 1000)

    @property
    def refusal(self) -> str:
        """The first refusal of all, "" if there was none."""
        return next(iter(self.refusals.values()), "")

    def note_refusal(self, text: str, code: str = "") -> None:
        """Keep what a server said when it refused a message, if it is the first time with this code."""
        if len(self.refusals) < REFUSALS_MAX:
            self.refusals.setdefault(code, text[:REFUSAL_MAX])

    def fold_much(self) -> None:
        """`fold` if there is much: some of it costs as much for one value as for a thousand."""
        visits = sum(len(one) for of in (self, *self._kinds.values()) for one in of._visits.values())
        if len(self._codes) + visits // OF_A_REPLY >= MUCH:
            self.fold()

    def fold(self) -> None:
        """Turn what the sessions appended into counts; often enough, so that it never takes long."""
        for recorder in (self, *self._kinds.values()):
            recorder._write_down_visits()
        for name, raw in self._raw.items():
            self._fold(raw, name)
        for of, kind in self._kinds.items():
            for name, raw in kind._raw.items():
                self._fold(raw, name, series_of(of, name))
        if self._codes:
            self._replies += np.bincount(np.frombuffer(self._codes, np.int16), minlength=1000)
            del self._codes[:]

    def _write_down_visits(self) -> None:
        """As if each reply had been."""
        for size, visits in self._visits.items():
            whole = np.frombuffer(bytes(visits), np.int64).reshape(-1, size // 8)
            codes, times = whole[:, 3::2], whole[:, ::2]
            took = np.diff(times) // 1000
            self._codes.frombytes(codes.astype(np.int16).tobytes())
            columns = {
                "connect": took[:, 0], "banner": took[:, 1], "ehlo": took[:, 2], "mail": took[:, 3],
                "rcpt": took[:, 4:-3], "data": took[:, -3], "body": took[:, -2],
                "transaction": (times[:, -2] - times[:, 3]) // 1000,
                "session": (times[:, -1] - times[:, 0]) // 1000,
            }  # fmt: skip
            for name, column in columns.items():
                self._raw[name].frombytes(column.tobytes())
            for counter in ("sessions", "accepted"):
                self.counters[counter] += len(whole)
        self._visits.clear()

    def _fold(self, raw: array[int], *names: str) -> None:
        if raw:
            counts = np.bincount(indices(_taken(raw)))
            for name in names:
                if name not in self._folded:
                    self._folded[name] = np.zeros(COUNTS_LENGTH, np.int64)
                self._folded[name][: len(counts)] += counts

    def take_counters(self) -> dict[str, int]:
        """What was counted since the last call, all kinds together."""
        counters, self.counters = self.counters, dict.fromkeys(COUNTERS, 0)
        return counters

    def take_batch(self) -> Batch:
        """All since the last call, and begin anew."""
        self.fold()
        series = {}
        for name, counts in self._folded.items():
            positions = np.flatnonzero(counts)
            series[name] = Sparse(positions, counts[positions])
        self._folded.clear()
        codes = np.flatnonzero(self._replies)
        replies = {int(code): int(self._replies[code]) for code in codes}
        self._replies[:] = 0
        counters = self.take_counters()
        kinds = {name: kind.take_counters() for name, kind in self._kinds.items()}
        for of_one in kinds.values():
            counters = {name: count + of_one[name] for name, count in counters.items()}
        limits, self.limits = dict(self.limits), Counter()
        return Batch(
            series=series, counters=counters, replies=replies, refusals=dict(self.refusals),
            limits=limits,
            traffic={kind: {name: of_one[name] for name in OF_A_KIND} for kind, of_one in kinds.items()},
        )  # fmt: skip


def _taken(raw: array[int]) -> NDArray[np.int64]:
    """The values of `raw`, which is then empty; what the histogram cannot hold is put at its ends."""
    taken = np.maximum(np.frombuffer(raw, np.int64), 0)  # a copy, so that the array may shrink
    del raw[:]
    result: NDArray[np.int64] = np.minimum(taken, HIGHEST_US, out=taken)
    return result


def histogram(counts: Counts) -> Any:
    """The HdrHistogram of a counts array."""
    result = new_histogram()
    positions = np.flatnonzero(counts)
    for value, number in zip(values(positions).tolist(), counts[positions].tolist(), strict=True):
        result.record_value(value, number)
    return result


def phase_stats(hdr: Any) -> PhaseStats:
    """The percentiles of a histogram of µs, in ms, with the histogram itself."""
    if not hdr.get_total_count():
        return PhaseStats()
    found = hdr.get_percentile_to_value_dict([50, 90, 99, 99.9])
    p50, p90, p99, p999 = (found[percent] / 1000 for percent in (50, 90, 99, 99.9))
    return PhaseStats(
        count=hdr.get_total_count(), p50_ms=p50, p90_ms=p90, p99_ms=p99, p999_ms=p999,
        max_ms=hdr.get_max_value() / 1000, hdr=hdr.encode().decode("ascii"),
    )  # fmt: skip
