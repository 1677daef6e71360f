"""A retry campaign: a few messages, each for a hop that fails in its own way. Who is tried again, and told?

First come the messages whose recipients decide what our hop does, side by side. Then, one after another, what
concerns every connection: a greeting of 421, and a hop that is not there. All ends within a stated wait.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

from smtpbench import __version__
from smtpbench.campaign.result import LedgerCounts, QueueResult
from smtpbench.campaign.retry_judge import Seen, judge, schedule
from smtpbench.campaign.retry_kinds import GREETING, MIXED, NULL, REFUSED, Ending, Kind, kinds, messages
from smtpbench.campaign.retry_result import Retries
from smtpbench.delivery.retry_hop import UNAVAILABLE, Attempt, Mailing, RetryHop
from smtpbench.errors import SessionError, UsageError
from smtpbench.load.manner import Manner
from smtpbench.load.visitor import Turned, Visitor
from smtpbench.session import Session
from smtpbench.target import Target
from smtpbench.wire import commands

WAIT_S = 90.0
SILENCE_S = 20.0  # at least: the machine may be busy, and silence accuses
RETRIES = 4  # of the target, by what it says of itself: a message not heard of for so long is silent
LOOK_S = 0.1  # between two looks at what has come
LINGER_PART = 1 / 45  # of the wait, after the last end: a second bounce or delivery would come now
FIRST_PART = 0.55  # of the wait, at most, before what concerns every connection begins
NOT_STARTED = "there was no time left for it"

Progress = Callable[[Mapping[str, Any]], None]


@dataclass(slots=True)
class _Campaign:
    """One campaign under way."""

    target: Target
    wait_s: float
    silence_s: float | None
    hop: RetryHop
    show: Progress
    run: str = field(default_factory=lambda: secrets.token_hex(4))
    seen: dict[str, tuple[Kind, Mailing]] = field(default_factory=dict)
    accepted: dict[str, float] = field(default_factory=dict)
    refusals: dict[str, str] = field(default_factory=dict)
    up_s: float = 0.0

    def address(self, name: str, what: str) -> str:
        assert self.target.relay is not None
        return f"{what}-{name}-{self.run}@{self.target.relay.domain}".lower()

    def prepare(self, found: list[Kind]) -> None:
        """Tell the hop what is to come."""
        for kind in found:
            sender = "" if kind.name == NULL else self.address(kind.message, "from")
            mailing = Mailing(kind.name, sender, self.address(kind.name, "to"), kind.plan)
            self.seen[kind.name] = (kind, mailing)
            self.hop.mailings.append(mailing)

    async def submit(self, name: str, found: list[Kind]) -> None:
        """Hand one message to the target, as any client would; what it says against it is written down."""
        mailings = [self.seen[kind.name][1] for kind in found]
        try:
            session = await Visitor(self.target, Manner()).open()
            try:
                await self._transaction(session, name, mailings)
                await session.quit()
            finally:
                session.abort()
        except SessionError as error:
            self._refused(mailings, str(error))

    async def _transaction(self, session: Session, name: str, mailings: list[Mailing]) -> None:
        reply = await session.command(commands.mail(mailings[0].sender))
        if reply.severity != 2:
            raise Turned("MAIL", reply)
        taken = []
        for mailing in mailings:
            reply = await session.command(commands.rcpt(mailing.recipient))
            if reply.severity == 2:
                taken.append(mailing)
            else:
                self._refused([mailing], f"RCPT: {reply}")
        if not taken:
            return
        for line in (b"DATA", None):
            reply = await (session.command(line) if line else session.content(self._content(name)))
            if reply.severity not in (2, 3):
                raise Turned("DATA" if line else "the message", reply)
        now = self.hop.now()
        self.accepted |= {mailing.kind: now for mailing in taken}

    def _refused(self, mailings: list[Mailing], why: str) -> None:
        self.refusals |= {one.kind: why for one in mailings if one.kind not in self.accepted}

    def _content(self, name: str) -> bytes:
        date = format_datetime(datetime.now(UTC))
        sender, ident = self.address(name, "from"), f"{name}-{self.run}@smtpbench.example"
        return (
            f"From: <{sender}>\r\nSubject: retries: {name}\r\nDate: {date}\r\nMessage-ID: <{ident}>\r\n"
            f"\r\nA message of a retry campaign.\r\n"
        ).encode()

    # what is known

    def look(self) -> list[Seen]:
        """Everybody as they are now."""
        return [self._seen(kind, mailing) for kind, mailing in self.seen.values()]

    def _seen(self, kind: Kind, mailing: Mailing) -> Seen:
        about = self.address(kind.message, "from")
        reports = tuple(
            one for one in self.hop.reports
            if one.to == about and (kind.message != MIXED or self._is_about(one.report, mailing))
        )  # fmt: skip
        up_s = self.up_s if kind.name in (GREETING, REFUSED) else 0.0
        return Seen(
            kind, mailing, reports, self.accepted.get(kind.name), self.hop.now(), self.silence_s, up_s,
            self.refusals.get(kind.name, NOT_STARTED),
        )  # fmt: skip

    @staticmethod
    def _is_about(report: Any, mailing: Mailing) -> bool:
        """Whether a report on a message for several names this one; one without fields is on the refused."""
        if report is None or not report.recipients:
            return mailing.kind == "mixed-refused"
        return any(
            mailing.recipient in (about.address.lower(), (about.original_address or "").lower())
            for about in report.recipients
        )

    async def until(self, done: Callable[[], bool], at_s: float) -> bool:
        """Wait until `done`, at most until `at_s`; whether it came true."""
        shown = 0.0
        while not (over := done()) and self.hop.now() < at_s:
            await asyncio.sleep(LOOK_S)
            if self.hop.now() - shown >= 1.0:
                shown = self.hop.now()
                ends = [one.end for one in self.look()]
                settled = sum(end not in ("pending", "not accepted") for end in ends)
                self.show({"t_s": shown, "settled": settled, "messages": len(ends)})
        return over

    def settled(self, *, linger_s: float = 0.0) -> bool:
        """Whether all that was accepted has come to its end, and was quiet since."""
        return all(
            one.accepted_s is None
            or (one.settled and one.now_s - one.last_s >= linger_s)
            or (one.end == "no report" and one.now_s - one.last_s >= max(linger_s, LINGER_PART * self.wait_s))
            for one in self.look()
        )

    # the campaign

    async def play(self) -> None:
        """All of it."""
        found = kinds(self.wait_s)
        single = [kind for kind in found if kind.name not in (GREETING, REFUSED)]
        self.prepare(single)
        for name, of_message in messages(single).items():
            await self.submit(name, of_message)
        if not self.accepted:
            return
        calm = await self.until(self.settled, FIRST_PART * self.wait_s)
        by_name = {kind.name: kind for kind in found}
        self.prepare([by_name[GREETING], by_name[REFUSED]])
        await self._greet(by_name[GREETING], alone=calm)
        await self._be_away(by_name[REFUSED])
        retry_s = self.target.relay.retry_s if self.target.relay else None
        linger_s = LINGER_PART * self.wait_s + 1.5 * (retry_s or 0.0)
        await self.until(lambda: self.settled(linger_s=linger_s), self.wait_s)

    async def _greet(self, kind: Kind, *, alone: bool) -> None:
        """Greet with 421 until somebody came; who it was is known only if nobody else is in the queue."""
        self.hop.greeted.clear()
        self.hop.greet(UNAVAILABLE)
        await self.submit(kind.name, [kind])
        await self.until(lambda: bool(self.hop.greeted), self.hop.now() + self.wait_s / 9)
        self.hop.greet(None)
        self.up_s = self.hop.now()
        if alone:
            attempts = [Attempt(at, "421 as the greeting") for at in self.hop.greeted]
            self.seen[kind.name][1].attempts[:0] = attempts

    async def _be_away(self, kind: Kind) -> None:
        """Refuse connections for a while. Those who are mid-way are let finish first."""
        await self.until(lambda: self.seen[GREETING][1].delivered != [], self.hop.now() + self.wait_s / 9)
        await self.hop.stop()
        try:
            await self.submit(kind.name, [kind])
            await asyncio.sleep(self.wait_s / 18)
        finally:
            await self.hop.start()
            self.up_s = self.hop.now()


def run_retries(
    target: Target,
    *,
    factor: float | None = None,
    wait_s: float = WAIT_S,
    silence_s: float | None = None,
    progress: Progress | None = None,
) -> QueueResult:
    """Play a retry campaign to `target`, which relays to us; it takes `wait_s` at most, and a little.

    `factor` is how many times as fast as in production its schedule is (None: what the target says, if it
    does). `silence_s` is what makes a message silent (None: `RETRIES` times the target's `relay.retry_s`, and
    not known without one). Raises UsageError where the target does not relay to us.
    """
    if target.relay is None:
        raise UsageError("--retries: the target has no [relay]: it does not say what it sends on to us")
    retry_s = target.relay.retry_s
    if silence_s is None and retry_s is not None:
        silence_s = max(SILENCE_S, RETRIES * retry_s)
    factor = factor if factor is not None else target.queue.retry_factor
    began, started = time.monotonic(), datetime.now(UTC)
    campaign = _Campaign(
        target, wait_s, silence_s, RetryHop(*target.relay.address), progress or (lambda _: None)
    )
    try:
        interrupted = asyncio.run(_play(campaign))
    except KeyboardInterrupt:  # by a signal that asyncio does not know as Ctrl-C
        interrupted = True
    seen = campaign.look()
    bounces_come = any(one.bounces for one in seen if one.kind.ending is Ending.BOUNCED)
    retries = Retries(
        factor=factor, wait_s=wait_s, silence_s=silence_s,
        messages=[judge(one, bounces_come) for one in seen], schedule=schedule(seen, factor),
    )  # fmt: skip
    return QueueResult(
        smtpbench=__version__, started=started.isoformat(timespec="seconds"),
        duration_s=round(time.monotonic() - began, 3), interrupted=interrupted,
        target={"name": target.name, "endpoint": target.main.address},
        observer=f"sink:{target.relay.listen}", closed=not any(one.end == "pending" for one in seen),
        ledger=_counts(seen), retries=retries,
    )  # fmt: skip


async def _play(campaign: _Campaign) -> bool:
    """Play it; whether the user ended it early. What breaks our hop is raised, and accuses nobody."""
    broken: list[BaseException] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: broken.append(context.get("exception") or RuntimeError(context["message"]))
    )
    await campaign.hop.start()
    try:
        await campaign.play()
    except (KeyboardInterrupt, asyncio.CancelledError):
        return True
    finally:
        await campaign.hop.stop()
        if broken:
            raise RuntimeError(f"our hop failed: {broken[0]!r}") from broken[0]
    return False


def _counts(seen: list[Seen]) -> LedgerCounts:
    """The ledger's words for the recipients, but for those who have neither to come nor to be reported."""
    owed = [one for one in seen if one.kind.ending is not Ending.UNREPORTED]
    taken = [one for one in owed if one.accepted_s is not None]
    delivered = [one for one in taken if one.mailing.delivered]
    bounced = [one for one in taken if not one.mailing.delivered and one.bounces]
    lost = [one for one in taken if one.end == "silent"]
    return LedgerCounts(
        accepted=len(taken), delivered=len(delivered), bounced=len(bounced), lost=len(lost),
        duplicated=sum(len(one.mailing.delivered) > 1 for one in taken),
        pending=len(taken) - len(delivered) - len(bounced) - len(lost),
        delivered_and_bounced=sum(bool(one.bounces) for one in delivered),
    )  # fmt: skip
