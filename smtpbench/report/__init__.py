"""From result models to what people and CI read.

``render_X(run)`` are pure functions from a result, or a `Run` of both halves, to text.
``write_outputs`` writes the files that a command was asked for.
"""

from smtpbench.report.html import render_html
from smtpbench.report.json import render_json
from smtpbench.report.junit import render_junit
from smtpbench.report.markdown import render_markdown
from smtpbench.report.model import Result, Run
from smtpbench.report.read import read_run
from smtpbench.report.terminal import render_terminal
from smtpbench.report.write import write_outputs

__all__ = [
    "Result",
    "Run",
    "read_run",
    "render_html",
    "render_json",
    "render_junit",
    "render_markdown",
    "render_terminal",
    "write_outputs",
]
