"""From nothing to the answer to EHLO, and from QUIT to the end, led by what the connection hears.

Every session takes these steps, and in some workloads for one message each. So no task waits for a reply
here and no timer is set for one: `Patience` looks at all that wait together.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from ssl import SSLContext
from time import perf_counter_ns as clock
from typing import TYPE_CHECKING, cast

from smtpbench.errors import ConnectionLost, DeadlineExceeded, NotSmtp, SessionError, Unreachable
from smtpbench.load.eventloop import EventLoop
from smtpbench.load.flow import Flow
from smtpbench.load.recorder import Recorder
from smtpbench.load.script import QUIT
from smtpbench.wire.ehlo import Extensions, parse_extensions
from smtpbench.wire.replies import Anomaly, Reply

if TYPE_CHECKING:
    from smtpbench.load.visit import Visit

GOODBYE_S = 1.0  # how long a server may take over QUIT before we close without its answer
LOCAL_LIMITS = {errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM}
_KNOWN_MAX = 64  # servers greet all sessions alike
_NS = 1_000_000_000
_GOODBYE_NS = int(GOODBYE_S * _NS)


@dataclass(frozen=True, slots=True)
class Login:
    """Who to authenticate as, and whether a server that offers no AUTH is an error."""

    username: str
    password: str = field(repr=False)
    required: bool = True


@dataclass(frozen=True, slots=True)
class Door:
    """How a session is opened: where, with which TLS, as whom. `host` is an address, resolved beforehand."""

    host: str
    port: int
    client_name: str
    connect_timeout: float
    reply_timeout: float
    tls: str = "none"
    context: SSLContext | None = None
    server_name: str | None = None
    login: Login | None = None
    pipelining: bool = True
    lmtp: bool = False
    plain: bool = field(init=False)  # nothing is left between EHLO and MAIL
    verb: str = field(init=False)  # how to say hello
    hello: bytes = field(init=False)  # the line that does
    connect_ns: int = field(init=False)
    reply_ns: int = field(init=False)

    def __post_init__(self) -> None:
        """What every session asks for is made once."""
        verb = "LHLO" if self.lmtp else "EHLO"
        made = {
            "plain": self.tls == "none" and self.login is None,
            "verb": verb,
            "hello": f"{verb} {self.client_name}\r\n".encode(),
            "connect_ns": int(self.connect_timeout * _NS),
            "reply_ns": int(self.reply_timeout * _NS),
        }
        for name, value in made.items():
            object.__setattr__(self, name, value)

    @property
    def address(self) -> str:
        """``host:port`` for messages."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class OutOfResources(Unreachable):
    """No connection, because this machine has no more of something; `name` is that of the errno."""

    def __init__(self, text: str, name: str) -> None:
        super().__init__(text)
        self.name = name


class Refused(SessionError):
    """The server answered the set-up of a session with 4yz or 5yz."""

    def __init__(self, reply: Reply, to: str) -> None:
        super().__init__(f"{to}: {reply}")
        self.code = reply.code


def check_reply(reply: Reply, to: str) -> None:
    """Raises NotSmtp for what is no reply at all."""
    if reply.code == 0 or Anomaly.UNFINISHED in reply.anomalies:
        raise NotSmtp(f"{to}: not an SMTP reply: {reply.text[:100]}")


def extensions_of(reply: Reply, known: dict[bytes, Extensions] = {}) -> Extensions:  # noqa: B006 - kept on purpose
    """What a reply to EHLO offers."""
    found = known.get(reply.raw)
    if found is None:
        found = parse_extensions(reply)
        if len(known) < _KNOWN_MAX:
            known[reply.raw] = found
    return found


Then = Callable[[SessionError | None], None]  # what follows a step: None, or why it has failed


class _Step:
    """Something a connection is led through. At its end `then` is called, once and never by the constructor
    of a step that fails: who tries again at once would not return."""

    __slots__ = ("_flow", "_loop", "_then", "limit_ns")
    _flow: Flow
    _loop: EventLoop
    _then: Then | None
    limit_ns: int

    def expire(self) -> None:
        """It took too long, unless a chat has come further meanwhile."""
        self._flow.catch_up()
        if self._then is not None and self.limit_ns < clock():
            self._give_up()

    def _give_up(self) -> None:
        raise NotImplementedError

    def _end(self, error: SessionError | None = None) -> None:
        self._loop.patience.discard(self)
        self._flow.listener = None
        then, self._then = self._then, None
        if then is not None:
            then(error)

    def cancel(self) -> None:
        """Nobody waits for the end any more."""
        self._then = None
        self._end()


