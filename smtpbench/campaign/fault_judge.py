"""What a target did under a fault, set against what it should do. Verdicts are made in `grading` alone."""

from __future__ import annotations

from smtpbench.campaign.fault_result import BACK, KEPT, Check, FaultResult
from smtpbench.campaign.faults import Fault
from smtpbench.conformance.model import Level
from smtpbench.conformance.observation import Observation, Outcome


def judge(result: FaultResult) -> list[Check]:
    """The checks of a fault that was inflicted, in the order in which they matter."""
    if result.untested:
        return []
    if result.fault == Fault.KILL:  # a process that is dead refuses nothing
        return [
            Check.of(KEPT, "6.1", Level.MUST_NOT, _kept(result)),
            Check.of(BACK, "", Level.INFO, _serves_again(result)),
            Check.of("delivers-once", "", Level.INFO, _once(result)),
        ]
    return [
        # §6.1: "MUST NOT lose the message for frivolous reasons, such as … a predictable resource shortage"
        Check.of(KEPT, "6.1", Level.MUST_NOT, _kept(result)),
        # no RFC says that a server has to come back: a finding of the campaign, see FaultResult.gone
        Check.of(BACK, "", Level.INFO, _serves_again(result)),
        # §4.2.1, a rule of thumb: what can succeed if it is repeated unchanged is answered 4yz
        Check.of("refuses-for-now", "4.2.1", Level.PROSE, _refuses_for_now(result)),
        # a queue that could not write down that it had delivered delivers again: no RFC forbids it
        Check.of("delivers-once", "", Level.INFO, _once(result)),
    ]


def _kept(result: FaultResult) -> Observation:
    ledger = result.ledger
    expected = "all that was accepted is delivered whole, or reported"
    seen = (
        f"{ledger.accepted} accepted = {ledger.delivered} delivered + {ledger.bounced} bounced "
        f"+ {ledger.lost} lost + {ledger.pending} pending; {ledger.corrupted} corrupted"
    )
    if ledger.lost and not ledger.corrupted and result.first_accepted_s is None:
        why = "the target did not come back: what is missing may be in its queue"
        return Observation(expected, seen, Outcome.UNTESTED, why)
    if ledger.lost or ledger.corrupted:
        return Observation(expected, seen, Outcome.VIOLATES)
    if ledger.pending or not result.closed:
        return Observation(expected, seen, Outcome.UNTESTED, result.unsure or "some are still on their way")
    if len(result.cycles) < result.wanted_cycles:
        done = f"{len(result.cycles)} of {result.wanted_cycles} kills were done"
        return Observation(expected, seen, Outcome.UNTESTED, done)
    if not ledger.accepted:
        return Observation(expected, seen, Outcome.UNTESTED, "nothing was accepted")
    return Observation(expected, seen, Outcome.CONFORMS)


def _serves_again(result: FaultResult) -> Observation:
    expected = f"a message is accepted within {result.patience_s:g} s of the end of the fault"
    if result.first_accepted_s is None:
        return Observation(expected, "none was", Outcome.VIOLATES)
    return Observation(expected, f"one was after {result.first_accepted_s:.1f} s", Outcome.CONFORMS)


def _refuses_for_now(result: FaultResult) -> Observation:
    """5yz of the load, and to a flood; a slow session may be told anything, it has not asked for mail."""
    expected = "4yz, 421, or a connection that is closed or not taken, and no 5yz"
    greeted = result.connections.get("5yz", 0) if result.fault == Fault.FLOOD else 0
    permanent = result.since.rejected_5xx + greeted
    since = result.since
    if result.before.rejected_5xx and permanent:
        return Observation(
            expected, "", Outcome.UNTESTED, "the load was answered 5yz before the fault as well"
        )
    seen = (
        f"{since.accepted} accepted, {since.rejected_4xx} answered 4yz, {permanent} answered 5yz, "
        f"{since.dropped} dropped, {since.timeouts} timed out"
    )
    if permanent:
        words = next((one for one in result.refusals if one.lstrip().startswith("5")), "")
        return Observation(expected, f"{seen}: {words}" if words else seen, Outcome.VIOLATES)
    if not since.refused and not set(result.connections) - {"held"}:
        return Observation(expected, f"{seen}: the fault kept nobody out", Outcome.CHOICE)
    return Observation(expected, seen, Outcome.CONFORMS)


def _once(result: FaultResult) -> Observation:
    expected, twice = "each message arrives once", result.ledger.duplicated
    if twice:
        return Observation(expected, f"{twice} arrived more than once", Outcome.VIOLATES)
    return Observation(expected, "none arrived more than once", Outcome.CONFORMS)
