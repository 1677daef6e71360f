"""A queue run: load a target, follow every message to where it arrives, and balance the ledger."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from smtpbench import __version__
from smtpbench.campaign.figures import describe, head_of_line
from smtpbench.campaign.reading import describe_lookers, describe_reading
from smtpbench.campaign.result import CutOff, QueueResult
from smtpbench.delivery.follow import Drain, Follower
from smtpbench.delivery.gauge import read_gauges
from smtpbench.delivery.journal import Outcome, journals
from smtpbench.delivery.ledger import FILE, Ledger
from smtpbench.delivery.sources import SinkSource, Source, open_readers, open_source
from smtpbench.errors import UsageError
from smtpbench.load.result import LoadResult
from smtpbench.load.run import run_load
from smtpbench.server.sink_script import Rule, SinkScript
from smtpbench.target import Target

SETTLE_S = 10.0
RETRIES = 4  # of the target: so many are waited for before what is missing is called lost
WITHIN_S = 300.0
LINGER_S = 1.0
A_LONG_TIME_S = 86_400.0
NS = 1_000_000_000
LOCAL_PART = "queue"  # of the addresses that mail goes to
MAILBOXES = (
    1000  # at the next hop, in all: many, as a server may hold up mail for an address that was put off
)
BUSY_MAX = 0.8  # of a core: above it the target waits for our sink, and its queue is our doing
NOT_STATED = (
    "how soon the target tries again is not stated: expected relay.retry_s or queue.retry_s in its file, "
    "or --settle"
)
KILLED = "the run was killed before its end: what is missing may have arrived since"

Progress = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Slow:
    """A domain whose every message takes our hop `delay_s`, from `after_s` of the load on."""

    domain: str
    delay_s: float
    after_s: float

    def added_to(self, script: SinkScript | None) -> SinkScript:
        """The script, with that as its first rule."""
        rule = Rule(
            on="body", domain=self.domain, delay_s=self.delay_s, window_s=(self.after_s, A_LONG_TIME_S)
        )
        script = script or SinkScript()
        return script.model_copy(update={"rule": (rule, *script.rule)})


class Follow(StrEnum):
    """Where messages are followed to."""

    RELAY = "relay"  # the next hop, which we are
    MAILBOX = "mailbox"  # where the target delivers itself


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the target is given when the load is over, in seconds.

    What is missing is lost when nothing has arrived for `settle_s` (None: `SETTLE_S`, or `RETRIES` times what
    the target takes to try again; where that is not stated it is pending). What is missing after `within_s`
    while messages still come is pending.
    """

    settle_s: float | None = None
    within_s: float = WITHIN_S
    linger_s: float | None = None  # for duplicates, when all is settled; None: longer than a retry

    def linger(self, target: Target) -> float:
        """How long to look out for duplicates."""
        return self.linger_s if self.linger_s is not None else LINGER_S + 1.5 * (target.retry_s or 0.0)

    def settle(self, target: Target) -> float:
        """The silence after which nothing more is expected."""
        if self.settle_s is not None:
            return self.settle_s
        return max(SETTLE_S, RETRIES * (target.retry_s or 0.0))

    def unsure(self, target: Target) -> str:
        """Why silence proves no loss: mail may wait longer than we do, also where nobody has refused it (what
        comes late in a session is left to the next queue run by some servers). "" if it does prove it.
        """
        return "" if self.settle_s is not None or target.retry_s is not None else NOT_STATED


