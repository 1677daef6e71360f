"""Whole retry campaigns through our reference relay, faithful or not, and what is made of what was seen."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from smtpbench.campaign.result import QueueResult
from smtpbench.campaign.retry import run_retries
from smtpbench.campaign.retry_judge import Seen, judge, schedule
from smtpbench.campaign.retry_kinds import Kind, kinds
from smtpbench.campaign.retry_result import Retries
from smtpbench.conformance.result import Verdict
from smtpbench.delivery.reports import Report
from smtpbench.delivery.retry_hop import Attempt, Mailing, ReportBack
from smtpbench.errors import UsageError
from tests.campaign.test_queue import serving

WAIT_S, SILENCE_S = 9.0, 2.0
AT_A_TIME = 4  # campaigns
RED = (Verdict.FAIL, Verdict.NON_STRICT)


def campaign(*faults: str, factor: float | None = None) -> QueueResult:
    with serving(*faults) as target:
        return run_retries(target, wait_s=WAIT_S, silence_s=SILENCE_S, factor=factor)


def red(result: QueueResult) -> dict[str, str]:
    """What was found: kind or rule → its verdict and the end of the message."""
    assert result.retries is not None
    found = {
        one.kind: f"{one.verdict.value}: {one.end}" for one in result.retries.messages if one.verdict in RED
    }
    return found | {one.name: one.verdict.value for one in result.retries.schedule if one.verdict in RED}


def test_a_faithful_relay_is_green_on_all_kinds() -> None:
    result = campaign(factor=36_000)  # 30 minutes are 50 ms, and it waits 100
    retries = result.retries
    assert retries is not None
    assert [
        (one.requirement, one.verdict, one.reason) for one in retries.judged if one.verdict != "pass"
    ] == []
    assert [one.kind for one in retries.messages] == [kind.name for kind in kinds(WAIT_S)]
    ends = {one.kind: (len(one.attempts), one.end) for one in retries.messages}
    assert ends["rcpt-4yz"] == (3, "delivered")
    assert ends["rcpt-5yz"] == ends["mixed-refused"] == (1, "bounced once")
    assert ends["null-sender"] == (1, "no report")
    assert ends["drop-after-reply"] == ends["mixed-accepted"] == (1, "delivered")
    assert len(next(one for one in retries.messages if one.kind == "rcpt-4yz").intervals_s) == 2
    assert (result.closed, result.wrong, result.ledger.bounced) == (True, {}, 4)


# The longest first
MISBEHAVING = {
    "queue-tries-the-refused-again": {"rcpt-5yz": "non-strict", "end-5yz": "non-strict"},
    "relay-forgets-deferred": {"rcpt-4yz": "fail: silent", "end-4yz": "fail: silent"},
    "relay-takes-a-drop-for-success": {"drop-before-reply": "fail: silent"},
    "queue-fails-a-broken-connection": {"drop-before-reply": "non-strict: bounced once"},
    "queue-retries-at-once": {"delay": "fail"},
    "relay-fails-deferred": {"mail-4yz": "fail: bounced once", "greylisted": "fail: bounced once"},
    "relay-reports-twice": {"rcpt-5yz": "non-strict: bounced twice"},
    "relay-reports-nothing": {"rcpt-5yz": "fail: silent", "mixed-refused": "fail: silent"},
    "relay-reports-to-the-from-field": {"null-sender": "fail: bounced once"},
    "relay-reports-from-somebody": {"data-5yz": "fail: bounced once"},
    "relay-resends-to-all": {"mixed-accepted": "non-strict: delivered 3 times"},
}


def test_queues_that_misbehave_are_found() -> None:
    """Several campaigns at a time: nine tenths of each is waiting."""
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        found = dict(zip(MISBEHAVING, pool.map(lambda fault: red(campaign(fault)), MISBEHAVING), strict=True))
    begun = {
        fault: {name: found[fault].get(name, "")[: len(words)] for name, words in expected.items()}
        for fault, expected in MISBEHAVING.items()
    }
    assert begun == MISBEHAVING


def test_a_target_that_does_not_relay_to_us_is_refused() -> None:
    with serving() as target, pytest.raises(UsageError, match=r"no \[relay\]"):
        run_retries(target.model_copy(update={"relay": None}))


# What is made of what was seen, without a server

KINDS = {kind.name: kind for kind in kinds(90.0)}
FAILED = Report(("a@b.example",), {}, (), None, None, ())


def seen(
    name: str, attempts: tuple[float, ...] = (), delivered: tuple[float, ...] = (), bounces: int = 0, *,
    now_s: float = 90.0, silence_s: float | None = 10.0, accepted_s: float | None = 0.0,
) -> Seen:  # fmt: skip
    kind: Kind = KINDS[name]
    mailing = Mailing(name, "from@b.example", "to@b.example", kind.plan, [Attempt(at) for at in attempts])
    mailing.delivered = list(delivered)
    reports = tuple(ReportBack(50.0 + n, "", "from@b.example", None) for n in range(bounces))
    return Seen(kind, mailing, reports, accepted_s, now_s, silence_s, refusal="550 no")


@pytest.mark.parametrize(
    ("given", "end", "verdict"),
    [
        (seen("rcpt-4yz", (1.0, 3.0, 5.0), (5.0,)), "delivered", "pass"),
        (seen("rcpt-4yz", (1.0,)), "silent", "fail"),
        (seen("rcpt-4yz", (1.0,), silence_s=None), "pending", "untested"),  # its schedule is not known
        (seen("rcpt-4yz", (85.0,)), "pending", "untested"),
        (seen("rcpt-4yz", (1.0,), bounces=1), "bounced once", "fail"),
        (seen("no-reply", (1.0,), bounces=1), "bounced once", "non-strict"),  # RFC 5321 §3.8 is a SHOULD
        (seen("rcpt-4yz", (1.0, 3.0), bounces=1), "bounced once", "info"),
        (seen("drop-after-reply", (1.0, 3.0), (1.0, 3.0)), "delivered 2 times", "non-strict"),
        (seen("rcpt-4yz", (1.0, 3.0), (3.0,), bounces=1), "delivered and bounced once", "non-strict"),
        (seen("rcpt-5yz", (1.0,), bounces=1), "bounced once", "pass"),
        (seen("rcpt-5yz", (1.0,), bounces=2), "bounced twice", "non-strict"),
        (seen("rcpt-5yz", (1.0,)), "silent", "fail"),
        (seen("rcpt-5yz", (1.0,), silence_s=None), "pending", "untested"),
        (seen("rcpt-5yz", (1.0, 2.0), bounces=1), "bounced once", "non-strict"),
        (seen("null-sender", (1.0,)), "no report", "pass"),
        (seen("null-sender", (1.0,), bounces=1), "bounced once", "fail"),
        (seen("rcpt-4yz", accepted_s=None), "not accepted", "untested"),
    ],
)
def test_an_end_and_its_verdict(given: Seen, end: str, verdict: str) -> None:
    judged = judge(given, bounces_come=True)
    assert (judged.end, judged.verdict) == (end, verdict)


def test_no_report_means_nothing_where_none_comes_at_all() -> None:
    assert judge(seen("null-sender", (1.0,)), bounces_come=False).verdict == "untested"


def test_a_report_of_a_delay_is_no_bounce() -> None:
    from smtpbench.delivery.reports import RecipientReport

    delayed = Report((), {}, (RecipientReport({"action": "delayed"}),), None, None, ())
    told = seen("rcpt-4yz", (1.0, 3.0), (3.0,))
    told = Seen(told.kind, told.mailing, (ReportBack(2.0, "", "", delayed),), 0.0, 90.0, 10.0)
    judged = judge(told, bounces_come=False)
    assert (judged.end, judged.verdict, judged.delay_reports) == ("delivered", "pass", 1)


@pytest.mark.parametrize(
    ("name", "gap", "factor", "verdict"),
    [
        ("rcpt-4yz", 10.0, None, "info"),  # recorded, never judged
        ("rcpt-4yz", 10.0, 180.0, "pass"),
        ("rcpt-4yz", 10.0, 100.0, "info"),  # our hop has said why, so a strategy of its own is defensible
        ("flapping", 10.0, 100.0, "non-strict"),
        ("flapping", 1_800.0, 1.0, "pass"),
    ],
)
def test_an_interval_is_held_against_thirty_minutes(
    name: str, gap: float, factor: float | None, verdict: str
) -> None:
    rules = {one.name: one for one in schedule([seen(name, (1.0, 1.0 + gap))], factor)}
    assert rules["interval"].verdict == verdict
    assert rules["delay"].verdict == "pass"


def test_a_loop_needs_many_attempts_without_a_delay() -> None:
    few = schedule([seen("rcpt-4yz", (1.0, 1.01, 1.02))], None)
    many = schedule([seen("rcpt-4yz", tuple(1 + n / 100 for n in range(20)))], None)
    scaled = schedule([seen("rcpt-4yz", tuple(1 + n / 20 for n in range(20)))], 36_000)
    assert [rules[0].verdict for rules in (few, many, scaled)] == ["pass", "fail", "pass"]


def test_giving_up_early_counts_only_where_a_factor_is_stated() -> None:
    gone = [seen("rcpt-4yz", (1.0, 3.0), bounces=1)]  # after 49 s
    verdicts = [schedule(gone, factor)[2].verdict for factor in (None, 100.0, 10_000.0)]
    assert verdicts == ["info", "non-strict", "pass"]


def test_half_of_the_messages_untested_is_inconclusive() -> None:
    good, bad = (judge(seen("rcpt-4yz", accepted_s=at), True) for at in (0.0, None))
    passed = good.model_copy(update={"verdict": Verdict.PASS})
    assert not Retries(wait_s=1, messages=[passed, passed, bad]).inconclusive
    assert Retries(wait_s=1, messages=[passed, bad]).inconclusive
