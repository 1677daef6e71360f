"""What every form of a report says about a queue run: its conclusion, the ledger, what was measured."""

from __future__ import annotations

import math

from smtpbench.campaign.result import (
    CutOff,
    Estimate,
    HeadOfLine,
    QueueResult,
    ReadStats,
    SustainableSearch,
    SustainableTrial,
)
from smtpbench.load.result import PhaseStats
from smtpbench.load.search import End
from smtpbench.report.conclusion import Conclusion
from smtpbench.report.text import milliseconds, number, seconds, visible

LEDGER = {
    "accepted": "accepted",
    "delivered": "delivered",
    "bounced": "bounced",
    "lost": "lost",
    "pending": "pending",
    "duplicated": "duplicated",
    "corrupted": "corrupted",
}
MEANINGS = {
    "transformed": "arrived in another transfer encoding, with the same content",
    "reordered": "arrived after a message that their session sent later; SMTP promises no order",
    "delivered_and_bounced": "arrived, and were reported as failed too",
    "unknown": "were sent and never answered, so they are not counted as accepted",
    "unknown_delivered": "of these arrived",
    "unknown_duplicated": "of these arrived more than once",
    "refused_delivered": "were refused after their content, and arrived all the same",
    "delayed_notices": "reports of a delay came",
    "unstrict_notices": "reports were not in the form of RFC 3464",
    "foreign": "other messages were seen where we looked",
}
"""What else the ledger counts, as the rest of a sentence that begins with the number."""


def conclude_delivery(result: QueueResult) -> Conclusion:
    """The answer in a line."""
    ledger = result.ledger
    count = f"{number(ledger.accepted)} accepted"
    if wrong := result.wrong:
        return Conclusion(
            "bad", f"{', '.join(f'{number(n)} {word}' for word, n in wrong.items())} of {count}"
        )
    if not ledger.accepted:
        return Conclusion("warn", "Inconclusive: no message was accepted")
    if result.cut_off:
        counts = f"{number(ledger.delivered)} delivered, {number(ledger.pending)} pending"
        doubt = f", {number(result.cut_off.unanswered)} sent and not answered"
        return Conclusion("warn", f"Inconclusive: the run was killed: {count} by then, {counts}{doubt}")
    if ledger.pending:
        why = "the run was ended early" if result.interrupted else result.unsure or "they may still arrive"
        return Conclusion("warn", f"Inconclusive: {number(ledger.pending)} of {count} are pending: {why}")
    once = "once and whole"
    if ledger.duplicated:
        once = f"whole, {number(ledger.duplicated)} of them more than once, by our hop's own doing"
    if ledger.bounced:
        return Conclusion("warn", f"{count}: {number(ledger.bounced)} bounced, the rest delivered {once}")
    return Conclusion("good", f"{count}, each delivered {once}")


def sentences(result: QueueResult) -> list[str]:
    """What was measured, a sentence each."""
    said = _followed(result) if result.observer else []
    said += [_reading(result, protocol, stats) for protocol, stats in result.read.items()]
    if result.cut_off:
        said.append(f"The run was killed. {cut_off(result.cut_off)}")
    elif result.interrupted:
        said.append("The run was ended early: what follows is of the part that was made.")
    said += [_rates(result)] if result.accept_rate and result.delivery_rate else []
    said += search_sentences(result.search) if result.search else [_sustainable(result)]
    if result.drain_s is not None:
        said.append(f"The queue was empty {seconds(result.drain_s)} after the last message was accepted.")
    elif result.ledger.lost:
        said.append(f"What is lost had not arrived when nothing had come for {seconds(result.settle_s)}.")
    if result.hop:
        done = ", ".join(f"{number(count)} × {what}" for what, count in sorted(result.hop.items()))
        said.append(f"Our hop did as its script says: {done}.")
    if result.excused:
        said.append("It broke connections after it had taken a message, so duplicates are its own doing.")
    if result.head_of_line is not None:
        said.append(_head_of_line(result.head_of_line))
    if result.fairness is not None:
        said.append(
            f"Fairness between domains (Jain's index, 1 is equal): {result.fairness:.3f}, "
            "of what had arrived when the load ended."
        )
    counts = result.ledger.model_dump()
    said += [f"{number(counts[word])} {words}." for word, words in MEANINGS.items() if counts[word]]
    return said


def _followed(result: QueueResult) -> list[str]:
    said = [f"Followed to {result.observer}."]
    if not result.exact_times:
        exact = f", exact to {milliseconds(result.resolution_ms)}" if result.resolution_ms else ""
        said.append(f"Times of arrival are those of the looks that found the messages{exact}.")
    if result.observer_down_s:
        later = ": what came meanwhile was found later" if result.closed else ""
        down = f"For {seconds(result.observer_down_s)} nobody could look there ({result.observer_trouble})"
        said.append(f"{down}{later}.")
    return said


def cut_off(found: CutOff) -> str:
    """What is known of a run that was killed."""
    return (
        "All that the target had acknowledged to us by then is in the ledger; what is pending may have "
        f"arrived since. Sessions open: {number(found.sessions)}; messages sent and not answered, of which "
        f"nobody can tell whether they were accepted: {number(found.unanswered)}."
    )


