"""JUnit XML, for the test pages of a CI server."""

from __future__ import annotations

from xml.etree import ElementTree

from smtpbench.campaign.fault_result import BACK, Judged, OverloadResult
from smtpbench.campaign.faults import Fault
from smtpbench.campaign.result import QueueResult
from smtpbench.conformance.result import CaseResult, ConformanceResult, Verdict
from smtpbench.load.capacity_result import CapacityResult
from smtpbench.load.result import Finding, LoadResult
from smtpbench.load.search import End
from smtpbench.load.thresholds import measured, useless
from smtpbench.report.capacity import conclude_capacity
from smtpbench.report.digest import place
from smtpbench.report.model import Result, Run
from smtpbench.report.retries import reference, why
from smtpbench.report.text import visible, wire_lines


def render_junit(result: Result | Run, *, strict: bool = False) -> str:
    """`result` as a ``<testsuites>`` document: one test suite a half, one test case a conformance case.

    `fail` is a failure, `error` an error, `untested` a skip with its reason; with `strict`, `non-strict`
    is a failure too. The rest pass, and name their verdict in the case's properties.
    """
    run = Run.of(result)
    root = ElementTree.Element("testsuites", name="smtpbench")
    if run.conformance:
        _conformance(root, run.conformance, strict=strict)
    if run.queue and run.queue.retries:
        _retries(root, run.queue, strict=strict)
    elif run.queue:
        _queue(root, run.queue)
    if run.load and not run.retries:
        _load(root, run.load)
    if run.capacity:
        _capacity(root, run.capacity)
    if run.overload:
        _overload(root, run.overload, strict=strict)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _conformance(root: ElementTree.Element, result: ConformanceResult, *, strict: bool) -> None:
    suite = ElementTree.SubElement(root, "testsuite", name="smtpbench.conformance")
    suite.set("timestamp", visible(result.started))
    suite.set("time", f"{result.duration_s:.3f}")
    for case in result.cases:
        _case(suite, case, strict=strict)
    _count(suite)


def _case(suite: ElementTree.Element, case: CaseResult, *, strict: bool) -> None:
    group, _, name = visible(case.id).rpartition(".")
    element = ElementTree.SubElement(
        suite, "testcase", classname=group, name=name, time=f"{case.duration_s:.3f}"
    )
    _properties(element, {"verdict": case.verdict.value, "requirements": " ".join(case.requirements)})
    failures = {Verdict.FAIL, Verdict.NON_STRICT} if strict else {Verdict.FAIL}
    if case.verdict in failures:
        _detail(element, "failure", f"{case.level}: {case.observed}", case)
    elif case.verdict is Verdict.ERROR:
        _detail(element, "error", case.reason or case.observed, case)
    elif case.verdict is Verdict.UNTESTED:
        ElementTree.SubElement(element, "skipped", message=visible(case.reason or "no reason given"))


def _detail(element: ElementTree.Element, kind: str, message: str, case: CaseResult) -> None:
    lines = [
        case.title,
        f"{place(case)}, {case.level}, {' '.join(case.requirements)}",
        f"expected: {case.expected}",
        f"observed: {case.observed}",
        *([f"reproduce: {case.repro}"] if case.repro else []),
        *(
            f"{line.t_s:9.4f} {line.sender:>6} {text}"
            for line in case.transcript
            for text in wire_lines(line.bytes)
        ),
    ]
    child = ElementTree.SubElement(element, kind, message=visible(message), type=case.verdict.value)
    child.text = "\n".join(visible(line) for line in lines)


def _load(root: ElementTree.Element, result: LoadResult) -> None:
    suite = ElementTree.SubElement(root, "testsuite", name="smtpbench.load")
    suite.set("timestamp", visible(result.started))
    suite.set("time", f"{result.duration_s:.3f}")
    case = ElementTree.SubElement(suite, "testcase", classname="load", name="valid-measurement")
    case.set("time", f"{result.duration_s:.3f}")
    figures = result.totals.model_dump() | result.rates.model_dump()
    _properties(
        case,
        {name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in figures.items()},
    )
    if not result.valid:
        reasons = "; ".join(result.invalid_reasons) or "no reason given"
        ElementTree.SubElement(case, "error", message=visible(reasons), type="invalid")
    elif reason := useless(result):
        ElementTree.SubElement(case, "error", message=visible(reason), type="nothing-accepted")
    for threshold in result.thresholds:
        case = ElementTree.SubElement(
            suite, "testcase", classname="load.threshold", name=visible(threshold.expression), time="0.000"
        )
        if not threshold.met:
            message = f"{threshold.expression}: {measured(threshold)}"
            ElementTree.SubElement(case, "failure", message=visible(message), type="threshold")
    for finding in result.invariants.findings:
        _rule(suite, finding)
    _count(suite)


def _queue(root: ElementTree.Element, result: QueueResult) -> None:
    """A test case for each thing that must not become of a message, and one for what is not settled."""
    suite = ElementTree.SubElement(root, "testsuite", name="smtpbench.delivery")
    suite.set("timestamp", visible(result.started))
    suite.set("time", f"{result.duration_s:.3f}")
    counts = result.ledger.model_dump()
    for word in ("lost", "duplicated", "corrupted", "pending"):
        case = ElementTree.SubElement(
            suite, "testcase", classname="delivery", name=f"nothing-{word}", time="0.000"
        )
        _properties(case, {name: str(count) for name, count in counts.items()})
        if counts[word]:
            kind = "failure" if word in result.wrong else "error"
            shown = ", ".join(result.examples.get(word, []))
            message = f"{counts[word]} of {result.ledger.accepted} {word}{': ' if shown else ''}{shown}"
            ElementTree.SubElement(case, kind, message=visible(message), type=word)
    _count(suite)


