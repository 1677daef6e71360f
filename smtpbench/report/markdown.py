"""Markdown, for pull requests and job summaries: the conclusion, the findings with evidence, the figures."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from smtpbench.conformance.result import CaseResult
from smtpbench.load.result import Finding
from smtpbench.load.thresholds import measured
from smtpbench.report import capacity, delivery, digest, overload, retries, text
from smtpbench.report.model import Result, Run


def render_markdown(result: Result | Run) -> str:
    """`result` as GitHub-flavoured Markdown. Transcripts are given for findings only."""
    return markdown_environment().get_template("report.md.jinja").render(run=Run.of(result))


def _wire_block(case: CaseResult | Finding) -> str:
    lines = [
        f"{line.t_s:9.4f} {line.sender:>6}  {text.visible(part)}"
        for line in case.transcript
        for part in text.wire_lines(line.bytes)
    ]
    fence = text.fence(lines)
    return "\n".join([f"{fence}text", *lines, fence])


@cache
def markdown_environment() -> Environment:
    """The environment of all our Markdown: the filter `md` escapes."""
    environment = Environment(  # noqa: S701  Markdown has its own escaping: the filter `md`
        loader=PackageLoader("smtpbench.report"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "md": text.markdown,
        "ms": text.milliseconds,
        "seconds": text.seconds,
        "number": text.number,
        "wire_block": _wire_block,
    }
    environment.globals |= {
        "capacity": capacity,
        "delivery": delivery,
        "overload": overload,
        "digest": digest,
        "measured": measured,
        "retries": retries,
    }
    return environment
