"""What every form of a report says about a result: its findings, its order, its one-line conclusion."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from smtpbench.conformance.result import CaseResult, ConformanceResult, Verdict
from smtpbench.load.abnormal import COUNTS, DOES
from smtpbench.load.capacity_result import CapacityResult
from smtpbench.load.result import FAILURES, MISSED, OUTCOMES, PHASES, LoadResult, OfAKind, PhaseStats
from smtpbench.report.capacity import conclude_capacity
from smtpbench.report.conclusion import Conclusion
from smtpbench.report.delivery import conclude_delivery
from smtpbench.report.model import Run
from smtpbench.report.overload import conclude_overload
from smtpbench.report.retries import conclude_retries
from smtpbench.report.text import milliseconds, number, seconds

MARKS: dict[Verdict, str] = {
    Verdict.PASS: "✓",
    Verdict.FAIL: "✗",
    Verdict.NON_STRICT: "!",
    Verdict.HARDENED: "◆",
    Verdict.INFO: "i",
    Verdict.UNTESTED: "–",
    Verdict.ERROR: "⚠",
}
"""A sign beside each word, so that no verdict is told by colour alone."""

MEANINGS: dict[Verdict, str] = {
    Verdict.PASS: "conforms",
    Verdict.FAIL: "breaks a MUST, a MUST NOT or a grammar rule",
    Verdict.NON_STRICT: "breaks a SHOULD, or answers the right class with the wrong code",
    Verdict.HARDENED: "stricter than the RFC on purpose",
    Verdict.INFO: "the RFC leaves a choice: which branch was taken",
    Verdict.UNTESTED: "not tested, for the reason given",
    Verdict.ERROR: "the harness itself broke",
}

FINDINGS = (Verdict.FAIL, Verdict.NON_STRICT, Verdict.ERROR)


@dataclass(frozen=True)
class Section:
    """The cases of one RFC section, in the order of the run."""

    rfc: int
    section: str
    cases: list[CaseResult]

    @property
    def title(self) -> str:
        """``RFC 5321 §4.1.1.4``."""
        return place(self.cases[0])

    @property
    def url(self) -> str | None:
        """The section's text at the RFC Editor; None if no RFC says it."""
        if not self.rfc:
            return None
        page = f"https://www.rfc-editor.org/rfc/rfc{self.rfc}"
        return f"{page}#section-{self.section}" if re.fullmatch(r"\d+(\.\d+)*", self.section) else page


def findings(result: ConformanceResult) -> list[CaseResult]:
    """What a reader must act on, worst first: `fail`, then `non-strict`, then `error`."""
    found = [case for case in result.cases if case.verdict in FINDINGS]
    return sorted(found, key=lambda case: FINDINGS.index(case.verdict))


def place(case: CaseResult) -> str:
    """Where the requirement is written: ``RFC 5321 §4.1.1.4``."""
    if not case.rfc:
        return "Outside the RFCs"
    return f"RFC {case.rfc} §{case.section}" if case.section else f"RFC {case.rfc}"


def sections(result: ConformanceResult) -> list[Section]:
    """The cases by RFC and section, sections in their numeric order."""
    ordered = sorted(result.cases, key=_sort_key)
    return [
        Section(rfc, section, list(cases))
        for (rfc, section), cases in groupby(ordered, key=lambda case: (case.rfc, case.section))
    ]


def _sort_key(case: CaseResult) -> tuple[int, list[tuple[int, str]], str]:
    parts = [(int(part), "") if part.isdecimal() else (0, part) for part in case.section.split(".")]
    return case.rfc, parts, case.section


def untested_reasons(result: ConformanceResult) -> list[tuple[str, int]]:
    """Why cases were not tested, and how many for each reason, most frequent first."""
    untested = (case for case in result.cases if case.verdict is Verdict.UNTESTED)
    return Counter(case.reason or "no reason given" for case in untested).most_common()