def _retries(root: ElementTree.Element, result: QueueResult, *, strict: bool) -> None:
    """A test case for each message, and for each rule on the schedule."""
    suite = ElementTree.SubElement(root, "testsuite", name="smtpbench.retries")
    suite.set("timestamp", visible(result.started))
    suite.set("time", f"{result.duration_s:.3f}")
    assert result.retries is not None
    named = [(one.kind, one.end, one) for one in result.retries.messages]
    failures = {Verdict.FAIL, Verdict.NON_STRICT} if strict else {Verdict.FAIL}
    for name, end, one in [*named, *((rule.name, "", rule) for rule in result.retries.schedule)]:
        case = ElementTree.SubElement(suite, "testcase", classname="retries", name=name, time="0.000")
        _properties(case, {"verdict": one.verdict.value, "end": end, "rule": reference(one)})
        if one.verdict in failures:
            ElementTree.SubElement(case, "failure", message=visible(why(one)), type=one.verdict.value)
        elif one.verdict is Verdict.UNTESTED:
            ElementTree.SubElement(case, "skipped", message=visible(one.reason or "no reason given"))
    _count(suite)


def _overload(root: ElementTree.Element, result: OverloadResult, *, strict: bool) -> None:
    """A test case for each check of each fault."""
    suite = ElementTree.SubElement(root, "testsuite", name="smtpbench.crash")
    suite.set("timestamp", visible(result.started))
    suite.set("time", f"{result.duration_s:.3f}")
    failures = {Verdict.FAIL, Verdict.NON_STRICT} if strict else {Verdict.FAIL}
    if any(fault.fault == Fault.KILL for fault in result.faults):
        _power_loss(suite, result.verdicts.power_loss)
    for fault in result.faults:
        group = f"crash.{visible(fault.fault)}"
        if fault.untested:
            case = ElementTree.SubElement(suite, "testcase", classname=group, name="struck", time="0.000")
            ElementTree.SubElement(case, "skipped", message=visible(fault.untested))
        for check in fault.checks:
            case = ElementTree.SubElement(suite, "testcase", classname=group, name=check.id, time="0.000")
            _properties(case, {"verdict": check.verdict.value})
            message = visible(f"{check.level}: {check.observed}")
            if check.verdict in failures or (check.id == BACK and fault.gone):
                ElementTree.SubElement(case, "failure", message=message, type=check.verdict.value)
            elif check.verdict is Verdict.UNTESTED:
                ElementTree.SubElement(case, "skipped", message=visible(check.reason or ""))
    _count(suite)


def _power_loss(suite: ElementTree.Element, judged: Judged) -> None:
    case = ElementTree.SubElement(suite, "testcase", classname="crash", name="power-loss-safe", time="0.000")
    _properties(case, {"verdict": judged.verdict.value})
    if judged.verdict is Verdict.FAIL:
        ElementTree.SubElement(case, "failure", message=visible(judged.reason), type=judged.verdict.value)
    elif judged.verdict is Verdict.UNTESTED:
        ElementTree.SubElement(case, "skipped", message=visible(judged.reason))


def _capacity(root: ElementTree.Element, result: CapacityResult) -> None:
    """One test case: a failure if no rate holds, an error if the search did not settle it."""
    suite = ElementTree.SubElement(root, "testsuite", name="smtpbench.capacity")
    suite.set("timestamp", visible(result.started))
    suite.set("time", f"{result.duration_s:.3f}")
    case = ElementTree.SubElement(suite, "testcase", classname="capacity", name="highest-rate-that-holds")
    case.set("time", f"{result.duration_s:.3f}")
    figures = result.capacity.model_dump(exclude_none=True) | {"end": result.end.value}
    _properties(case, {name: str(value) for name, value in figures.items()})
    known = result.end in (End.FOUND, End.MAXIMUM) or result.meets
    kind = "failure" if result.end is End.BELOW or result.meets is False else "" if known else "error"
    if kind:
        text = conclude_capacity(result).text
        ElementTree.SubElement(case, kind, message=visible(text), type=result.end.value)
    _count(suite)


def _rule(suite: ElementTree.Element, finding: Finding) -> None:
    """A rule that was broken under load; one that is only a SHOULD passes, and names its verdict."""
    group, _, name = visible(finding.id).rpartition(".")
    case = ElementTree.SubElement(suite, "testcase", classname=f"load.{group}", name=name, time="0.000")
    _properties(case, {"verdict": finding.verdict, "requirements": " ".join(finding.requirements)})
    if finding.verdict != "fail":
        return
    message = f"{finding.level}: {finding.observed} (seen {finding.count} times)"
    failure = ElementTree.SubElement(case, "failure", message=visible(message), type=finding.verdict)
    log = [
        f"{line.t_s:9.4f} {line.sender:>6} {part}"
        for line in finding.transcript
        for part in wire_lines(line.bytes)
    ]
    about = [finding.title, f"RFC {finding.rfc} §{finding.section}", f"expected: {finding.expected}"]
    failure.text = "\n".join(visible(line) for line in (*about, *log))


def _properties(element: ElementTree.Element, values: dict[str, str]) -> None:
    properties = ElementTree.SubElement(element, "properties")
    for name, value in values.items():
        ElementTree.SubElement(properties, "property", name=name, value=visible(value))


def _count(suite: ElementTree.Element) -> None:
    cases = suite.findall("testcase")
    suite.set("tests", str(len(cases)))
    for attribute, tag in {"failures": "failure", "errors": "error", "skipped": "skipped"}.items():
        suite.set(attribute, str(sum(case.find(tag) is not None for case in cases)))
