"""The result of a load run: the public schema ``smtpbench.load/1``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA = "smtpbench.load/1"

PHASES = (
    "connect", "tls", "banner", "ehlo", "starttls", "auth",
    "mail", "rcpt", "data", "body", "transaction", "session",
)  # fmt: skip
FAILURES = ("rejected_4xx", "rejected_5xx", "dropped", "timeouts")
OUTCOMES = ("accepted", *FAILURES)
MISSED = "missed"


class _Model(BaseModel):
    model_config = ConfigDict(populate_by_name=True, extra="forbid")


class PhaseStats(_Model):
    """Latencies of one phase in milliseconds, from a histogram of 1 µs resolution and three digits."""

    count: int = 0
    p50_ms: float = 0.0
    p90_ms: float = 0.0
    p99_ms: float = 0.0
    p999_ms: float = 0.0
    max_ms: float = 0.0
    hdr: str = ""  # HdrHistogram V2, compressed, base64; values in µs


class Totals(_Model):
    """What became of the sessions and messages.

    ``offered = accepted + rejected_4xx + rejected_5xx + dropped + timeouts + missed + unfinished``; where
    these differ, the run is not valid. In a run with a warm-up, what was under way or waiting at the
    end of it has been offered, too.
    """

    sessions: int = 0
    offered: int = 0  # messages that were due
    accepted: int = 0
    rejected_4xx: int = 0
    rejected_5xx: int = 0
    dropped: int = 0
    timeouts: int = 0
    missed: int = 0  # arrivals of an open workload that were still waiting for a session at the end
    unfinished: int = 0  # under way or waiting in a process that went away before its last word

    @property
    def unaccounted(self) -> int:
        """Messages offered that are in none of the other counts: 0, or we have lost count."""
        ends = (*OUTCOMES, MISSED, "unfinished")
        return self.offered - sum(int(getattr(self, name)) for name in ends)


class Rates(_Model):
    """Messages per second over the measured part of the run."""

    accepted_per_s: float = 0.0
    offered_per_s: float = 0.0


class TimelinePoint(_Model):
    """One second of the run, or what there was of it: `span_s` is how long the point lasts.

    All points together have each message of `Totals` once, but for those offered before a warm-up ended.
    """

    t_s: int
    span_s: float = 1.0
    offered: int = 0
    accepted: int
    failed: int = 0
    sessions: int
    p50_ms: float
    p99_ms: float


class WorkerReport(_Model):
    """One worker of a run over several processes, and what became of it.

    `state`: ``finished``; ``lost`` (it went away without a word, or could not begin), ``left`` (it was ended
    before the run was over); ``late`` or ``refused`` (it did no work). `not_offered` is how many arrivals of
    an open workload were its to send and never came to be.
    """

    name: str
    state: str
    reason: str = ""
    measured_s: float = 0.0
    sessions: int = 0
    offered: int = 0
    accepted: int = 0
    failed: int = 0
    not_offered: int = 0
    cpu_s: float = 0.0


class ProcessUse(_Model):
    """What one generator process used, in seconds.

    `waited_s` is how long its loop was ready to run and had no core (null: this kernel does not say);
    `saturated_s` the seconds in which the loop used a core or waited for one for nearly all the time.
    """

    name: str
    span_s: float = 0.0
    loop_cpu_s: float = 0.0
    process_cpu_s: float = 0.0
    waited_s: float | None = None
    saturated_s: float = 0.0
    gc_s: float = 0.0


class Floor(_Model):
    """What a phase takes with one session and a target that does nothing, in milliseconds."""

    p50_ms: float = 0.0
    p99_ms: float = 0.0


class Calibration(_Model):
    """The same workload against a null sink: what this generator can do at most.

    `per_s` is how many messages a second one loop could send if it had a core for itself, and `used` the
    share of that at which the run was, over all processes. `took_s` is what calibrating took.
    """

    per_s: float = 0.0
    used: float = 0.0
    cpu_us_per_message: float = 0.0
    phases: dict[str, Floor] = {}
    took_s: float = 0.0


class Generator(_Model):
    """What the load cost us, and how late our own loop was.

    `machine_busy` and `stolen` are shares of the machine's CPU time: all that was used, by anybody, and
    what the hypervisor took away. `warnings` tell what a reader must know of a run that is valid.
    """

    cpu_s: float = 0.0
    cpu_us_per_message: float = 0.0
    loop_lag_p99_ms: float = 0.0
    schedule_lag_p99_ms: float = 0.0
    workers: list[WorkerReport] = []
    gc_s: float = 0.0
    gc_max_ms: float = 0.0
    machine_busy: float = 0.0
    stolen: float = 0.0
    processes: list[ProcessUse] = []
    warnings: list[str] = []
    calibration: Calibration | None = None


class WireLine(_Model):
    """One write, read or note of a wire log; `bytes` is escaped, content and credentials are left out."""

    t_s: float
    sender: Literal["client", "server", "note"] = Field(alias="from")
    bytes: str


class Finding(_Model):
    """A rule of all SMTP sessions that was broken under load: how often it was seen, and the first time.

    `verdict` is ``fail`` or ``non-strict``, as in conformance.
    """

    id: str
    requirements: list[str]
    rfc: int
    section: str
    level: str
    verdict: str
    title: str
    expected: str
    observed: str
    count: int
    transcript: list[WireLine] = []


class Invariants(_Model):
    """Conformance under load: how much was watched, what that cost, and what was found.

    `share` is of messages; `cpu_us_per_message` is spread over all messages, watched or not.
    """

    share: float = 0.0
    sessions: int = 0
    messages: int = 0
    replies: int = 0
    cpu_s: float = 0.0
    cpu_us_per_message: float = 0.0
    findings: list[Finding] = []


class ThresholdResult(_Model):
    """What became of one ``--threshold``.

    `value` is in milliseconds for a latency, a fraction for ``error_rate``, else a count or a rate;
    None if there was nothing to measure, which meets no threshold.
    """

    expression: str
    value: float | None
    met: bool


class OfAKind(_Model):
    """The sessions and messages of one kind in a mix; all of them are in the figures of the whole as well.

    `transaction` is from the actual start of the accepted ones, and the same as in `phases`.
    """

    sessions: int = 0
    accepted: int = 0
    rejected_4xx: int = 0
    rejected_5xx: int = 0
    dropped: int = 0
    timeouts: int = 0
    transaction: PhaseStats = PhaseStats()
    phases: dict[str, PhaseStats] = {}
    outcomes: dict[str, PhaseStats] = {}
    from_intended_start: dict[str, PhaseStats] = {}


class AbnormalCounts(_Model):
    """What became of the abnormal sessions of one kind; none of it is in any other figure of the result.

    ``sent = accepted + rejected_4xx + rejected_5xx + dropped + timeouts + unanswered``.
    """

    sent: int = 0
    accepted: int = 0
    rejected_4xx: int = 0
    rejected_5xx: int = 0
    dropped: int = 0
    timeouts: int = 0
    unanswered: int = 0  # no reply was due: we left, or the run was over
    held_back: int = 0  # not begun, because as many were open as may be
    first_refusal: str = ""


class Notice(_Model):
    """Something about the target that the figures of a load would show instead of its capacity.

    `limit` is where it was met, `asked` what the workload asks for (None: without bound); `hits` says that
    the workload will run into it. `reply` is what the target answered.
    """

    kind: str
    text: str
    limit: int | None = None
    asked: int | None = None
    hits: bool = False
    reply: str = ""


class LoadResult(_Model):
    """A whole run, as ``load --json`` writes it (``model_dump_json(by_alias=True)``).

    `phases` has every phase; one that never happened has the count 0.

    `outcomes` has each message's time from its actual start to its outcome, a histogram for each outcome;
    a message that got no session begins with the attempt to open one. `from_intended_start` has
    the same from when the arrival plan had the message due, and ``missed``: how long the arrivals that
    never got a session had waited when the run ended, which is the least that they would have
    taken. ``transaction`` there is the accepted and the missed ones together: without these an overload
    would look the better the worse it is. A closed workload has no plan, and nothing in there.
    """

    schema_: str = Field(default=SCHEMA, alias="schema")
    smtpbench: str = ""
    started: str = ""
    duration_s: float = 0.0
    interrupted: bool = False  # by the user, before its end
    target_gone_s: float = 0.0  # so long before the end it last replied, while sessions failed
    aborted: str = ""  # the threshold that ended it early, if one did
    valid: bool = True
    invalid_reasons: list[str] = []
    target: dict[str, Any] = {}
    workload: dict[str, Any] = {}
    totals: Totals = Totals()
    rates: Rates = Rates()
    phases: dict[str, PhaseStats] = {}
    outcomes: dict[str, PhaseStats] = {}
    from_intended_start: dict[str, PhaseStats] = {}
    thresholds: list[ThresholdResult] = []
    preflight: list[Notice] = []  # what was noticed before the load
    notes: list[str] = []  # what was noticed in it, that a reader of the figures should know
    traffic: dict[str, OfAKind] = {}  # by kind of session, if the workload is a mix
    abnormal: dict[str, AbnormalCounts] = {}  # by kind, if the workload has abnormal traffic
    replies: dict[str, int] = {}
    first_refusal: str = ""  # the first reply that refused a message, as the server put it
    refusals: list[str] = []  # the first of each reply code
    timeline: list[TimelinePoint] = []
    generator: Generator = Generator()
    invariants: Invariants = Invariants()

    @property
    def answered(self) -> int:
        """Messages that have an outcome."""
        return sum(int(getattr(self.totals, name)) for name in OUTCOMES)

    @property
    def broken_rules(self) -> list[Finding]:
        """The findings that break a MUST, a MUST NOT or a grammar rule."""
        return [finding for finding in self.invariants.findings if finding.verdict == "fail"]

    @property
    def nothing_accepted(self) -> str | None:
        """In one line, what became of the messages if some were sent and none was accepted; else None."""
        totals = self.totals
        refused = totals.rejected_4xx + totals.rejected_5xx
        lost = totals.dropped + totals.timeouts
        if totals.accepted or not refused + lost:
            return None
        if not lost:
            return f"every message was refused: {self.first_refusal} (first reply)"
        return (
            f"no message was accepted: {refused} refused, "
            f"{totals.dropped} dropped, {totals.timeouts} timed out"
        )
