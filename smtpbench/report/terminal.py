"""The summary that ends a command on a terminal."""

from __future__ import annotations

import io
from itertools import compress

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from smtpbench.campaign.fault_result import FaultResult, OverloadResult
from smtpbench.campaign.result import QueueResult
from smtpbench.campaign.retry_result import Judged, Retries
from smtpbench.conformance.result import CaseResult, ConformanceResult, Verdict
from smtpbench.load.capacity_result import CapacityResult
from smtpbench.load.result import LoadResult, PhaseStats
from smtpbench.load.thresholds import measured
from smtpbench.report import capacity, delivery, digest, overload, retries
from smtpbench.report.capacity import conclude_capacity
from smtpbench.report.conclusion import Conclusion
from smtpbench.report.model import Result, Run
from smtpbench.report.text import milliseconds, number, visible

_STYLES = {
    Verdict.PASS: "green",
    Verdict.FAIL: "bold red",
    Verdict.NON_STRICT: "yellow",
    Verdict.HARDENED: "cyan",
    Verdict.INFO: "blue",
    Verdict.UNTESTED: "dim",
    Verdict.ERROR: "bold magenta",
}
_TONES = {"good": "bold green", "warn": "bold yellow", "bad": "bold red"}
SUMMARY_WIDTH = 110
_INDENT = (0, 0, 0, 4)
_LONGEST = 200  # characters of one text of a finding


def render_terminal(result: Result | Run) -> RenderableType:
    """`result` as a rich renderable: counts, findings, reasons for what was not tested, load figures."""
    run = Run.of(result)
    parts: list[RenderableType] = []
    if run.conformance:
        parts += _conformance(run.conformance)
    if run.retries:
        parts += ([Text()] if parts else []) + _retries(run.retries, run.target.name)
    elif run.queue:
        parts += ([Text()] if parts else []) + _queue(run.queue, run.target.name)
    if run.measured:
        parts += ([Text()] if parts else []) + _load(run.measured, Run(load=run.load).target.name)
    if run.capacity:
        parts += ([Text()] if parts else []) + _capacity(run.capacity, Run(capacity=run.capacity).target.name)
    if run.overload:
        parts += ([Text()] if parts else []) + _overload(run.overload, Run(overload=run.overload).target.name)
    return Group(*parts)


def render_summary_text(result: Result | Run) -> str:
    """What `render_terminal` shows, as plain text of at most `SUMMARY_WIDTH` columns."""
    buffer = io.StringIO()
    console = Console(
        file=buffer, width=SUMMARY_WIDTH, color_system=None, force_terminal=False, legacy_windows=False
    )
    console.print(render_terminal(result))
    return "".join(f"{line.rstrip()}\n" for line in buffer.getvalue().splitlines())


def _conformance(result: ConformanceResult) -> list[RenderableType]:
    parts: list[RenderableType] = [
        _heading("Conformance", result.target.name, digest.conclude_conformance(result)),
        _counts(result),
        Text(f"{result.coverage.tested} of {result.coverage.requirements} requirements tested", "dim"),
    ]
    if found := digest.findings(result):
        parts += [line for case in found for line in _finding(case)]
    if reasons := digest.untested_reasons(result):
        parts += [Text(), Text("untested", _STYLES[Verdict.UNTESTED])]
        parts += [Text(f"  {count:>3}  {visible(reason)}", "dim") for reason, count in reasons]
    return parts


def _heading(half: str, name: str, conclusion: Conclusion) -> Text:
    return Text.assemble(
        (f"{half} of {visible(name)}: ", "bold"), (visible(conclusion.text), _TONES[conclusion.tone])
    )


def _counts(result: ConformanceResult) -> Text:
    line = Text()
    for verdict in Verdict:
        count = result.summary.get(verdict, 0)
        line.append(f"{digest.MARKS[verdict]} {verdict.value} {count}", _STYLES[verdict] if count else "dim")
        line.append("   ")
    line.rstrip()
    return line


def _finding(case: CaseResult) -> list[RenderableType]:
    """What was asked, expected and seen, long texts cut: the other forms of the report have them whole."""
    style = _STYLES[case.verdict]
    seen = {"expected": case.expected, "observed": case.observed}
    if case.reason:
        seen["reason"] = case.reason
    return [
        Text(),
        Text.assemble(
            (f"{digest.MARKS[case.verdict]} {case.verdict.value}  ", style), (visible(case.id), "bold")
        ),
        Padding(Text(f"{visible(case.title)} ({case.level}, {digest.place(case)})"), _INDENT),
        *(
            Padding(Text.assemble((f"{name}: ", "dim"), _shortened(visible(value))), _INDENT)
            for name, value in seen.items()
            if value
        ),
    ]


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _queue(result: QueueResult, name: str) -> list[RenderableType]:
    counts = result.ledger.model_dump()
    line = Text()
    for word, shown in delivery.LEDGER.items():
        bad = word in result.wrong
        line.append(f"{number(counts[word])} {shown}   ", _TONES["bad"] if bad else "")
    line.rstrip()
    parts: list[RenderableType] = [_heading("Delivery", name, delivery.conclude_delivery(result)), line]
    parts += [Text(visible(sentence)) for sentence in delivery.sentences(result)]
    for word, identifiers in delivery.examples(result):
        parts.append(Text(f"  {word}: {visible(identifiers)}", "dim"))
    if rows := delivery.latencies(result):
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        table.add_column("time to delivery")
        for heading in ("copies", "p50", "p90", "p99", "p99.9", "max"):
            table.add_column(heading, justify="right")
        for row, values in rows:
            table.add_row(row, *values)
        parts += [Text(), table]
    if len(result.domains) > 1:
        parts += [Text(), _domains(result)]
    return parts


