"""Where the time of a message and of opening a session goes, and what became of messages: stacked bars."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from smtpbench.load.result import LoadResult
from smtpbench.report.digest import outcomes
from smtpbench.report.histograms import Recorded, decode
from smtpbench.report.text import milliseconds, number

OPENING = ("connect", "tls", "banner", "ehlo", "starttls", "auth")
MESSAGE = ("mail", "rcpt", "data", "body")


@dataclass(frozen=True)
class Segment:
    """A part of a bar: `share` of its length, drawn in the colour with this number."""

    name: str
    value: str
    share: float
    color: int


@dataclass(frozen=True)
class Bar:
    """One whole and its parts, as long as it is against the longest bar beside it."""

    title: str
    value: str
    length: float
    segments: list[Segment]


def breakdown(result: LoadResult) -> list[Bar]:
    """The mean and the median of a message, then of opening a session, by phase.

    The mean is the time that all replies of a phase took, spread over the messages (a message with three
    recipients waits for three replies). The medians are of single replies: they leave the tail out, and
    where a mean is much longer than a median, the tail is what costs. Raises UsageError if a histogram
    cannot be decoded.
    """
    bars = []
    for what, names, per in (("message", MESSAGE, "transaction"), ("session opened", OPENING, "connect")):
        whole = result.phases.get(per)
        known = {name: stats for name in names if (stats := result.phases.get(name)) and stats.count}
        if not known or not whole or not whole.count:
            continue
        means = {name: _mean_ms(name, result) * stats.count / whole.count for name, stats in known.items()}
        medians = {name: stats.p50_ms for name, stats in known.items()}
        longest = max(sum(means.values()), sum(medians.values()))
        bars += [_bar(f"mean of a {what}", means, longest), _bar("medians", medians, longest)]
    return bars


def outcome_bar(result: LoadResult) -> Bar | None:
    """What became of the messages, in shares of all; None if there were none."""
    counts = {row.name: row.count for row in outcomes(result)}
    if not (total := sum(counts.values())):
        return None
    segments = [
        Segment(name, f"{number(count)} ({count / total:.1%})", count / total, index)
        for index, (name, count) in enumerate(counts.items(), start=1)
    ]
    return Bar("messages", number(total), 1.0, segments)


def _bar(title: str, parts_ms: Mapping[str, float], longest_ms: float) -> Bar:
    total = sum(parts_ms.values())
    colors = {name: index for names in (MESSAGE, OPENING) for index, name in enumerate(names, start=1)}
    segments = [
        Segment(
            name, f"{milliseconds(ms)} ({ms / total:.0%})" if total else "0", ms / (total or 1), colors[name]
        )
        for name, ms in parts_ms.items()
    ]
    return Bar(title, milliseconds(total), total / (longest_ms or 1), segments)


def _mean_ms(name: str, result: LoadResult) -> float:
    stats = result.phases[name]
    return Recorded(decode(name, stats)).mean() / 1000 if stats.hdr else stats.p50_ms
