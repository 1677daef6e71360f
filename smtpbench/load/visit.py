"""Visits: whole sessions of one message as one chat each, from the connection to QUIT.

In some workloads every message has a session of its own, so that a session costs more than the message.
Where a server is known to begin all alike, the session is a few numbers here, and a chat (chat.py). Only a
visit that takes another turn, or that somebody wants to look at, unfolds into what any session is made of,
and goes on as such from where it is.
"""

from __future__ import annotations

import socket
from functools import cached_property
from time import perf_counter_ns as clock
from typing import TYPE_CHECKING, Any, Protocol, cast

from smtpbench.load.chat import CONNECTED, SMOOTH, Opening, Told
from smtpbench.load.course import User
from smtpbench.load.eventloop import EventLoop
from smtpbench.load.gate import Gate
from smtpbench.load.kinds import Kind
from smtpbench.load.meter import send_buffer
from smtpbench.load.openings import Openings
from smtpbench.load.recorder import Recorder
from smtpbench.load.script import Transaction
from smtpbench.load.supply import Budget
from smtpbench.load.transport import NS

if TYPE_CHECKING:
    from smtpbench.load._chat import Chats

ASKED_ABOUT = 16  # the kernel is asked about one connection in so many that close: it takes a µs


class Visitors(Protocol):
    """Whose visits they are."""

    def visited(self, user: User) -> None:
        """A visit of `user` is over, and went as it should."""

    def unfolded(self, visit: Visit, connected_at: int) -> Any:
        """`visit`, connected at (`clock` ns; 0: not yet), is a session now: its transport."""

    def sent(self, used: dict[str, int]) -> None:
        """How a connection has sent that closes now."""


class Visit:
    """One of them: what an unfolded session has to know."""

    __slots__ = (
        "_visits", "content", "due", "kind", "message", "number", "opening", "recorder", "socket", "started",
        "user", "watched",
    )  # fmt: skip

    def __init__(
        self, visits: Visits, kind: Kind, recorder: Recorder, user: User, due: int, opening: Opening
    ) -> None:
        self.started = clock()
        self._visits, self.kind, self.recorder, self.user = visits, kind, recorder, user
        self.due, self.opening = due, opening
        self.message: Transaction = kind.script.next()
        self.content = self.message.content(b"")
        self.socket = self.number = -1  # the descriptor, and which of its chats it is
        self.watched = True  # `epoll` knows of the socket

    def told(self, told: Told) -> None:
        """What has happened in its chat."""
        if told[1] == self.number:
            if told[0] == SMOOTH:
                self._visits.done(self, cast("bytes", told[3]))
            else:
                self._visits.unfold(self, told)

    # --- for the loop, as a `SocketTransport` ---

    def await_input(self, until: float) -> bool:
        """Wait for what comes, in the read itself; whether anything came."""
        events = self._visits.chats.alone(self.socket, int(until * NS))
        if events is None:
            return False
        self._visits.dispatch(events)
        return True

    def watch(self) -> None:
        """Have the loop's `epoll` tell what happens."""
        self.watched = True
        self._visits.watch(self)

    def abort(self) -> None:
        """Something has failed in our own code: it goes on as a session, which ends."""
        self._visits.give_up(self)


class Visits:
    """The visits of an engine that are under way."""

    def __init__(
        self, host: Visitors, loop: EventLoop, gate: Gate, openings: Openings, supply: object
    ) -> None:
        self._host, self._loop, self._gate, self._openings = host, loop, gate, openings
        self._supply = supply if isinstance(supply, Budget) else None  # a planned arrival is for any session
        self._under_way: dict[Visit, None] = {}
        self._ended = 0

    @cached_property
    def chats(self) -> Chats:
        """Who conducts them, and tells the gate when one of them is set up."""
        chats = self._loop.chats
        self._gate.count_in(chats)
        self._loop.when_opened(self._gate.look)
        return chats

    def begin(self, kind: Kind, recorder: Recorder, user: User | None) -> bool:
        """Visit the server of `kind`, if it is known how that will go and there is a message."""
        opening = self._openings.of(kind)
        if opening is None or self._supply is None or user is None or not (due := self._supply.take()):
            return False
        loop = self._loop
        alone = not loop.sockets
        visit = Visit(self, kind, recorder, user, due, opening)
        number, which, watched = self.chats.visit(
            opening.octets, visit.message.group, (visit.content,), alone
        )
        if number < 0:  # no socket, or no server: who connects as ever will say so
            self._supply.give_back(due)
            return False
        visit.socket, visit.number = number, which
        loop.on_ready[~number] = visit.told
        loop.sockets.add(visit)
        if not watched:
            loop.unwatched = visit
            visit.watched = False
        self._under_way[visit] = None
        return True

    def dispatch(self, events: list[tuple[int, Any]]) -> None:
        """Tell whom they are for."""
        on_ready = self._loop.on_ready
        for number, event in events:
            on_ready[number](event)

    def watch(self, visit: Visit) -> None:
        """See `Visit`."""
        self._loop.unwatched = None
        self.chats.watch(visit.socket)

    def done(self, visit: Visit, whole: bytes) -> None:
        """All was as wished."""
        visit.recorder.take_visit(whole)
        self._leave(visit)
        self._ended += 1
        if self._ended % ASKED_ABOUT == 1:
            self._host.sent(_asked(visit.socket))
        self.chats.drop(visit.socket)
        self._host.visited(visit.user)

    def unfold(self, visit: Visit, told: Told | None = None) -> Any:
        """Make a session of a visit, to which `told`, or else what was not told yet, happens next."""
        if told is None:
            events = self.chats.progress(visit.socket)
            told = events[0][1] if events else None
        self._leave(visit)
        self.chats.hasten(visit.socket)
        if told is None or not told[3] or told[3][0] != CONNECTED:
            transport = self._host.unfolded(visit, 0)
            if told is not None:
                transport.failed(told[2])
            return transport
        transport = self._host.unfolded(visit, told[3][1])
        self._loop.on_ready[~visit.socket]((*told[:3], told[3][2:], told[4]))
        return transport

    def give_up(self, visit: Visit) -> None:
        """See `Visit.abort`."""
        if visit in self._under_way:
            self.unfold(visit).abort()

    def unfold_all(self) -> None:
        """Somebody wants to look at them."""
        for visit in list(self._under_way):
            self.unfold(visit)

    def _leave(self, visit: Visit) -> None:
        loop = self._loop
        del self._under_way[visit]
        loop.sockets.discard(visit)
        if loop.unwatched is visit:
            loop.unwatched = None


def _asked(number: int) -> dict[str, int]:
    """How the connection of this descriptor has sent."""
    connection = socket.socket(fileno=number)
    try:
        return send_buffer(connection)
    finally:
        connection.detach()
