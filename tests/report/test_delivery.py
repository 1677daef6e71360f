"""A queue run in every form of a report, and back from its folder."""

from __future__ import annotations

from html import unescape
from xml.etree import ElementTree

import pytest

from smtpbench.campaign.result import DepthPoint, DomainStats, Estimate, LedgerCounts, QueueResult
from smtpbench.delivery.gauge import Gauge
from smtpbench.delivery.journal import Content, Journal
from smtpbench.delivery.ledger import Ledger
from smtpbench.errors import UsageError
from smtpbench.load.recorder import new_histogram, phase_stats
from smtpbench.load.result import PhaseStats
from smtpbench.report import read_run, render_html, render_junit, render_markdown, write_outputs
from smtpbench.report.delivery import conclude_delivery, sentences
from smtpbench.report.delivery_plots import delivery_plot
from smtpbench.report.terminal import render_summary_text

GOOD = LedgerCounts(accepted=1000, delivered=1000)


def stats():
    histogram = new_histogram()
    for value in range(1, 1001):
        histogram.record_value(value * 1000)
    return phase_stats(histogram)


def result(**fields):
    return QueueResult(
        **{
            "target": {"name": "a server", "endpoint": "127.0.0.1:25"}, "observer": "sink:127.0.0.1:26",
            "ledger": GOOD, "closed": True, "end_to_end": stats(), "in_queue": stats(), "load_s": 2.0,
            "queue_depth": [DepthPoint(t_s=t, depth=depth) for t, depth in enumerate((0, 40, 20, 0))],
            "growth": "growing", "sustainable_per_s": 65.0, "drain_s": 1.0,
            "accept_rate": Estimate(per_s=100, low=90, high=110),
            "delivery_rate": Estimate(per_s=65, low=60, high=70),
            "sustainable": Estimate(per_s=65, low=60, high=70),
            "depth_slope": Estimate(per_s=35, low=30, high=40),
        } | fields
    )  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "tone", "words"),
    [
        ({}, "good", "1,000 accepted, each delivered once and whole"),
        ({"ledger": LedgerCounts(accepted=1000, delivered=998, lost=2, duplicated=1)}, "bad",
         "2 lost, 1 duplicated of 1,000 accepted"),
        ({"ledger": LedgerCounts(accepted=9, delivered=8, pending=1)}, "warn", "they may still arrive"),
        ({"ledger": LedgerCounts(accepted=9, delivered=8, pending=1), "interrupted": True}, "warn",
         "the run was ended early"),
        ({"ledger": LedgerCounts(accepted=9, delivered=8, bounced=1)}, "warn", "1 bounced"),
        ({"ledger": LedgerCounts(accepted=9, delivered=9, duplicated=2), "excused": ["duplicated"]}, "good",
         "9 accepted, each delivered whole, 2 of them more than once, by our hop's own doing"),
        ({"ledger": LedgerCounts()}, "warn", "no message was accepted"),
    ],
)  # fmt: skip
def test_the_conclusion(fields, tone, words):
    conclusion = conclude_delivery(result(**fields))
    assert conclusion.tone == tone
    assert words in conclusion.text


def test_what_is_said_of_the_rate_is_what_was_found():
    grown = " ".join(sentences(result()))
    assert "In the second half of the load 100 ± 10 messages/s were accepted and 65 ± 5 delivered." in grown
    assert "The queue grew then (35 ± 5 messages/s): 65 ± 5 messages/s are sustainable." in grown
    steady = " ".join(sentences(result(growth="sustained", sustainable_at_least=True)))
    assert "at least 65 messages/s are sustainable" in steady
    assert "cannot be told" in " ".join(sentences(result(growth="unclear", sustainable=None)))


def test_every_form_has_the_counts_the_examples_and_the_domains():
    domain = {"copies": 10, "delivered": 5, "in_time": 0.5}
    run = result(
        ledger=LedgerCounts(accepted=1000, delivered=998, lost=2, transformed=3), drain_s=None, settle_s=10.0,
        examples={"lost": ["0123abcd-00000001f"]}, fairness=0.9,
        domains=[DomainStats(domain=f"{name}.example", **domain) for name in ("a<b>", "slow")],
    )  # fmt: skip
    for text in (render_html(run), render_markdown(run), render_summary_text(run)):
        assert "0123abcd-00000001f" in text
        assert "2 lost" in text
        assert "3 arrived in another transfer encoding" in text
    page = render_html(run)
    assert "slow.example" in page
    assert "<b>.example" not in page
    assert page.count("<svg") >= 2
    assert "slow.example" in render_markdown(run)


def test_junit_has_a_failure_for_what_was_lost_and_an_error_for_what_is_pending():
    root = ElementTree.fromstring(
        render_junit(result(ledger=LedgerCounts(accepted=9, delivered=6, lost=2, pending=1)))
    )
    suite = next(one for one in root if one.get("name") == "smtpbench.delivery")
    found = {case.get("name"): [child.tag for child in case if child.tag != "properties"] for case in suite}
    assert found == {
        "nothing-lost": ["failure"], "nothing-duplicated": [], "nothing-corrupted": [],
        "nothing-pending": ["error"],
    }  # fmt: skip


def test_a_run_folder_is_read_back(tmp_path):
    write_outputs(result(), out=tmp_path)
    assert (tmp_path / "queue.json").exists()
    assert not (tmp_path / "load.json").exists()
    assert read_run(tmp_path).queue == result()


def test_the_folder_of_a_run_that_was_killed(tmp_path):
    """No result was written: the ledger is all there is."""
    journal = Journal(tmp_path / "ledger", b"0123abcd")
    journal.define_content(0, Content(b"d", b""))
    for number in range(5):
        journal.note(1, number, 0, 0, 1, number, journal.envelope(("a@b.example",)), 0)
    Gauge(tmp_path / "ledger", b"0123abcd").change(3, 2)
    Ledger(tmp_path / "ledger").close()
    run = read_run(tmp_path)
    assert run.queue is not None
    assert (run.queue.ledger.accepted, run.queue.ledger.pending, run.queue.interrupted) == (5, 5, True)
    known = "the run was killed: 5 accepted by then, 0 delivered, 5 pending, 2 sent and not answered"
    for text in (render_html(run), render_markdown(run), render_summary_text(run)):
        assert known in " ".join(unescape(text).split())
        assert "not answered, of which nobody can tell whether they were accepted: 2." in " ".join(
            unescape(text).split()
        )
        assert "0 accepted" not in text  # of a load that has no figures
    assert run.queue.ledger.unknown == 2
    assert "the run was killed before its end" in render_junit(run)
    journal.close()


def test_a_folder_with_nothing_in_it(tmp_path):
    with pytest.raises(UsageError, match=r"none of .*queue\.json"):
        read_run(tmp_path)


def test_copies_that_were_there_before_their_reply_have_no_place_on_a_log_axis():
    histogram = new_histogram()
    for value in (0, 0, 0, 5000):
        histogram.record_value(value)
    assert "<svg" in delivery_plot(result(in_queue=phase_stats(histogram)))
    nothing = new_histogram()
    nothing.record_value(0)
    assert delivery_plot(result(end_to_end=PhaseStats(), in_queue=phase_stats(nothing))) == ""
