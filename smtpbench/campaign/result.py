"""The result of a queue run: the public schema ``smtpbench.queue/1``. It has all that a load result has."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from smtpbench.campaign.retry_result import Retries
from smtpbench.delivery.accounts import Counts
from smtpbench.delivery.depth import Interval
from smtpbench.load.result import LoadResult, PhaseStats
from smtpbench.load.search import End, Step, Verdict

SCHEMA = "smtpbench.queue/1"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class LedgerCounts(_Model):
    """What became of the messages (see delivery/accounts.py): accepted = delivered + bounced + lost +
    pending.

    The whole run counts, a warm-up too. `duplicated`, `corrupted`, `transformed` and `reordered` are said of
    messages whatever their state. `unknown` are those whose reply never came, `refused_delivered` those that
    were refused after their content, and came all the same.
    """

    accepted: int = 0
    delivered: int = 0
    lost: int = 0
    duplicated: int = 0
    corrupted: int = 0
    reordered: int = 0
    bounced: int = 0
    pending: int = 0
    transformed: int = 0
    surplus_copies: int = 0
    delivered_and_bounced: int = 0
    unknown: int = 0
    unknown_delivered: int = 0
    unknown_duplicated: int = 0
    refused_delivered: int = 0
    foreign: int = 0
    delayed_notices: int = 0
    unstrict_notices: int = 0

    @classmethod
    def of(cls, counts: Counts) -> Self:
        """The same in a model."""
        return cls(**asdict(counts))

    @classmethod
    def total(cls, several: Iterable[LedgerCounts]) -> Self:
        """The sums."""
        rows = [one.model_dump() for one in several]
        return cls(**{name: sum(row[name] for row in rows) for name in cls.model_fields})

    @property
    def wrong(self) -> dict[str, int]:
        """What no server may do to a message that it accepted, as far as it was done."""
        words = {"lost": self.lost, "duplicated": self.duplicated, "corrupted": self.corrupted}
        return {word: count for word, count in words.items() if count}


class ReadStats(PhaseStats):
    """From the start of the transaction until whoever reads `where` over one protocol had the message, whole.

    It could be read at most `resolution_ms` earlier, which is what looking again and again costs: 99 % of the
    times are so exact, or more. `internal_date` is the same until the server says that it delivered (IMAP
    alone; in whole seconds, rounded down). `down_s` is for how long the mailbox could not be read, and
    `trouble` why.
    """

    resolution_ms: float = 0.0
    where: str = ""
    internal_date: PhaseStats = PhaseStats()
    down_s: float = 0.0
    trouble: str = ""


class Estimate(_Model):
    """A mean, a second, with its 95 % confidence interval."""

    per_s: float
    low: float
    high: float

    @classmethod
    def of(cls, interval: Interval | None) -> Self | None:
        """The same in a model."""
        if interval is None:
            return None
        return cls(per_s=round(interval.per_s, 2), low=round(interval.low, 2), high=round(interval.high, 2))


class DepthPoint(_Model):
    """Messages accepted and neither delivered nor bounced, `t_s` after the first was begun."""

    t_s: float
    depth: int


class DomainStats(_Model):
    """What became of the copies for one domain.

    `in_time` is the part of `copies` that had arrived when the load ended; `in_queue` is from the 250 to the
    arrival.
    """

    domain: str
    copies: int
    delivered: int
    in_time: float
    in_queue: PhaseStats = PhaseStats()


class HeadOfLine(_Model):
    """What became of the other domains when one grew slow: their time in the queue, before and since.

    `ratio` is of the medians; 1 is a queue in which a slow domain holds up nobody else. `held_up` is whether
    it is more than a busy machine explains; None where there was no other mail before, or none since.
    """

    slow_domain: str
    before: PhaseStats
    since: PhaseStats
    ratio: float | None = None
    held_up: bool | None = None


class SustainableTrial(_Model):
    """One trial of the search for the sustainable rate. Rates in messages a second."""

    number: int
    step: Step
    rate: float
    verdict: Verdict
    why: str = ""
    accepted_per_s: float | None = None
    delivered_per_s: float | None = None
    depth_slope: Estimate | None = None
    drain_s: float | None = None
    wrong: dict[str, int] = {}


class SustainableSearch(_Model):
    """What the search found: `held` of `tried` trials held at `rate_per_s`, null if none did.

    `edge_per_s` is where as many trials hold as fail, with its interval; null as long as none failed. `wrong`
    adds up what happened to messages of all trials that no server may do.
    """

    end: End
    reason: str = ""
    rate_per_s: float | None = None
    held: int = 0
    tried: int = 0
    confidence: float = 0.95
    edge_per_s: float | None = None
    low_per_s: float | None = None
    high_per_s: float | None = None
    duration_s: float = 0.0
    trials: list[SustainableTrial] = Field(default_factory=list)
    wrong: dict[str, int] = {}


class CutOff(_Model):
    """What a run that was killed was in the middle of: open sessions, and messages whose content was out and
    that had no reply yet. Whether these were accepted, nobody can tell.
    """

    sessions: int
    unanswered: int


class QueueResult(LoadResult):
    """A whole run, as ``queue --json`` writes it (``model_dump_json(by_alias=True)``)."""

    schema_: str = Field(default=SCHEMA, alias="schema")
    observer: str = ""
    exact_times: bool = True  # whether arrivals have times of their own, and not those of looks
    resolution_ms: float = 0.0  # of times of arrival, as in ReadStats; 0 where they are exact
    observed_by: str = ""  # the protocol that the observer reads by, if it is one
    observer_busy: float = 0.0  # of a core, while the load was on
    observer_down_s: float = 0.0  # for how long it could not look
    observer_trouble: str = ""  # and why, the last time
    ledger: LedgerCounts = LedgerCounts()
    examples: dict[str, list[str]] = Field(
        default_factory=dict
    )  # identifiers of a few messages for each word of the ledger
    end_to_end: PhaseStats = PhaseStats()  # from the start of the transaction to the arrival, each copy
    read: dict[str, ReadStats] = Field(default_factory=dict)  # by protocol: imap, pop3
    in_queue: PhaseStats = PhaseStats()  # from the 250 to the arrival
    queue_depth: list[DepthPoint] = Field(default_factory=list)
    load_s: float = 0.0  # until the last message was accepted
    growth: Literal["sustained", "growing", "unclear"] = "unclear"
    depth_slope: Estimate | None = None
    accept_rate: Estimate | None = None
    delivery_rate: Estimate | None = None
    drain_s: float | None = None  # from the last accepted to the last settled; None if not all were
    settle_s: float = 0.0  # how long nothing arrived before what was missing was called lost
    closed: bool = False  # the target has had its time
    unsure: str = ""  # why what is missing cannot be called lost; then it is pending
    sustainable_per_s: float | None = None
    sustainable_reason: str = ""  # why that is null, or how far it can be trusted
    sustainable: Estimate | None = None  # as far as this one run can tell; null if it was searched for
    search: SustainableSearch | None = None
    sustainable_at_least: bool = False  # the queue did not grow, so more may be sustainable
    domains: list[DomainStats] = Field(default_factory=list)
    head_of_line: HeadOfLine | None = None
    cut_off: CutOff | None = (
        None  # we were killed: this is made from the ledger, and has no figures of a load
    )
    hop: dict[str, int] = Field(default_factory=dict)  # what the script of our hop did, and how often
    excused: list[str] = Field(default_factory=list)  # words of the ledger that our own hop is the cause of
    retries: Retries | None = None  # a retry campaign, in which there was no load
    fairness: float | None = None  # Jain's index over the domains' `in_time`; None of fewer than two

    @property
    def wrong(self) -> dict[str, int]:
        """What the target did to messages that no server may do, as far as it was not our hop's doing."""
        return {word: count for word, count in self.ledger.wrong.items() if word not in self.excused}
