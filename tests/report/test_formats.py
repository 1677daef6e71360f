"""Each form of a report: what must be in it, and that hostile bytes stay harmless."""

import base64
import hashlib
import html.parser
import json
import re
from xml.etree import ElementTree

import pytest

from smtpbench.conformance.result import ConformanceResult, Verdict
from smtpbench.errors import UsageError
from smtpbench.load.result import (
    AbnormalCounts,
    Calibration,
    Finding,
    Floor,
    Invariants,
    LoadResult,
    OfAKind,
    PhaseStats,
    ProcessUse,
    ThresholdResult,
    Totals,
    WireLine,
)
from smtpbench.report import Run, render_html, render_json, render_junit, render_markdown
from smtpbench.report.terminal import SUMMARY_WIDTH, render_summary_text
from tests.report.conftest import HOSTILE


@pytest.fixture
def run(conformance: ConformanceResult, load: LoadResult) -> Run:
    return Run(conformance=conformance, load=load)


class Tags(html.parser.HTMLParser):
    """Every start tag with its attributes, every resource address, and the depth at the end."""

    VOID = frozenset({"meta", "input", "br", "hr", "img", "link"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_json_has_the_public_field_names(conformance: ConformanceResult) -> None:
    data = json.loads(render_json(conformance))
    assert data["schema"] == "smtpbench.conformance/1"
    assert data["cases"][0]["transcript"][0]["from"] == "note"
    assert data["summary"]["non-strict"] == 1


def test_json_of_both_halves_is_one_object(run: Run) -> None:
    data = json.loads(render_json(run))
    assert data["schema"] == "smtpbench.certify/1"
    assert data["conformance"]["schema"] == "smtpbench.conformance/1"
    assert data["load"]["schema"] == "smtpbench.load/1"


def test_json_of_a_run_with_one_half_is_that_half(load: LoadResult) -> None:
    assert render_json(Run(load=load)) == render_json(load)


def test_junit_counts_and_outcomes(conformance: ConformanceResult) -> None:
    suite = ElementTree.fromstring(render_junit(conformance)).find("testsuite")
    assert suite is not None
    counts = {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": "8", "failures": "2", "errors": "1", "skipped": "1"}
    skipped = suite.find("testcase/skipped")
    assert skipped is not None
    assert skipped.get("message") == "not offered: CHUNKING"


def test_junit_strict_fails_non_strict_too(conformance: ConformanceResult) -> None:
    root = ElementTree.fromstring(render_junit(conformance, strict=True))
    types = [failure.get("type") for failure in root.iter("failure")]
    assert sorted(filter(None, types)) == ["fail", "fail", "non-strict"]


def test_junit_failure_has_the_wire_log(conformance: ConformanceResult) -> None:
    failure = ElementTree.fromstring(render_junit(conformance)).find(".//failure")
    assert failure is not None
    assert "client EHLO client.example.org\\r\\n" in (failure.text or "")


def test_junit_of_an_invalid_load_is_an_error(load: LoadResult) -> None:
    load.valid, load.invalid_reasons = False, ["the generator was the bottleneck"]
    error = ElementTree.fromstring(render_junit(load)).find(".//error")
    assert error is not None
    assert error.get("message") == "the generator was the bottleneck"


def test_thresholds_are_in_every_form(load: LoadResult) -> None:
    load.thresholds = [
        ThresholdResult(expression="body.p99 < 1ms", value=2.5, met=False),
        ThresholdResult(expression="error_rate <= 1%", value=0.001, met=True),
    ]
    suite = ElementTree.fromstring(render_junit(load)).find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "1", "0")
    failure = suite.find("testcase[@name='body.p99 < 1ms']/failure")
    assert failure is not None
    assert failure.get("message") == "body.p99 < 1ms: measured 2.500 ms"
    assert "threshold broken: body.p99 < 1ms: measured 2.500 ms" in render_summary_text(load)
    for text, escaped in (
        (render_html(load), "body.p99 &lt; 1ms"),
        (render_markdown(load), "body.p99 &#60; 1ms"),
    ):
        assert escaped in text
        assert "measured 2.500 ms" in text
        assert "measured 0.100%" in text
        assert "1 of 2 thresholds broken" in text


def test_a_load_in_which_everything_was_refused_says_so_in_every_form(load: LoadResult) -> None:
    load.totals = Totals(rejected_5xx=3)
    load.first_refusal = "550 <script>"
    for text in (render_html(load), render_markdown(load), render_summary_text(load)):
        assert "every message was refused" in text
    assert "<script>" not in render_markdown(load)
    error = ElementTree.fromstring(render_junit(load)).find(".//error")
    assert error is not None
    assert error.get("message") == "every message was refused: 550 <script> (first reply)"


def test_html_is_one_well_formed_self_contained_page(run: Run) -> None:
    tags = Tags(render_html(run))
    assert tags.open == []
    addresses = [value for _, attributes in tags.seen for key, value in attributes.items() if key == "src"]
    assert addresses == []
    assert "link" not in {tag for tag, _ in tags.seen}
    references = {value for tag, attributes in tags.seen if tag != "a" for key, value in attributes.items()
                  if key in {"href", "xlink:href"}}  # fmt: skip
    assert all(value and value.startswith("#") for value in references)


def test_html_runs_its_own_script_and_no_other(run: Run) -> None:
    page = render_html(run)
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page


def test_html_escapes_hostile_bytes(run: Run) -> None:
    page = render_html(run)
    assert "alert(1)" in page
    assert "<script>alert" not in page
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\ud800]", page)


def test_html_ids_are_unique(run: Run) -> None:
    ids = [attributes["id"] for _, attributes in Tags(render_html(run)).seen if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_html_is_the_same_every_time(run: Run) -> None:
    assert render_html(run) == render_html(run)


def test_html_links_each_finding_to_its_case(conformance: ConformanceResult) -> None:
    tags = Tags(render_html(conformance)).seen
    targets = {attributes.get("id") for tag, attributes in tags if tag == "details"}
    links = [(attributes.get("href") or "")[1:] for tag, attributes in tags if tag == "a"]
    findings = [link for link in links if link.startswith("rfc5321.")]
    assert len(findings) == 4
    assert set(findings) <= targets


def test_html_of_a_load_alone_introduces_the_target(load: LoadResult) -> None:
    page = render_html(load)
    assert "<h1>embedded</h1>" in page
    assert "127.0.0.1:2525" in page
    load.target = {}
    assert "<h1>target</h1>" in render_html(load)


@pytest.mark.parametrize(("offered", "asked"), [(True, True), (False, True), (True, False)])
def test_html_says_where_phases_overlap(load: LoadResult, offered: bool, asked: bool) -> None:
    load.target["extensions"] = ["PIPELINING"] if offered else []
    load.workload["pipelining"] = asked
    assert ("the phases overlap" in render_html(load)) is (offered and asked)


def test_html_marks_an_invalid_load(load: LoadResult) -> None:
    assert "not a valid measurement" not in render_html(load)
    load.valid, load.invalid_reasons = False, ["the generator was the bottleneck"]
    page = render_html(load)
    assert "This is not a valid measurement." in page
    assert "the generator was the bottleneck" in page


def test_html_has_both_plots_in_theme_colours(load: LoadResult) -> None:
    page = render_html(load)
    assert page.count("<svg") == 2
    assert "var(--series-1)" in page
    assert not re.search(r"#0[123]0[123]0[0-9]", page)


def test_html_without_histograms_or_timeline_has_no_plot(load: LoadResult) -> None:
    load.timeline = []
    load.phases = {name: stats.model_copy(update={"hdr": ""}) for name, stats in load.phases.items()}
    assert "<svg" not in render_html(load)


@pytest.mark.parametrize("hdr", ["not base64!", "AAAA", base64.b64encode(b"x" * 60).decode()])
def test_a_damaged_histogram_is_named(load: LoadResult, hdr: str) -> None:
    load.phases["transaction"].hdr = hdr
    with pytest.raises(UsageError, match="phase transaction: hdr"):
        render_html(load)


def test_markdown_tables_survive_hostile_bytes(run: Run) -> None:
    page = render_markdown(run)
    rows = [line for line in page.splitlines() if line.startswith("| fail ")]
    assert [row.count("|") for row in rows] == [7, 7]
    assert "<script>" not in re.sub(r"^```.*?^```$", "", page, flags=re.DOTALL | re.MULTILINE)


def test_markdown_names_each_finding_and_marks_an_invalid_load(run: Run) -> None:
    assert run.conformance is not None
    assert run.load is not None
    run.load.valid, run.load.invalid_reasons = False, ["too late"]
    page = render_markdown(run)
    for case in run.conformance.cases:
        assert (f"<summary>{case.id}</summary>" in page) is (
            case.verdict in {Verdict.FAIL, Verdict.NON_STRICT, Verdict.ERROR}
        )
    assert "**Not a valid measurement:** too late" in page


def test_terminal_summary_is_plain_and_narrow(run: Run) -> None:
    summary = render_summary_text(run)
    assert all(line.isprintable() and len(line) <= SUMMARY_WIDTH for line in summary.splitlines())
    assert "✗ fail 2" in summary
    assert "1  not offered: CHUNKING" in summary
    assert re.search(r"^transaction +5,000 ", summary, re.MULTILINE)


def forms(load: LoadResult) -> tuple[str, str, str]:
    return render_html(load), render_markdown(load), render_summary_text(load)


def test_the_actual_and_the_intended_start_are_side_by_side(load: LoadResult) -> None:
    load.outcomes = {"accepted": stats_of(5000, 1.5), "timeouts": stats_of(3, 2000)}
    load.from_intended_start = {"accepted": stats_of(5000, 45), "missed": stats_of(7, 12_000)}
    load.from_intended_start["transaction"] = stats_of(5007, 46)
    load.totals.missed = 7
    page, markdown, summary = forms(load)
    assert "from the intended start" in page
    assert "| accepted | 5,000 | 1.50 ms | 1.50 ms | 1.50 ms | 1.50 ms | 45.0 ms |" in markdown
    assert "| missed | 7 | – | – | – | – | 12.00 s |" in markdown
    assert ["accepted", "5,000", "1.50", "ms", "1.50", "ms", "1.50", "ms", "45.0", "ms"] in [
        line.split()[:10] for line in summary.splitlines()
    ]
    for text in (page, markdown, summary):
        assert "how long they had waited" in " ".join(text.split())
        assert "no intended start" not in " ".join(text.split())


def test_a_closed_workload_says_that_there_is_no_intended_start(load: LoadResult) -> None:
    load.outcomes = {"accepted": stats_of(5000, 1.5)}
    for text in forms(load):
        assert "there is no intended start" in " ".join(text.split())
        assert "from the intended start" not in text


def stats_of(count: int, ms: float) -> PhaseStats:
    return PhaseStats(count=count, p50_ms=ms, p90_ms=ms, p99_ms=ms, p999_ms=ms, max_ms=ms)


def test_abnormal_traffic_and_the_mix_are_in_every_form(load: LoadResult) -> None:
    load.workload["traffic"] = [{"name": "submission", "auth": True}, {"name": "mx"}]
    load.traffic = {
        "mx": OfAKind(sessions=70, accepted=69, timeouts=1, transaction=stats_of(69, 1.5)),
        "submission": OfAKind(sessions=31, accepted=31, transaction=stats_of(31, 4)),
    }
    load.abnormal = {
        "idle-holder": AbnormalCounts(sent=9, rejected_4xx=4, unanswered=5, held_back=2),
        "unknown-recipient": AbnormalCounts(sent=12, rejected_5xx=12, first_refusal="550 <b>nobody</b>"),
    }
    page, markdown, summary = forms(load)
    for text in (page, markdown, summary):
        assert text.index("submission") < text.index("mx", text.index("submission"))
        assert "31" in text
        assert text.index("unknown-recipient") < text.index("idle-holder")  # as they are documented
        assert "in no other figure" in " ".join(text.split())
    for text in (page, markdown):
        assert "nobody" in text
        assert "<b>nobody" not in text
    assert all(len(line) <= SUMMARY_WIDTH for line in summary.splitlines())
    assert "abnormal" not in render_summary_text(LoadResult())


def watched(*verdicts: str) -> Invariants:
    findings = [
        Finding(
            id="passive.replies-end-with-crlf", requirements=["5321-A-3"], rfc=5321, section="2.3.8",
            level="MUST NOT" if verdict == "fail" else "SHOULD", verdict=verdict, title="Ends with CRLF.",
            expected="no bare LF", observed=HOSTILE, count=1234,
            transcript=[
                WireLine(t_s=0.1, sender="client", bytes="[1024 octets of content]\\r\\n"),
                WireLine(t_s=0.2, sender="server", bytes=HOSTILE),
            ],
        )
        for verdict in verdicts
    ]  # fmt: skip
    return Invariants(share=0.25, sessions=12, messages=1250, replies=5000, findings=findings)


def test_a_rule_broken_under_load_is_in_every_form_with_its_wire_log(load: LoadResult) -> None:
    load.invariants = watched("fail")
    for text in forms(load):
        assert "passive" in text
        assert "1,234" in text
        assert "1 rule of SMTP broken under load" in text
        assert "\x1b" not in text
    page, markdown, _ = forms(load)
    assert "[1024 octets of content]" in page
    assert "[1024 octets of content]" in markdown
    assert "<script>alert" not in page
    suite = ElementTree.fromstring(render_junit(load)).find("testsuite")
    assert suite is not None
    assert suite.get("failures") == "1"
    failure = suite.find(".//testcase[@classname='load.passive']/failure")
    assert failure is not None
    assert "[1024 octets of content]" in (failure.text or "")
    line = json.loads(render_json(load))["invariants"]["findings"][0]["transcript"][0]
    assert line == {"t_s": 0.1, "from": "client", "bytes": "[1024 octets of content]\\r\\n"}


def test_a_should_broken_under_load_is_shown_and_fails_nothing(load: LoadResult) -> None:
    load.invariants = watched("non-strict")
    for text in forms(load):
        assert "non-strict" in text
    root = ElementTree.fromstring(render_junit(load))
    assert root.find(".//failure") is None
    assert root.find(".//property[@value='non-strict']") is not None


def test_a_watch_that_found_nothing_says_how_much_it_saw(load: LoadResult) -> None:
    load.invariants = watched()
    for text in forms(load):
        assert "1,250 messages (25.0%) in 12 sessions watched for conformance: no rule broken" in " ".join(
            text.split()
        )


def test_what_the_generator_was_near_to_is_in_every_form(load: LoadResult) -> None:
    load.generator.warnings = ["the loop was late <b>"]
    load.generator.processes = [ProcessUse(name="local", span_s=10, waited_s=1.5)]
    load.generator.calibration = Calibration(
        per_s=50_000, used=0.31, phases={"transaction": Floor(p50_ms=0.2)}
    )
    page, markdown, summary = forms(load)
    for text in (page, markdown, summary):
        assert "the loop was late" in text
        for fact in (
            "50,000/s for each process",
            "31.0% of that",
            "200 µs a transaction",
            "15.0% of the time",
        ):
            assert fact in " ".join(text.split())
    assert "<b>" not in page.replace('<b class="mono">', "").split("What to know")[1][:300]
