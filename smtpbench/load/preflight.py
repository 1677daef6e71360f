"""A short look before the load: limits of the target that the figures would show instead of its capacity.

A few sessions, opened as the load's will be, try what a limit would answer: transactions in one session,
recipients in one message, connections at once, errors. Nothing is delivered: every transaction ends
with RSET. It takes seconds, and its transactions count towards limits on a rate; what it does not reach
(`MOST` says how far it goes) is recognised in the refusals of the run, see `refusals.py`.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from smtpbench.errors import DeadlineExceeded, SessionError
from smtpbench.load.demand import Demand, demand_of, in_words
from smtpbench.load.manner import Manner
from smtpbench.load.refusals import recognise
from smtpbench.load.result import Notice
from smtpbench.load.visitor import Turned, Visitor
from smtpbench.load.workload import Workload
from smtpbench.session import Session
from smtpbench.target import Target, Timeouts
from smtpbench.wire.replies import Reply

BUDGET_S = 6.0  # for one endpoint, all in all
PATIENCE = Timeouts(connect=2.0, reply=2.0)
ENDPOINTS_MAX = 3  # of a mix


@dataclass(frozen=True, slots=True)
class Most:
    """How far the look goes, whatever the workload needs."""

    transactions: int = 60  # below 100 RSETs in a session, which Postfix takes for junk
    recipients: int = 1000
    connections: int = 60  # above 50 at once, which is Postfix's default
    errors: int = 12  # above 10, where Postfix begins to slow down


MOST = Most()
SLOW_S = 0.3  # a reply that takes so much longer than the first ones was held back
_LATE_BANNER_S = 0.5
_NOTICES_CLOSED, _A_MOMENT_S = (
    5,
    0.1,
)  # how often, and after how long, to see whether closed ones count no more


def preflight(target: Target, workload: Workload, most: Most = MOST) -> list[Notice]:
    """The limits that were met, at each endpoint that the workload uses. Raises UsageError only."""
    manners = [one.over(workload) for one in workload.traffic] or [workload]
    looked: dict[tuple[object, ...], Manner] = {}
    for manner in manners:
        looked.setdefault((manner.endpoint, manner.tls, manner.auth), manner)
    notices: list[Notice] = []
    for manner in list(looked.values())[:ENDPOINTS_MAX]:
        visitor = Visitor(target, manner, PATIENCE)
        look = Look(visitor, demand_of(workload, manner), target.fixtures.unknown_recipient, most)
        asyncio.run(look.run())
        notices += [one for one in look.notices if one not in notices]
    return notices


@dataclass
class Look:
    """The look at one endpoint. `notices` grow while it runs, so that what ends it early loses none."""

    visitor: Visitor
    demand: Demand
    unknown: str | None = None
    most: Most = MOST
    notices: list[Notice] = field(default_factory=list)
    _sent: int = 0  # MAIL commands, over all sessions
    _rcpts: int = 0  # RCPT commands, likewise
    _opened: int = 0  # connections that were greeted

    async def run(self) -> None:
        """All steps, as far as the time allows and the target goes along."""
        steps: list[Callable[[], Awaitable[bool]]] = [
            self._first, self._recipients, self._session, self._connections, self._errors,
        ]  # fmt: skip
        with suppress(TimeoutError):
            async with asyncio.timeout(BUDGET_S):
                for step in steps:
                    if not await step():
                        return

    def _note(
        self, kind: str, text: str, reply: Reply | str = "",
        *, limit: float | None = None, asked: float | None = None, hits: bool = False,
    ) -> None:  # fmt: skip
        whole = None if limit is None else int(limit)
        wanted = None if asked is None or math.isinf(asked) else int(asked)
        self.notices.append(
            Notice(kind=kind, text=text, limit=whole, asked=wanted, hits=hits, reply=str(reply)[:300])
        )

    @asynccontextmanager
    async def _visit(self) -> AsyncIterator[Session]:
        """A session ready for MAIL, that says QUIT at the end if it still can."""
        session = await self.visitor.open()
        self._opened += 1
        try:
            yield session
            await session.quit()
        finally:
            session.abort()

    async def _begin(self, session: Session) -> tuple[Reply, Reply | None]:
        """MAIL and the first RCPT of the next message, and their replies."""
        self._sent += 1
        transaction = self.visitor.next_transaction()
        mail = await self.visitor.ask(session, transaction.mail)
        return mail, await self._rcpt(session, transaction.rcpts[0]) if mail.severity == 2 else None

    async def _rcpt(self, session: Session, line: bytes) -> Reply:
        self._rcpts += 1
        return await self.visitor.ask(session, line)

    # --- one message ---

    async def _first(self) -> bool:
        """Whether a message is taken at all, and how soon."""
        try:
            async with self._visit() as session:
                late = session.phases.get("banner", 0) / 1e9
                if late >= _LATE_BANNER_S:
                    text = f"each session begins with a wait: the greeting came after {late:.1f} s"
                    self._note("delay", text, hits=True)
                self._announced(session)
                mail, rcpt = await self._begin(session)
                for reply, command in ((mail, "MAIL"), (rcpt, "RCPT")):
                    if reply is not None and reply.severity != 2:
                        self._refused(reply, command)
                        return False
                await session.command(b"RSET")
        except SessionError as error:
            if isinstance(error, Turned) and recognise(str(error.reply)):
                self._refused(error.reply, error.command or "the connection")
            return False  # the load will say what else is wrong
        return True

    def _announced(self, session: Session) -> None:
        """Limits that EHLO tells: SIZE (RFC 1870), LIMITS (RFC 9422)."""
        largest = session.extensions.size_limit
        if largest and self.demand.size > largest:
            self._note(
                "size", f"messages of more than {largest:,} octets are refused; this workload sends up to "
                f"{self.demand.size:,}", f"SIZE {largest}", limit=largest, asked=self.demand.size, hits=True,
            )  # fmt: skip
        told = dict(
            pair.upper().split("=", 1) for pair in session.extensions.get("LIMITS", ()) if "=" in pair
        )
        for name, kind, needed in (
            ("RCPTMAX", "recipients", float(self.demand.recipients)),
            ("MAILMAX", "session-messages", self.demand.transactions),
        ):
            value = told.get(name, "")
            if value.isascii() and value.isdecimal() and needed > int(value) > 0:
                self._limit(kind, int(value), needed, f"LIMITS {name}={value}")

    def _refused(self, reply: Reply, command: str) -> None:
        kind, meaning = recognise(str(reply)) or ("refused", "")
        if not meaning and command == "RCPT" and reply.code in (450, 451):
            kind, meaning = "greylisting", "greylisting, or a temporary refusal"
        what = f"{meaning}: " if meaning else ""
        self._note(
            kind, f"{what}{command} is answered {reply}: no message would be accepted", reply, hits=True
        )

    # --- many ---

    def _limit(self, kind: str, limit: int, needed: float, reply: Reply | str) -> None:
        """A limit that was met, and whether the workload will meet it, too."""
        if (kind, limit) not in {(one.kind, one.limit) for one in self.notices}:  # announced, and now met
            text = f"{in_words(kind, limit)} ({reply}); {self.demand.of(kind, needed, limit)}"
            self._note(kind, text, reply, limit=limit, asked=needed, hits=needed > limit)

    async def _recipients(self) -> bool:
        """As many recipients in a message as the workload has, at least ten."""
        wanted = min(max(self.demand.recipients, 10), self.most.recipients)
        try:
            async with self._visit() as session:
                mail, rcpt = await self._begin(session)
                taken = 1
                while rcpt is not None and rcpt.severity == 2 and taken < wanted:
                    rcpts = self.visitor.next_transaction().rcpts
                    rcpt = await self._rcpt(session, rcpts[taken % len(rcpts)])
                    taken += 1
                if mail.severity == 2 and rcpt is not None and rcpt.severity != 2:
                    await session.command(b"RSET")
                    await self._tell_message_or_rate(session, taken - 1, rcpt)
        except SessionError as error:
            self._note("recipients", f"a message with {wanted} recipients ended the session: {error}")
        return True

    async def _tell_message_or_rate(self, session: Session, taken: int, refusal: Reply) -> None:
        """Of the message if the next one has room again, else of the client."""
        rcpts = self._rcpts
        _, rcpt = await self._begin(session)
        if rcpt is not None and rcpt.severity == 2:
            self._limit("recipients", taken, self.demand.recipients, refusal)
        else:
            self._limit("recipient-rate", rcpts - 1, math.inf, refusal)
        await session.command(b"RSET")

    async def _session(self) -> bool:
        """Transactions in one session, up to what the workload sends in one."""
        wanted, done = int(min(self.demand.transactions, self.most.transactions)), 0
        refusal, spent, of_rcpt = "", "", False
        try:
            async with self._visit() as session:
                while done < wanted and not (refusal or spent):
                    mail, rcpt = await self._begin(session)
                    of_rcpt = rcpt is not None
                    last = mail if rcpt is None else rcpt
                    refusal = "" if last.severity == 2 else str(last)
                    done += not refusal
                    spent = await self._reset(session)
        except SessionError as error:
            refusal = refusal or (f"the session ended: {error}" if done < wanted and not spent else "")
        if spent and not refusal:
            self._note(
                "resets", f"a session ends after {done} × RSET ({spent}), which end the messages of this "
                "look and not those of a load: more messages in a session were not tried", spent, limit=done,
            )  # fmt: skip
        elif refusal and done:
            await self._tell_session_or_rate(done, refusal, of_rcpt=of_rcpt)
        return True

    async def _reset(self, session: Session) -> str:
        """End a transaction; what came instead of a 250, from a target that counts commands without mail."""
        try:
            reply = await session.command(b"RSET")
        except SessionError as error:
            return str(error)
        return "" if reply.severity == 2 else str(reply)

    async def _tell_session_or_rate(self, done: int, refusal: str, *, of_rcpt: bool) -> None:
        """Of the session if a new one goes on, else of the client."""
        sent, rcpts = self._sent, self._rcpts
        try:
            async with self._visit() as session:
                fresh = all(one is not None and one.severity == 2 for one in await self._begin(session))
        except SessionError:
            fresh = False
        if fresh:
            self._limit("session-messages", done, self.demand.transactions, refusal)
        elif of_rcpt:
            self._limit("recipient-rate", rcpts - 1, math.inf, refusal)
        else:
            self._limit("message-rate", sent - 1, math.inf, refusal)

    async def _connections(self) -> bool:
        """Connections at once, up to what the workload opens."""
        wanted, held = min(self.demand.connections, self.most.connections), list[Session]()
        refusal = ""
        try:
            while len(held) < wanted and not refusal:
                batch = [self.visitor.connect() for _ in range(min(8, wanted - len(held)))]
                for one in await asyncio.gather(*batch, return_exceptions=True):
                    if isinstance(one, Session):
                        held.append(one)
                        self._opened += 1
                    elif isinstance(one, SessionError):
                        refusal = refusal or _words(one)
                    elif isinstance(one, BaseException):
                        raise one
        finally:
            for session in held:
                session.abort()
        if refusal:
            await self._tell_count_or_rate(len(held), refusal)
        return True

    async def _tell_count_or_rate(self, opened: int, refusal: str) -> None:
        """Of those open at once if it is over when they are closed, else of new ones."""
        for _ in range(_NOTICES_CLOSED):
            await asyncio.sleep(_A_MOMENT_S)
            with suppress(SessionError):
                (await self.visitor.connect()).abort()
                self._limit("connections", opened, self.demand.connections, refusal)
                return
        self._limit("connection-rate", self._opened, math.inf, refusal)

    async def _errors(self) -> bool:
        """Whether errors slow a session down or end it. Asked with a recipient that does not exist."""
        if self.unknown is None:
            return True
        took, refusal = list[float](), ""
        try:
            async with self._visit() as session:
                await self.visitor.ask(session, self.visitor.next_transaction().mail)
                for _ in range(self.most.errors):
                    begun = time.monotonic()
                    reply = await session.command(f"RCPT TO:<{self.unknown}>")
                    took.append(time.monotonic() - begun)
                    if reply.code == 421:
                        refusal = str(reply)
                        break
                    if len(took) > 1 and took[-1] > min(took[:3]) + SLOW_S:
                        break
        except SessionError as error:
            refusal = str(error)
        if refusal and took:
            self._note(
                "errors", f"a session ends after {len(took)} errors ({refusal})", refusal, limit=len(took)
            )
        elif len(took) > 1 and took[-1] > min(took[:3]) + SLOW_S:
            self._note(
                "tarpit", f"errors are slowed down: after {len(took) - 1} of them in a session a reply took "
                f"{took[-1]:.1f} s", limit=len(took) - 1,
            )  # fmt: skip
        return True


def _words(error: BaseException) -> str:
    if isinstance(error, Turned):
        return str(error.reply)
    return "no greeting" if isinstance(error, DeadlineExceeded) else str(error)
