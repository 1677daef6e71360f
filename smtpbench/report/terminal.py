"""The summary that ends a command on a terminal."""

from __future__ import annotations

import io

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from smtpbench.conformance.result import CaseResult, ConformanceResult, Verdict
from smtpbench.load.result import LoadResult
from smtpbench.report import digest
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


def render_terminal(result: Result | Run) -> RenderableType:
    """`result` as a rich renderable: counts, findings, reasons for what was not tested, load figures."""
    run = Run.of(result)
    parts: list[RenderableType] = []
    if run.conformance:
        parts += _conformance(run.conformance)
    if run.load:
        parts += ([Text()] if parts else []) + _load(run.load, Run(load=run.load).target.name)
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
        parts += [Text(), _findings_table(found)]
    if reasons := digest.untested_reasons(result):
        parts += [Text(), Text("untested", _STYLES[Verdict.UNTESTED])]
        parts += [Text(f"  {count:>3}  {visible(reason)}", "dim") for reason, count in reasons]
    return parts


def _heading(half: str, name: str, conclusion: digest.Conclusion) -> Text:
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


def _findings_table(found: list[CaseResult]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, expand=False)
    table.add_column("verdict", no_wrap=True)
    table.add_column("case", ratio=2, overflow="fold")
    table.add_column("level", no_wrap=True)
    table.add_column("expected", ratio=2, overflow="fold")
    table.add_column("observed", ratio=2, overflow="fold")
    for case in found:
        observed = case.reason or case.observed if case.verdict is Verdict.ERROR else case.observed
        table.add_row(
            Text(case.verdict.value, _STYLES[case.verdict]),
            *(Text(visible(cell)) for cell in (case.id, case.level, case.expected, observed)),
        )
    return table


def _load(result: LoadResult, name: str) -> list[RenderableType]:
    totals, rates = result.totals, result.rates
    parts: list[RenderableType] = [
        _heading("Load", name, digest.conclude_load(result)),
        *(Text(f"not valid: {visible(reason)}", _TONES["bad"]) for reason in result.invalid_reasons),
        Text(
            f"{number(rates.accepted_per_s)} messages/s accepted, {number(rates.offered_per_s)} offered   "
            f"{number(totals.accepted)} accepted, {number(totals.rejected_4xx)} × 4yz, "
            f"{number(totals.rejected_5xx)} × 5yz, {number(totals.dropped)} dropped, "
            f"{number(totals.timeouts)} timed out"
            f"{f', {number(totals.missed)} not sent in time' if totals.missed else ''}"
            f"   {number(totals.sessions)} sessions"
        ),
    ]
    if digest.phases(result):
        parts += [Text(), _phase_table(result)]
    return parts


def _phase_table(result: LoadResult) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("phase")
    for heading in ("count", "p50", "p90", "p99", "p99.9", "max"):
        table.add_column(heading, justify="right")
    for name, stats in digest.phases(result):
        values = (stats.p50_ms, stats.p90_ms, stats.p99_ms, stats.p999_ms, stats.max_ms)
        table.add_row(visible(name), number(stats.count), *(milliseconds(value) for value in values))
    return table
