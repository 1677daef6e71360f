"""Thresholds: ``body.p99 < 500ms``, ``error_rate < 0.1%``, ``accepted_per_s >= 100``.

    threshold  = metric comparison number [unit]
    metric     = PHASE "." ( "p50" / "p90" / "p99" / "p999" / "max" )     unit us, ms or s is needed
               / OUTCOME "." ( "p50" … )        from its start to an outcome, such as rejected_4xx.p99
               / "intended." ( "p50" … )        transaction from when the plan had it due
               / "intended." OUTCOME "." ( "p50" … )     an outcome from then on; also of "missed"
               / "error_rate"                   failed messages of those with an outcome; % or a fraction
               / "accepted_per_s" / "offered_per_s"
               / "accepted" / "rejected_4xx" / "rejected_5xx" / "dropped" / "timeouts" / "missed" / "sessions"
                 / "offered" / "unfinished"
               / "traffic." KIND "." metric     any of these of one kind of a mix, but for what was
                                                offered or missed: traffic.submission.body.p99
               / "abnormal." KIND "." COUNT     of abnormal traffic, such as abnormal.oversize.accepted < 1
    comparison = "<" / "<=" / ">" / ">="

A threshold on a phase that never happened is broken: nothing was shown.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from smtpbench.errors import UsageError
from smtpbench.load.result import (
    MISSED,
    OUTCOMES,
    PHASES,
    AbnormalCounts,
    LoadResult,
    PhaseStats,
    Rates,
    ThresholdResult,
    Totals,
)

_SYNTAX = re.compile(r"\s*([^<>\s](?:[^<>]*[^<>\s])?)\s*(<=|>=|<|>)\s*(\d+(?:\.\d+)?)\s*(us|ms|s|%|)\s*")
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_TO_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0}
_PERCENTILES = ("p50", "p90", "p99", "p999", "max")
_RATES = ("accepted_per_s", "offered_per_s")
_SERIES = (
    *PHASES, *OUTCOMES, "intended", *(f"intended.{outcome}" for outcome in (*OUTCOMES, MISSED)),
)  # fmt: skip
_COUNTS = tuple(name for name in AbnormalCounts.model_fields if name != "first_refusal")
_ABNORMAL = re.compile(rf"abnormal\.([a-z0-9-]+)\.({'|'.join(_COUNTS)})")
_PLAIN = ("error_rate", *_RATES, *Totals.model_fields)
_OF_A_KIND = re.compile(r"traffic\.(.+?)\.([a-z0-9_]+|(?:intended\.)?[a-z0-9_]+\.(?:p\d+|max))")
_NOT_OF_A_KIND = ("offered", "offered_per_s", MISSED, "unfinished")


@dataclass(frozen=True, slots=True)
class Threshold:
    """One condition on a result, as it was typed and as it is checked."""

    text: str
    metric: str
    comparison: str
    limit: float  # in ms for a latency, a fraction for error_rate, else as typed

    @property
    def is_lower_limit(self) -> bool:
        """Whether more is better."""
        return self.comparison.startswith(">")

    @property
    def only_grows(self) -> bool:
        """Whether the figure can only grow during a run."""
        if self.is_latency:
            return self.metric.endswith(".max")
        return _split(self.metric)[1] not in ("error_rate", "unfinished", *_RATES)

    @property
    def kind(self) -> str:
        """The kind of session in a mix that it is about; "" if it is about all."""
        return _split(self.metric)[0]

    @property
    def is_latency(self) -> bool:
        """Whether `limit` is a latency in ms."""
        return _is_latency(self.metric)

    def check(self, result: LoadResult) -> ThresholdResult:
        """What was measured, and whether it is within the limit."""
        value = _measure(self.metric, result)
        met = value is not None and _COMPARE[self.comparison](value, self.limit)
        return ThresholdResult(expression=self.text, value=value, met=met)


def measured(found: ThresholdResult) -> str:
    """The value with its unit, or that there was none."""
    if found.value is None:
        return "never happened"
    return f"measured {_shown(parse_threshold(found.expression).metric, found.value)}"


def useless(result: LoadResult) -> str | None:
    """Why a run shows nothing: no message was accepted, and no threshold says that this may be; else None."""
    outcomes = (not _is_latency(parse_threshold(one.expression).metric) for one in result.thresholds)
    return None if any(outcomes) else result.nothing_accepted


def parse_threshold(text: str) -> Threshold:
    """The threshold that `text` says. Raises UsageError that names what is wrong with it."""
    match = _SYNTAX.fullmatch(text)
    if match is None:
        raise UsageError(f"--threshold {text!r}: expected such as 'body.p99 < 500ms' or 'error_rate < 0.1%'")
    metric, comparison, number, unit = match.groups()
    if _is_latency(metric):
        if unit not in _TO_MS:
            raise UsageError(f"--threshold {text!r}: a latency needs a unit: us, ms or s")
        return Threshold(text.strip(), metric, comparison, float(number) * _TO_MS[unit])
    kind, plain = _split(metric)
    if not (plain in _PLAIN and not (kind and plain in _NOT_OF_A_KIND)) and not _ABNORMAL.fullmatch(metric):
        raise UsageError(
            f"--threshold {text!r}: unknown metric {metric!r}, expected PHASE.{'|'.join(_PERCENTILES)} "
            f"(PHASE: {', '.join(PHASES)}, intended, or an outcome: {', '.join(OUTCOMES)}), "
            f"{', '.join(_PLAIN)}, traffic.KIND. with one of these (but for "
            f"{', '.join(_NOT_OF_A_KIND)}), or abnormal.KIND.{'|'.join(_COUNTS)}"
        )
    if unit and not (unit == "%" and plain == "error_rate"):
        raise UsageError(f"--threshold {text!r}: {metric} takes no unit {unit!r}")
    return Threshold(text.strip(), metric, comparison, float(number) / (100 if unit == "%" else 1))


def require_kinds(thresholds: Sequence[Threshold], kinds: Collection[str]) -> None:
    """Raises UsageError if a threshold is about a kind of session that the workload does not have."""
    for one in thresholds:
        if one.kind and one.kind not in kinds:
            expected = ", ".join(kinds) or "none: the workload is no mix"
            raise UsageError(
                f"--threshold {one.text!r}: no kind of session is called {one.kind!r}, expected {expected}"
            )


def _split(metric: str) -> tuple[str, str]:
    """The kind of session that a metric is about ("" for all of them), and what of it."""
    match = _OF_A_KIND.fullmatch(metric)
    return (match[1], match[2]) if match else ("", metric)


def _is_latency(metric: str) -> bool:
    kind, of_it = _split(metric)
    series, _, which = of_it.rpartition(".")
    return series in _SERIES and which in _PERCENTILES and not (kind and series.endswith(f".{MISSED}"))


def _measure(metric: str, result: LoadResult) -> float | None:
    kind, plain = _split(metric)
    if kind:
        return _measure(plain, _only(kind, result)) if kind in result.traffic else None
    if _is_latency(metric):
        series, _, which = metric.rpartition(".")
        stats = _stats(series, result)
        return float(getattr(stats, f"{which}_ms")) if stats.count else None
    if metric == "error_rate":
        return error_rate(result)
    if match := _ABNORMAL.fullmatch(metric):
        counts = result.abnormal.get(match[1])
        return None if counts is None else float(getattr(counts, match[2]))
    return float(getattr(result.rates if metric in _RATES else result.totals, metric))


def _only(kind: str, result: LoadResult) -> LoadResult:
    """What one kind of session would have as a result of its own, as far as thresholds look at it."""
    seen = result.traffic[kind]
    counts = {name: getattr(seen, name) for name in ("sessions", *OUTCOMES)}
    rate = seen.accepted / result.duration_s if result.duration_s else 0.0
    return LoadResult(
        totals=Totals(**counts), rates=Rates(accepted_per_s=rate), phases=seen.phases,
        outcomes=seen.outcomes, from_intended_start=seen.from_intended_start,
    )  # fmt: skip


def _stats(series: str, result: LoadResult) -> PhaseStats:
    """The latencies that a metric is about; empty ones if it never happened."""
    first, _, rest = series.partition(".")
    if first == "intended":
        found = result.from_intended_start.get(rest or "transaction")
    else:
        found = result.phases.get(first) or result.outcomes.get(first)
    return found or PhaseStats()


def error_rate(result: LoadResult) -> float | None:
    """Failed messages as a fraction of those that have an outcome; None if none has."""
    totals = result.totals
    failed = totals.rejected_4xx + totals.rejected_5xx + totals.dropped + totals.timeouts
    return failed / (failed + totals.accepted) if failed + totals.accepted else None


def _shown(metric: str, value: float) -> str:
    if _split(metric)[1] == "error_rate":
        return f"{value:.3%}"
    return f"{value:,.3f} ms" if _is_latency(metric) else f"{value:,.10g}"
