"""What became of the messages of a retry campaign, held against RFC 5321. Pure: no clock, no socket.

The sentences, each a `Rule` with its section and level; `conformance.grading.grade` makes the verdicts.
Where a target's schedule is not known, silence cannot be told from a long interval: then a message is
pending, and untested. Where no factor is stated, intervals are recorded, and never judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

from smtpbench.campaign.retry_kinds import Ending, Kind
from smtpbench.campaign.retry_result import RetryAttempt, RetryMessage, RetryRule
from smtpbench.conformance.grading import grade
from smtpbench.conformance.model import Level
from smtpbench.conformance.observation import Outcome
from smtpbench.delivery.retry_hop import Mailing, ReportBack

INTERVAL_S = 1_800.0  # §4.5.4.1: "the retry interval SHOULD be at least 30 minutes"
GIVE_UP_S = 4 * 86_400.0  # §4.5.4.1: "the give-up time generally needs to be at least 4-5 days"
AT_ONCE_S = 0.1  # an interval below it is no delay …
AT_ONCE_PART = 0.1  # … unless the scaled 30 minutes are so short: below this part of them
LOOP = 5  # attempts from which on intervals without a delay are a loop, and not one attempt by another way
TOLERANCE = 0.98  # of an interval: a queue is looked through by a clock that is not ours


@dataclass(frozen=True, slots=True)
class Rule:
    """A sentence of RFC 5321."""

    section: str
    level: Level
    text: str


RETRY = Rule("4.5.4.1", Level.MUST, "Mail that cannot be sent at once is queued and tried again.")
AS_451 = Rule("3.8", Level.SHOULD, "A connection that fails is taken as a 451 reply would be.")
NOT_LOST = Rule("6.1", Level.MUST_NOT, "A message that was accepted is not lost.")
ONCE = Rule("4.5.3.1.10", Level.PROSE, "Who has the message is off the queue, and is not sent it again.")
TRUE = Rule("6.1", Level.PROSE, "A notification is sent where there is a failure.")
NOT_AGAIN = Rule("4.2.1", Level.SHOULD_NOT, "What was answered with 5yz is not repeated.")
REPORTED = Rule("6.1", Level.MUST, "A failure after acceptance is reported to the return path.")
NULL_PATH = Rule("6.1", Level.MUST, "A notification has the null reverse-path.")
NO_REPORT = Rule("6.1", Level.MUST_NOT, "Nothing is reported where the return path is null.")
DELAY = Rule("4.5.4.1", Level.MUST, "A destination is not tried again without a delay.")
INTERVAL = Rule("4.5.4.1", Level.SHOULD, "The interval is in general at least 30 minutes.")
GIVE_UP = Rule("4.5.4.1", Level.PROSE, "The time until a sender gives up is at least 4 to 5 days.")


@dataclass(frozen=True, slots=True)
class Seen:
    """One recipient when the campaign is over (or at `now_s`): what came for it, and about it.

    `accepted_s` is when the target took it (None: it did not, and `refusal` says why), `up_s` since when our
    hop has been there for it. `silence_s` is how long nothing must happen before nothing more is expected;
    None: not known.
    """

    kind: Kind
    mailing: Mailing
    reports: tuple[ReportBack, ...]
    accepted_s: float | None
    now_s: float
    silence_s: float | None
    up_s: float = 0.0
    refusal: str = ""

    @property
    def bounces(self) -> list[ReportBack]:
        """The reports of a failure: in the form of RFC 3464, or in one of the server's own."""
        return [
            one for one in self.reports
            if one.report is None or any(about.action == "failed" for about in one.report.recipients)
        ]  # fmt: skip

    @property
    def last_s(self) -> float:
        """When something was heard of it last."""
        attempts = [one.at_s for one in self.mailing.attempts]
        reports = [one.at_s for one in self.reports]
        return max([self.accepted_s or 0.0, self.up_s, *attempts, *reports, *self.mailing.delivered])

    @property
    def end(self) -> str:
        """In a word or two."""
        if self.accepted_s is None:
            return "not accepted"
        bounces = len(self.bounces)
        told = {0: "", 1: "bounced once", 2: "bounced twice"}.get(bounces, f"bounced {bounces} times")
        if times := len(self.mailing.delivered):
            came = "delivered" if times == 1 else f"delivered {times} times"
            return f"{came} and {told}" if told else came
        if told:
            return told
        silent = self.silence_s is not None and self.now_s - self.last_s > self.silence_s
        if self.kind.ending is Ending.UNREPORTED and self.mailing.attempts:
            return "no report"
        return "silent" if silent else "pending"

    @property
    def settled(self) -> bool:
        """Whether its end has come; something more may come all the same."""
        return self.end not in ("pending", "no report")


