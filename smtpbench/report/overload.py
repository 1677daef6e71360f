"""What every form of a report says about faults under load."""

from __future__ import annotations

from smtpbench.campaign.fault_result import (
    Answers,
    Check,
    FaultResult,
    MessageTrace,
    OverloadResult,
    TracedCall,
)
from smtpbench.conformance.result import Verdict
from smtpbench.load.crowd import MET
from smtpbench.report.conclusion import Conclusion
from smtpbench.report.text import milliseconds, number

BAD = (Verdict.FAIL, Verdict.NON_STRICT)


def conclude_overload(result: OverloadResult) -> Conclusion:
    """The answer in a line."""
    if gone := [fault.fault for fault in result.faults if fault.gone]:
        return Conclusion("bad", f"did not come back: {', '.join(gone)}")
    for verdict, tone in ((Verdict.FAIL, "bad"), (Verdict.NON_STRICT, "warn")):
        found = [f"{fault.fault}: {one.id}" for fault in result.faults for one in fault.checks
                 if one.verdict is verdict]  # fmt: skip
        if verdict is result.verdicts.power_loss.verdict:
            found.append("not power-loss safe")
        if found:
            return Conclusion(tone, f"{verdict.value}: {', '.join(found)}")  # type: ignore[arg-type]
    names = ", ".join(fault.fault for fault in result.faults)
    if Verdict.UNTESTED in result.graded:
        return Conclusion("warn", f"Inconclusive: not all could be asked of {names}")
    return Conclusion("good", f"survived {names}; nothing that was accepted is missing")


def promises(result: OverloadResult) -> list[str]:
    """The two promises, a sentence each, where the target was killed."""
    if not any(fault.fault == "kill" for fault in result.faults):
        return []
    two = {"process-crash safe": result.verdicts.process_crash, "power-loss safe": result.verdicts.power_loss}
    return [f"{words}: {one.verdict.value} ({one.reason})" for words, one in two.items()]


def evidence(result: OverloadResult) -> list[MessageTrace]:
    """The traced messages, if their calls were seen."""
    return [one for one in result.verdicts.power_loss.evidence if one.calls]


def first_evidence(result: OverloadResult) -> MessageTrace:
    """The traced message that the verdict on all is about."""
    found = evidence(result)
    return next((one for one in found if one.verdict is result.verdicts.power_loss.verdict), found[0])


def when(call: TracedCall) -> str:
    """When it was, for people; "" for the reply itself."""
    if not call.before_reply_ms:
        return "250"
    side = "before" if call.before_reply_ms > 0 else "after"
    return f"{milliseconds(abs(call.before_reply_ms))} {side}"


def basis(check: Check) -> str:
    """Where it stands."""
    return f"RFC 5321 §{check.section}, {check.level}" if check.section else "asked by this campaign"


def sentences(fault: FaultResult) -> list[str]:
    """What happened, a sentence each."""
    if fault.untested:
        return [f"untested: {fault.untested}", *([_ledger(fault)] if fault.ledger.accepted else [])]
    said = [
        f"Until then the load met: {answers(fault.before)}.",
        f"Struck for {fault.struck_s:.1f} s; from then to the end of the load: {answers(fault.since)}.",
    ]
    if fault.connections:
        met = ", ".join(f"{number(n)} {MET.get(word, word)}" for word, n in fault.connections.items())
        said.append(f"The connections of the fault: {met}.")
    if fault.cycles:
        dots, aimed = (sum(one.final_dots for one in fault.cycles), sum(one.aimed for one in fault.cycles))
        downs = [one.down_s for one in fault.cycles if one.down_s is not None]
        said.append(
            f"{len(fault.cycles)} of {fault.wanted_cycles} kills, {aimed} aimed at a final dot; "
            f"{number(dots)} final dots were unanswered when they came. "
            + (f"It greeted again after {min(downs):.2f} to {max(downs):.2f} s." if downs else "")
        )
    said += fault.notes
    if fault.refusals:
        said.append(f"First refusals: {'; '.join(fault.refusals[:3])}.")
    if fault.first_accepted_s is not None:
        said.append(f"The first message was accepted {fault.first_accepted_s:.1f} s after the fault ended.")
    if fault.end_to_end.count:
        took = fault.end_to_end
        said.append(
            f"From the start of the transaction to the arrival it took {milliseconds(took.p50_ms)} (p50), "
            f"{milliseconds(took.p99_ms)} (p99), {milliseconds(took.max_ms)} at most."
        )
    said.append(_ledger(fault))
    return said


def _ledger(fault: FaultResult) -> str:
    ledger = fault.ledger
    return (
        f"Ledger: {number(ledger.accepted)} accepted = {number(ledger.delivered)} delivered + "
        f"{number(ledger.bounced)} bounced + {number(ledger.lost)} lost + {number(ledger.pending)} pending; "
        f"{number(ledger.duplicated)} duplicated, {number(ledger.corrupted)} corrupted, "
        f"{number(ledger.unknown)} never answered (of these {number(ledger.unknown_delivered)} arrived), "
        f"{number(ledger.refused_delivered)} refused and arrived all the same."
    )


def caption(fault: FaultResult) -> str:
    """What the plot of a fault shows."""
    if fault.cycles:
        return (
            "A mark for each kill, a band from there until it greeted again. Depth is as seen from outside."
        )
    return "The band is the time of the fault. Depth is as seen from outside."


def answers(met: Answers) -> str:
    """Counts of messages in words."""
    words = {
        "accepted": met.accepted, "answered 4yz": met.rejected_4xx, "answered 5yz": met.rejected_5xx,
        "dropped": met.dropped, "timed out": met.timeouts, "found no session": met.missed,
    }  # fmt: skip
    shown = [f"{number(n)} {word}" for word, n in words.items() if n or word == "accepted"]
    if met.replies_421:
        shown.append(f"{number(met.replies_421)} replies were 421")
    return ", ".join(shown)