def conclude_conformance(result: ConformanceResult) -> Conclusion:
    """The conclusion of the conformance half."""
    counts = result.summary
    fails, errors = counts.get(Verdict.FAIL, 0), counts.get(Verdict.ERROR, 0)
    soft = counts.get(Verdict.NON_STRICT, 0)
    if fails:
        return Conclusion("bad", f"{_plural(fails, 'case')} found a broken requirement")
    if errors:
        return Conclusion("warn", f"Inconclusive: the harness broke in {_plural(errors, 'case')}")
    if not result.coverage.tested:
        return Conclusion("warn", "Inconclusive: nothing could be tested")
    tested = f"{result.coverage.tested} of {result.coverage.requirements} requirements tested"
    if result.cut_off:
        return Conclusion("warn", f"Inconclusive: ended early, no requirement found broken, {tested}")
    if soft:
        return Conclusion("warn", f"Conforms, {tested}; {_plural(soft, 'case')} found a SHOULD not followed")
    return Conclusion("good", f"Conforms, {tested}")


def conclude_load(result: LoadResult) -> Conclusion:
    """The conclusion of the load half."""
    totals = result.totals
    if rules := result.broken_rules:
        invalid = "" if result.valid else "; not a valid measurement"
        return Conclusion("bad", f"{_plural(len(rules), 'rule')} of SMTP broken under load{invalid}")
    if not result.valid:
        return Conclusion("bad", "Not a valid measurement")
    if result.aborted:
        return Conclusion("bad", f"Ended early by a threshold: {result.aborted}")
    if broken := sum(not one.met for one in result.thresholds):
        nothing = f"; {result.nothing_accepted}" if result.nothing_accepted else ""
        return Conclusion(
            "bad", f"{broken} of {_plural(len(result.thresholds), 'threshold')} broken{nothing}"
        )
    if result.nothing_accepted:
        return Conclusion("bad", result.nothing_accepted)
    troubles = {
        "refused": totals.rejected_4xx + totals.rejected_5xx,
        "dropped or timed out": totals.dropped + totals.timeouts,
        "not sent in time": totals.missed,
    }
    rate = f"{number(result.rates.accepted_per_s)} messages/s accepted"
    if any(troubles.values()):
        return Conclusion("warn", "; ".join([rate, *(f"{n:,} {what}" for what, n in troubles.items() if n)]))
    return Conclusion("good", f"{rate}, none refused, dropped or timed out")


def conclusions(run: Run) -> list[Conclusion]:
    """One conclusion for each part there is, conformance first."""
    found = [conclude_conformance(run.conformance)] if run.conformance else []
    if run.retries:
        found.append(conclude_retries(run.retries))
    elif run.queue:
        found.append(conclude_delivery(run.queue))
    found += [conclude_load(run.measured)] if run.measured else []
    found += [conclude_capacity(run.capacity)] if run.capacity else []
    return found + ([conclude_overload(run.overload)] if run.overload else [])


def limits(result: LoadResult | CapacityResult) -> list[str]:
    """What was noticed before the load, a sentence each; those that the load runs into first."""
    ordered = sorted(result.preflight, key=lambda notice: not notice.hits)
    return [
        f"{'The load runs into a limit' if notice.hits else 'A limit of the target'}: {notice.text}"
        for notice in ordered
    ]


def phases(result: LoadResult) -> list[tuple[str, PhaseStats]]:
    """The phases that happened, in the order of a session; any unknown ones after them."""
    names = [*PHASES, *sorted(set(result.phases) - set(PHASES))]
    return [
        (name, result.phases[name]) for name in names if name in result.phases and result.phases[name].count
    ]


OUTCOME_NAMES = dict(
    zip((*OUTCOMES, MISSED), ("accepted", "4yz", "5yz", "dropped", "timed out", "missed"), strict=True)
)
"""What became of a message, for people."""

NO_PLAN = (
    "A closed workload: each message is due when its user is ready for it, so there is no intended start "
    "to measure from. A slow target slows its own load down; give a rate to see what waiting costs."
)
MISSED_MEANS = "missed: no session became free in time; how long they had waited at the end of the run"


@dataclass(frozen=True)
class OutcomeRow:
    """The messages with one outcome: their times from the actual start and from the intended one."""

    name: str
    actual: PhaseStats
    intended: PhaseStats

    @property
    def count(self) -> int:
        """How many there were."""
        return max(self.actual.count, self.intended.count)


