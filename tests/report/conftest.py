"""Results to render: every verdict, hostile server bytes, real histograms."""

from __future__ import annotations

import random
from functools import cache

import pytest
from hdrh.histogram import HdrHistogram

from smtpbench.conformance.result import (
    CaseResult,
    ConformanceResult,
    Coverage,
    TargetInfo,
    TranscriptLine,
    Verdict,
)
from smtpbench.load.result import Generator, LoadResult, PhaseStats, Rates, TimelinePoint, Totals

HOSTILE = "550 </script><script>alert(1)</script> | `x` \x1b[2J\x07 \u202e \ud800 ]]> &amp; \x00 end"
"""What a server could answer to attack a terminal, a page, a table or an XML parser."""

SECTIONS = {Verdict.FAIL: "4.1.1.4", Verdict.PASS: "4.1.1.10", Verdict.NON_STRICT: "4.2"}


def case(
    verdict: Verdict, *, observed: str = "250 OK", section: str = "4.1.1.4", name: str = ""
) -> CaseResult:
    lines = [
        TranscriptLine(t_s=0.0, sender="note", bytes="connected to 127.0.0.1:2525"),
        TranscriptLine(t_s=0.0011, sender="server", bytes="220 mx.example ESMTP\\r\\n"),
        TranscriptLine(t_s=0.0013, sender="client", bytes="EHLO client.example.org\\r\\n"),
        TranscriptLine(
            t_s=0.0021, sender="server", bytes="250-mx.example\\r\\n250-SIZE 1000\\r\\n250 HELP\\r\\n"
        ),
        TranscriptLine(t_s=0.0027, sender="server", bytes=observed),
    ]
    return CaseResult(
        id=f"rfc5321.data.{name or verdict.value}",
        requirements=["5321-X-1", "5321-X-2"],
        rfc=5321,
        section=SECTIONS.get(verdict, section),
        level="MUST NOT",
        verdict=verdict,
        title=f"A case that ends as {verdict.value}",
        expected="a 5yz reply, or the connection closed after 421",
        observed=observed,
        reason="not offered: CHUNKING" if verdict is Verdict.UNTESTED else None,
        duration_s=0.0123,
        transcript=lines,
        repro="smtpbench conform embedded --select 'rfc5321.data.*'",
    )


@pytest.fixture
def conformance() -> ConformanceResult:
    cases = [case(verdict) for verdict in Verdict] + [case(Verdict.FAIL, observed=HOSTILE, name="hostile")]
    return ConformanceResult(
        smtpbench="0.1.0",
        started="2026-01-02T03:04:05Z",
        duration_s=3.25,
        target=TargetInfo(
            name=f"target {HOSTILE}",
            endpoints={"mx": "127.0.0.1:2525"},
            greeting="220 mx.example ESMTP",
            extensions=["SIZE 1000", "PIPELINING"],
        ),
        summary={verdict: sum(c.verdict is verdict for c in cases) for verdict in Verdict},
        coverage=Coverage(requirements=20, tested=5),
        cases=cases,
    )


@cache
def phase(median_us: float, count: int, seed: int) -> PhaseStats:
    """A log-normal phase, with its true histogram."""
    histogram = HdrHistogram(1, 3_600_000_000, 3)
    draw = random.Random(seed)
    for _ in range(count):
        histogram.record_value(max(1, int(draw.lognormvariate(0, 0.5) * median_us)))
    p50, p90, p99, p999 = (histogram.get_value_at_percentile(p) / 1000 for p in (50, 90, 99, 99.9))
    encoded = histogram.encode().decode("ascii")
    return PhaseStats(
        count=count,
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99,
        p999_ms=p999,
        max_ms=histogram.get_max_value() / 1000,
        hdr=encoded,
    )


@pytest.fixture
def load() -> LoadResult:
    medians = {"connect": 90, "banner": 300, "ehlo": 210, "mail": 180, "rcpt": 240, "data": 150, "body": 900}
    phases = {
        name: phase(median, 2000, seed).model_copy() for seed, (name, median) in enumerate(medians.items())
    }
    phases["transaction"] = phase(1500, 5000, 99).model_copy()
    return LoadResult(
        smtpbench="0.1.0",
        started="2026-01-02T03:04:09Z",
        duration_s=10.0,
        target={
            "name": "embedded",
            "role": "mx",
            "endpoint": "127.0.0.1:2525",
            "greeting": "mx.example ESMTP",
            "extensions": ["PIPELINING"],
        },
        workload={"users": 8, "pipelining": True, "message_size": 1024},
        totals=Totals(sessions=40, accepted=5000, rejected_4xx=3, dropped=1),
        rates=Rates(accepted_per_s=500.25),
        phases=phases,
        replies={"250": 15000, "354": 5000, "451": 3},
        timeline=[
            TimelinePoint(t_s=t, accepted=480 + 10 * (t % 5), sessions=8, p50_ms=1.5, p99_ms=4.0 + t % 3)
            for t in range(10)
        ],
        generator=Generator(cpu_s=1.2, cpu_us_per_message=240.0, loop_lag_p99_ms=0.4),
    )
