"""What every form of a report says about a retry campaign."""

from __future__ import annotations

from smtpbench.campaign.retry_result import Judged, Retries, RetryMessage
from smtpbench.conformance.result import Verdict
from smtpbench.report.conclusion import Conclusion
from smtpbench.report.text import seconds

HEADINGS = ("verdict", "our hop", "attempts", "intervals", "end", "why")
SHOWN_INTERVALS = 2  # of a message, in a table; the JSON has all
ENDS_MEAN = (
    "Attempts are transactions with the recipient at our hop; one that is refused a connection is not seen. "
    "Silent: neither delivered nor reported long after it should have been. Pending: the wait was over first."
)


def conclude_retries(found: Retries) -> Conclusion:
    """The answer in a line."""
    failed, lax = found.count(Verdict.FAIL), found.count(Verdict.NON_STRICT)
    untested = sum(one.verdict is Verdict.UNTESTED for one in found.messages)
    count = len(found.messages)
    if failed or lax:
        words = [f"a MUST is broken in {failed}"] if failed else []
        words += [f"a SHOULD {'' if failed else 'is broken '}in {lax}"] if lax else []
        said = f"{', '.join(words)} of {len(found.judged)} verdicts"
        return Conclusion("bad" if failed else "warn", said)
    if found.inconclusive:
        return Conclusion("warn", f"Inconclusive: {untested} of {count} messages untested")
    if untested:
        return Conclusion(
            "warn", f"{count - untested} of {count} messages ended as they must, the rest untested"
        )
    return Conclusion("good", f"{count} messages, each ended as it must")


def sentences(found: Retries) -> list[str]:
    """How it was played."""
    factor = (
        "No factor says how the schedule stands to the one in production, so intervals are not judged."
        if found.factor is None
        else f"The schedule is {found.factor:g} times as fast as in production: "
        f"30 minutes of RFC 5321 are {seconds(1800 / found.factor)}."
    )
    silence = (
        "How soon the target tries again is not stated, so silence is not told from a long interval."
        if found.silence_s is None
        else f"A message not heard of for {seconds(found.silence_s)} counts as silent."
    )
    return [factor, f"The wait was at most {seconds(found.wait_s)}.", silence]


def reference(one: Judged) -> str:
    """The sentence that a verdict is about."""
    return f"RFC 5321 §{one.section}, {one.level}: {one.requirement}"


def why(one: Judged) -> str:
    """The reason of a verdict; of one that is not a pass, with the rule."""
    if one.verdict in (Verdict.FAIL, Verdict.NON_STRICT):
        return f"{one.reason} ({reference(one)})"
    return one.reason or ""


def intervals(message: RetryMessage) -> str:
    """The first few, in seconds."""
    shown = ", ".join(f"{gap:.3g}" for gap in message.intervals_s[:SHOWN_INTERVALS])
    more = len(message.intervals_s) - SHOWN_INTERVALS
    return f"{shown}{' …' if more > 0 else ''} s" if shown else "–"


def end(message: RetryMessage) -> str:
    """How it ended, and when."""
    at = [*message.delivered_s, *message.bounced_s]
    return f"{message.end}, {min(at):.1f} s" if at else message.end


def rows(found: Retries) -> list[tuple[RetryMessage, list[str]]]:
    """A row for each message, without its name and verdict."""
    return [
        (one, [one.does, str(len(one.attempts)), intervals(one), end(one), why(one)])
        for one in found.messages
    ]
