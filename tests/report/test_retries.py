"""A retry campaign in every form of a report, and back from its folder."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from smtpbench.campaign.result import QueueResult
from smtpbench.campaign.retry_result import Retries, RetryAttempt, RetryMessage, RetryRule
from smtpbench.conformance.result import Verdict
from smtpbench.report import read_run, render_html, render_junit, render_markdown, write_outputs
from smtpbench.report.retries import conclude_retries
from smtpbench.report.terminal import render_summary_text

SENTENCE = {"level": "MUST", "section": "6.1", "requirement": "Nothing is lost."}


def message(kind: str, verdict: Verdict = Verdict.PASS, end: str = "delivered", reason: str | None = None):
    return RetryMessage(
        kind=kind, does="451 <b>to</b> RCPT", expected="delivered", end=end, verdict=verdict, reason=reason,
        attempts=[RetryAttempt(t_s=at, reply="451 to RCPT") for at in (1.0, 3.5)], intervals_s=[2.5],
        delivered_s=[3.6] if end == "delivered" else [], **SENTENCE,
    )  # fmt: skip


def result(*messages: RetryMessage, factor: float | None = None) -> QueueResult:
    rule = RetryRule(name="interval", verdict=Verdict.INFO, reason="2.5 s", **SENTENCE)
    retries = Retries(factor=factor, wait_s=90, silence_s=10, messages=list(messages), schedule=[rule])
    return QueueResult(target={"name": "a server", "endpoint": "127.0.0.1:25"}, retries=retries)


LOST = message("end-4yz", Verdict.FAIL, "silent", "not heard of again")


@pytest.mark.parametrize(
    ("messages", "tone", "words"),
    [
        ([message("a")], "good", "1 messages, each ended as it must"),
        ([message("a"), LOST], "bad", "a MUST is broken in 1"),
        ([message("a", Verdict.NON_STRICT, reason="x")], "warn", "a SHOULD is broken in 1 of 2 verdicts"),
        ([message("a"), message("b", Verdict.UNTESTED, "pending", "x")], "warn", "Inconclusive: 1 of 2"),
        ([message("a")] * 2 + [message("b", Verdict.UNTESTED, "pending", "x")], "warn", "2 of 3 messages"),
    ],
)
def test_the_conclusion(messages, tone, words):
    retries = result(*messages).retries
    assert retries is not None
    assert conclude_retries(retries).tone == tone
    assert words in conclude_retries(retries).text


def test_every_form_has_the_messages_and_the_reason_and_nothing_of_a_load():
    run = result(message("rcpt-4yz"), LOST, factor=150)
    for text in (render_html(run), render_markdown(run), render_summary_text(run)):
        for words in ("rcpt", "not heard of again", "silent", "2.5", "12.00 s", "150 times"):
            assert words in text
        assert "messages/s" not in text
        assert "no message was accepted" not in text
    assert "<b>to</b>" not in render_html(run)
    assert render_html(run).count("<svg") == 1


def test_nothing_seen_is_no_plot():
    bare = message("a", Verdict.UNTESTED, "pending", "x").model_copy(update={"attempts": []})
    assert "<svg" not in render_html(result(bare))


@pytest.mark.parametrize(("strict", "lax"), [(False, []), (True, ["failure"])])
def test_junit_has_a_failure_for_what_breaks_a_must(strict, lax):
    run = result(
        message("good"), LOST, message("lax", Verdict.NON_STRICT, reason="x"),
        message("open", Verdict.UNTESTED, "pending", "no time"),
    )  # fmt: skip
    (suite,) = ElementTree.fromstring(render_junit(run, strict=strict))
    found = {case.get("name"): [child.tag for child in case if child.tag != "properties"] for case in suite}
    assert found == {"good": [], "end-4yz": ["failure"], "lax": lax, "open": ["skipped"], "interval": []}


def test_a_run_folder_is_read_back(tmp_path):
    run = result(message("rcpt-4yz"), LOST)
    write_outputs(run, out=tmp_path)
    assert read_run(tmp_path).queue == run
