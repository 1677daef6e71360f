"""Sessions that only take up room: a flood of connections, or slow ones, held until they are released.

    crowd = Crowd(target, size=200, slow=True)
    crowd.gather()                 # returns at once; a thread of its own, with an event loop
    crowd.release()                # all are dropped; `crowd.met` says what became of each

What the server did to each connection is counted once, under a word of `MET`.
"""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import threading
from collections import Counter
from collections.abc import Awaitable, Callable

from smtpbench.errors import ConnectionLost, DeadlineExceeded, SessionError
from smtpbench.session import Session
from smtpbench.target import Role, Target, Timeouts
from smtpbench.wire.replies import Reply

MET = {
    "held": "greeted, and held until we let go",
    "421": "answered 421",
    "4yz": "answered another 4yz",
    "5yz": "answered 5yz",
    "refused": "refused or reset before a greeting",
    "dropped": "closed without a reply",
    "silent": "not greeted before we let go",
    "ours": "not opened: we ran out of descriptors ourselves",
}
"""Word → what the server did to a connection."""

CONNECTING_MAX = 64  # in flight, as in a load: more would overflow a usual listen queue
RESERVE = 200  # descriptors of ours that stay free
DRIP_S = 2.0  # between two octets of a slow session
JOIN_S = 10.0
_OURS = {errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL}


def most_connections() -> int:
    """How many connections this process may still open, less a reserve."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(soft - len(os.listdir("/proc/self/fd")) - RESERVE, 0)  # noqa: PTH208 - only how many


class Crowd:
    """`size` sessions to the main endpoint of `target`, no more; `drip_s` is between octets of a slow one."""

    def __init__(self, target: Target, size: int, *, slow: bool, drip_s: float = DRIP_S) -> None:
        self.met: Counter[str] = Counter()
        self.first_refusal = ""
        self._target, self._slow, self._drip_s = target, slow, drip_s
        self.size = min(size, most_connections())
        self._endpoint = target.main
        self._loop: asyncio.AbstractEventLoop | None = None
        self._released = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="smtpbench-crowd", daemon=True)
        self._connecting = asyncio.Semaphore(CONNECTING_MAX)

    def gather(self) -> None:
        """Begin to open all of them."""
        self._loop = asyncio.new_event_loop()
        self._thread.start()

    def release(self) -> None:
        """Drop all of them, and wait until that is done."""
        if self._loop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._released.set)
            self._thread.join(JOIN_S)

    # --- in the thread ---

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop or asyncio.new_event_loop()) as runner:
            runner.run(self._all())

    async def _all(self) -> None:
        tasks = [asyncio.create_task(self._one(number)) for number in range(self.size)]
        await self._released.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _one(self, number: int) -> None:
        """Open, behave, and count what the server did; a release is a cancellation."""
        state = "silent"
        session: Session | None = None
        try:
            session = await self._open()
            greeting = await session.greeting()
            state = "held"
            if greeting.severity != 2:
                state = self._answered(greeting)
                return
            await self._stay(session, number)
        except _Spoken as spoken:
            state = self._answered(spoken.reply)
        except (SessionError, OSError) as error:
            state = _failure(error, greeted=state == "held")
        finally:
            self.met[state] += 1
            if session is not None:
                session.abort()

    async def _open(self) -> Session:
        forever = Timeouts(connect=600.0, reply=600.0)
        async with self._connecting:
            return await Session.open(self._endpoint, tls=self._target.tls, timeouts=forever)

    def _answered(self, reply: Reply) -> str:
        self.first_refusal = self.first_refusal or str(reply)
        return "421" if reply.code == 421 else f"{reply.severity}yz" if reply.severity in (4, 5) else "held"

    async def _stay(self, session: Session, number: int) -> None:
        """Until the server has had enough. A slow session is slow in one of three places, in turn."""
        if not self._slow:
            raise _Spoken(await session.read_reply())
        await SLOW[number % len(SLOW)](self, session)

    async def _silent(self, session: Session) -> None:
        raise _Spoken(await session.read_reply())

    async def _in_command(self, session: Session) -> None:
        await self._drip(session, b"EHLO " + b"a" * 200)

    async def _in_content(self, session: Session) -> None:
        """A transaction up to the content, which then trickles; a refusal on the way counts."""
        fixtures = self._target.fixtures
        verb = (
            "LHLO"
            if Role.LMTP in self._target.endpoints and Role.MX not in self._target.endpoints
            else "EHLO"
        )
        lines = (
            f"{verb} {self._target.client_name}", f"MAIL FROM:<{fixtures.sender}>",
            f"RCPT TO:<{fixtures.recipient}>", "DATA",
        )  # fmt: skip
        for line in lines:
            reply = await session.command(line)
            if reply.severity not in (2, 3):
                raise _Spoken(reply)
        await self._drip(session, b"Subject: slow\r\n\r\n" + b"a" * 900)

    async def _drip(self, session: Session, octets: bytes) -> None:
        """An octet at a time; never the line end that would complete it."""
        for octet in octets:
            await session.send(bytes((octet,)))
            if await session.quiet(self._drip_s) or session.eof:
                break
        raise _Spoken(await session.read_reply())


SLOW: tuple[Callable[[Crowd, Session], Awaitable[None]], ...] = (
    Crowd._in_command, Crowd._in_content, Crowd._silent,
)  # fmt: skip


class _Spoken(Exception):
    """The server said something to a session that had asked for nothing."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


def _failure(error: Exception, *, greeted: bool) -> str:
    cause = error if isinstance(error, OSError) else error.__context__
    if isinstance(cause, OSError) and cause.errno in _OURS:
        return "ours"
    if isinstance(error, DeadlineExceeded):
        return "held" if greeted else "silent"
    return "dropped" if greeted or isinstance(error, ConnectionLost) else "refused"