def _retries(found: Retries, target: str) -> list[RenderableType]:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for heading in ("message", "verdict"):
        table.add_column(heading, no_wrap=True)
    table.add_column("tries", justify="right")
    for heading in ("intervals", "end"):
        table.add_column(heading, no_wrap=True)
    for message, cells in retries.rows(found):
        table.add_row(
            message.kind,
            Text(message.verdict.value, _STYLES[message.verdict]),
            *(visible(cell) for cell in cells[1:4]),
        )
    for rule in found.schedule:
        table.add_row(rule.name, Text(rule.verdict.value, _STYLES[rule.verdict]), "", "", "")
    judged: list[tuple[str, Judged]] = [(one.kind, one) for one in found.messages]
    judged += [(rule.name, rule) for rule in found.schedule]
    reasons = [
        Text.assemble(
            (f"{digest.MARKS[judgement.verdict]} {judgement.verdict.value}  ", _STYLES[judgement.verdict]),
            (name, "bold"),
            f": {visible(retries.why(judgement))}",
        )
        for name, judgement in judged
        if judgement.reason
    ]  # fmt: skip
    said = [Text(visible(sentence)) for sentence in retries.sentences(found)]
    concluded = _heading("Retries", target, retries.conclude_retries(found))
    return [concluded, *said, Text(), table, Text(), *reasons]


def _domains(result: QueueResult) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("domain", overflow="fold")
    for heading in ("copies", "delivered", "when the load ended", "p50", "p99"):
        table.add_column(heading, justify="right")
    for one in result.domains:
        latencies = (milliseconds(one.in_queue.p50_ms), milliseconds(one.in_queue.p99_ms))
        table.add_row(
            visible(one.domain), number(one.copies), number(one.delivered), f"{one.in_time:.1%}", *latencies
        )
    return table


def _overload(result: OverloadResult, name: str) -> list[RenderableType]:
    parts: list[RenderableType] = [_heading("Faults", name, overload.conclude_overload(result))]
    parts += [Text(visible(sentence)) for sentence in overload.promises(result)]
    for fault in result.faults:
        parts += [Text(), *_fault(fault)]
    return parts


def _fault(fault: FaultResult) -> list[RenderableType]:
    lines: list[RenderableType] = [
        Text.assemble((visible(fault.fault), "bold"), f"  {visible(fault.words)}"),
        *(Padding(Text(visible(sentence)), _INDENT) for sentence in overload.sentences(fault)),
    ]
    for check in fault.checks:
        mark = f"{digest.MARKS[check.verdict]} {check.verdict.value}  "
        words = f"{check.id} ({overload.basis(check)}): {check.reason or check.observed}"
        lines.append(Padding(Text.assemble((mark, _STYLES[check.verdict]), visible(words)), _INDENT))
    return lines


def _load(result: LoadResult, name: str) -> list[RenderableType]:
    totals, rates = result.totals, result.rates
    parts: list[RenderableType] = [
        _heading("Load", name, digest.conclude_load(result)),
        *(Text(f"not valid: {visible(reason)}", _TONES["bad"]) for reason in result.invalid_reasons),
        *(Text(f"generator: {visible(text)}", _TONES["warn"]) for text in result.generator.warnings),
        *_limits(result),
        *(Text(f"note: {visible(note)}", _TONES["warn"]) for note in result.notes),
        *_thresholds(result),
        Text(
            f"{number(totals.accepted)} accepted, {number(totals.rejected_4xx)} × 4yz, "
            f"{number(totals.rejected_5xx)} × 5yz, {number(totals.dropped)} dropped, "
            f"{number(totals.timeouts)} timed out"
        ),
        Text(
            f"{number(rates.offered_per_s)} messages/s offered"
            f"{f', {number(totals.missed)} not sent in time' if totals.missed else ''}, "
            f"{number(totals.sessions)} sessions"
        ),
    ]
    if digest.phases(result):
        parts += [Text(), _phase_table(result)]
    parts += _outcomes(result) + _mix(result) + _abnormal(result) + _invariants(result)
    facts = ", ".join(f"{name} {value}" for name, value in digest.generator(result).items())
    return [*parts, Text(), Text(f"generator: {facts}", "dim")]