class Arrival(_Step):
    """Connect, or go on with a visit, greeting, EHLO. With implicit TLS it ends when there is a connection.

    What it learns is in the flow: `connected_at`, `greeting`, and `hello` if EHLO was taken.
    """

    __slots__ = ("_door", "_rec", "_since", "_to", "transport")

    def __init__(
        self,
        door: Door,
        recorder: Recorder,
        flow: Flow,
        then: Then,
        loop: EventLoop,
        visit: Visit | None = None,
    ) -> None:
        self._flow, self._loop, self._then = flow, loop, then
        self._door, self._rec = door, recorder
        self._to = "no connection"
        self._since = now = clock() if visit is None else visit.started
        self.limit_ns = now + door.connect_ns
        flow.listener = self
        loop.patience.add(self)
        try:
            if visit is None:
                self.transport = loop.connect(flow, door.host, door.port)
            else:
                self.transport = loop.adopt(flow, visit, connected=flow.replayed_at != 0)
        except OSError as error:
            loop.call_soon(self._end, _unreachable(door, error))

    def connected(self) -> None:
        """TCP is there: the server speaks first."""
        at, door = self._flow.connected_at, self._door
        self._rec.connect((at - self._since) // 1000)
        if door.tls == "implicit":
            self._end()
        else:
            self._to, self._since, self.limit_ns = "greeting", at, at + door.reply_ns

    def heard(self, reply: Reply, now: int) -> None:
        """The greeting, then the answer to EHLO or HELO."""
        took, door = (now - self._since) // 1000, self._door
        if reply.anomalies or not reply.code:
            try:
                check_reply(reply, f"{door.address}: {self._to}")
            except NotSmtp as error:
                self._end(error)
                return
        if self._to == "greeting":
            self._rec.banner(took)
            if 200 <= reply.code < 300 or self._good(reply):
                self._flow.greeting = reply
                self._flow.say(door.hello)
                self._to, self._since, self.limit_ns = door.verb, now, now + door.reply_ns
            return
        self._rec.ehlo(took)
        if self._to != "HELO" and reply.code // 100 == 5 and not door.lmtp:
            self._flow.say(f"HELO {door.client_name}\r\n".encode())
            # RFC 5321 §3.2: to a server that does not know EHLO
            self._to, self._since, self.limit_ns = "HELO", now, now + door.reply_ns
        elif 200 <= reply.code < 300 or self._good(reply):
            self._flow.hello = reply if self._to == door.verb else None
            self._end()

    def lost(self, error: Exception | None) -> None:
        """There is no connection, or no longer."""
        if self._to == "no connection":
            self._end(_unreachable(self._door, error))
        else:
            self._end(ConnectionLost(f"{self._door.address}: {self._to}: the server closed the connection"))

    def _give_up(self) -> None:
        door = self._door
        if self._to == "no connection":
            self._end(Unreachable(f"{door.address}: no connection within {door.connect_timeout:g} s"))
        else:
            late = f"no reply within {door.reply_timeout:g} s"
            self._end(DeadlineExceeded(f"{door.address}: {self._to}: {late}"))
        self.transport.abort()

    def _good(self, reply: Reply) -> bool:
        if reply.severity != 2:
            self._end(Refused(reply, f"{self._door.address}: {self._to}"))
        return reply.severity == 2


class Goodbye(_Step):
    """QUIT and its answer, whatever it is, if it comes in time."""

    __slots__ = ()

    def __init__(self, flow: Flow, then: Then, loop: EventLoop) -> None:
        self._flow, self._loop, self._then = flow, loop, then
        self.limit_ns = clock() + _GOODBYE_NS
        flow.listener = self
        loop.patience.add(self)
        flow.say(QUIT)

    def connected(self) -> None:
        """It was before."""

    def heard(self, reply: Reply, now: int) -> None:
        """The answer."""
        self._end()

    def lost(self, error: Exception | None) -> None:
        """Closed without an answer."""
        self._end()

    def _give_up(self) -> None:
        self._end()


async def step(make: Callable[[Then, EventLoop], object]) -> None:
    """Wait for the end of the step that `make` begins. Raises SessionError."""
    loop = cast("EventLoop", asyncio.get_running_loop())
    done: asyncio.Future[None] = loop.create_future()

    def then(error: SessionError | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    make(then, loop)
    await done


def _unreachable(door: Door, error: Exception | None) -> Unreachable:
    """Why there is no connection, in the operating system's words: asyncio puts its own around them."""
    if not isinstance(error, OSError):
        return Unreachable(f"{door.address}: closed")
    reason = f"{door.address}: {os.strerror(error.errno) if error.errno else error}"
    if error.errno in LOCAL_LIMITS:
        return OutOfResources(reason, errno.errorcode[error.errno])
    return Unreachable(reason)
