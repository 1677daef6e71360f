"""The data plane: one native thread that runs one event loop for all sessions of a process.

A hop between a greenlet and the loop costs as much as half a message, so the control side only
starts and stops users and arrivals, and collects one `Batch` a second from `batches`.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from time import perf_counter_ns as clock

from smtpbench.errors import DeadlineExceeded, SessionError, SmtpbenchError
from smtpbench.load.arrival import GOODBYE_S, OutOfResources, Refused
from smtpbench.load.beside import AbnormalKind, Beside
from smtpbench.load.course import BACKOFF_S, Course, User
from smtpbench.load.eventloop import EventLoop
from smtpbench.load.flow import Flow
from smtpbench.load.gate import Gate
from smtpbench.load.journaled import Book, journaled
from smtpbench.load.kinds import Kind, NotOffered
from smtpbench.load.meter import Meter, send_buffer
from smtpbench.load.native import run_in_native_thread
from smtpbench.load.openings import Openings
from smtpbench.load.pacing import PacedFlow
from smtpbench.load.recorder import Batch, Recorder
from smtpbench.load.resting import Rests
from smtpbench.load.supply import Backlog, Budget
from smtpbench.load.transport import SocketTransport
from smtpbench.load.visit import ASKED_ABOUT, Visit, Visits
from smtpbench.load.watch import Watch

TICK_S = 0.05  # how often the loop's lag is sampled, and what was recorded folded if it is much
TICKS_A_BATCH = 20  # deadlines are checked, and a batch handed over, once a second
CONNECTING_MAX = 64  # below the listen backlog of any server (128 is usual), so that no SYN is lost
ARRIVALS_A_TURN = 256  # a late plan catches up in slices, so that replies are read in between
NS = 1_000_000_000


class Engine:
    """Runs sessions, each of the kind that `pick` gives for it, and abnormal ones beside them.

    `deadline_s` is how long a reply may take. The supply decides the model: a `Budget` is for users, a
    `Backlog` for arrivals. `think` gives the pause of a user between two sessions, in seconds. What the
    server says to each message is written into `book`, and `watch` looks on, if there is one.
    """

    def __init__(
        self, pick: Callable[[], Kind | AbnormalKind], supply: Budget | Backlog, recorder: Recorder,
        *, deadline_s: float, max_sessions: int = 1000, think: Callable[[], float] | None = None,
        book: Book | None = None, watch: Watch | None = None,
    ) -> None:  # fmt: skip
        self.batches: deque[Batch] = deque()
        self.finished = False  # the thread is done and the last batch is there
        self.last_error = ""
        self._pick, self._supply, self._rec = pick, supply, recorder
        self._watch = watch or Watch(share=0)
        self._deadline_ns = int(deadline_s * NS)
        self._drain_s = deadline_s + 2 * GOODBYE_S
        self._max_sessions = max_sessions
        self._think = think
        self._book = book
        if book is not None:
            book.on_failure = self.stop
        self._watch = watch or Watch(share=0)
        self._loop = EventLoop()
        self._stopping = asyncio.Event()
        self._drained = asyncio.Event()  # no session is left, once it was waited for
        self._openings = Openings(self._loop)
        self._gate = Gate(CONNECTING_MAX)
        self._visits = Visits(self, self._loop, self._gate, self._openings, supply)
        self._courses: set[Course] = set()
        self._makers: dict[str, Callable[[], Flow]] = {}  # by kind
        self._flows: set[Flow] = set()
        self._rests = Rests(self._loop, self._flows)  # for those of them that rest
        self._idle: list[Flow] = []
        self._opening = 0
        self._sessions = 0
        self._over = self._ticked = False
        self._beside = Beside(max_sessions)
        self._sending: Counter[str] = Counter()  # how connections sent that have closed since
        self._closed = 0

    # --- control side: any thread ---

    def start(self) -> None:
        """Run in a thread of its own."""
        run_in_native_thread(self.run, "smtpbench-engine")

    def run(self) -> None:
        """Run in this thread, until `stop` is called or the supply is spent."""
        try:
            self._loop.run_until_complete(self._main())
        finally:
            self._abandon()
            self._loop.close()
            if self._book is not None:
                self._book.close()
            self.finished = True

    def _abandon(self) -> None:
        """Leave nothing behind of what an interrupt has left undone."""
        if tasks := asyncio.all_tasks(self._loop):
            for task in tasks:
                task.cancel()
            self._visits.unfold_all()
            for course in list(self._courses):
                course.cancel()
            self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))

    @property
    def failure(self) -> SmtpbenchError | None:
        """Why the engine has stopped by itself before its time, if it has."""
        return None if self._book is None else self._book.failure

    def add_user(self) -> User:
        """A user that begins now (closed workload)."""
        user = User()
        self._call(lambda: self._welcome(user))
        return user

    def remove_user(self, user: User) -> None:
        """Let `user` finish the message under way and go."""
        self._call(lambda: self._dismiss(user))

    def start_arrivals(self, plan: Iterator[float], lasts: float | None = None) -> None:
        """Follow `plan` (seconds from now) to its end; with `lasts`, a time it keeps within, end then."""
        self._call(lambda: self._begin_arrivals(plan, lasts))

    @property
    def sessions_open(self) -> int:
        """How many sessions are ready for mail or sending it."""
        return self._sessions

    def stop(self) -> None:
        """End: begin no message, wait for those under way as long as a reply may take, hand over the rest."""
        self._supply.stopped = True  # at once: the loop may have replies to read before it hears of this
        self._loop.halt_chats()
        self._call(self._stopping.set)

    def _call(self, action: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop is closed: the engine has ended by itself
            self._loop.call_soon_threadsafe(action)

    # --- loop side ---

    async def _main(self) -> None:
        self._meter, self._handed_over = Meter(), clock()
        ticking = asyncio.create_task(self._tick())
        await self._stopping.wait()
        self._supply.stopped, stopped_at = True, clock()
        self._wake(*self._rests.asleep)
        idle, self._idle = self._idle, []
        for flow in idle:
            self._over_with(flow)
        self._visits.unfold_all()
        for flow in self._flows:
            flow.curtail()
        await self._beside.end()
        await self._drain()
        self._sweep(clock())  # what is owed since before its deadline is a timeout, not a drop
        for course in list(self._courses):
            course.cancel()
        ticking.cancel()
        await asyncio.gather(ticking, return_exceptions=True)
        if isinstance(self._supply, Backlog):
            self._miss(self._supply, stopped_at)
        self._hand_over(ended=True)
        self._meter.close()

    def _miss(self, backlog: Backlog, stopped_at: int) -> None:
        """Nobody takes any more what waits, nor what a late plan had yet to bring."""
        self._rec.counters["offered"] += backlog.overdue(stopped_at)
        while backlog.due:
            self._rec.miss(max(stopped_at - backlog.due.popleft(), 0))

    async def _drain(self) -> None:
        """Wait for the sessions, as long as a reply may take."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._drain_s):
                while self._courses:
                    self._drained.clear()
                    await self._drained.wait()

    async def _tick(self) -> None:
        due, ticks = clock(), 0
        while True:
            due += int(TICK_S * NS)
            await asyncio.sleep((due - clock()) / NS)
            now = clock()
            self._rec.loop_lag(max(now - due, 0) // 1000)
            due = max(due, now - int(TICK_S * NS))
            ticks += 1
            self._ticked = True
            if ticks % TICKS_A_BATCH == 0:
                self._sweep(now)
                self._hand_over()
            else:
                self._rec.fold_much()
            self._watch.look_around(self._flows or self._rests.first, self._idle, self._meter.waited_ns())
            if self._supply.spent:
                self._wake(*self._rests.asleep)
            self._end_if_spent()

    def _wake(self, *flows: Flow) -> None:
        """End the pauses of sessions for which there is nothing to wait."""
        for flow in flows:
            if isinstance(flow, PacedFlow):
                flow.wake()

    def _sweep(self, now: int) -> None:
        self._visits.unfold_all()
        self._flows -= {flow for flow in self._flows if flow.broken and not flow.under_way}
        for flow in list(self._flows):
            flow.expire(now - self._deadline_ns)

    def _hand_over(self, *, ended: bool = False) -> None:
        batch = self._rec.take_batch()
        now = clock()
        batch.used = self._meter.take() | self._sending
        self._sending = Counter()
        batch.cpu_ns = batch.used.pop("cpu_ns")
        batch.span_ns, self._handed_over = now - self._handed_over, now
        batch.sessions_open = self._sessions
        batch.abnormal = self._beside.take_counts()
        batch.under_way = sum(flow.under_way for flow in self._flows)
        batch.waiting = len(self._supply.due) if isinstance(self._supply, Backlog) else 0
        batch.watched = self._watch.take()
        batch.crowded = self._opening + self._sessions >= self._max_sessions
        batch.ended = ended
        batch.spent = self._spent()
        self.batches.append(batch)

    def _spent(self) -> bool:
        """Whether the workload has no more messages and none is under way."""
        spent = self._supply.spent and len(self._idle) == self._sessions and not self._opening
        return spent or self._over

    def _end_if_spent(self) -> None:
        """A run lasts a tick at least: what it used of a core in less says nothing."""
        if self._ticked and self._spent():
            self._stopping.set()

    # --- sessions ---

    def _begin(self, user: User | None = None) -> None:
        """One session from connect to close. `_opening` counts it from the step that decided to open it."""
        self._opening += 1
        while isinstance(kind := self._pick(), AbnormalKind):  # those drawn before it begin beside it
            self._beside.begin(kind)
        if self._gate.is_open:
            self._let_in(kind, user)
        else:
            self._gate.wait(partial(self._let_in_late, kind, user))

    def _let_in_late(self, kind: Kind, user: User | None) -> None:
        """A session that had to wait, if there still is something to send."""
        if self._supply.stopped or (user is not None and (user.stopped or self._supply.spent)):
            self._opening -= 1
            self._end_if_spent()
        else:
            self._let_in(kind, user)

    def _let_in(self, kind: Kind, user: User | None) -> None:
        recorder = self._rec.of_kind(kind.name) if kind.name else self._rec
        messages = kind.messages()
        if messages == 1 and not self._watch.is_next() and self._visits.begin(kind, recorder, user):
            self._watch.pass_by()
            return
        course = Course(self, self._gate, self._loop, recorder, kind, user, messages)
        self._courses.add(course)
        course.begin()

    def visited(self, user: User) -> None:
        """See `Visitors`."""
        self._opening -= 1
        self._live_on(user, failed=False)
        if not self._opening:
            self._end_if_spent()

    def unfolded(self, visit: Visit, connected_at: int) -> SocketTransport:
        """See `Visitors`."""
        course = Course(self, self._gate, self._loop, visit.recorder, visit.kind, visit.user, messages=1)
        self._courses.add(course)
        flow = self._unwatched_flow(visit.kind)
        if connected_at:
            flow.plan(visit)
        else:
            self._supply.give_back(visit.due)
        return course.resume(visit, flow, connected_at)

    def sent(self, used: dict[str, int]) -> None:
        """See `Visitors`."""
        self._sending.update(used)

    def opened(self, course: Course) -> None:
        """See `Host`."""
        flow, user = course.flow, course.user
        assert flow is not None
        self._opening -= 1
        course.recorder.counters["sessions"] += 1
        self._sessions += 1
        if not flow.replayed_at:
            self._openings.learn(course.kind, flow)
        flow.left = course.messages
        if user is not None:
            user.flow = flow
            if user.stopped:
                flow.left = 0
        flow.run(self._rested)

    def ended(self, course: Course, error: SessionError | None) -> None:
        """See `Host`."""
        self._courses.discard(course)
        if course.flow is not None:
            if isinstance(course.flow, PacedFlow):
                self._rests.end(course.flow)
            self._flows.discard(course.flow)
        if course.opened:
            self._sessions -= 1
            course.recorder.session((clock() - course.started) // 1000)
        else:
            self._opening -= 1
            assert error is not None
            self._charge(error, course.started, course.recorder)
        if course.user is not None:
            self._live_on(course.user, failed=not course.opened)
        elif isinstance(supply := self._supply, Backlog) and supply.due and not supply.stopped:
            self._dispatch(supply)  # it left arrivals waiting, and none may come after them
        if not self._courses:
            self._drained.set()
            self._end_if_spent()

    def _over_with(self, flow: Flow) -> None:
        """End a session; of one in so many ask the kernel how it has sent."""
        self._closed += 1
        if self._closed % ASKED_ABOUT == 1 and flow.transport is not None:
            self._sending.update(send_buffer(flow.transport.get_extra_info("socket")))
        flow.over()

    def new_flow(self, kind: Kind) -> Flow:
        """See `Host`."""
        flow = self._unwatched_flow(kind)
        self._watch.meet(flow)
        return flow

    def _unwatched_flow(self, kind: Kind) -> Flow:
        make = self._makers.get(kind.name) or self._makers.setdefault(kind.name, self._maker(kind))
        flow = make()
        self._flows.add(flow)
        return flow

    def _maker(self, kind: Kind) -> Callable[[], Flow]:
        """What makes the sessions of a kind."""
        timed, book = isinstance(self._supply, Backlog), self._book
        recorder, script = self._rec.of_kind(kind.name), kind.script
        supply, pause = self._supply, kind.pause
        if pause is None:
            lean: Callable[..., Flow] = Flow if book is None else journaled(Flow, book, lmtp=script.lmtp)
            return partial(lean, script, recorder, supply, timed_from_plan=timed)
        paced: Callable[..., Flow] = (
            PacedFlow if book is None else journaled(PacedFlow, book, lmtp=script.lmtp)
        )
        return partial(paced, script, recorder, supply, pause, self._rests, timed_from_plan=timed)

    def _rested(self, flow: Flow) -> None:
        """A session has nothing to send: keep it for the next arrival, if there may be one."""
        if flow.broken or not flow.left or self._supply.stopped or isinstance(self._supply, Budget):
            if flow.broken and flow in self._idle:
                self._idle.remove(flow)
            self._over_with(flow)
        else:
            self._idle.append(flow)

    def _charge(self, error: SessionError, started: int, recorder: Recorder) -> None:
        """No session: the message that would have gone over it has failed, and began with the attempt."""
        self.last_error = str(error)
        if isinstance(error, OutOfResources):
            self._rec.limits[error.name] += 1
        due, now = self._supply.take(), clock()
        if not due:
            return
        if isinstance(error, Refused | NotOffered):
            recorder.note_refusal(str(error), str(getattr(error, "code", "")))
            later = isinstance(error, Refused) and error.code // 100 == 4
            outcome = "rejected_4xx" if later else "rejected_5xx"
        else:
            outcome = "timeouts" if isinstance(error, DeadlineExceeded) else "dropped"
        since_due = now - due if isinstance(self._supply, Backlog) else None
        recorder.fail(outcome, now - max(started, due), since_due)

    def _welcome(self, user: User) -> None:
        if isinstance(self._supply, Budget):
            self._supply.sharers += 1
        self._live(user)

    def _live(self, user: User) -> None:
        """The next session of `user`, if it shall have one."""
        if not (user.stopped or self._supply.stopped or self._supply.spent):
            self._begin(user)

    def _live_on(self, user: User, *, failed: bool) -> None:
        """After a session: at once, or after a pause, which does not outlast the run."""
        if failed:
            self._loop.call_later(user.pause, self._live, user)
            user.pause = min(2 * user.pause, BACKOFF_S[1])
            return
        user.pause = BACKOFF_S[0]
        if self._think is None:
            self._live(user)
        else:
            self._loop.call_later(self._think(), self._live, user)

    def _dismiss(self, user: User) -> None:
        user.stopped = True
        if isinstance(self._supply, Budget):
            self._supply.sharers -= 1
        if user.flow is not None:
            user.flow.left = 0
            user.flow.curtail()
            self._wake(user.flow)

    # --- arrivals ---

    def _begin_arrivals(self, plan: Iterator[float], lasts: float | None) -> None:
        assert isinstance(self._supply, Backlog)
        start = clock()
        if lasts is not None:
            self._loop.call_later(lasts, self._end)
        due_times = (start + int(at * NS) for at in plan)
        self._arrive(self._supply, due_times, next(due_times, None))

    def _end(self) -> None:
        """The time of the plan is over, whatever still waits."""
        self._over = True
        self._stopping.set()

    def _arrive(self, backlog: Backlog, plan: Iterator[int], due: int | None) -> None:
        """Dispatch what is due and come back for the next; a late plan catches up in slices."""
        for _ in range(ARRIVALS_A_TURN):
            if due is None or backlog.stopped:
                backlog.complete, backlog.ahead = due is None, (due, plan)
                return
            late = clock() - due
            if late < 0:
                break
            self._rec.schedule_lag(late // 1000)
            self._rec.counters["offered"] += 1
            backlog.due.append(due)
            self._dispatch(backlog)
            due = next(plan, None)
        backlog.ahead = (due, plan)
        wait = 0 if due is None else max(due - clock(), 0)
        self._loop.call_later(wait / NS, self._arrive, backlog, plan, due)

    def _dispatch(self, backlog: Backlog) -> None:
        """Give what is due to a session that rests, or open one more."""
        if self._idle:
            self._idle.pop().next()
        elif self._opening < len(backlog.due) and self._opening + self._sessions < self._max_sessions:
            self._begin()