def _mix(result: LoadResult) -> list[RenderableType]:
    """Each kind of session, if the workload was a mix."""
    if not result.traffic:
        return []
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("kind of session")
    for heading in ("sessions", "accepted", "failed", *_SIDE_BY_SIDE):
        table.add_column(heading, justify="right")
    for row in digest.mix(result):
        counts = map(number, (row.seen.sessions, row.seen.accepted, row.failed))
        table.add_row(visible(row.name), *counts, *_cells(row.seen.transaction))
    return [Text(), table]


def _abnormal(result: LoadResult) -> list[RenderableType]:
    rows = digest.abnormal(result)
    if not rows:
        return []
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("abnormal", no_wrap=True)
    happened = [any(counts) for counts in zip(*(row.counts for row in rows), strict=True)]
    for heading in compress(digest.ABNORMAL_HEADINGS, happened):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(visible(row.name), *map(number, compress(row.counts, happened)))
    return [Text(), table, Text(digest.ABNORMAL_MEANS, "dim")]


def _invariants(result: LoadResult) -> list[RenderableType]:
    """What was watched; of each finding what was seen, and where it was seen first."""
    if not (watched := digest.watched(result)):
        return []
    parts: list[RenderableType] = [Text(), Text(watched, "dim" if not result.invariants.findings else "")]
    for one in result.invariants.findings:
        style = _STYLES[Verdict(one.verdict)]
        mark = digest.MARKS[Verdict(one.verdict)]
        seen = {"expected": one.expected, f"seen {number(one.count)}×, first": one.observed}
        parts += [
            Text(),
            Text.assemble((f"{mark} {one.verdict}  ", style), (visible(one.id), "bold")),
            Padding(Text(f"{visible(one.title)} ({one.level}, RFC {one.rfc} §{one.section})"), _INDENT),
            *(
                Padding(Text.assemble((f"{name}: ", "dim"), _shortened(visible(value))), _INDENT)
                for name, value in seen.items()
            ),
        ]
    return parts


def _outcomes(result: LoadResult) -> list[RenderableType]:
    """Each outcome from both starts; where there is no plan, a table only if not all were accepted."""
    rows = digest.outcomes(result)
    if not rows:
        return []
    planned = bool(result.from_intended_start)
    parts: list[RenderableType] = []
    if planned or [row.name for row in rows] != ["accepted"]:
        parts += [Text(), _outcome_table(rows, planned=planned)]
    if any(row.name == "missed" for row in rows):
        parts.append(Text(digest.MISSED_MEANS, "dim"))
    return parts if planned else [*parts, Text(), Text(digest.NO_PLAN, "dim")]


_SIDE_BY_SIDE = {"p50": "p50_ms", "p99": "p99_ms", "max": "max_ms"}  # fits 80 columns, twice


def _outcome_table(rows: list[digest.OutcomeRow], *, planned: bool) -> Table:
    """Actual start on the left, intended start on the right."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("outcome")
    table.add_column("count", justify="right")
    for side in ("actual", "intended") if planned else ("actual",):
        for name in _SIDE_BY_SIDE:
            table.add_column(f"{side}\n{name}" if planned else name, justify="right")
    for row in rows:
        cells = [_cells(row.actual), _cells(row.intended)] if planned else [_cells(row.actual)]
        table.add_row(row.name, number(row.count), *(cell for side in cells for cell in side))
    return table


def _cells(stats: PhaseStats) -> list[str]:
    if not stats.count:
        return ["–"] * len(_SIDE_BY_SIDE)
    return [milliseconds(getattr(stats, field)) for field in _SIDE_BY_SIDE.values()]


def _capacity(result: CapacityResult, name: str) -> list[RenderableType]:
    return [
        _heading("Capacity", name, conclude_capacity(result)),
        *_limits(result),
        *(Text(visible(sentence)) for sentence in capacity.sentences(result)),
    ]


def _limits(result: LoadResult | CapacityResult) -> list[RenderableType]:
    return [Text(visible(sentence), _TONES["warn"]) for sentence in digest.limits(result)]


def _thresholds(result: LoadResult) -> list[RenderableType]:
    """Each with what was measured."""
    return [
        Text.assemble(
            (f"threshold {'met' if one.met else 'broken'}: ", _TONES["good" if one.met else "bad"]),
            f"{visible(one.expression)}: {measured(one)}",
        )
        for one in result.thresholds
    ]


def _phase_table(result: LoadResult) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("phase")
    for heading in ("count", "p50", "p90", "p99", "p99.9", "max"):
        table.add_column(heading, justify="right")
    for name, stats in digest.phases(result):
        values = (stats.p50_ms, stats.p90_ms, stats.p99_ms, stats.p999_ms, stats.max_ms)
        table.add_row(visible(name), number(stats.count), *(milliseconds(value) for value in values))
    return table