def outcomes(result: LoadResult) -> list[OutcomeRow]:
    """What became of the messages, a row for each outcome that there was."""
    none = PhaseStats()
    rows = [
        OutcomeRow(shown, result.outcomes.get(name, none), result.from_intended_start.get(name, none))
        for name, shown in OUTCOME_NAMES.items()
    ]
    return [row for row in rows if row.count]


def plain_workload(result: LoadResult) -> dict[str, Any]:
    """The workload without the kinds of its mix, which have tables of their own."""
    return {key: value for key, value in result.workload.items() if key not in ("traffic", "abnormal")}


@dataclass(frozen=True)
class KindRow:
    """One kind of session in a mix: what became of its messages, and what was asked of it."""

    name: str
    seen: OfAKind
    asked: dict[str, Any]

    @property
    def failed(self) -> int:
        """Messages with any other outcome than accepted."""
        return sum(int(getattr(self.seen, name)) for name in FAILURES)


def mix(result: LoadResult) -> list[KindRow]:
    """Each kind of session in a mix, in the order of the workload."""
    asked = {str(one["name"]): one for one in result.workload.get("traffic", [])}
    names = [name for name in asked if name in result.traffic]
    return [
        KindRow(
            name,
            result.traffic[name],
            {key: value for key, value in asked.get(name, {}).items() if key != "name"},
        )
        for name in dict.fromkeys([*names, *result.traffic])
    ]


ABNORMAL_HEADINGS = ("sent", "accepted", "4yz", "5yz", "dropped", "timed out", "unanswered", "held back")
"""The counts of abnormal sessions, for people, in the order of `AbnormalRow.counts`."""

ABNORMAL_MEANS = (
    "Abnormal sessions ran beside the others and are in no other figure. Unanswered: no reply was due, "
    "because we left or the run was over. Held back: not begun, because as many were open as may be."
)


@dataclass(frozen=True)
class AbnormalRow:
    """The abnormal sessions of one kind: what they do, what became of them, what the server said first."""

    name: str
    does: str
    counts: tuple[int, ...]
    first_refusal: str


def abnormal(result: LoadResult) -> list[AbnormalRow]:
    """A row for each kind of abnormal sessions, in the order in which they are documented."""
    names = sorted(result.abnormal, key=lambda name: [*DOES, name].index(name))
    return [
        AbnormalRow(
            name, DOES.get(name, ""), tuple(getattr(result.abnormal[name], what) for what in COUNTS),
            result.abnormal[name].first_refusal,
        )
        for name in names
    ]  # fmt: skip


def generator(result: LoadResult) -> dict[str, str]:
    """What the load cost the client, for people: how near it was to its own limits."""
    own = result.generator
    found = {
        "CPU time": seconds(own.cpu_s),
        "CPU per message": milliseconds(own.cpu_us_per_message / 1000),
        "its loop late by (p99)": milliseconds(own.loop_lag_p99_ms),
    }
    if result.from_intended_start:
        found["arrivals late by (p99)"] = milliseconds(own.schedule_lag_p99_ms)
    waited = [use.waited_s / use.span_s for use in own.processes if use.waited_s is not None and use.span_s]
    if waited:
        found["waited for a core"] = f"{max(waited):.1%} of the time"
    if own.machine_busy:
        found["its machine busy"] = f"{own.machine_busy:.0%}"
    if own.gc_max_ms:
        found["longest garbage collection"] = milliseconds(own.gc_max_ms)
    if (ceiling := own.calibration) is not None:
        found["its own ceiling"] = f"{number(ceiling.per_s)}/s for each process"
        found["ran at"] = f"{ceiling.used:.1%} of that"
        if floor := ceiling.phases.get("transaction"):
            found["its own floor"] = f"{milliseconds(floor.p50_ms)} a transaction (p50)"
    return found


def watched(result: LoadResult) -> str:
    """How much of a load run was held against the rules of SMTP, and what that cost; "" if nothing was."""
    seen = result.invariants
    if not seen.sessions:
        return ""
    broken = sum(one.verdict != "info" for one in seen.findings)
    rules = f"{_plural(broken, 'rule')} broken" if broken else "no rule broken"
    return (
        f"{number(seen.messages)} messages ({seen.share:.1%}) in {number(seen.sessions)} sessions watched "
        f"for conformance: {rules} ({seen.cpu_us_per_message:.1f} µs of CPU for each message of the run)"
    )


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
