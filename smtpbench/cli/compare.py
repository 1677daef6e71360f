"""``smtpbench compare BASE NEW``: what is worse than it was."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from smtpbench.cli._common import HtmlOpt, JsonOpt, MarkdownOpt, QuietOpt
from smtpbench.errors import UsageError
from smtpbench.report import read_run
from smtpbench.report.compare import compare_runs
from smtpbench.report.compare_render import (
    render_comparison_html,
    render_comparison_json,
    render_comparison_markdown,
    render_comparison_terminal,
)
from smtpbench.report.write import write_text

BaseArg = Annotated[Path, typer.Argument(metavar="BASE", help="A run folder, or a JSON file: how it was.")]
NewArg = Annotated[Path, typer.Argument(metavar="NEW", help="Another of the same kind: how it is now.")]
ToleranceOpt = Annotated[
    str, typer.Option(metavar="SHARE", help="A smaller change of a figure is no change: 5% or 0.05.")
]


def compare(
    base: BaseArg,
    new: NewArg,
    *,
    tolerance: ToleranceOpt = "5%",
    json: JsonOpt = None,
    html: HtmlOpt = None,
    markdown: MarkdownOpt = None,
    quiet: QuietOpt = False,
) -> int:
    """Compare two runs of the same kind: verdicts that changed, and figures, with their noise in view.

    Exit code 1 if a case or a figure is worse, 3 if the runs cannot be compared (not valid, another workload,
    too short). Raises UsageError for files that are not ours or of different kinds.
    """
    allowed = read_share(tolerance)
    comparison = compare_runs(read_run(base), read_run(new), (base, new), tolerance=allowed)
    if json:
        write_text(json, render_comparison_json(comparison))
    if html:
        write_text(html, render_comparison_html(comparison))
    if markdown:
        write_text(markdown, render_comparison_markdown(comparison))
    if not quiet:
        Console().print(render_comparison_terminal(comparison))
    return comparison.exit_code


def read_share(text: str) -> float:
    """A share written as ``5%`` or ``0.05``. Raises UsageError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+)\s*(%?)", text.strip())
    share = float(found[1]) / (100 if found[2] else 1) if found else -1.0
    if not 0 <= share < 1:
        raise UsageError(f"--tolerance {text!r}: expected a share such as 5% or 0.05")
    return share