def _reading(result: QueueResult, protocol: str, stats: ReadStats) -> str:
    said = (
        f"Read over {protocol.upper()}: {number(stats.count)} of {number(result.ledger.accepted)} accepted, "
        "and left in the mailbox; times are exact to the time from look to look, "
        f"{milliseconds(stats.resolution_ms)}."
    )
    if stats.internal_date.count:
        within = math.ceil(stats.internal_date.p99_ms / 1000) + 1  # it is rounded down to whole seconds
        said += f" By the server's own INTERNALDATE 99 % were delivered within {within} s."
    if stats.down_s and protocol != result.observed_by:
        said += f" For {seconds(stats.down_s)} it could not be read: {stats.trouble}."
    return said


def _rates(result: QueueResult) -> str:
    accepted, delivered = result.accept_rate, result.delivery_rate
    assert accepted is not None
    assert delivered is not None
    return (
        f"In the second half of the load {_estimate(accepted)} messages/s were accepted "
        f"and {_estimate(delivered)} delivered."
    )


def trial_line(trial: SustainableTrial) -> str:
    """A trial of the search in a line of plain text."""
    delivered = "" if trial.delivered_per_s is None else f"{number(round(trial.delivered_per_s))}/s delivered"
    line = (
        f"trial {trial.number:>2}  {trial.step:<8} {number(trial.rate):>8}/s  {trial.verdict:<7}  {delivered}"
    )
    return visible(f"{line}  ({trial.why})" if trial.why else line)


def search_sentences(found: SustainableSearch) -> list[str]:
    """What the search for the sustainable rate found, a sentence each."""
    if found.rate_per_s is None:
        said = [f"No sustainable rate was found: {found.reason or found.end}."]
    else:
        least = "at least " if found.end in (End.AT_LEAST, End.MAXIMUM) else ""
        sure = "" if found.end is not End.UNFINISHED else ", not confirmed"
        said = [
            f"Sustainable: {least}{number(found.rate_per_s)} messages/s "
            f"(the queue did not grow in {found.held} of {found.tried} trials{sure})."
        ]
        said += [f"The search ended: {found.reason}."] if found.reason else []
    if found.edge_per_s is not None and found.low_per_s is not None and found.high_per_s is not None:
        said.append(
            f"As many trials hold as fail at {number(round(found.edge_per_s))}/s "
            f"({number(round(found.low_per_s))} to {number(round(found.high_per_s))}, {found.confidence:.0%} "
            f"interval of {len(found.trials)} trials in {seconds(found.duration_s)})."
        )
    if found.wrong:
        counts = ", ".join(f"{number(count)} {word}" for word, count in found.wrong.items())
        said.append(f"In trials of the search: {counts}.")
    return said


def _sustainable(result: QueueResult) -> str:
    slope = f" ({_estimate(result.depth_slope)} messages/s)" if result.depth_slope else ""
    if result.growth == "growing" and result.sustainable:
        return f"The queue grew then{slope}: {_estimate(result.sustainable)} messages/s are sustainable."
    if result.growth == "sustained" and result.sustainable:
        return (
            f"The queue did not grow then{slope}: at least {number(result.sustainable.per_s)} "
            "messages/s are sustainable."
        )
    return f"Whether the queue grew then cannot be told{slope}: the load is too short or too uneven."


def _head_of_line(found: HeadOfLine) -> str:
    before, since = found.before, found.since
    if not before.count or not since.count:
        return f"When {found.slow_domain} grew slow there was no other mail before, or none since."
    held = "held up" if found.held_up else "did not hold up"
    medians = f"median {milliseconds(before.p50_ms)} → {milliseconds(since.p50_ms)}"
    tails = f"p99 {milliseconds(before.p99_ms)} → {milliseconds(since.p99_ms)}"
    return f"{found.slow_domain}, when it grew slow, {held} other domains: {medians}, {tails}."


def _estimate(estimate: Estimate) -> str:
    reach = max(estimate.high - estimate.per_s, estimate.per_s - estimate.low)
    return f"{number(round(estimate.per_s, 1))} ± {number(round(reach, 1))}"


def read_latencies(result: QueueResult) -> list[tuple[str, PhaseStats]]:
    """From the start of the transaction until it was read, where that is not when it was seen to arrive."""
    return [
        (f"until read over {protocol.upper()}", stats)
        for protocol, stats in result.read.items()
        if protocol != result.observed_by
    ]


def latencies(result: QueueResult) -> list[tuple[str, list[str]]]:
    """A row for each latency that was measured: count, p50, p90, p99, p99.9, max."""
    found = (("end to end", result.end_to_end), ("in the queue", result.in_queue), *read_latencies(result))
    return [
        (
            name,
            [
                number(stats.count),
                *(
                    milliseconds(value)
                    for value in (stats.p50_ms, stats.p90_ms, stats.p99_ms, stats.p999_ms, stats.max_ms)
                ),
            ],
        )
        for name, stats in found
        if stats.count
    ]


def examples(result: QueueResult) -> list[tuple[str, str]]:
    """For each thing that went wrong, the identifiers of a few messages."""
    shown = (*result.ledger.wrong, "refused_delivered", "delivered_and_bounced", "bounced")
    return [
        (word.replace("_", " "), ", ".join(result.examples[word]))
        for word in shown
        if result.examples.get(word)
    ]
