"""The engine's event loop: asyncio's, but what happens on its sockets is handled inside the wait.

For each socket that is ready, a loop of general use makes an event, a handle and a call through a
context, and it holds writes back until all have been called; for a lean session that is as much as the
session itself. Here the wait calls the sockets' methods directly and waits again; it returns to asyncio only
when a timer is due or something was scheduled. Tasks, futures, timers and TLS are asyncio's own.

Where there is one socket only, the wait is a read of it, bounded by the kernel: one system call a reply
instead of two. `epoll` hears of such a socket as soon as there is something else to wait for.

A wait ends on the µs, where `epoll` and most loops round up to the next ms: an arrival is not late by our own
doing. See `alarm.py`.
"""

from __future__ import annotations

import asyncio
import io
import math
import os
import select
import sys
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from functools import cached_property
from time import monotonic, perf_counter_ns
from typing import TYPE_CHECKING, Any, Protocol, TypeVarTuple, Unpack

from smtpbench.load.alarm import Alarm
from smtpbench.load.chat import available, new_chats
from smtpbench.load.native import original
from smtpbench.load.transport import LONE_S, OnReady, SocketTransport

if TYPE_CHECKING:
    from smtpbench.load._chat import Chats
    from smtpbench.load.visit import Visit

Args = TypeVarTuple("Args")
Poll = Callable[[float, int], list[tuple[int, Any]]]

EVENTS_A_WAIT = 42  # of 12 octets: CPython allocates up to 512 itself, which is cheaper
NEAR_S = 50e-6  # asyncio counts down to the same moment anew each time, and is some µs off
FOR_EVER = -1  # a wait without a time limit: the alarm ends it
LOOK_S = 0.25
ONE = (1).to_bytes(8, sys.byteorder)  # what wakes the wait, as an eventfd takes it


class Impatient(Protocol):
    """What shall not wait for ever."""

    limit_ns: int  # `perf_counter_ns`

    def expire(self) -> None:
        """It has waited long enough."""


class Socket(Protocol):
    """What the loop waits for where there is no other."""

    def await_input(self, until: float) -> bool:
        """Read, for some ms at most; whether anything came. A chat may go on until then (`monotonic`)."""

    def watch(self) -> None:
        """Have the loop's `epoll` tell what happens; what has happened before, it tells as well."""

    def abort(self) -> None:
        """Reset the connection."""


