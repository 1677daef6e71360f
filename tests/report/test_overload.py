"""Faults under load in every form of a report; servers' words are hostile there, too."""

from __future__ import annotations

from html import unescape
from pathlib import Path
from xml.etree import ElementTree

import pytest

from smtpbench.campaign.fault_judge import judge
from smtpbench.campaign.fault_result import (
    Answers,
    Cycle,
    FaultResult,
    MessageTrace,
    OverloadResult,
    PowerLoss,
    RatePoint,
    TracedCall,
)
from smtpbench.campaign.result import DepthPoint, LedgerCounts
from smtpbench.cli.crash import crash_exit_code
from smtpbench.conformance.result import Verdict
from smtpbench.delivery.journal import Content, Journal
from smtpbench.delivery.ledger import Ledger
from smtpbench.errors import UsageError
from smtpbench.report import read_run, render_html, render_junit, render_markdown, write_outputs
from smtpbench.report.fault_plots import spans
from smtpbench.report.terminal import render_summary_text
from tests.report.conftest import HOSTILE


def result(
    lost: int = 0, rejected_5xx: int = 0, untested: str = "", first_accepted_s: float | None = 0.5
) -> OverloadResult:
    ledger = LedgerCounts(accepted=9, delivered=9 - lost, lost=lost)
    since = Answers(accepted=5, rejected_4xx=5, rejected_5xx=rejected_5xx)
    fault = FaultResult(
        fault="disk-full", words="no room", untested=untested, closed=True, patience_s=60,
        first_accepted_s=first_accepted_s, since=since, connections={"held": 7},
        refusals=[HOSTILE] if rejected_5xx else [], ledger=ledger,
    )  # fmt: skip
    fault.checks = judge(fault)
    return OverloadResult(target={"name": "mine", "endpoint": "127.0.0.1:25"}, faults=[fault])


@pytest.mark.parametrize(
    ("found", "code", "words"),
    [
        (result(), 0, "survived disk-full"),
        (result(rejected_5xx=1), 0, "non-strict: disk-full: refuses-for-now"),
        (result(lost=1), 1, "fail: disk-full: keeps-what-it-accepted"),
        (result(first_accepted_s=None), 1, "did not come back: disk-full"),
        (result(untested="no commands"), 3, "untested: no commands"),
    ],
)
def test_every_form_says_what_was_found(found: OverloadResult, code: int, words: str) -> None:
    assert crash_exit_code(found) == code
    assert words in " ".join(render_summary_text(found).split())
    assert words in render_html(found)
    assert words in unescape(render_markdown(found))


def test_the_ledger_is_in_it_and_what_servers_say_is_escaped() -> None:
    found = result(rejected_5xx=1)
    assert "9 accepted = 9 delivered" in " ".join(render_summary_text(found).split())
    assert "<script>alert" not in render_html(found)
    assert "\x1b" not in render_summary_text(found)
    ElementTree.fromstring(render_junit(found))


def test_strict_makes_a_failure_of_a_permanent_answer() -> None:
    assert render_junit(result(rejected_5xx=1)).count("<failure") == 0
    assert render_junit(result(rejected_5xx=1), strict=True).count("<failure") == 1
    assert render_junit(result(lost=1)).count("<failure") == 1
    assert render_junit(result(first_accepted_s=None)).count("<failure") == 1


def traced(verdict: Verdict, path: str = "/q/incoming/1") -> OverloadResult:
    """A target that was killed and lost nothing, with one traced message."""
    found = result()
    found.faults[0].fault = "kill"
    calls = [
        TracedCall(before_reply_ms=ms, pid=7, call=name, path=path)
        for ms, name in ((0.31, "write"), (0.0, "sendto"), (-500.0, "fsync"))
    ]
    message = MessageTrace(verdict=verdict, observed="seen so", calls=calls)
    found.verdicts.power_loss = PowerLoss(
        verdict=verdict, reason="1 of 1 messages: seen so", evidence=[message]
    )
    return found