Finding = tuple[Rule, Outcome, str]  # the rule, how it was kept, and why it was not


def judge(seen: Seen, bounces_come: bool) -> RetryMessage:
    """One recipient: its worst finding is its verdict.

    `bounces_come`: a report has come about another message, so that the absence of one means something.
    """
    found = [_findings_permanent, _findings_temporary][seen.kind.ending is Ending.DELIVERED](seen)
    if seen.kind.ending is Ending.UNREPORTED:
        found = _findings_unreported(seen, bounces_come)
    if seen.accepted_s is None:
        found = [(RETRY, Outcome.UNTESTED, f"the target did not accept it: {seen.refusal}")]
    if any(one.sender for one in seen.bounces):
        path = next(one.sender for one in seen.bounces if one.sender)
        found.append((NULL_PATH, Outcome.VIOLATES, f"the report came from <{path}>"))
    rule, outcome, reason = max(found, key=lambda one: one[1])
    attempts = seen.mailing.attempts
    unstrict = [one for one in seen.bounces if one.report is None or one.report.flaws]
    return RetryMessage(
        kind=seen.kind.name, does=seen.kind.does, expected=seen.kind.ending.value, end=seen.end,
        attempts=[
            RetryAttempt(t_s=round(one.at_s, 6), reply=one.reply, reused=one.reused) for one in attempts
        ],
        intervals_s=intervals(seen.mailing), delivered_s=[round(at, 6) for at in seen.mailing.delivered],
        bounced_s=[round(one.at_s, 6) for one in seen.bounces],
        delay_reports=len(seen.reports) - len(seen.bounces), unstrict_reports=len(unstrict),
        **_graded(rule, outcome, reason),
    )  # fmt: skip


def intervals(mailing: Mailing) -> list[float]:
    """Seconds from each attempt to the next, in µs steps."""
    return [round(later.at_s - one.at_s, 6) for one, later in pairwise(mailing.attempts)]


def _queued(mailing: Mailing) -> list[float]:
    """The intervals but for those after a failure on a connection that was used before: the client may go on
    at once over a fresh one, and the message was in no queue meanwhile."""
    return [round(later.at_s - one.at_s, 6) for one, later in pairwise(mailing.attempts) if not one.reused]


def _graded(rule: Rule, outcome: Outcome, reason: str) -> dict[str, Any]:
    return {
        "verdict": grade(rule.level, outcome), "level": rule.level.value, "section": rule.section,
        "requirement": rule.text, "reason": reason or None,
    }  # fmt: skip


def _findings_temporary(seen: Seen) -> list[Finding]:
    times, bounces = len(seen.mailing.delivered), len(seen.bounces)
    tried = len(seen.mailing.attempts)
    rule = RETRY if seen.kind.answered else AS_451
    if times:
        found: list[Finding] = [(rule, Outcome.CONFORMS, "")]
        if times > 1:
            found.append((ONCE, Outcome.VIOLATES, f"our hop took it {times} times"))
        if bounces:
            found.append((TRUE, Outcome.VIOLATES, "reported as failed although our hop took it"))
        return found
    if bounces and tried <= 1:
        return [(rule, Outcome.VIOLATES, "reported as failed after one attempt, without another")]
    if bounces:
        after = seen.bounces[0].at_s - seen.mailing.attempts[0].at_s
        why = f"given up after {tried} attempts in {after:.3g} s, before our hop would have taken it"
        return [(GIVE_UP, Outcome.CHOICE, why)]
    if seen.end == "silent":
        said = f"neither tried again nor reported within {seen.silence_s:.3g} s of the last sign of it"
        return [(NOT_LOST, Outcome.VIOLATES, said)]
    return [(rule, Outcome.UNTESTED, _still_pending(seen))]


def _findings_permanent(seen: Seen) -> list[Finding]:
    times, bounces = len(seen.mailing.delivered), len(seen.bounces)
    tried = len(seen.mailing.attempts)
    found: list[Finding] = []
    if tried > 1:
        found.append((NOT_AGAIN, Outcome.VIOLATES, f"tried {tried} times"))
    if times:
        found.append((TRUE, Outcome.UNTESTED, "our hop took it, which was not meant"))
    if bounces == 1:
        found.append((REPORTED, Outcome.CONFORMS, ""))
    elif bounces:
        found.append((REPORTED, Outcome.NEAR, f"{bounces} reports of one failure"))
    elif seen.end == "silent" and tried:
        said = f"refused for good, and no report within {seen.silence_s:.3g} s"
        found.append((REPORTED, Outcome.VIOLATES, said))
    else:
        found.append((REPORTED, Outcome.UNTESTED, _still_pending(seen)))
    return found


