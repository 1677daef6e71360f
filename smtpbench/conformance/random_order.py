"""Random dialogues against the state table: Hypothesis chooses the commands, and shortens a disagreement.

One seed gives the same dialogues each time. A dialogue that disagrees is shrunk to the shortest that still
does, and that one is said once more in a fresh session before anybody is accused.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from smtpbench.conformance.observation import Untested
from smtpbench.conformance.oracle import States, Step, states_after
from smtpbench.conformance.peer import Peer
from smtpbench.errors import ConnectionLost, SessionError
from smtpbench.target import Role
from smtpbench.wire import commands
from smtpbench.wire.content import dot_stuff
from smtpbench.wire.state import State, Verb

DIALOGUES = (
    40  # each is a session: enough to reach every pair of states, and a second or two on a real server
)
STEPS = 14  # commands in the longest dialogue
REFUSALS = 8  # after so many refused commands a session ends: servers slow down or close soon after (§7.8)
SEARCH = 20.0  # seconds for dialogues; where they are not enough, nothing is said of the server
SHRINK = 8.0  # seconds more, once there is a disagreement
HELLO = frozenset({Verb.EHLO, Verb.HELO, Verb.LHLO})

T = TypeVar("T")


@dataclass
class Dialogue:
    """One session: the states that explain it so far, and what was said. `over`: nothing more is asked."""

    session: Peer
    states: States
    said: list[str] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    recipients: int = 0  # accepted in the transaction at hand: an LMTP server answers each
    refusals: int = 0
    over: bool = False

    @classmethod
    async def begin(cls, peer: Peer) -> Dialogue:
        """A session that was greeted; where TLS or AUTH is asked for, all that comes before MAIL."""
        session = peer.new_session()
        if peer.endpoint.tls == "none" and peer.role in (Role.MX, Role.LMTP):
            await session.until_greeted()
            return cls(session, frozenset({State.START}))
        await session.until_allowed()
        return cls(session, frozenset({State.READY}))

    async def say(self, step: Step) -> bool:
        """Say `step`; whether some state explains the answer. A close ends the dialogue without a finding."""
        if self.over:
            return True
        try:
            code = await self._ask(step)
        except ConnectionLost:  # whether it may close is another case's question
            self.over = True
            return True
        if code == 421:
            self.over = True
            return True
        self.refusals += code >= 400
        self.over = self.refusals >= REFUSALS
        self.states = states_after(self.states, step, code)
        return bool(self.states)

    @property
    def towards_delivery(self) -> Step:
        """The next command of an ordinary transaction: chance alone seldom gets as far as DATA."""
        if State.RCPT in self.states:
            return Step.DATA
        if State.MAIL in self.states:
            return Step.RCPT
        return Step.MAIL if State.READY in self.states else Step.HELLO

    async def _ask(self, step: Step) -> int:
        line = self._line(step)
        self.steps.append(step)
        reply = await self.session.session.command(line)
        self.said.append(f"{line.decode()} → {reply.code}")
        if step is Step.DATA and reply.code == 354:
            return await self._content()
        self._count(step, reply.severity == 2)
        return reply.code

    def _count(self, step: Step, accepted: bool) -> None:
        if accepted and step.verb is Verb.RCPT:
            self.recipients += 1
        elif accepted and (step.verb in HELLO or step.verb in (Verb.MAIL, Verb.RSET)):
            self.recipients = 0

    async def _content(self) -> int:
        await self.session.session.send(dot_stuff(self.session.marked_body(b"random order\r\n")))
        expected = self.recipients if self.session.role is Role.LMTP and self.recipients else 1
        replies = [await self.session.session.read_reply() for _ in range(expected)]
        self.said.append(f"(content) → {' '.join(str(reply.code) for reply in replies)}")
        self.recipients = 0
        return replies[0].code

    def _line(self, step: Step) -> bytes:
        session = self.session
        name = session.target.client_name
        hello = "LHLO" if session.role is Role.LMTP else "EHLO"
        return {
            Step.HELLO: f"{hello} {name}".encode(),
            Step.HELO: f"HELO {name}".encode(),
            Step.MAIL: commands.mail(session.sender),
            Step.RCPT: commands.rcpt(session.recipient),
            Step.VRFY: f"VRFY {session.recipient}".encode(),
            Step.UNKNOWN: b"FOOBAR",
            Step.BAD_MAIL: b"MAIL FROM:",
            Step.BAD_RCPT: b"RCPT TO:",
        }.get(step) or step.name.encode()

    async def end(self) -> None:
        """Leave politely where the server still listens."""
        with suppress(ConnectionLost):
            await self.session.session.command(b"QUIT")
        await self.session.disconnect()


@dataclass(frozen=True)
class Found:
    """What came of it: how many dialogues were held, and the shortest that disagrees, if one does."""

    dialogues: int
    steps: tuple[Step, ...] = ()
    said: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.said:
            return f"{' · '.join(self.said)}: no state of a receiver explains the last reply"
        return f"{self.dialogues} dialogues, each explained by the state table"


async def search(peer: Peer, seed: int) -> Found:
    """Hold random dialogues; the shortest disagreement, confirmed in a session of its own.

    Raises Untested if there was no time for all dialogues, or if a disagreement does not come again.
    """
    loop = asyncio.get_running_loop()

    def wait(coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result()

    hunt = _Hunt(lambda: wait(Dialogue.begin(peer)), wait)
    await asyncio.to_thread(hunt.run, seed)
    if hunt.trouble is not None and hunt.shortest is None:
        raise hunt.trouble
    if hunt.shortest is None:
        if hunt.cut_short:
            raise Untested(f"{hunt.held} of {DIALOGUES} dialogues were held within {SEARCH:g} s")
        return Found(hunt.held)
    again = await _replay(peer, hunt.shortest.steps)
    if again is None:
        raise Untested(f"a disagreement that did not come again (seed {seed})", str(hunt.shortest))
    return await _shorten(peer, again)


async def _shorten(peer: Peer, found: Found) -> Found:
    """Leave out runs of commands, then single ones, as long as the rest still disagrees.

    Hypothesis shrinks what it drew, which is not quite the dialogue: a transaction may be left over.
    """
    length = len(found.steps) // 2
    deadline = time.monotonic() + SHRINK
    while length and time.monotonic() < deadline:
        for start in range(len(found.steps) - length, -1, -1):
            fewer = found.steps[:start] + found.steps[start + length :]
            shorter = await _replay(peer, fewer) if fewer else None
            if shorter is not None and len(shorter.steps) < len(found.steps):
                found = shorter
                break
        else:
            length -= 1
        length = min(length, len(found.steps) - 1)
    return found


async def _replay(peer: Peer, steps: Sequence[Step]) -> Found | None:
    dialogue = await Dialogue.begin(peer)
    try:
        for step in steps:
            if not await dialogue.say(step):
                return Found(1, tuple(dialogue.steps), tuple(dialogue.said))
        return None
    finally:
        await dialogue.end()


class _Disagrees(Exception):
    """No state explains the last reply."""


class _Hunt:
    """Hypothesis at work in a thread; the sessions are the event loop's."""

    def __init__(
        self, begin: Callable[[], Dialogue], wait: Callable[[Coroutine[Any, Any, Any]], Any]
    ) -> None:
        self.begin = begin
        self.wait = wait
        self.held = 0
        self.cut_short = False  # by the time
        self.shortest: Found | None = None
        self.trouble: SessionError | Untested | None = None
        self.deadline = time.monotonic() + SEARCH

    @property
    def out_of_time(self) -> bool:
        """No further dialogue; Hypothesis is left to finish on its own."""
        return time.monotonic() > self.deadline

    def begun(self) -> Dialogue | None:
        """A new dialogue, or None if there is to be no further one."""
        self.cut_short = self.cut_short or self.out_of_time
        return None if self.out_of_time else self._carefully(self.begin)

    def holds(self, dialogue: Dialogue, step: Step) -> bool:
        """Whether the answer to `step` is explained; also where there is none, which ends the hunt."""
        explained = self._carefully(lambda: self.wait(dialogue.say(step)))
        return explained is not False

    def ended(self, dialogue: Dialogue) -> None:
        """One dialogue more was held."""
        self.held += 1
        self._carefully(lambda: self.wait(dialogue.end()))

    def _carefully(self, do: Callable[[], T]) -> T | None:
        """Trouble with the connection is no disagreement, which Hypothesis would take it for: stop there."""
        try:
            return do()
        except (SessionError, Untested) as error:
            self.trouble = self.trouble or error
            self.deadline = 0.0
            return None

    def disagreed(self, dialogue: Dialogue) -> None:
        """Keep the shortest; from the first one on there is time to shrink it."""
        if self.shortest is None:
            self.deadline = time.monotonic() + SHRINK
        found = Found(self.held, tuple(dialogue.steps), tuple(dialogue.said))
        if self.shortest is None or len(found.steps) < len(self.shortest.steps):
            self.shortest = found

    def run(self, seed: int) -> None:
        """All dialogues of `seed`. Raises nothing: see `shortest` and `trouble`."""
        import hypothesis  # a third of a second, for the one case that needs it
        from hypothesis import stateful
        from hypothesis import strategies as st

        hunt = self

        @hypothesis.seed(seed)
        class Machine(stateful.RuleBasedStateMachine):
            def __init__(self) -> None:
                super().__init__()
                self.dialogue = hunt.begun()

            @stateful.rule(step=st.sampled_from(Step))
            def say(self, step: Step) -> None:
                if self.dialogue is not None and not hunt.holds(self.dialogue, step):
                    hunt.disagreed(self.dialogue)
                    raise _Disagrees

            @stateful.rule()
            def advance(self) -> None:
                if self.dialogue is not None:
                    self.say(self.dialogue.towards_delivery)

            def teardown(self) -> None:
                if self.dialogue is not None:
                    hunt.ended(self.dialogue)

        settings = hypothesis.settings(
            database=None,
            deadline=None,
            max_examples=DIALOGUES,
            stateful_step_count=STEPS,
            suppress_health_check=list(hypothesis.HealthCheck),
            verbosity=hypothesis.Verbosity.quiet,
            phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
            print_blob=False,
            report_multiple_bugs=False,
        )
        # A disagreement was kept by `disagreed`; a flaky one does not come again in the replay.
        with suppress(_Disagrees, hypothesis.errors.Flaky):
            stateful.run_state_machine_as_test(Machine, settings=settings)
