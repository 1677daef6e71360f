"""One measured session from connect to close, led by callbacks.

In some workloads a session carries one message, so what it costs to have one counts as much as the message:
there is no task here and no future. Only TLS and AUTH, which take longer by themselves, run in a task.
"""

from __future__ import annotations

import asyncio
from time import perf_counter_ns as clock
from typing import TYPE_CHECKING, Protocol

from smtpbench.errors import SessionError
from smtpbench.load.arrival import Arrival, Goodbye
from smtpbench.load.eventloop import EventLoop
from smtpbench.load.flow import Flow
from smtpbench.load.gate import Gate
from smtpbench.load.kinds import Kind, NotOffered
from smtpbench.load.opening import Opening, settle
from smtpbench.load.recorder import Recorder
from smtpbench.load.transport import SocketTransport

if TYPE_CHECKING:
    from smtpbench.load.visit import Visit

BACKOFF_S = (0.1, 2.0)  # first and longest pause of a user whose session could not be opened


class User:
    """One user of a closed workload: a session after the other until stopped."""

    def __init__(self) -> None:
        self.stopped = False
        self.flow: Flow | None = None
        self.pause = BACKOFF_S[0]  # before the next attempt, should this one fail


class Host(Protocol):
    """Whose session it is."""

    def new_flow(self, kind: Kind) -> Flow:
        """The session itself."""

    def opened(self, course: Course) -> None:
        """The session of `course` may send mail: give it messages; `course.finish` when it shall end."""

    def ended(self, course: Course, error: SessionError | None) -> None:
        """All is over; `error` is why there was no session, if there was none."""


class Course:
    """A session of `kind` for so many messages (negative: no limit), of a user in a closed workload."""

    __slots__ = ("_error", "_gate", "_host", "_loop", "_step", "_task", "flow", "kind", "messages", "opened",
                 "over", "recorder", "started", "user")  # fmt: skip

    def __init__(
        self, host: Host, gate: Gate, loop: EventLoop, recorder: Recorder, kind: Kind, user: User | None,
        messages: int,
    ) -> None:  # fmt: skip
        self.started = clock()
        self._host, self._gate, self._loop, self.recorder = host, gate, loop, recorder
        self.kind, self.user, self.messages = kind, user, messages
        self.flow: Flow | None = None
        self._step: Arrival | Goodbye | None = None
        self._task: asyncio.Task[None] | None = None
        self._error: SessionError | None = None  # why the session is no use
        self.opened = False
        self.over = False  # nothing more shall happen

    def begin(self) -> None:
        """Connect, and what follows from that."""
        self._gate.enter()
        flow = self.flow = self._host.new_flow(self.kind)
        self._step = Arrival(self.kind.door, self.recorder, flow, self._arrived, self._loop)

    def cancel(self) -> None:
        """Drop it where it is; the host hears no more."""
        self.over = True
        if self._task is not None:
            self._task.cancel()
        if self._step is not None:
            self._step.cancel()
        if self.flow is not None:
            self.flow.over = _nothing
            self.flow.unplan()
            self.flow.abort()

    def resume(self, visit: Visit, flow: Flow, connected_at: int) -> SocketTransport:
        """Go on with a visit."""
        self._gate.enter()
        self.started, self.flow = visit.started, flow
        flow.replayed_at = connected_at
        arrival = self._step = Arrival(self.kind.door, self.recorder, flow, self._arrived, self._loop, visit)
        flow.replayed_at = 0
        return arrival.transport

    # --- opening ---

    def _arrived(self, error: SessionError | None) -> None:
        self._step = None
        if error is None and self.kind.door.plain:
            self._ready()
        elif error is not None:
            self._fail(error)
        else:
            self._task = self._loop.create_task(self._further())

    async def _further(self) -> None:
        """TLS and AUTH."""
        assert self.flow is not None
        try:
            await Opening(self.kind.door, self.recorder, self.flow).run()
        except SessionError as error:
            self._fail(error)
        else:
            self._ready()
        finally:
            self._task = None

    def _ready(self) -> None:
        flow, kind = self.flow, self.kind
        assert flow is not None
        try:
            extensions = settle(kind.door, flow)
        except SessionError as error:
            self._fail(error)
            return
        self._gate.leave()
        if kind.needs:
            try:
                kind.check(extensions)
            except NotOffered as error:
                self._error = error
                self.finish()
                return
        self.opened = True
        flow.over = self.finish
        self._host.opened(self)

    def _fail(self, error: SessionError) -> None:
        self._gate.leave()
        self._error = error
        self._part()

    # --- closing ---

    def finish(self) -> None:
        """Say QUIT if that is still possible, and close."""
        flow = self.flow
        if flow is None:
            return
        flow.over = _nothing
        flow.finish()
        if flow.broken:
            self._part()
        else:
            self._step = Goodbye(flow, self._part, self._loop)

    def _part(self, _: SessionError | None = None) -> None:
        """QUIT is answered, or there will be no answer."""
        assert self.flow is not None
        self._step = None
        self.flow.unplan()
        self.flow.part()
        if not self.over:
            self.over = True
            self._host.ended(self, self._error)


def _nothing() -> None:
    """It is over already."""
