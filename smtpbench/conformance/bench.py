"""Runs one case against one target and makes its result: attempts, deadline, transcript, grade."""

from __future__ import annotations

import asyncio
import shlex
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from smtpbench.conformance.cases import Case
from smtpbench.conformance.control import unsteady
from smtpbench.conformance.conversation import REST, Surroundings, TryAgain, TurnedAway
from smtpbench.conformance.grading import grade
from smtpbench.conformance.model import Catalogue
from smtpbench.conformance.needs import RETRIES, RETRY, Facts, endpoint_role, why_not
from smtpbench.conformance.observation import Observation, Outcome, Untested
from smtpbench.conformance.peer import Peer
from smtpbench.conformance.pulse import Pace, Pulse
from smtpbench.conformance.result import CaseResult, TranscriptLine, Verdict
from smtpbench.delivery.hop import Hop
from smtpbench.delivery.observers import Observer
from smtpbench.errors import SessionError
from smtpbench.target import Role
from smtpbench.transcript import Entry, Transcript
from smtpbench.wire.replies import escape
from smtpbench.witness import Witness, Witnessed

RED = frozenset({Outcome.VIOLATES, Outcome.NEAR})
NOT_FORESEEN = "neither of the things that this case tells apart"
ATTEMPTS = 2  # a close or a silence counts only if it happens again
TRANSCRIPT_OCTETS = 8_192  # kept per case: all of a usual one, and a report of 200 cases stays below 2 MB
TRANSCRIPT_ENTRIES = 200
BROKEN = frozenset({Outcome.VIOLATES, Outcome.UNTESTED})  # an error of ours counts as untested


class Crowded(Exception):
    """The target turned a case away while others were under way: it is to be run again, beside fewer."""


@dataclass(frozen=True)
class SeenBreach:
    """A breach of what holds in every session, and the case and the session (a number) it was seen in."""

    case: str
    session: int
    witnessed: Witnessed


@dataclass
class Seen:
    """All that was witnessed in the sessions of a run."""

    replies: int = 0
    sessions: int = 0
    breaches: list[SeenBreach] = field(default_factory=list)

    def add(self, case: str, witness: Witness) -> None:
        """One more session, which is over."""
        self.replies += witness.replies
        self.sessions += 1
        self.breaches += [SeenBreach(case, self.sessions, breach) for breach in witness.breaches]


