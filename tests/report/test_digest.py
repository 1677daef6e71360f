from smtpbench.conformance.result import ConformanceResult, Verdict
from smtpbench.load.result import LoadResult, PhaseStats
from smtpbench.report import digest
from smtpbench.report.conclusion import Conclusion


def test_findings_come_worst_first(conformance: ConformanceResult) -> None:
    verdicts = [case.verdict for case in digest.findings(conformance)]
    assert verdicts == [Verdict.FAIL, Verdict.FAIL, Verdict.NON_STRICT, Verdict.ERROR]


def test_sections_are_in_numeric_order(conformance: ConformanceResult) -> None:
    titles = [section.title for section in digest.sections(conformance)]
    assert titles == ["RFC 5321 §4.1.1.4", "RFC 5321 §4.1.1.10", "RFC 5321 §4.2"]


def test_every_case_is_in_one_section(conformance: ConformanceResult) -> None:
    listed = [case.id for section in digest.sections(conformance) for case in section.cases]
    assert sorted(listed) == sorted(case.id for case in conformance.cases)


def test_a_section_that_is_no_number_is_not_put_into_a_link() -> None:
    assert digest.Section(5321, "x#y", []).url == "https://www.rfc-editor.org/rfc/rfc5321"
    assert digest.Section(5321, "4.2", []).url == "https://www.rfc-editor.org/rfc/rfc5321#section-4.2"


def test_what_no_rfc_says_has_no_link(conformance: ConformanceResult) -> None:
    case = conformance.cases[0].model_copy(update={"rfc": 0, "section": ""})
    section = digest.sections(conformance.model_copy(update={"cases": [case]}))[0]
    assert (section.title, section.url) == ("Outside the RFCs", None)


def test_reasons_are_counted(conformance: ConformanceResult) -> None:
    assert digest.untested_reasons(conformance) == [("not offered: CHUNKING", 1)]


def test_conformance_conclusions(conformance: ConformanceResult) -> None:
    def concluded(**counts: int) -> tuple[str, str]:
        summary = {Verdict(name.replace("_", "-")): count for name, count in counts.items()}
        found = digest.conclude_conformance(conformance.model_copy(update={"summary": summary}))
        return found.tone, found.text

    assert concluded(**{"fail": 1, "pass": 9}) == ("bad", "1 case found a broken requirement")
    assert concluded(error=2)[0] == "warn"
    assert concluded(non_strict=2) == (
        "warn",
        "Conforms, 5 of 20 requirements tested; 2 cases found a SHOULD not followed",
    )
    assert concluded(**{"pass": 3}) == ("good", "Conforms, 5 of 20 requirements tested")


def test_nothing_tested_is_inconclusive(conformance: ConformanceResult) -> None:
    untested = conformance.model_copy(deep=True, update={"summary": {Verdict.UNTESTED: 5}})
    untested.coverage.tested = 0
    assert digest.conclude_conformance(untested).text.startswith("Inconclusive")


def test_load_conclusions(load: LoadResult) -> None:
    load.totals.missed = 7
    assert digest.conclude_load(load) == Conclusion(
        "warn", "500 messages/s accepted; 3 refused; 1 dropped or timed out; 7 not sent in time"
    )
    load.totals.rejected_4xx = load.totals.dropped = load.totals.missed = 0
    assert digest.conclude_load(load).tone == "good"
    load.valid = False
    assert digest.conclude_load(load) == Conclusion("bad", "Not a valid measurement")


def test_phases_are_in_the_order_of_a_session(load: LoadResult) -> None:
    load.phases |= {"zz-unknown": PhaseStats(count=1), "tls": PhaseStats(count=0)}
    names = [name for name, _ in digest.phases(load)]
    assert names == ["connect", "banner", "ehlo", "mail", "rcpt", "data", "body", "transaction", "zz-unknown"]