class Patience:
    """Deadlines that are nearly always met: all are looked at every `LOOK_S`, instead of a timer for each.

    Who `add`s itself is looked at until it `discard`s itself.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: set[Impatient] = set()
        self.add, self.discard = self._waiting.add, self._waiting.discard
        loop.call_later(LOOK_S, self._look)

    def _look(self) -> None:
        now = perf_counter_ns()
        self._loop.call_later(LOOK_S, self._look)
        for who in [who for who in self._waiting if who.limit_ns < now]:
            who.expire()


class EventLoop(asyncio.BaseEventLoop):
    """An event loop of client sockets: `connect` is all it has beyond tasks, timers and `start_tls`."""

    _closed = True  # until there is one

    def __init__(self) -> None:
        self._waker = io.FileIO(os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC), "r+")
        self._epoll = original("select", "epoll")()
        self._alarm = Alarm()
        super().__init__()
        self._selector = self  # whom BaseEventLoop asks to wait
        for number in (self._waker.fileno(), self._alarm.number):
            self._epoll.register(number, select.EPOLLIN | select.EPOLLET)
        self._poll: Poll = self._epoll.poll
        self._chats: Chats | None = None
        self.on_ready: OnReady = {self._waker.fileno(): self._woken, self._alarm.number: self._rung}
        self._wanted = False  # asyncio has something to do
        self._before_wait: list[Callable[[], object]] = []
        self._called = False  # … and another thread has said so
        self.sockets: set[Socket] = set()  # those that connect made, and of visits
        self.unwatched: Socket | None = None  # opened when there was no other

    @property
    def conducts(self) -> bool:
        """Whether there can be chats."""
        return available()

    @property
    def chats(self) -> Chats:
        """The chats of this loop. From the first on it waits in their way."""
        if self._chats is None:
            self._chats = new_chats(self._epoll.fileno())
            self._poll = self._chats.poll
        return self._chats

    def when_opened(self, callback: Callable[[], object]) -> None:
        """Call it when a chat of a whole session has heard the answer to EHLO, if that is `Chats.awaited`."""

        def opened(event: int) -> None:
            callback()

        self.on_ready[self._epoll.fileno()] = opened

    def halt_chats(self) -> None:
        """Let no chat begin another message. For any thread."""
        if self._chats is not None:
            self._chats.halt()

    @cached_property
    def patience(self) -> Patience:
        """Whoever waits for a server; it looks at nobody before the first does."""
        return Patience(self)

    def adopt(self, protocol: asyncio.Protocol, visit: Visit, *, connected: bool) -> SocketTransport:
        """Go on with the connection of a visit. `connection_made` is called if there is one by now."""
        return SocketTransport.adopt(self, self._epoll, self.on_ready, protocol, visit, connected=connected)

    def connect(self, protocol: asyncio.Protocol, host: str, port: int) -> SocketTransport:
        """Begin to connect to an address: `connection_made` will follow, or `connection_lost` if it fails."""
        return SocketTransport(self, self._epoll, self.on_ready, protocol, (host, port))

    def call_soon(
        self, callback: Callable[[Unpack[Args]], object], *args: *Args, context: Context | None = None
    ) -> asyncio.Handle:
        """As asyncio's."""
        self._wanted = True
        return super().call_soon(callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[Unpack[Args]], object], *args: *Args,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:  # fmt: skip
        """As asyncio's."""
        self._wanted = True
        return super().call_at(when, callback, *args, context=context)

    def close(self) -> None:
        """As asyncio's."""
        if not self.is_closed():
            super().close()
            self._alarm.close()
            self._epoll.close()
            self._waker.close()

    def call_before_wait(self, callback: Callable[[], object]) -> None:
        """Call it once all that is ready now was handled: as `call_soon`, without a turn of asyncio."""
        self._before_wait.append(callback)

    # --- what BaseEventLoop leaves to its subclasses ---

    def select(self, timeout: float | None) -> tuple[()]:
        """Handle what happens on sockets, until `timeout` (s) has passed or asyncio has something to do."""
        deadline = math.inf if timeout is None else monotonic() + timeout
        on_ready, self._wanted = self.on_ready, False
        # An alarm that is left over, or rings early, costs one more turn.
        if timeout and not -NEAR_S < self._alarm.at - deadline < NEAR_S / 10:
            self._alarm.set(deadline)
        while True:
            if self._before_wait and self._call_back():
                return ()
            if len(self.sockets) == 1 and timeout != 0 and self._serve_alone(deadline - LONE_S):
                return ()
            if self.unwatched is not None:
                self.unwatched.watch()
            poll = self._poll
            events = poll(0 if timeout == 0 else FOR_EVER, EVENTS_A_WAIT)
            try:
                for number, event in events:
                    on_ready[number](event)
            except Exception as error:  # noqa: BLE001 - of a protocol
                self._complain(error, getattr(self.on_ready[number], "__self__", None))
                self._handle(events[events.index((number, event)) + 1 :])
            if self._wanted or timeout == 0:
                return ()

    def _serve_alone(self, until: float) -> bool:
        """Read what comes on the only socket, and tell whether asyncio has something to do.

        It ends when there is another socket, when nothing comes for a while, or at `until` (`monotonic`).
        """
        sockets = self.sockets
        while not self._called and monotonic() < until:
            (alone,) = sockets
            try:
                if not alone.await_input(until):
                    break
            except Exception as error:  # noqa: BLE001 - of a protocol
                self._complain(error, alone)
            if self._wanted:
                return True
            if len(sockets) != 1:
                break
        return False

    def _handle(self, events: list[tuple[int, Any]]) -> None:
        """What was ready behind the socket of a protocol that failed."""
        for number, event in events:
            try:
                self.on_ready[number](event)
            except Exception as error:  # noqa: BLE001 - of a protocol
                self._complain(error, getattr(self.on_ready[number], "__self__", None))

    def _call_back(self) -> bool:
        """Call what is to be called before a wait; whether asyncio has something to do since."""
        callbacks, self._before_wait = self._before_wait, []
        for callback in callbacks:
            try:
                callback()
            except Exception as error:  # noqa: BLE001 - of whoever wanted to be called
                self._complain(error, None)
        return self._wanted

    def _complain(self, error: Exception, transport: object) -> None:
        """A protocol failed: say so as asyncio does, and drop its connection."""
        self.call_exception_handler({"message": "an error in a protocol", "exception": error})
        if (abort := getattr(transport, "abort", None)) is not None:
            abort()

    def _process_events(self, event_list: tuple[()]) -> None:
        """They have been handled."""

    def _write_to_self(self) -> None:
        self._called = True
        with suppress(ValueError, OSError):  # closed by now: another thread may call at any time
            self._waker.write(ONE)

    def _rung(self, event: int) -> None:
        self._alarm.at = math.inf
        self._wanted = True

    def _woken(self, event: int) -> None:
        self._called = False
        self._waker.read(len(ONE))
        self._wanted = True