@dataclass
class Bench:
    """One target on the bench: what is known of it, and the results so far by case id."""

    catalogue: Catalogue
    facts: Facts
    observer: Observer | None = None
    spec: str = ""  # the target and its options as on the command line, for the `repro` line
    hop: Hop | None = None
    results: dict[str, CaseResult] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    seen: Seen = field(default_factory=Seen)
    notes: list[str] = field(default_factory=list)  # what the user should know of the run
    interrupted: set[str] = field(default_factory=set)  # cases that could not be put to the target
    pace: Pace = field(default_factory=Pace)
    pulses: dict[Role, Pulse] = field(default_factory=lambda: defaultdict(Pulse))

    async def run(self, case: Case, *, crowd: Callable[[], bool] = lambda: False) -> CaseResult:
        """Run `case` and keep its result. Never raises for what the case or the target does, except
        Crowded: the target turned it away while `crowd` says that other cases are under way.
        """
        begin = time.perf_counter()
        transcript = Transcript(TRANSCRIPT_OCTETS, TRANSCRIPT_ENTRIES)
        reason = self._unmet(case)
        if reason is not None:
            observation, error = Observation("", "", Outcome.UNTESTED, reason), None
        else:
            observation, error = await self._attempts(case, transcript, crowd)
        result = self._result(case, observation, error)
        result.duration_s = round(time.perf_counter() - begin, 6)
        result.transcript = lines(transcript.entries)
        self.results[case.id] = result
        self.outcomes[case.id] = observation.outcome
        return result

    def give_up(self, case: Case, reason: str) -> CaseResult:
        """The result of a case that the run's end keeps from being asked."""
        result = self._result(case, self._lost(case, reason), None)
        self.results[case.id], self.outcomes[case.id] = result, Outcome.UNTESTED
        return result

    def _lost(self, case: Case, reason: str, observed: str = "") -> Observation:
        self.interrupted.add(case.id)
        return Observation("", observed, Outcome.UNTESTED, reason)

    def _unmet(self, case: Case) -> str | None:
        for earlier in case.after:
            if self.outcomes.get(earlier) in BROKEN:
                return f"{earlier} is {self.results[earlier].verdict}"
        return why_not(case.needs, self.facts)

    async def _attempts(
        self, case: Case, transcript: Transcript, crowd: Callable[[], bool]
    ) -> tuple[Observation, str | None]:
        """The observation, and the text of our own error if there was one."""
        before: list[str] = []
        for attempt in range(1, ATTEMPTS + 1):
            around = self._surroundings(case, transcript, last=attempt == ATTEMPTS)
            if around.pulse.stopped:
                return self._lost(case, around.pulse.stopped), None
            try:
                observation, error = await self._attempt(case, around)
            except (TryAgain, TurnedAway) as trouble:
                if isinstance(trouble, TurnedAway):
                    if crowd() and not around.pulse.stopped:
                        raise Crowded(str(trouble)) from trouble
                    if around.last_attempt:
                        return self._lost(case, f"turned away twice: {trouble}"), None
                    await asyncio.sleep(REST)
                before.append(f"second attempt; first: {trouble}")
                transcript.add_note(f"{trouble}: the case is run once more")
                continue
            before += [f"connected again: {why}" for why in around.reconnected]
            return _told(observation, before), error
        raise AssertionError("the last attempt never asks for another")

    async def _attempt(self, case: Case, around: Surroundings) -> tuple[Observation, str | None]:
        """As `_attempts`, once. Raises TryAgain or TurnedAway."""
        try:
            observation = await self._once(case, around)
        except (TryAgain, TurnedAway):
            raise
        except Untested as untested:
            observation = untested.observation()
        except SessionError as error:
            observation = Observation("", "", Outcome.UNTESTED, str(error))
        except TimeoutError:
            return self._overdue(case)
        except Exception as error:  # noqa: BLE001 - a case is somebody's code: report it, run the others
            return Observation("", "", Outcome.UNTESTED), _where(error)
        if observation.outcome in RED and not case.accuses:
            return replace(observation, outcome=Outcome.UNTESTED, reason=NOT_FORESEEN), None
        if observation.outcome in RED and around.troubled and not case.about_connection:
            observation = await self._controlled(case, observation)
        return observation, None

    async def _once(self, case: Case, around: Surroundings) -> Observation:
        peer = Peer(around)
        try:
            async with asyncio.timeout(self._deadline(case)) as around.limit:
                return await case.function(peer)
        finally:
            await peer.close()
            self.pace.add(around.waits)
            for witness in around.witnesses:
                self.seen.add(case.id, witness)

    async def _controlled(self, case: Case, observation: Observation) -> Observation:
        """`observation` of a close or a silence, unless a plain session fares no better."""
        why = await unsteady(lambda: Peer(self._surroundings(case, None, last=True)))
        return self._lost(case, why, observation.observed) if why else observation

    def _deadline(self, case: Case) -> float:
        target = self.facts.target  # the message, the fence, and one to spare; and as much for retries
        again = target.relay.retry_s or 0.0 if target.relay and RETRY in case.needs else 0.0
        return case.deadline * self.pace.stretch + 3 * (target.timeouts.delivery + RETRIES * again)

    def _overdue(self, case: Case) -> tuple[Observation, str | None]:
        late = f"not done within {self._deadline(case):g} s"
        if self.pace.stretch > 1:
            return self._lost(case, f"{late}: a reply takes {self.pace.latency:.1f} s"), None
        return Observation("", "", Outcome.UNTESTED), late

    def _surroundings(self, case: Case, transcript: Transcript | None, *, last: bool) -> Surroundings:
        there = self.facts.at(endpoint_role(case.needs))
        there = replace(there, target=self.pace.fit(there.target))
        return Surroundings(
            there,
            self.observer,
            transcript,
            there.endpoint,
            there.role,
            last,
            hop=self.hop,
            pulse=self.pulses[there.role],
            alone=case.alone,
        )

    def _result(self, case: Case, observation: Observation, error: str | None) -> CaseResult:
        row = self.catalogue.strongest(case.requirements)
        verdict = Verdict.ERROR if error else grade(row.level, observation.outcome)
        return CaseResult(
            id=case.id,
            requirements=list(case.requirements),
            rfc=row.rfc,
            section=row.section,
            level=row.level.value,
            verdict=verdict,
            title=case.title,
            expected=observation.expected,
            observed=observation.observed,
            reason=error or observation.reason,
            repro=rerun(self.spec, case.id),
        )


def lines(entries: Iterable[Entry]) -> list[TranscriptLine]:
    """A wire log as the report has it."""
    return [
        TranscriptLine(t_s=round(entry.t_s, 6), **{"from": entry.sender}, bytes=escape(entry.data))
        for entry in entries
    ]


def command_words(spec: str, endpoint: Role | None, seed: int = 0) -> str:
    """The target and its options as `rerun` wants them; "" where the user named no target."""
    where = ("--endpoint", endpoint.value) if endpoint else ()
    drawn = ("--seed", str(seed)) if seed else ()
    return shlex.join([spec, *where, *drawn]) if spec else ""


def rerun(spec: str, *ids: str) -> str:
    """The command line that runs `ids` again; `spec` is the target and its options, quoted for a shell."""
    if not spec:
        return ""
    return f"smtpbench conform {spec} {shlex.join(word for key in ids for word in ('--select', key))}"


def _told(observation: Observation, before: list[str]) -> Observation:
    """`observation` with what happened before it as its reason, if it has none of its own."""
    if not before or observation.reason is not None:
        return observation
    return replace(observation, reason="; ".join(dict.fromkeys(before)))


def _where(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{place}"
