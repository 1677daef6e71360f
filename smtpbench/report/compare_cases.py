"""Two conformance runs: the cases whose verdict changed, the worse ones first."""

from __future__ import annotations

from smtpbench.conformance.baseline import NO_ANSWER
from smtpbench.conformance.result import CaseResult, ConformanceResult, Verdict
from smtpbench.report.comparison import CaseChange, Judgement

_BADNESS: dict[str, int] = {Verdict.NON_STRICT: 1, Verdict.FAIL: 2}  # all others conform, or are no answer
_ORDER: tuple[Judgement, ...] = ("worse", "better", "changed", "no change", "not judged")


def compare_cases(
    base: ConformanceResult, new: ConformanceResult
) -> tuple[list[CaseChange], list[str], list[str]]:
    """The changes; notes; and why the comparison is inconclusive."""
    before = {case.id: case for case in base.cases}
    after = {case.id: case for case in new.cases}
    changes = [
        _change(before.get(name), after.get(name))
        for name in sorted(before.keys() | after.keys())
        if (before[name].verdict if name in before else None)
        != (after[name].verdict if name in after else None)
    ]
    changes = sorted_changes(changes)
    notes = [
        f"{count} cases are in {name} only"
        for name, count in (("BASE", len(before.keys() - after)), ("NEW", len(after.keys() - before)))
        if count
    ]
    return changes, notes, _reasons(base, new, changes)


def _reasons(base: ConformanceResult, new: ConformanceResult, changes: list[CaseChange]) -> list[str]:
    cut_short = [
        f"{count} cases of {name} got no answer because the target, or the run's time, failed"
        for name, count in (("BASE", base.interrupted), ("NEW", new.interrupted))
        if count
    ]
    broken = sum(change.new == Verdict.ERROR for change in changes)
    return [*cut_short, *([f"{broken} cases of NEW ended in an error of ours"] if broken else [])]


def _change(before: CaseResult | None, after: CaseResult | None) -> CaseChange:
    shown = after or before
    assert shown is not None
    return CaseChange(
        id=shown.id,
        title=shown.title,
        level=shown.level,
        base=before.verdict.value if before else None,
        new=after.verdict.value if after else None,
        judged=judge_verdicts(before.verdict if before else None, after.verdict if after else None),
        observed=(after.observed or after.reason or "") if after else "",
    )


def sorted_changes(changes: list[CaseChange]) -> list[CaseChange]:
    """The worse ones first."""
    return sorted(changes, key=lambda change: (_ORDER.index(change.judged), -_badness(change.new)))


def judge_verdicts(before: Verdict | None, after: Verdict | None) -> Judgement:
    """No answer now is no judgement; a case without an answer before is worse only if it fails."""
    if after is None or after in NO_ANSWER:
        return "changed"
    was, now = _badness(before), _badness(after)
    answered = before is not None and before not in NO_ANSWER
    if now > was and (answered or after is Verdict.FAIL):
        return "worse"
    return "better" if now < was else "changed"


def _badness(verdict: str | None) -> int:
    return _BADNESS.get(verdict, 0) if verdict else 0
