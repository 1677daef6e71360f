"""One self-contained HTML page: no external resource, works without JavaScript, readable light and dark."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from smtpbench.conformance.result import Verdict
from smtpbench.load.thresholds import measured
from smtpbench.report import capacity, delivery, digest, overload, retries, text
from smtpbench.report.breakdown import breakdown, outcome_bar
from smtpbench.report.model import Result, Run


def render_html(result: Result | Run) -> str:
    """`result` as one HTML document. Raises UsageError if a latency histogram in it cannot be decoded."""
    from smtpbench.report.drawn import plots  # matplotlib: half of what a command would wait for at its start

    run = Run.of(result)
    script = resource("report.js")
    return (
        html_environment()
        .get_template("report.html.jinja")
        .render(
            run=run,
            first=run.halves[0],
            style=Markup(resource("report.css")),  # noqa: S704  our own file
            script=Markup(script),  # noqa: S704  our own file
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            plots=plots(run),
        )
    )


def resource(name: str) -> str:
    """The text of one of the files beside the templates."""
    return files("smtpbench.report").joinpath("templates", name).read_text(encoding="utf-8")


@cache
def html_environment() -> Environment:
    """The environment of all our pages: everything is escaped, and visible."""
    environment = Environment(
        loader=PackageLoader("smtpbench.report"),
        autoescape=True,
        finalize=_visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "fact": text.fact,
        "moment": text.moment,
        "ms": text.milliseconds,
        "seconds": text.seconds,
        "number": text.number,
        "wire_lines": text.wire_lines,
    }
    environment.globals |= {
        "breakdown": breakdown,
        "capacity": capacity,
        "delivery": delivery,
        "overload": overload,
        "digest": digest,
        "outcome_bar": outcome_bar,
        "measured": measured,
        "retries": retries,
        "Verdict": Verdict,
    }
    return environment


def _visible(value: Any) -> Any:
    """Escape what is not printable in every value a template shows; markup of our own passes."""
    return text.visible(value) if type(value) is str else value
