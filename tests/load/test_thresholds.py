from __future__ import annotations

import pytest

from smtpbench.errors import UsageError
from smtpbench.load.result import AbnormalCounts, LoadResult, OfAKind, PhaseStats, Rates, Totals
from smtpbench.load.thresholds import measured, parse_threshold, require_kinds, useless

RESULT = LoadResult(
    totals=Totals(accepted=990, rejected_4xx=5, rejected_5xx=2, dropped=2, timeouts=1),
    rates=Rates(accepted_per_s=99.0),
    phases={"body": PhaseStats(count=990, p50_ms=2, p99_ms=40, max_ms=90)},
    outcomes={"rejected_4xx": PhaseStats(count=5, p99_ms=7)},
    from_intended_start={
        "transaction": PhaseStats(count=990, p99_ms=120),
        "missed": PhaseStats(count=2, p99_ms=900),
    },
    duration_s=10.0,
    traffic={
        "mx, starttls": OfAKind(
            sessions=3,
            accepted=30,
            dropped=10,
            phases={"body": PhaseStats(count=30, p99_ms=12)},
            from_intended_start={"transaction": PhaseStats(count=30, p99_ms=33)},
        )
    },
    abnormal={"unknown-recipient": AbnormalCounts(sent=9, rejected_5xx=9)},
)


@pytest.mark.parametrize(
    "text",
    [
        "body.p99 < 500ms", "body.p99<0.05s", "body.max <= 90ms", "body.p50 < 2001us", "error_rate <= 1%",
        "error_rate < 0.011", "accepted_per_s >= 99", "dropped < 3", "intended.p99 < 121ms",
        "rejected_4xx.p99 < 8ms", "rejected_4xx < 6", "intended.missed.p99 < 1s",
        "traffic.mx, starttls.body.p99 < 13ms", "traffic.mx, starttls.intended.p99 <= 33ms",
        "traffic.mx, starttls.error_rate <= 25%", "traffic.mx, starttls.accepted_per_s >= 3",
        "abnormal.unknown-recipient.accepted < 1", "abnormal.unknown-recipient.rejected_5xx >= 9",
    ],
)  # fmt: skip
def test_met(text: str) -> None:
    assert parse_threshold(text).check(RESULT).met


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("body.p99 < 40ms", "measured 40.000 ms"),
        ("error_rate < 1%", "measured 1.000%"),
        ("accepted_per_s > 99", "measured 99"),
        ("mail.p99 < 1s", "never happened"),
        ("intended.p99 < 100ms", "measured 120.000 ms"),
        ("rejected_4xx.p99 < 7ms", "measured 7.000 ms"),
        ("rejected_5xx.p99 < 1s", "never happened"),
        ("abnormal.unknown-recipient.rejected_5xx < 9", "measured 9"),
        ("abnormal.oversize.accepted < 1", "never happened"),
        ("traffic.mx, starttls.error_rate < 25%", "measured 25.000%"),
        ("traffic.mx, starttls.body.p99 < 12ms", "measured 12.000 ms"),
        ("traffic.mx, starttls.rcpt.p99 < 12ms", "never happened"),
        ("traffic.lmtp.body.p99 < 1s", "never happened"),
    ],
)
def test_broken(text: str, why: str) -> None:
    found = parse_threshold(text).check(RESULT)
    assert not found.met
    assert found.expression == text
    assert measured(found) == why


@pytest.mark.parametrize(
    "text",
    [
        "",
        "body.p99",
        "body.p99 < 500",
        "body.p98 < 5ms",
        "boddy.p99 < 5ms",
        "error_rate < 5ms",
        "accepted < 3%",
        "error_rate = 1%",
        "abnormal.oversize.first_refusal < 1",
        "abnormal.oversize < 1",
        "rejected_4xx.p99 < 1",
        "intended.body.p99 < 1s",
        "traffic.mx.body.p99 < 500",
        "traffic.mx.offered < 5",
        "traffic.mx.intended.missed.p99 < 5s",
        "traffic.mx < 5",
    ],
)
def test_nonsense(text: str) -> None:
    with pytest.raises(UsageError, match="--threshold"):
        parse_threshold(text)


def test_no_message_at_all_breaks_an_error_rate() -> None:
    found = parse_threshold("error_rate < 1%").check(LoadResult())
    assert not found.met
    assert measured(found) == "never happened"


REFUSED = LoadResult(totals=Totals(rejected_5xx=7), first_refusal="550 nobody")


@pytest.mark.parametrize(
    ("result", "why"),
    [
        (REFUSED, "every message was refused: 550 nobody (first reply)"),
        (
            LoadResult(totals=Totals(rejected_4xx=1, dropped=2, timeouts=3)),
            "no message was accepted: 1 refused, 2 dropped, 3 timed out",
        ),
        (RESULT, None),
        (LoadResult(), None),
    ],
)
def test_a_run_in_which_nothing_was_accepted_is_useless(result: LoadResult, why: str | None) -> None:
    assert useless(result) == why


@pytest.mark.parametrize(("text", "decides"), [("error_rate <= 100%", True), ("mail.p99 < 1s", False)])
def test_a_threshold_on_outcomes_says_whether_that_may_be(text: str, decides: bool) -> None:
    judged = REFUSED.model_copy(update={"thresholds": [parse_threshold(text).check(REFUSED)]})
    assert (useless(judged) is None) is decides


def test_a_kind_of_session_that_is_not_in_the_mix_is_a_mistake() -> None:
    asked = [parse_threshold("traffic.submision.body.p99 < 1s"), parse_threshold("error_rate < 1%")]
    with pytest.raises(UsageError, match=r"'submision', expected mx, submission$"):
        require_kinds(asked, ["mx", "submission"])
    with pytest.raises(UsageError, match="the workload is no mix"):
        require_kinds(asked, [])
    require_kinds(asked[1:], [])