@pytest.mark.parametrize(
    ("verdict", "code"), [(Verdict.PASS, 0), (Verdict.INFO, 0), (Verdict.UNTESTED, 0), (Verdict.FAIL, 1)]
)
def test_only_a_server_that_is_not_power_loss_safe_is_a_finding(verdict: Verdict, code: int) -> None:
    found = traced(verdict)
    assert crash_exit_code(found) == code
    assert ("not power-loss safe" in render_summary_text(found)) is bool(code)
    junit = ElementTree.fromstring(render_junit(found))
    case = next(one for one in junit.iter("testcase") if one.get("name") == "power-loss-safe")
    assert (case.find("failure") is not None) is bool(code)
    assert (case.find("skipped") is not None) is (verdict is Verdict.UNTESTED)


def test_the_calls_of_a_traced_message_are_shown_and_escaped() -> None:
    found = traced(Verdict.PASS, path=HOSTILE)
    assert "power-loss safe: pass (1 of 1 messages: seen so)" in " ".join(render_summary_text(found).split())
    for page in (unescape(render_html(found)), unescape(render_markdown(found))):
        assert "310 µs before" in page
        assert "500 ms after" in page
    assert "<script>alert" not in render_html(found)
    assert "<script>alert" not in render_markdown(found)


def test_a_run_folder_is_read_back(tmp_path: Path) -> None:
    found = result(lost=1)
    write_outputs(found, out=tmp_path)
    assert (tmp_path / "crash.json").is_file()
    assert read_run(tmp_path).overload == found


def seen(fault: str, cycles: list[Cycle]) -> FaultResult:
    """A fault of three seconds, from the first second on."""
    return FaultResult(
        fault=fault, cycles=cycles, wanted_cycles=len(cycles), struck_at_s=1.0, struck_s=3.0,
        first_accepted_s=0.5, closed=True, ledger=LedgerCounts(accepted=9, delivered=9),
        timeline=[RatePoint(t_s=t, span_s=1, accepted_per_s=t, delivered_per_s=1) for t in range(6)],
        queue_depth=[DepthPoint(t_s=t, depth=t % 3) for t in range(6)],
    )  # fmt: skip


def kill(number: int, at_s: float, down_s: float | None, *, aimed: bool) -> Cycle:
    return Cycle(number=number, aimed=aimed, at_s=at_s, sessions=5, final_dots=1, down_s=down_s)


def test_a_plot_has_a_band_for_each_kill_and_tells_the_aimed_ones() -> None:
    found = seen("kill", [kill(1, 0.5, 0.25, aimed=False), kill(2, 2.0, None, aimed=True)])
    assert list(spans(found)) == [(1.5, 1.75), (3.0, None)]
    page = render_html(OverloadResult(faults=[found]))
    for words in ("kill aimed at a final dot", "messages a second", "accepted, not yet delivered or bounced"):
        assert page.count(f">{words}<") == 1
    plain = render_html(OverloadResult(faults=[seen("kill", [kill(1, 0.5, 0.25, aimed=False)])]))
    assert ">kill aimed at a final dot<" not in plain


def test_a_plot_of_another_fault_has_one_band_and_its_end() -> None:
    found = seen("flood", [])
    assert list(spans(found)) == [(1.0, 4.0)]
    assert found.accepted_again_s == 4.5
    page = render_html(OverloadResult(faults=[found]))
    assert ">first accepted after it<" in page
    assert ">kill<" not in page


def test_without_times_there_is_no_plot() -> None:
    assert "<svg" not in render_html(result())


def test_a_campaign_that_was_killed_itself(tmp_path: Path) -> None:
    """No result was written: the ledgers of its faults are all there is."""
    folder = tmp_path / "ledger" / "kill"
    journal = Journal(folder, b"0123abcd")
    journal.define_content(0, Content(b"d", b""))
    for number in range(5):
        journal.note(1, number, 0, 0, 1, number, journal.envelope(("a@b.example",)), 0)
    Ledger(folder).close()
    journal.close()
    found = read_run(tmp_path).overload
    assert found is not None
    assert (found.ledger.accepted, found.ledger.pending) == (5, 5)
    assert found.verdicts.process_crash.verdict.value == "untested"
    assert found.verdicts.process_crash.reason.startswith("the run was killed")
    text = " ".join(render_summary_text(found).split())
    assert "untested: the run was killed before its end" in text
    assert "Ledger: 5 accepted = 0 delivered + 0 bounced + 0 lost + 5 pending" in text
    (folder / "ledger.sqlite").unlink()
    with pytest.raises(UsageError, match="no ledger is in this folder"):
        read_run(tmp_path)
