"""What those saw that looked on, over all processes: each broken rule once, with its first wire log."""

from __future__ import annotations

from typing import Any

from smtpbench.load.result import Finding, Invariants, WireLine


class Findings:
    """Adds up what `Watch.take` gives, of any number of processes."""

    def __init__(self) -> None:
        self._sums = {"sessions": 0, "messages": 0, "replies": 0, "cost_ns": 0}
        self._found: dict[str, dict[str, Any]] = {}

    def add(self, seen: dict[str, Any]) -> None:
        """Add what one process saw since it last told; nothing, if nobody looked."""
        for name in self._sums:
            self._sums[name] += seen.get(name, 0)
        for rule, found in seen.get("findings", {}).items():
            if rule in self._found:
                self._found[rule]["count"] += found["count"]
            else:
                self._found[rule] = dict(found)

    def result(self, messages: int) -> Invariants:
        """For a result; `messages` is how many there were, watched or not."""
        watched, cost_ns = self._sums["messages"], self._sums["cost_ns"]
        return Invariants(
            share=round(min(watched / messages, 1.0), 4) if messages else 0.0,
            sessions=self._sums["sessions"], messages=watched, replies=self._sums["replies"],
            cpu_s=round(cost_ns / 1e9, 3),
            cpu_us_per_message=round(cost_ns / 1000 / messages, 2) if messages else 0.0,
            findings=_judged(self._found) if self._found else [],
        )  # fmt: skip


def _judged(found: dict[str, dict[str, Any]]) -> list[Finding]:
    """The rules in the words of conformance, worst verdict first."""
    # Only where there is a finding: this imports all of the conformance half.
    from smtpbench.conformance.grading import grade
    from smtpbench.conformance.model import load_catalogue
    from smtpbench.conformance.observation import Outcome
    from smtpbench.conformance.passive import RULES

    catalogue = load_catalogue()
    judged = []
    for rule in RULES:
        seen = found.get(rule.watched.value)
        if seen is None or (rule.twice and seen["count"] < 2):
            continue
        # RFC 5321 §4.1.1.10 and §3.8 forbid a close that is meant. Under load, a server that was killed and a
        # network that went look the same, to many sessions at once: what is told accuses nobody.
        outcome = Outcome.CHOICE if rule.twice else Outcome.VIOLATES
        row = catalogue.strongest(rule.requirements)
        log = [WireLine(t_s=t_s, sender=sender, bytes=text) for t_s, sender, text in seen["log"]]
        finding = Finding(
            id=rule.id, requirements=list(rule.requirements), rfc=row.rfc, section=row.section,
            level=row.level.value, verdict=grade(row.level, outcome).value, title=rule.title,
            expected=rule.expected, observed=seen["what"], count=seen["count"], transcript=log,
        )  # fmt: skip
        judged.append(finding)
    return sorted(judged, key=lambda finding: finding.verdict != "fail")
