"""What a Prometheus server scrapes: read by its own parser, and held against what was recorded."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from contextlib import suppress
from http.client import HTTPException
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from smtpbench.errors import UsageError
from smtpbench.load.openmetrics import BOUNDS_S, buckets
from smtpbench.load.recorder import COUNTS_LENGTH, indices
from smtpbench.load.run import run_load
from smtpbench.load.workload import Workload
from tests.load.conftest import Running, Script

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def parsed(text: str) -> tuple[dict[str, Any], Samples]:
    """The families by name, and each sample by its name and labels."""
    families = {family.name: family for family in text_string_to_metric_families(text)}
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): float(sample.value)
        for family in families.values()
        for sample in family.samples
    }
    return families, samples


class Scraper:
    """Scrapes at each progress the address that a notice told."""

    def __init__(self) -> None:
        self.url = ""
        self.type = ""
        self.texts: list[str] = []

    def notice(self, line: str) -> None:
        self.url = line.rpartition(" ")[2]

    def progress(self, _figures: Mapping[str, Any]) -> None:
        # the last figures may be read when the run is over
        with suppress(OSError, HTTPException), urlopen(self.url, timeout=5) as answer:  # noqa: S310 - http, and ours
            self.type = answer.headers["Content-Type"]
            self.texts.append(answer.read().decode())


async def test_a_run_can_be_scraped(running: Running) -> None:
    scraper = Scraper()
    script = Script(after_content=lambda n: b"451 later\r\n" if n == 3 else b"250 ok\r\n")
    async with running(script) as (server, target):
        result = await asyncio.to_thread(
            run_load, target, Workload(rate=100.0, arrivals="constant", run_time=3),
            progress=scraper.progress, notice=scraper.notice, metrics=("127.0.0.1", 0),
        )  # fmt: skip
    assert scraper.url.startswith("http://127.0.0.1:")
    assert scraper.type == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert scraper.texts[-1].endswith("# EOF\n")
    assert result.totals.rejected_4xx == 1
    families, samples = parsed(scraper.texts[-1])
    accepted = samples["smtpbench_messages_total", (("outcome", "accepted"),)]
    assert 100 <= accepted <= result.totals.accepted <= len(server.contents)
    assert samples["smtpbench_messages_total", (("outcome", "rejected_4xx"),)] == 1
    assert samples["smtpbench_replies_total", (("code", "354"),)] >= accepted
    assert samples["smtpbench_phase_seconds_count", (("phase", "transaction"),)] == accepted
    assert samples["smtpbench_from_intended_start_seconds_count", (("outcome", "accepted"),)] == accepted
    assert (families["smtpbench_phase_seconds"].type, families["smtpbench_phase_seconds"].unit) == (
        "histogram", "seconds",
    )  # fmt: skip
    assert families["smtpbench_messages"].type == "counter"
    assert families["smtpbench_sessions_open"].type == "gauge"
    earlier = parsed(scraper.texts[0])[1]
    falling = [
        key for key in earlier if key[0].endswith(("_total", "_count")) and samples[key] < earlier[key]
    ]
    assert falling == []


async def test_a_host_that_nobody_knows_is_one_line(running: Running) -> None:
    async with running() as (server, target):
        with pytest.raises(UsageError, match=r"^--metrics nowhere\.invalid:9100: [A-Z][a-z ]+$"):
            await asyncio.to_thread(
                run_load, target, Workload(users=1, messages=1), metrics=("nowhere.invalid", 9100)
            )
        assert not server.contents


async def test_an_address_that_is_taken_is_one_line(running: Running) -> None:
    async with running() as (server, target):
        with pytest.raises(UsageError, match=r"^--metrics 127\.0\.0\.1:\d+: Address already in use$"):
            await asyncio.to_thread(
                run_load, target, Workload(users=1, messages=1), metrics=("127.0.0.1", target.main.port)
            )
        assert not server.contents


def test_the_buckets_are_what_was_recorded() -> None:
    took = np.array([1, 99, 100, 101, 999, 1000, 5_000, 5_050, 60_000_000, 400_000_000], np.int64)
    found, total = buckets(np.bincount(indices(took), minlength=COUNTS_LENGTH))
    limits = [*BOUNDS_S, math.inf]
    assert [float(bound) for bound, _ in found] == limits
    assert [count for _, count in found] == [int(np.sum(took <= limit * 1e6)) for limit in limits]
    assert total == pytest.approx(took.sum() / 1e6, rel=0.001)
