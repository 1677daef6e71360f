"""A load or queue run as it goes on, as one screen of text that fits the terminal it is shown on."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.console import Group, RenderableType
from rich.text import Text

from smtpbench.load.result import LoadResult, PhaseStats, ThresholdResult
from smtpbench.load.thresholds import Threshold, measured
from smtpbench.report.text import milliseconds, number, visible

HISTORY_S = 500  # more than a terminal is wide
BARS = "▁▂▃▄▅▆▇█"
LABEL = 10  # columns of the words at the left
FIGURE = 9  # columns of a figure of the table
INTENDED = "intended"
BUSY = 0.8  # of a core: replies begin to wait for us

_BY_INTEREST = (
    "transaction", "end to end", INTENDED, "read imap", "read pop3", "body", "rcpt", "mail", "data",
    "connect", "auth", "starttls", "tls", "ehlo", "banner", "session",
)  # fmt: skip
"""Which phases stay where not all fit, the first ones longest."""


@dataclass(frozen=True, slots=True)
class Past:
    """Of each of the last seconds: messages accepted, and how many were on their way."""

    rates: deque[int] = field(default_factory=lambda: deque(maxlen=HISTORY_S))
    depths: deque[int] = field(default_factory=lambda: deque(maxlen=HISTORY_S))


def dashboard(
    figures: Mapping[str, Any],
    past: Past,
    thresholds: Sequence[Threshold],
    width: int,
    height: int,
) -> RenderableType:
    """The screen for `figures` (`Collector.progress`, and what a queue run adds): at most `height` lines of
    `width` columns.
    """
    result = LoadResult.model_validate(figures["so_far"])
    top = [
        _title(figures, width),
        _bar(figures, width),
        _rate(figures, past.rates, width),
        _line("sessions", _sessions(figures, result)),
        _line("messages", _messages(result)),
        _line("replies", _replies(figures)),
    ]
    if refusal := figures.get("refusal"):
        top.append(_line("refusal", Text(visible(refusal), "yellow")))
    top += _queue(figures, past, width)
    known = () if figures["warming_up_s"] else thresholds
    bottom = [*_thresholds(known, result), _line("generator", _generator(figures))]
    phases = _phases(result, _delivery(figures), height - len(top) - len(bottom) - 1)
    return _fitted([*top, *phases, *bottom], width, height)


def drain_screen(figures: Mapping[str, Any], past: Past, width: int, height: int) -> RenderableType:
    """The screen while the rest is waited for when the load is over."""
    clock = _clock(figures["draining_s"])
    title = set_cell_size("the load is over, waiting for the rest", max(width - cell_len(clock) - 1, 1))
    lines = [Text.assemble((title, "bold"), " ", clock), *_queue(figures, past, width)]
    rows = [_row(name, stats) for name, stats in _delivery(figures).items()]
    return _fitted([*lines, *([_header(), *rows] if rows else [])], width, height)


def _fitted(lines: Sequence[Text], width: int, height: int) -> RenderableType:
    return Group(*(_cut(line, width) for line in lines[:height]))


def _cut(line: Text, width: int) -> Text:
    line.no_wrap = True
    line.truncate(width, overflow="ellipsis")
    return line


def _line(label: str, text: Text) -> Text:
    return Text.assemble((f"{label:<{LABEL}}", "dim"), text)


def _title(figures: Mapping[str, Any], width: int) -> Text:
    ends = figures.get("ends_s")
    clock = _clock(figures["t_s"]) + (f" / {_clock(ends)}" if ends else "")
    if left := figures["warming_up_s"]:
        clock = f"warming up, {left:.0f} s left"
    name = set_cell_size(visible(figures.get("target") or "load"), max(width - cell_len(clock) - 1, 1))
    return Text.assemble((name, "bold"), " ", clock)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"


def _bar(figures: Mapping[str, Any], width: int) -> Text:
    """How much of the run is over, if its end is known: by time or by messages, whichever is nearer."""
    done = max(
        (part / whole for part, whole in ((figures["t_s"], figures.get("ends_s")),
                                          (figures["answered"], figures.get("ends_messages"))) if whole),
        default=None,
    )  # fmt: skip
    if done is None:
        return Text("─" * width, "dim")
    filled = round(width * min(done, 1))
    return Text.assemble(("━" * filled, "cyan"), ("─" * (width - filled), "dim"))


def _rate(figures: Mapping[str, Any], rates: Collection[int], width: int) -> Text:
    now = Text.assemble((f"{figures['accepted_last_s']:,}/s", "bold green"), " accepted  ")
    if figures["offered_last_s"] is not None:
        now.append(f"{figures['offered_last_s']:,}/s offered  ")
    line = _line("rate", now)
    return line.append(_spark(rates, max(width - line.cell_len, 0)), "green")


def _spark(rates: Collection[int], width: int) -> str:
    """The last `width` seconds as bars from nothing to the highest of them."""
    shown = list(rates)[-width:] if width else []
    highest = max(shown, default=0)
    return "".join(BARS[round(rate / highest * (len(BARS) - 1))] if highest else BARS[0] for rate in shown)


def _sessions(figures: Mapping[str, Any], result: LoadResult) -> Text:
    line = Text(f"{figures['sessions']:,} open, {result.totals.sessions:,} in all")
    if waiting := figures["waiting"]:
        line.append(f", {waiting:,} arrivals wait for one", "bold red")
    workers = figures.get("workers") or {}
    if sum(workers.values()) > 1 or "lost" in workers:
        line.append(", workers: " + ", ".join(f"{count} {state}" for state, count in workers.items()))
    return line


def _messages(result: LoadResult) -> Text:
    totals, line = result.totals, Text()
    counts = {
        "accepted": totals.accepted, "4yz": totals.rejected_4xx, "5yz": totals.rejected_5xx,
        "dropped": totals.dropped, "timed out": totals.timeouts,
    }  # fmt: skip
    for name, count in counts.items():
        line.append(f"{number(count)} {name}  ", "" if name == "accepted" or not count else "bold red")
    return line


def _replies(figures: Mapping[str, Any]) -> Text:
    return Text("   ".join(f"{code} × {count:,}" for code, count in figures["replies"].items()))


def _generator(figures: Mapping[str, Any]) -> Text:
    """Whether it is the target that is measured: how busy and how late the generator itself is."""
    busy = figures["loop_busy"]
    line = Text.assemble(
        "busiest loop ", (f"{busy:.0%}", "bold red" if busy > BUSY else ""),
        f" of a core, p99 late by {milliseconds(figures['loop_lag_p99_ms'])}",
    )  # fmt: skip
    if figures["waiting"] is not None:
        line.append(f"; arrivals by {milliseconds(figures['schedule_lag_p99_ms'])}")
    return line


def _thresholds(thresholds: Sequence[Threshold], result: LoadResult) -> list[Text]:
    return [_threshold(threshold.check(result)) for threshold in thresholds]


def _threshold(found: ThresholdResult) -> Text:
    mark, style = ("✓", "green") if found.met else ("✗", "bold red")
    return Text.assemble((f"{mark} ", style), visible(found.expression), ("  " + measured(found), "dim"))


def _queue(figures: Mapping[str, Any], past: Past, width: int) -> list[Text]:
    """How many messages have arrived and are on their way, in a run whose mail is followed."""
    if "depth" not in figures:
        return []
    counts = f"{figures['accepted']:,} accepted, {figures['arrived']:,} delivered, "
    line = _line("delivery", Text(counts))
    line.append(f"{figures['depth']:,} queued", "bold").append("  ")
    line.append(_spark(past.depths, max(width - line.cell_len, 0)), "cyan")
    trouble = figures["trouble"]
    return [line, *([_line("observer", Text(visible(trouble), "bold red"))] if trouble else [])]


def _delivery(figures: Mapping[str, Any]) -> dict[str, PhaseStats]:
    found: Mapping[str, Mapping[str, float]] = figures.get("delivery") or {}
    return {name: PhaseStats.model_validate(stats) for name, stats in found.items() if stats}


def _phases(result: LoadResult, delivery: Mapping[str, PhaseStats], room: int) -> list[Text]:
    """The percentiles of as many phases as there is room for, in the order of a session."""
    rows: dict[str, PhaseStats] = {name: stats for name, stats in result.phases.items() if stats.count}
    if "transaction" in result.from_intended_start:
        rows[INTENDED] = result.from_intended_start["transaction"]
    rows |= delivery
    kept = sorted(rows, key=_interest)[: max(room - 1, 0)]
    if not kept:
        return []
    return [_header(), *(_row(name, rows[name]) for name in rows if name in kept)]


def _interest(name: str) -> int:
    return _BY_INTEREST.index(name) if name in _BY_INTEREST else len(_BY_INTEREST)


def _header() -> Text:
    names = ("count", "p50", "p90", "p99", "p99.9", "max")
    return Text(f"{'phase':<{LABEL + 2}}" + "".join(f"{name:>{FIGURE + 1}}" for name in names), "dim")


def _row(name: str, stats: PhaseStats) -> Text:
    figures = [number(stats.count)]
    figures += [
        milliseconds(ms) for ms in (stats.p50_ms, stats.p90_ms, stats.p99_ms, stats.p999_ms, stats.max_ms)
    ]
    style = "bold" if name in ("transaction", INTENDED, "end to end") else ""
    return Text(f"{name:<{LABEL + 2}}" + "".join(f"{figure:>{FIGURE + 1}}" for figure in figures), style)
