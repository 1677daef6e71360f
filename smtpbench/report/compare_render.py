"""A comparison for a terminal, as Markdown and as one HTML page. What a server said is escaped."""

from __future__ import annotations

import json
from collections.abc import Sequence

from markupsafe import Markup
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from smtpbench.report.comparison import CaseChange, Comparison, Figure
from smtpbench.report.html import html_environment, resource
from smtpbench.report.markdown import markdown_environment
from smtpbench.report.text import milliseconds, number, seconds, visible

TONES = {"good": "bold green", "warn": "bold yellow", "bad": "bold red"}
STYLES = {"worse": "bold red", "better": "green", "changed": "cyan", "no change": "dim", "not judged": "dim"}
PILLS = {
    "worse": "fail",
    "better": "pass",
    "changed": "info",
    "no change": "untested",
    "not judged": "untested",
}
FIGURE_HEADINGS = ("figure", "base", "new", "change", "noise", "")
CASE_HEADINGS = ("", "case", "base", "new", "observed now")


def render_comparison_terminal(comparison: Comparison) -> RenderableType:
    """The conclusion, what a reader has to know first, the cases that changed, and all figures."""
    conclusion = comparison.conclusion
    sides = f"{visible(comparison.base.path)} → {visible(comparison.new.path)}: "
    parts: list[RenderableType] = [
        Text.assemble((sides, "bold"), (visible(conclusion.text), TONES[conclusion.tone]))
    ]
    parts += [Text(f"not comparable: {visible(reason)}", "yellow") for reason in comparison.inconclusive]
    parts += [Text(visible(note), "dim") for note in comparison.notes]
    if comparison.cases:
        rows = [[Text(cell) for cell in case_row(case)] for case in comparison.cases]
        parts.append(_table(CASE_HEADINGS, rows, [case.judged for case in comparison.cases], right=0))
    if comparison.figures:
        rows = [[Text(cell) for cell in figure_row(figure)] for figure in comparison.figures]
        parts.append(_table(FIGURE_HEADINGS, rows, [figure.judged for figure in comparison.figures], right=4))
    return Group(*parts)


def _table(headings: Sequence[str], rows: list[list[Text]], judged: Sequence[str], *, right: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="right" if 0 < index <= right else "left", overflow="fold")
    for cells, how in zip(rows, judged, strict=True):
        table.add_row(*cells, style=STYLES[how])
    return table


def case_row(case: CaseChange) -> tuple[str, ...]:
    """A case under `CASE_HEADINGS`."""
    words = (case.judged, case.id, case.base or "–", case.new or "–", case.observed)
    return tuple(map(visible, words))


def figure_row(figure: Figure) -> tuple[str, ...]:
    """A figure under `FIGURE_HEADINGS`."""
    change = "–" if figure.change is None else f"{figure.change:+.1%}"
    noise = "–" if figure.noise is None else f"± {figure.noise:.1%}"
    return figure.name, _value(figure, figure.base), _value(figure, figure.new), change, noise, figure.judged


def _value(figure: Figure, value: float | None) -> str:
    if value is None:
        return "–"
    match figure.unit:
        case "ms":
            return milliseconds(value)
        case "us":
            return milliseconds(value / 1000)
        case "s":
            return seconds(value)
        case "share":
            return f"{value:.3%}"
        case "per_s":
            return f"{number(value)}/s"
    return number(value)


def render_comparison_json(comparison: Comparison) -> str:
    """The public schema, indented, all ASCII."""
    return json.dumps(comparison.model_dump(by_alias=True), indent=2) + "\n"


def render_comparison_markdown(comparison: Comparison) -> str:
    """GitHub-flavoured Markdown, for a pull request."""
    return markdown_environment().get_template("comparison.md.jinja").render(**_context(comparison))


def render_comparison_html(comparison: Comparison) -> str:
    """One self-contained HTML document, without a script."""
    return (
        html_environment()
        .get_template("comparison.html.jinja")
        .render(
            style=Markup(resource("report.css")),  # noqa: S704  our own file
            **_context(comparison),
        )
    )


def _context(comparison: Comparison) -> dict[str, object]:
    return {
        "comparison": comparison,
        "case_headings": CASE_HEADINGS,
        "case_row": case_row,
        "figure_headings": FIGURE_HEADINGS,
        "figure_row": figure_row,
        "pills": PILLS,
    }
