"""Our tab and our pages on Locust's web page, while a run goes on."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from http.client import HTTPException
from importlib.resources import files
from typing import Any
from urllib.request import urlopen

import pytest

from smtpbench.load.run import run_load
from smtpbench.load.workload import Workload
from tests.load.conftest import Running
from tests.load.test_run import free_port

WATCHED = (
    "/", "/smtpbench/", "/smtpbench/charts.js", "/smtpbench/charts.css", "/smtpbench/metrics",
    "/smtpbench/figures?run=-1", "/stats/requests",
)  # fmt: skip
PAGES = ("charts.html", "charts.js", "charts.css")


async def test_the_charts_and_the_tab_show_the_phases(running: Running) -> None:
    port = free_port()
    pages: dict[str, tuple[str, str]] = {}
    seen: list[dict[str, Any]] = []

    def get(path: str) -> str:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as page:
            pages[path] = page.headers["Content-Type"], page.headers.get("Content-Security-Policy", "")
            return str(page.read().decode())

    def look(_figures: Mapping[str, Any]) -> None:
        with suppress(OSError, HTTPException):  # the last figures may be read when the page is gone
            seen.append({path: get(path) for path in WATCHED})

    async with running() as (_, target):
        result = await asyncio.to_thread(
            run_load,
            target,
            Workload(rate=50.0, arrivals="constant", run_time=4),
            progress=look,
            web_port=port,
        )
    last = seen[-1]
    figures = json.loads(last["/smtpbench/figures?run=-1"])
    assert sum(point["per_s"]["accepted"] for point in figures["points"]) > 0
    assert {"mail", "rcpt", "data", "body", "transaction", "intended"} <= set(figures["points"][-1]["ms"])
    assert 0 < figures["now"]["accepted"] <= result.totals.accepted
    assert '"extended_tabs": [{"key": "smtp-phases", "title": "SMTP phases"}]' in last["/"]
    (tab,) = json.loads(last["/stats/requests"])["extended_stats"]
    rows = {row["phase"]: row for row in tab["data"]}
    assert rows["body"]["count"] > 0
    assert rows["body"]["p50"] <= rows["body"]["max"]
    assert last["/smtpbench/metrics"].endswith("# EOF\n")
    assert pages["/smtpbench/charts.js"][0].startswith("text/javascript")
    assert "default-src 'none'" in pages["/smtpbench/"][1]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_fetches_nothing_from_elsewhere_and_makes_no_markup_of_text(name: str) -> None:
    text = files("smtpbench.load").joinpath("web", name).read_text(encoding="utf-8")
    assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text) == []
    assert "innerHTML" not in text
    assert " style=" not in text
