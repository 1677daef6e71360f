"""Our part of Locust's web page: a tab with the percentiles of each phase, and a page of charts over time.

Locust is extended as it documents: a blueprint for pages of our own, ``extended_tabs`` and
``extended_tables`` for a tab of its page, and ``extended_stats`` for what is in it. Its own charts are of
requests as a whole. Nothing is fetched from anywhere else.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import gevent
from flask import Blueprint, Response, request

from smtpbench.load.history import PERCENTS, History
from smtpbench.load.openmetrics import CONTENT_TYPE, exposition
from smtpbench.load.result import LoadResult

if TYPE_CHECKING:
    from smtpbench.load.control import Control

PATH = "/smtpbench"
TAB = "smtp-phases"
SAMPLE_S = 1.0

_COLUMNS = {
    "phase": "Phase", "count": "Count", "p50": "p50 (ms)", "p90": "p90 (ms)", "p99": "p99 (ms)",
    "p999": "p99.9 (ms)", "max": "Max (ms)",
}  # fmt: skip
_TYPES = {"charts.html": "text/html", "charts.js": "text/javascript", "charts.css": "text/css"}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def extend(web_ui: Any, control: Control) -> None:
    """Add the tab and the pages to Locust's web page of `control`."""
    history = History()
    web_ui.template_args |= {
        "extended_tabs": [{"title": "SMTP phases", "key": TAB}],
        "extended_tables": [
            {"key": TAB, "structure": [{"key": key, "title": title} for key, title in _COLUMNS.items()]}
        ],
        "extended_csv_files": [{"href": f"{PATH}/", "title": "Charts of the SMTP phases over time"}],
    }
    web_ui.app.after_request(lambda response: _with_phases(response, control))
    web_ui.app.register_blueprint(_pages(control, history))
    gevent.spawn(_sample, control, history)


def _sample(control: Control, history: History) -> None:
    """For as long as the process lives."""
    while True:
        history.sample(control.collector, control.progress())
        gevent.sleep(SAMPLE_S)


def _pages(control: Control, history: History) -> Blueprint:
    pages = Blueprint("smtpbench", __name__, url_prefix=PATH)

    @pages.get("/")
    @pages.get("/<any('charts.js', 'charts.css'):name>")
    def page(name: str = "charts.html") -> Response:
        text = files("smtpbench.load").joinpath("web", name).read_text(encoding="utf-8")
        return Response(text, mimetype=_TYPES[name], headers={"Content-Security-Policy": _POLICY})

    @pages.get("/figures")
    def figures() -> Response:
        after = request.args.get("after", 0.0, type=float)
        same = request.args.get("run", -1, type=int) == history.run
        points = [point for point in history.points if not same or point["t_s"] > after]
        return _json({"run": history.run, "percents": PERCENTS, "points": points, "now": control.progress()})

    @pages.get("/metrics")
    def metrics() -> Response:
        return Response(exposition(control), content_type=CONTENT_TYPE)

    return pages


def _json(value: Any) -> Response:
    return Response(json.dumps(value), mimetype="application/json")


def _with_phases(response: Response, control: Control) -> Response:
    """Locust's own answer on statistics with the rows of our tab in it."""
    if request.path != "/stats/requests" or response.status_code != 200:
        return response
    said: dict[str, Any] = json.loads(response.get_data())
    # Locust answers with one response again and again for a while: ours may be in it already
    others = [one for one in said.get("extended_stats", ()) if one["key"] != TAB]
    ours = {"key": TAB, "data": _rows(control.collector.glance())}
    response.set_data(json.dumps({**said, "extended_stats": [*others, ours]}))
    return response


def _rows(result: LoadResult) -> list[dict[str, Any]]:
    stats = dict(result.phases)
    if planned := result.from_intended_start.get("transaction"):
        stats["transaction, from its intended start"] = planned
    return [
        {"phase": name, "name": name, "count": one.count, "p50": one.p50_ms, "p90": one.p90_ms,
         "p99": one.p99_ms, "p999": one.p999_ms, "max": one.max_ms}
        for name, one in stats.items() if one.count
    ]  # fmt: skip
