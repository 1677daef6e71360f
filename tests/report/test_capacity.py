from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from smtpbench.load.capacity_result import Capacity, CapacityResult, KneeResult, Trial, UslResult
from smtpbench.load.search import End, Step, Verdict
from smtpbench.report import read_run, render_html, render_junit, render_markdown, write_outputs
from smtpbench.report.capacity import conclude_capacity, sentences
from smtpbench.report.terminal import render_summary_text

HOSTILE = "450 \x1b[31m<script>alert(1)</script>"

TRIALS = [
    Trial(number=n, step="concurrency", users=users, verdict=Verdict.HELD, accepted_per_s=rate, p99_ms=5.0)
    for n, (users, rate) in enumerate([(1, 90.0), (2, 170.0), (4, 300.0), (8, 480.0)], start=1)
] + [
    Trial(number=5, step=Step.GROW, rate=400, verdict=Verdict.HELD, accepted_per_s=400, intended_p99_ms=12),
    Trial(number=6, step=Step.GROW, rate=800, verdict=Verdict.FAILED, accepted_per_s=610,
          intended_p99_ms=4000, why=f"error_rate < 0.1%: measured 2%: {HOSTILE}"),
    Trial(number=7, step=Step.CONFIRM, rate=560, verdict=Verdict.INVALID, accepted_per_s=555,
          intended_p99_ms=90),
]  # fmt: skip

FOUND = CapacityResult(
    started="2026-01-02T03:04:05+00:00", duration_s=200, target={"name": "model", "endpoint": "127.0.0.1:25"},
    thresholds=["error_rate < 0.1%", "intended.p99 < 1s"], end=End.FOUND, trials=TRIALS,
    capacity=Capacity(rate_per_s=560, held=5, tried=6, edge_per_s=598.4, low_per_s=571, high_per_s=630),
    knee=KneeResult(rate_per_s=410, latency_ms=12.5, at_end=False, method="power"),
    usl=UslResult(fits=True, lambda_per_s=91, sigma=0.04, kappa=0.001, lambda_se=2, sigma_se=0.01,
                  kappa_se=0.0002, r2=0.99, residual=0.02, peak_users=31, peak_per_s=900),
    notes=["2 of 7 trials began before the target had recovered"],
)  # fmt: skip


def test_every_form_says_the_answer_and_how_sure_it_is() -> None:
    text, html, markdown = render_summary_text(FOUND), render_html(FOUND), render_markdown(FOUND)
    for said in ("560 messages/s", "598/s", "571 to 630", "5 of 6 trials at 560/s held"):
        assert said in " ".join(text.split())
    for said in ("Holds 560 messages/s", "571 – 630", "5 of 6 trials at 560/s held", "Knee at 410/s"):
        assert said in html
    assert html.count("<svg") == 2
    assert "Knee at 410/s" in markdown
    assert "| 6 | grow | 800/s | failed | 610 | 4.00 s |" in markdown


def test_what_a_server_said_is_escaped_everywhere() -> None:
    for form in (render_html(FOUND), render_markdown(FOUND), render_junit(FOUND), render_summary_text(FOUND)):
        assert "<script>alert" not in form
        assert "\x1b" not in form


@pytest.mark.parametrize(
    ("changes", "tone", "said"),
    [
        ({}, "good", "Holds 560 messages/s, edge 598/s (95% interval 571 to 630)"),
        ({"end": End.MAXIMUM, "reason": "no higher rate was to be tried than 560/s"}, "good",
         "Holds 560 messages/s: no higher rate was to be tried than 560/s"),
        ({"end": End.AT_LEAST, "reason": "the generator was the bottleneck at 900/s"}, "warn",
         "Holds at least 560 messages/s: the generator was the bottleneck at 900/s"),
        ({"end": End.BELOW, "reason": "not even 0.5/s held"}, "bad", "No rate holds: not even 0.5/s held"),
        ({"end": End.UNFINISHED, "reason": "interrupted"}, "warn",
         "Not settled: interrupted; 560 messages/s held, edge 598/s (95% interval 571 to 630)"),
        ({"required_per_s": 600}, "bad",
         "Holds 560 messages/s, edge 598/s (95% interval 571 to 630); required are 600"),
        ({"required_per_s": 500}, "good",
         "Holds 560 messages/s, edge 598/s (95% interval 571 to 630); required are 500"),
        ({"end": End.AT_LEAST, "reason": "why", "required_per_s": 600}, "warn",
         "Holds at least 560 messages/s: why; that does not tell whether it holds the 600 required"),
        ({"end": End.UNKNOWN, "capacity": Capacity()}, "warn",
         "Inconclusive: no trial says anything about the target"),
    ],
)  # fmt: skip
def test_the_conclusion_of_each_end(changes: dict[str, object], tone: str, said: str) -> None:
    found = conclude_capacity(FOUND.model_copy(update=changes))
    assert (found.tone, found.text) == (tone, said)


@pytest.mark.parametrize(
    ("usl", "said"),
    [
        (FOUND.usl, "peak of 900/s at 31 users, an extrapolation: 8 were tried"),
        (UslResult(fits=True, lambda_per_s=91, sigma=0.5), "throughput has no peak"),
        (UslResult(fits=False, lambda_per_s=91, problem="the law does not fit: trials scatter by 30% about it"
                   ), "Scalability law: the law does not fit: trials scatter by 30% about it (λ 91/s"),
        (UslResult(fits=False, problem="too few levels of concurrency: 2, and 4 are needed"),
         "Scalability law: too few levels of concurrency: 2, and 4 are needed."),
    ],
)  # fmt: skip
def test_the_law_is_not_oversold(usl: UslResult, said: str) -> None:
    assert said in " ".join(sentences(FOUND.model_copy(update={"usl": usl})))


@pytest.mark.parametrize(
    ("end", "child"),
    [(End.FOUND, None), (End.AT_LEAST, "error"), (End.BELOW, "failure"), (End.UNFINISHED, "error")],
)
def test_junit(end: End, child: str | None) -> None:
    root = ElementTree.fromstring(render_junit(FOUND.model_copy(update={"end": end})))
    [case] = root.iter("testcase")
    assert [one.tag for one in case if one.tag != "properties"] == ([child] if child else [])
    assert case.find("properties/property[@name='rate_per_s']").attrib["value"] == "560.0"


def test_junit_fails_if_what_is_required_does_not_hold() -> None:
    root = ElementTree.fromstring(render_junit(FOUND.model_copy(update={"required_per_s": 600})))
    failure = root.find(".//failure")
    assert failure is not None
    assert failure.attrib["message"].endswith("required are 600")


def test_a_folder_is_read_back(tmp_path: Path) -> None:
    write_outputs(FOUND, out=tmp_path)
    assert read_run(tmp_path).capacity == FOUND
    assert read_run(tmp_path / "capacity.json").capacity == FOUND
    assert (tmp_path / "report.html").is_file()


def test_a_search_without_trials_is_rendered_too() -> None:
    nothing = CapacityResult(target={"name": "model"})
    assert "Inconclusive" in render_html(nothing)
    assert "Inconclusive" in render_markdown(nothing)
