from __future__ import annotations

import re

import pytest
from hdrh.histogram import HdrHistogram

from smtpbench.errors import UsageError
from smtpbench.load.recorder import phase_stats
from smtpbench.load.result import LoadResult, PhaseStats, TimelinePoint
from smtpbench.report import render_html
from smtpbench.report.breakdown import breakdown, outcome_bar
from smtpbench.report.plots import latency_plot, starts_plot, timeline_plot
from tests.report.conftest import HOSTILE


def stats(*values_ms: float) -> PhaseStats:
    histogram = HdrHistogram(1, 3_600_000_000, 3)
    for value in values_ms:
        histogram.record_value(int(value * 1000))
    return phase_stats(histogram)


def result(**phases: PhaseStats) -> LoadResult:
    return LoadResult(phases=phases)


def test_the_mean_is_spread_over_the_messages_and_the_medians_are_of_replies() -> None:
    found = breakdown(
        result(
            mail=stats(2, 2),
            rcpt=stats(1, 1, 1, 1),
            data=stats(1, 1),
            body=stats(2, 8),
            transaction=stats(7, 13),
        )
    )
    mean, median = found
    assert [(part.name, round(part.share, 2)) for part in mean.segments] == [
        ("mail", 0.2), ("rcpt", 0.2), ("data", 0.1), ("body", 0.5),
    ]  # fmt: skip
    assert (mean.title, mean.value, mean.length) == ("mean of a message", "10.0 ms", 1.0)
    assert mean.segments[3].value == "5.00 ms (50%)"
    assert median.value == "6.00 ms"  # 2 + 1 + 1 + 2
    assert median.length == pytest.approx(0.6, rel=0.01)
    assert sum(part.share for part in median.segments) == pytest.approx(1)


def test_opening_a_session_is_a_bar_of_its_own_and_only_with_what_happened() -> None:
    found = breakdown(result(connect=stats(1), banner=stats(3), tls=PhaseStats()))
    assert [bar.title for bar in found] == ["mean of a session opened", "medians"]
    assert [part.name for part in found[0].segments] == ["connect", "banner"]
    assert breakdown(result()) == []


def test_a_bar_of_a_result_without_histograms_is_made_of_medians() -> None:
    bare = {name: stats(4).model_copy(update={"hdr": ""}) for name in ("mail", "transaction")}
    assert breakdown(result(**bare))[0].value == "4.00 ms"


def test_a_damaged_histogram_is_a_usage_error() -> None:
    broken = result(mail=stats(1).model_copy(update={"hdr": "xx"}), transaction=stats(1))
    with pytest.raises(UsageError, match="phase mail"):
        breakdown(broken)


def test_the_bar_of_outcomes_adds_up() -> None:
    found = outcome_bar(LoadResult(outcomes={"accepted": stats(*[1] * 3), "timeouts": stats(9)}))
    assert found is not None
    assert [(part.name, part.value) for part in found.segments] == [
        ("accepted", "3 (75.0%)"), ("timed out", "1 (25.0%)"),
    ]  # fmt: skip
    assert outcome_bar(LoadResult()) is None


def labels(svg: str) -> set[str]:
    return set(re.findall(r">\s*([^<>]+?)\s*</text>", svg))


def test_a_line_for_each_phase_and_its_whole() -> None:
    found = labels(latency_plot(result(**{name: stats(*range(1, 200)) for name in (
        "connect", "tls", "banner", "ehlo", "starttls", "auth", "mail", "rcpt", "data", "body", "transaction",
        "session",
    )})))  # fmt: skip
    assert {"transaction", "connect", "starttls", "auth", "body", "50 %", "90 %", "99 %"} <= found
    assert "session" not in found
    assert "99.9 %" not in found  # 199 samples do not reach there
    assert latency_plot(result()) == ""


def test_the_intended_start_has_a_plot_if_there_was_a_plan() -> None:
    planned = result(transaction=stats(1, 2))
    assert starts_plot(planned) == ""
    planned.from_intended_start = {"transaction": stats(3, 4)}
    assert {"from the actual start", "from the intended start"} <= labels(starts_plot(planned))


def test_what_happened_in_each_second() -> None:
    points = [
        TimelinePoint(t_s=t, offered=50, accepted=40, failed=t % 2, sessions=3, p50_ms=1, p99_ms=9)
        for t in range(5)
    ]
    found = labels(timeline_plot(LoadResult(timeline=points)))
    assert {"offered", "accepted", "failed", "open sessions", "p50", "p99", "seconds from the start"} <= found
    old = [TimelinePoint(t_s=t, accepted=40, sessions=3, p50_ms=1, p99_ms=9) for t in range(5)]
    assert not {"offered", "failed"} & labels(timeline_plot(LoadResult(timeline=old)))
    assert timeline_plot(LoadResult(timeline=old[:1])) == ""


def test_what_a_server_said_is_text_on_the_page(load: LoadResult) -> None:
    load.refusals, load.outcomes = [HOSTILE], {"accepted": stats(1), "rejected_5xx": stats(2)}
    page = render_html(load)
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert page.count('class="parts"') >= 3
    assert not re.search(r'(?:src|href)="https?://(?!www\.rfc-editor\.org)', page)