def _findings_unreported(seen: Seen, bounces_come: bool) -> list[Finding]:
    if seen.reports:
        return [(NO_REPORT, Outcome.VIOLATES, f"a report went to <{seen.reports[0].to}>")]
    if not seen.mailing.attempts:
        return [(NO_REPORT, Outcome.UNTESTED, "it did not come to our hop")]
    if not bounces_come:
        return [(NO_REPORT, Outcome.UNTESTED, "no report comes here, also not where one is due")]
    return [(NO_REPORT, Outcome.CONFORMS, "")]


def _still_pending(seen: Seen) -> str:
    tried = len(seen.mailing.attempts)
    waited = seen.now_s - seen.last_s
    said = (
        f"{tried} attempt{'' if tried == 1 else 's'} seen, and nothing in the last {waited:.0f} s of the wait"
    )
    return said if seen.silence_s is not None else f"{said}; how soon the target tries again is not stated"


# the schedule, over all messages


def schedule(seen: Sequence[Seen], factor: float | None) -> list[RetryRule]:
    """The rules on intervals and on giving up; a `factor` says how many times too fast the schedule is."""
    return [_delay(seen, factor), _interval(seen, factor), *_give_up(seen, factor)]


def _delay(seen: Sequence[Seen], factor: float | None) -> RetryRule:
    at_once = AT_ONCE_S if factor is None else min(AT_ONCE_S, AT_ONCE_PART * INTERVAL_S / factor)
    middle = {one.kind.name: median(intervals(one.mailing)) for one in seen if len(one.mailing.attempts) > 1}
    loops = [
        f"{one.kind.name}: {len(one.mailing.attempts)} attempts, every {middle[one.kind.name]:.3g} s"
        for one in seen
        if len(one.mailing.attempts) >= LOOP and middle[one.kind.name] < at_once
    ]
    if loops:
        return _rule("delay", DELAY, Outcome.VIOLATES, "; ".join(loops))
    if not middle:
        return _rule("delay", DELAY, Outcome.UNTESTED, "no second attempt was seen")
    return _rule("delay", DELAY, Outcome.CONFORMS, "")


def _interval(seen: Sequence[Seen], factor: float | None) -> RetryRule:
    temporary = [one for one in seen if one.kind.ending is Ending.DELIVERED]
    told = [gap for one in temporary if one.kind.answered for gap in _queued(one.mailing)]
    untold = [gap for one in temporary if not one.kind.answered for gap in _queued(one.mailing)]
    if not told + untold:
        return _rule("interval", INTERVAL, Outcome.UNTESTED, "no second attempt was seen")
    range_s = f"{min(told + untold):.3g} to {max(told + untold):.3g} s"
    if factor is None:
        why = f"{range_s}; recorded, as no factor says how the schedule stands to the one in production"
        return _rule("interval", INTERVAL, Outcome.CHOICE, why)
    least = INTERVAL_S / factor
    said = f"{range_s}, which is {_minutes(min(told + untold) * factor)} and more in production"
    if any(gap < least * TOLERANCE for gap in untold):
        why = f"{said}; also where our hop had given no reason"
        return _rule("interval", INTERVAL, Outcome.VIOLATES, why)
    if any(gap < least * TOLERANCE for gap in told):
        why = f"{said}, where our hop had given its reason, which allows a strategy of the client's own"
        return _rule("interval", INTERVAL, Outcome.CHOICE, why)
    return _rule("interval", INTERVAL, Outcome.CONFORMS, said)


def _give_up(seen: Sequence[Seen], factor: float | None) -> list[RetryRule]:
    """Nothing if nobody gave up: a campaign is too short to say more."""
    given_up = [
        one.bounces[0].at_s - one.mailing.attempts[0].at_s
        for one in seen
        if one.kind.ending is Ending.DELIVERED and one.bounces and len(one.mailing.attempts) > 1
    ]
    if not given_up:
        return []
    first = min(given_up)
    if factor is None:
        return [
            _rule(
                "give-up", GIVE_UP, Outcome.CHOICE, f"after {first:.3g} s; recorded, as no factor is stated"
            )
        ]
    said = f"after {first:.3g} s, which is {_minutes(first * factor)} in production"
    early = first < GIVE_UP_S / factor * TOLERANCE
    return [_rule("give-up", GIVE_UP, Outcome.VIOLATES if early else Outcome.CONFORMS, said)]


def _minutes(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7_200 else f"{seconds / 3600:.1f} h"


def _rule(name: str, rule: Rule, outcome: Outcome, reason: str) -> RetryRule:
    return RetryRule(name=name, **_graded(rule, outcome, reason))