def choose(
    target: Target, follow: Follow | None, domains: Sequence[str] = (), script: SinkScript | None = None
) -> tuple[Source, dict[str, Any]]:
    """The place to follow to, and the fields of the workload that lead there. Raises UsageError.

    Without `follow` it is the mailbox, where the target says how mail is read or does not relay to us.
    Mail goes to the `domains` in turn, message by message.
    """
    relay = target.relay
    fields: dict[str, Any] = {}
    if domains:
        fields |= {"recipient": f"{LOCAL_PART}@{domains[0]}", "domains": tuple(domains)}
    if follow is Follow.MAILBOX or (follow is None and (relay is None or target.read)):
        if script is not None:
            raise UsageError("--hop-…: only a hop that we are can be told how to behave: see --follow relay")
        return open_source(target), fields
    if relay is None:
        raise UsageError("--follow relay: the target has no [relay]: it does not say what it sends on to us")
    return SinkSource(*relay.address, script), {
        "recipient": f"{LOCAL_PART}@{relay.domain}",
        "mailboxes": max(MAILBOXES // max(len(domains), 1), 1),
        "sender": f"sender@{relay.domain}",  # so that what it has to report comes to us as well
        **fields,
    }


def repeats(script: SinkScript | None) -> bool:
    """Whether a hop like this makes its clients send again what it has taken (RFC 5321 §6.1, RFC 1047)."""
    return script is not None and (
        any(rule.on == "body" and (rule.taken or rule.drop == "after") for rule in script.rule)
        or bool(script.outages_s or script.flapping)
    )


def run_queue(
    target: Target,
    fields: Mapping[str, Any],
    folder: Path,
    *,
    follow: Follow | None = None,
    domains: Sequence[str] = (),
    script: SinkScript | None = None,
    slow: Slow | None = None,
    patience: Patience = Patience(),
    progress: Progress | None = None,
    scenario: Path | None = None,
    processes: int = 1,
) -> QueueResult:
    """Load `target` and follow what it accepts; the ledger is kept in `folder`, which has none yet.

    `domains` are where its mail goes, if not to the domain of its relay. `script` is how our hop behaves, and
    `slow` a domain that it makes slow half-way. `fields` and `progress` are as in
    `run_load`; progress has `arrived`, `arrived_last_s` and `depth` too, and while what is left is waited
    for, nothing but those and `accepted`. A first KeyboardInterrupt ends the load, a second the wait for the
    rest. Raises SmtpbenchError.
    """
    require_new(folder)
    if slow is not None:
        script = slow.added_to(script)
    source, own = choose(target, follow, domains, script)
    show = progress or (lambda _: None)
    before, loaded = 0, False
    readers = open_readers(target) if not isinstance(source, SinkSource) else []
    with Follower(source, folder, readers) as follower:
        introduce(follower.ledger, target, source)

        def shown(figures: Mapping[str, Any]) -> None:
            nonlocal before, loaded
            follower.check()
            if slow is not None and isinstance(source, SinkSource) and figures["accepted"] and not loaded:
                loaded = True
                source.count_again()  # the load has begun, however long its processes took to start
            now = queued(follower, figures["accepted"])
            show({**figures, **now, "arrived_last_s": now["arrived"] - before})
            before = now["arrived"]

        begun, cpu_s = time.monotonic(), follower.cpu_s
        load = run_load(
            target, {**own, **fields}, progress=shown, scenario=scenario, processes=processes, ledger=folder
        )
        busy = (follower.cpu_s - cpu_s) / (time.monotonic() - begun)
        settle_s = patience.settle(target)
        drain = follower.drain(
            settle_s=settle_s, within_s=patience.within_s, linger_s=patience.linger(target),
            progress=lambda waited_s: show(draining(follower, waited_s)),
        )  # fmt: skip
    follower.check()
    result = _result(load, follower, source, drain, settle_s, busy, slow, script, patience.unsure(target))
    follower.ledger.close()
    return result


def introduce(ledger: Ledger, target: Target, source: Source) -> None:
    """What a report needs to know if we are killed."""
    ledger.set_fact("started", datetime.now(UTC).isoformat(timespec="seconds"))
    ledger.set_fact("target", {"name": target.name, "endpoint": target.main.address})
    ledger.set_fact("observer", source.where)
    ledger.set_fact("exact_times", source.exact)
    ledger.set_fact("observed_by", source.protocol)


def require_new(folder: Path) -> None:
    """A ledger is of one run. Raises UsageError where there is one already."""
    if (folder / FILE).exists() or journals(folder):
        raise UsageError(f"{folder}: the ledger of another run is in there, name a new folder")


def queued(follower: Follower, accepted: int) -> dict[str, Any]:
    """What progress says of the messages on their way; `delivery` has what the rows of `PhaseStats` have."""
    arrived = follower.arrived
    tempi = {"end to end": follower.tempo}
    tempi |= {f"read {protocol}": tempo for protocol, tempo in follower.reading_tempo.items()}
    return {
        "accepted": accepted, "arrived": arrived, "depth": max(accepted - arrived, 0),
        "delivery": {name: tempo.figures() for name, tempo in tempi.items()},
        "trouble": follower.looker.trouble if follower.looker.away_s else "",
    }  # fmt: skip


def draining(follower: Follower, waited_s: float) -> dict[str, Any]:
    """What progress says when the load is over, and the rest has been waited for so long."""
    return {**queued(follower, follower.accepted), "draining_s": waited_s}


def _result(
    load: LoadResult, follower: Follower, source: Source, drain: Drain, settle_s: float, busy: float,
    slow: Slow | None, script: SinkScript | None, unsure: str,
) -> QueueResult:  # fmt: skip
    ledger = follower.ledger
    result = QueueResult(**load.model_dump(exclude={"schema_"}))
    result.observer, result.exact_times = source.where, source.exact
    result.observed_by = source.protocol
    result.interrupted = load.interrupted or drain.interrupted
    result.closed, result.settle_s = drain.closed, settle_s
    result.unsure = (follower.looker.trouble or follower.looker.blind) if drain.gone else unsure
    ledger.import_journals()
    balance = ledger.balance(closed=drain.closed and not unsure)
    describe(result, balance)
    describe_reading(result, ledger.reads(), ledger.begun())
    describe_lookers(result, follower.looker, follower.readers)
    if isinstance(source, SinkSource):
        result.hop, result.excused = source.scripted, ["duplicated"] if repeats(script) else []
        if slow is not None:
            since_ns = source.began_ns + int(slow.after_s * NS)
            result.head_of_line = head_of_line(balance.copies, slow.domain, since_ns)
    result.observer_busy = round(busy, 3)
    if busy > BUSY_MAX:
        result.invalid_reasons.append(f"the observer was the bottleneck: it used {busy:.0%} of a core")
        result.valid = False
    return result


def recover(folder: Path) -> QueueResult:
    """What the ledger in `folder` says of a run that was killed. Raises UsageError if there is none."""
    if not (folder / FILE).is_file():
        raise UsageError(f"{folder}: no ledger is in this folder")
    ledger = Ledger(folder)
    ledger.import_journals()
    result = QueueResult(
        smtpbench=__version__, started=ledger.fact("started") or "", target=ledger.fact("target") or {},
        observer=ledger.fact("observer") or "", exact_times=bool(ledger.fact("exact_times")),
        observed_by=ledger.fact("observed_by") or "",
        valid=False, invalid_reasons=[KILLED], interrupted=True,
    )  # fmt: skip
    describe(result, ledger.balance(closed=False))
    describe_reading(result, ledger.reads(), ledger.begun())
    open_then = read_gauges(folder)
    result.cut_off = CutOff(sessions=open_then.sessions, unanswered=open_then.unanswered)
    never_answered = ledger.count(Outcome.UNKNOWN) + open_then.unanswered
    result.ledger.unknown = max(result.ledger.unknown, never_answered)  # those that arrived were counted
    ledger.close()
    return result
