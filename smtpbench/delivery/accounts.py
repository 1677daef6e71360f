"""What became of each message: a pure function of what was acknowledged, what arrived and what was reported.

Every accepted message ends in exactly one state, so that

    accepted = delivered + bounced + lost + pending

whatever happened. The state is that of the recipient who is worst off: one missing copy makes a message
lost (or pending, while the target is still given time). Duplicated, corrupted, transformed and reordered are
said of messages whatever their state. A message whose reply never came is *unknown*: it may be delivered or
not, so it is never lost, and its duplicates are counted apart.

A copy is matched to the recipient it was addressed to; a copy for an address that nobody asked for (an alias,
rewritten) or for nobody in particular (a mailbox that does not say) goes to a recipient that still waits.
A copy that nobody waits for is a duplicate.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from smtpbench.delivery.arrival import Arrival
from smtpbench.delivery.fingerprint import RUN_DIGITS
from smtpbench.delivery.journal import Content, Outcome

EXAMPLES = 10  # identifiers that are kept for each word


@dataclass(frozen=True, slots=True)
class Entry:
    """One message whose content was sent. Times are wall clock, ns since the epoch: begun, and answered.

    `ordinal` counts the messages that its `session` sent, in order. `recipients` are those that RCPT
    accepted.
    """

    identifier: bytes
    outcome: Outcome
    begun_ns: int
    answered_ns: int
    session: tuple[bytes, int]
    ordinal: int
    recipients: tuple[str, ...]
    content: Content


@dataclass(frozen=True, slots=True)
class Notice:
    """What a report said about one recipient (""  where it names none) of the message `identifier`."""

    identifier: bytes
    recipient: str
    action: str  # failed, delayed, delivered, relayed, expanded (RFC 3464 §2.3.3)
    at_ns: int
    strict: bool = True  # whether the report is in the form of RFC 3464


class State(StrEnum):
    """Where an accepted message ended."""

    DELIVERED = "delivered"
    BOUNCED = "bounced"
    LOST = "lost"
    PENDING = "pending"


@dataclass(slots=True)
class Counts:
    """Messages, but for those whose name says otherwise."""

    accepted: int = 0
    delivered: int = 0
    lost: int = 0
    duplicated: int = 0
    corrupted: int = 0
    reordered: int = 0  # arrived after a message that its session sent later
    bounced: int = 0
    pending: int = 0
    transformed: int = 0  # another transfer encoding, the same content
    surplus_copies: int = 0  # copies of accepted messages that nobody waited for
    delivered_and_bounced: int = 0  # a copy arrived at a recipient for whom a report said that it failed
    unknown: int = 0  # sent, and the reply never came
    unknown_delivered: int = 0
    unknown_duplicated: int = 0
    refused_delivered: int = 0  # answered 4yz or 5yz after the content, and delivered all the same
    foreign: int = 0  # arrivals that are no message of ours
    delayed_notices: int = 0
    unstrict_notices: int = 0  # reports that are not in the form of RFC 3464


@dataclass(frozen=True, slots=True)
class Copy:
    """An accepted message that reached one recipient for the first time."""

    recipient: str
    begun_ns: int
    answered_ns: int
    arrived_ns: int


@dataclass(slots=True)
class Balance:
    """The outcome. `closed_ns` has when each accepted message got its last copy or report, if it did.

    `owed` counts the copies that accepted messages should have made, by domain.
    """

    counts: Counts = field(default_factory=Counts)
    examples: dict[str, list[str]] = field(default_factory=dict)
    copies: list[Copy] = field(default_factory=list)
    accepted_ns: list[int] = field(default_factory=list)
    closed_ns: list[int] = field(default_factory=list)
    owed: Counter[str] = field(default_factory=Counter)

    def tell(self, word: str, identifier: bytes, number: int = 1) -> None:
        """Count `number` under `word`, and keep the first few identifiers."""
        setattr(self.counts, word, getattr(self.counts, word) + number)
        shown = self.examples.setdefault(word, [])
        if len(shown) < EXAMPLES:
            shown.append(identifier.decode())


def domain_of(address: str) -> str:
    """The domain, in lower case."""
    return address.rpartition("@")[2].lower()


QUIET = {"accepted", "delivered", "pending", "foreign"}  # words that need no example


def balance(
    entries: Iterable[Entry],
    arrivals: Iterable[Arrival],
    notices: Iterable[Notice],
    *,
    runs: Collection[bytes],
    closed: bool,
) -> Balance:
    """The balance. `runs` are those whose identifiers are ours: a mailbox may hold mail of other runs.

    `closed`: the target has had its time, so what is missing now is lost and not pending.
    """
    result = Balance()
    copies: dict[bytes, list[Arrival]] = defaultdict(list)
    for arrival in arrivals:
        if arrival.identifier[:RUN_DIGITS] in runs:
            copies[arrival.identifier].append(arrival)
        else:
            result.counts.foreign += 1
    said = _by_message((one for one in notices if one.identifier[:RUN_DIGITS] in runs), result.counts)
    known = {entry.identifier: entry for entry in entries}
    for identifier, entry in known.items():
        _settle(result, entry, copies.get(identifier, ()), said.get(identifier, {}), closed=closed)
    for identifier in (
        copies.keys() - known.keys()
    ):  # a kill of ours, or a session that was cut off, hid the reply
        result.tell("unknown", identifier)
        _settle_unknown(result, identifier, copies[identifier])
    for identifier in _reordered(known, copies):
        result.tell("reordered", identifier)
    return result


def _by_message(notices: Iterable[Notice], counts: Counts) -> dict[bytes, dict[str, int]]:
    """Message → recipient → when it was said to have failed."""
    failed: dict[bytes, dict[str, int]] = defaultdict(dict)
    for notice in notices:
        counts.delayed_notices += notice.action == "delayed"
        counts.unstrict_notices += not notice.strict
        if notice.action == "failed":
            failed[notice.identifier].setdefault(notice.recipient.lower(), notice.at_ns)
    return failed


def _settle(
    result: Balance, entry: Entry, arrivals: Sequence[Arrival], failed: Mapping[str, int], *, closed: bool
) -> None:
    for word in _conditions(entry, arrivals):
        result.tell(word, entry.identifier)
    if entry.outcome is Outcome.UNKNOWN:
        result.tell("unknown", entry.identifier)
        _settle_unknown(result, entry.identifier, arrivals, len(entry.recipients))
    elif entry.outcome is Outcome.REFUSED:
        if arrivals:
            result.tell("refused_delivered", entry.identifier)
    else:
        _settle_accepted(result, entry, arrivals, failed, closed=closed)


def _settle_accepted(
    result: Balance, entry: Entry, arrivals: Sequence[Arrival], failed: Mapping[str, int], *, closed: bool
) -> None:
    reached, surplus = _matched(entry.recipients, arrivals)
    bounced = _bounced(entry.recipients, reached, failed)
    result.copies += [
        Copy(recipient, entry.begun_ns, entry.answered_ns, at_ns) for recipient, at_ns in reached
    ]
    result.accepted_ns.append(entry.answered_ns)
    owed = {one.lower() for one in entry.recipients}
    result.owed.update(domain_of(one) for one in owed)
    missing = len(owed) - len(reached) - len(bounced)
    if missing > 0:
        state = State.LOST if closed else State.PENDING
    else:
        state = State.BOUNCED if bounced else State.DELIVERED
        result.closed_ns.append(max([at_ns for _, at_ns in reached] + bounced, default=entry.answered_ns))
    result.counts.accepted += 1
    if state.value in QUIET:
        setattr(result.counts, state.value, getattr(result.counts, state.value) + 1)
    else:
        result.tell(state.value, entry.identifier)
    if surplus:
        result.tell("duplicated", entry.identifier)
        result.counts.surplus_copies += surplus
    if {recipient.lower() for recipient, _ in reached} & failed.keys():
        result.tell("delivered_and_bounced", entry.identifier)


def _settle_unknown(
    result: Balance, identifier: bytes, arrivals: Sequence[Arrival], expected: int = 1
) -> None:
    copies = sum(max(len(arrival.recipients), 1) for arrival in arrivals)
    if arrivals:
        result.tell("unknown_delivered", identifier)
    if copies > max(expected, 1):
        result.tell("unknown_duplicated", identifier)


def _conditions(entry: Entry, arrivals: Sequence[Arrival]) -> set[str]:
    """What is wrong with the copies: each word once, however many there are."""
    found = set()
    for arrival in arrivals:
        if arrival.spliced:
            found.add("corrupted")
        elif arrival.digest != entry.content.digest:
            same = arrival.decoded == entry.content.decoded and bool(arrival.decoded)
            found.add("transformed" if same else "corrupted")
    return found


def _matched(recipients: tuple[str, ...], arrivals: Sequence[Arrival]) -> tuple[list[tuple[str, int]], int]:
    """Who was reached first when, and how many copies nobody waited for.

    Whoever was named twice may get one copy or two: RFC 5321 does not say.
    """
    waiting = Counter({recipient.lower(): 1 for recipient in recipients})
    spare = Counter(recipient.lower() for recipient in recipients) - waiting
    reached: list[tuple[str, int]] = []
    others: list[int] = []  # copies that name nobody who waits
    surplus = 0
    for arrival in sorted(arrivals, key=lambda one: one.at_ns):
        for name in arrival.recipients or ("",):
            address = name.lower()
            if waiting[address] > 0:
                waiting[address] -= 1
                reached.append((name, arrival.at_ns))
            elif spare[address] > 0:
                spare[address] -= 1
            elif address in waiting:
                surplus += 1
            else:
                others.append(arrival.at_ns)
    left = list((+waiting).elements())
    reached += zip(left, others, strict=False)
    return reached, surplus + max(len(others) - len(left), 0)


def _bounced(
    recipients: tuple[str, ...], reached: Sequence[tuple[str, int]], failed: Mapping[str, int]
) -> list[int]:
    """When each recipient that was not reached was said to have failed, as far as it was.

    A report that names an address of its own (an alias, expanded) is for one that still waits.
    """
    waiting = Counter({recipient.lower(): 1 for recipient in recipients})
    waiting -= Counter(recipient.lower() for recipient, _ in reached)
    named = [at_ns for address, at_ns in failed.items() for _ in range(waiting.pop(address, 0))]
    asked = {recipient.lower() for recipient in recipients}
    others = [at_ns for address, at_ns in failed.items() if address not in asked]
    return named + others[: waiting.total()]


def _reordered(known: Mapping[bytes, Entry], copies: Mapping[bytes, Sequence[Arrival]]) -> list[bytes]:
    """Messages that first arrived after one that their session sent later."""
    sessions: dict[tuple[bytes, int], list[tuple[int, int, bytes]]] = defaultdict(list)
    for identifier, entry in known.items():
        if entry.outcome is Outcome.ACCEPTED and identifier in copies:
            first = min(arrival.at_ns for arrival in copies[identifier])
            sessions[entry.session].append((entry.ordinal, first, identifier))
    late = []
    for messages in sessions.values():
        earliest: int | None = None  # arrival of anything that was sent later
        for _, at_ns, identifier in sorted(messages, reverse=True):
            if earliest is not None and at_ns > earliest:
                late.append(identifier)
            earliest = at_ns if earliest is None else min(earliest, at_ns)
    return late
