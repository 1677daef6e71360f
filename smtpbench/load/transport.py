"""A TCP connection of the engine's event loop, as an asyncio transport.

Its socket is registered once and edge-triggered, so that a message takes no system calls but waits, reads
and writes; where it is the only one, the read is the wait. What is written goes out at once. What the socket
does not take waits here, and the protocol is told to pause while that is more than `HIGH_WATER`.

On the hot path, here and in `connection.py` and `flow.py`, a function that an attribute holds is taken into a
local before it is called: where both are one expression, CPython 3.11 looks for a method first, at length.
"""

from __future__ import annotations

import _socket
import asyncio
import errno
import os
import select
import socket
import struct
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

from smtpbench.load.chat import BROKEN, DONE, PROGRESS, READ, SHORT, SMOOTH, UNUSUAL, Series, Told
from smtpbench.load.congestion import hold_nothing_back, is_local

if TYPE_CHECKING:
    from smtpbench.load._chat import Chats
    from smtpbench.load.eventloop import EventLoop
    from smtpbench.load.visit import Visit

OnReady = dict[int, Callable[[Any], None]]  # by descriptor; by its complement, what is told of its chat

INPUT = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET
EVENTS = INPUT | select.EPOLLOUT
_ENDED = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
HIGH_WATER, LOW_WATER = 1 << 16, 1 << 14  # octets that wait: the protocol pauses above, goes on below
_RESET = struct.pack("ii", 1, 0)  # struct linger: close without TIME_WAIT
_NOBODY = asyncio.Protocol()
# Ints and `_socket`, which is C: the enumerations and the class of `socket` take longer than the call.
_TYPE = int(socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
_IPV4, _IPV6 = int(socket.AF_INET), int(socket.AF_INET6)
_TCP, _NODELAY = int(socket.IPPROTO_TCP), int(socket.TCP_NODELAY)
_SOL_SOCKET, _SO_LINGER = int(socket.SOL_SOCKET), int(socket.SO_LINGER)
_SO_RCVTIMEO = int(socket.SO_RCVTIMEO)
_NOW = int(socket.MSG_DONTWAIT)  # whether the socket is in blocking mode or not
_BRIEFLY = struct.pack("ll", 0, 1)  # struct timeval: the shortest there is, see `LONE_S`
_CLOCK_MONOTONIC_COARSE = 6  # clock_getres(2): its resolution is the tick of the kernel's timers
NS = 1_000_000_000
LONE_S = 2.5 * time.clock_getres(_CLOCK_MONOTONIC_COARSE)  # the shortest `SO_RCVTIMEO` lasts one to two


class SocketTransport(asyncio.Transport):
    """One connection, from connect to close. Made by `EventLoop.connect`.

    `abort` resets the connection, so that its port is free at once; `close` sends what waits, then FIN.
    """

    __slots__ = (
        "_blocking", "_chat", "_chats", "_closed", "_closing", "_epoll", "_held", "_loop", "_number",
        "_on_ready", "_out", "_protocol", "_read_paused", "_received", "_recv", "_send", "_socket",
        "_waiting", "_write_paused",
    )  # fmt: skip
    # octets; replies are short, and CPython allocates objects of up to 512 itself, which is cheaper
    read_size: ClassVar[int] = 448
    _start_tls_compatible = True
    _protocol: asyncio.Protocol
    _received: Callable[[bytes], None]
    _blocking: bool  # the socket is in blocking mode
    _chat: int  # the number of that which is conducted for us
    _chats: Chats  # who does

    def __init__(
        self, loop: EventLoop, epoll: Any, on_ready: OnReady, protocol: asyncio.Protocol,
        address: tuple[str, int],
    ) -> None:  # fmt: skip
        self._begin(loop, epoll, on_ready, protocol)
        connection = _socket.socket(_IPV6 if ":" in address[0] else _IPV4, _TYPE)
        number = self._use(connection)
        connection.setsockopt(_TCP, _NODELAY, 1)
        if is_local(address[0]):
            hold_nothing_back(connection)
        code = connection.connect_ex(address)
        if code == errno.EINPROGRESS:  # over loopback the handshake is done by now: it is told who asks again
            code = connection.connect_ex(address)
        if code == 0:
            on_ready[number] = self._ready
            loop.sockets.add(self)
            if len(loop.sockets) > 1:
                epoll.register(number, INPUT)
            else:
                loop.unwatched = self  # as long as there is no other
            protocol.connection_made(self)
        elif code in (errno.EINPROGRESS, errno.EALREADY):
            on_ready[number] = self._connected
            self._held = True
            loop.sockets.add(self)
            epoll.register(number, EVENTS)
        else:
            self._force_close(_error(code))

    def _begin(self, loop: EventLoop, epoll: Any, on_ready: OnReady, protocol: asyncio.Protocol) -> None:
        self._loop, self._epoll, self._on_ready = loop, epoll, on_ready
        self._out: list[memoryview] = []
        self._waiting = 0  # octets in `_out`
        self._held = self._closing = self._closed = self._write_paused = self._read_paused = False
        self._blocking, self._chat = False, 0
        self._protocol, self._received = protocol, protocol.data_received

    def _use(self, connection: _socket.socket) -> int:
        self._socket = connection
        self._recv, self._send = connection.recv, connection.send
        self._number = connection.fileno()
        return self._number

    @classmethod
    def adopt(
        cls, loop: EventLoop, epoll: Any, on_ready: OnReady, protocol: asyncio.Protocol,
        visit: Visit, *, connected: bool,
    ) -> SocketTransport:  # fmt: skip
        """The connection of a visit. Its chat goes on, if it is connected."""
        self = cls.__new__(cls)
        self._begin(loop, epoll, on_ready, protocol)
        number = self._use(_socket.socket(fileno=visit.socket))
        loop.sockets.add(self)
        self.conducts()
        if not visit.watched:
            self._blocking = True
            loop.unwatched = self
        if connected:
            on_ready[number] = self._ready
            self._chat = visit.number
            protocol.connection_made(self)
        else:
            self._chats.forget(number)
            on_ready[number], self._held = self._connected, True
        return self

    def failed(self, code: int) -> None:
        """There is no connection, because of this errno."""
        self._force_close(_error(code))

    # --- what the loop calls ---

    def watch(self) -> None:
        """Have the loop's `epoll` tell what happens; what has happened before, it tells as well."""
        self._loop.unwatched = None
        self._epoll.register(self._number, INPUT)

    def await_input(self, until: float) -> bool:
        """Wait for what comes, at most `LONE_S`, in the read itself; whether anything came.

        A chat goes on until there is something to tell of it, or it is later than `until` (`monotonic`).
        """
        if self._held or self._read_paused:
            return False
        if not self._blocking:
            self._blocking = True
            self._socket.setblocking(True)
            self._socket.setsockopt(_SOL_SOCKET, _SO_RCVTIMEO, _BRIEFLY)
        if self._chat:
            told = self._chats.alone(self._number, int(until * NS))
            if told is None:
                return False
            for _, event in told:
                self._told(event)
            return True
        receive, received = self._recv, self._received
        try:
            data = receive(self.read_size)
        except BlockingIOError:
            return False
        except OSError as error:
            self._failed(error)
        else:
            received(data) if data else self._ended()
        return True

    def _connected(self, event: int) -> None:
        """The attempt to connect has an end."""
        if event & _ENDED and (code := self._socket.getsockopt(_SOL_SOCKET, socket.SO_ERROR)):
            self._force_close(_error(code))
            return
        self._on_ready[self._number] = self._ready
        self._held = False
        self._protocol.connection_made(self)
        if event != select.EPOLLOUT:
            self._unusual(event)

    def _ready(self, event: int) -> None:
        """The common case: a reply has come, all of it in one read."""
        if self._chat:
            self.recall()  # begun since this was told
        if self._held:
            self._unusual(event)
            return
        receive, received, size = self._recv, self._received, self.read_size
        try:
            data = receive(size, _NOW)
        except OSError as error:
            self._failed(error)
            return
        received(data) if data else self._ended()
        if len(data) == size or event & _ENDED:
            self._read()

    def _unusual(self, event: int) -> None:
        """There may be room, and what comes may have to wait."""
        if event & select.EPOLLOUT and self._out:
            self._flush()
        if event & (select.EPOLLIN | _ENDED):
            self._read()

    def _read(self) -> None:
        """Read until there is nothing left: an edge is told once."""
        while not (self._closing or self._read_paused):
            self.recall()
            try:
                data = self._recv(self.read_size, _NOW)
            except OSError as error:
                self._failed(error)
                return
            if not data:
                self._ended()
                return
            self._received(data)

    def _ended(self) -> None:
        if not self._protocol.eof_received():
            self.close()

    def _failed(self, error: OSError) -> None:
        if not isinstance(error, BlockingIOError):
            self._force_close(error)

    # --- chats, see chat.py ---

    def conducts(self) -> bool:
        """Whether chats are conducted here, from now on if so."""
        if not self._loop.conducts:
            return False
        self._chats = self._loop.chats
        self._on_ready[~self._number] = self._told
        return True

    def converse(self, first: bytes, commands: bytes, contents: tuple[bytes, ...], sent_ns: int) -> None:
        """Write `first`, which is the first line of `commands`; the rest goes out as replies come, as long as
        they are as wished. The protocol hears them through `replay`: what it writes then was sent.
        """
        sent = 0
        if not (self._held or self._read_paused):
            sent = self._chats.start(self._number, commands, contents, sent_ns)
            if sent < 0:
                self._chat = -sent
                return
        self.write(first[sent:])

    def curtail(self) -> int | None:
        """Send none of the messages of a chat that have not begun; how many. None without a chat."""
        return self._chats.curtail(self._number) if self._chat else None

    def catch_up(self) -> None:
        """Let the protocol hear what has come in a chat until now."""
        if self._chat:
            for _, event in self._chats.progress(self._number):
                self._told(event)

    def recall(self) -> None:
        """Go on without the chat: what comes is read here."""
        if self._chat:
            self.catch_up()
            self._end_chat()

    def _end_chat(self) -> None:
        if self._chat:
            self._chat = 0
            self._chats.forget(self._number)

    def _told(self, told: Told) -> None:
        """What has happened in a chat."""
        what, number, at, replies, octets = told
        if number != self._chat:
            return  # it was another's
        if what != PROGRESS:
            self._chat = 0
        protocol = cast("Conducted", self._protocol)
        if what == SMOOTH:
            protocol.went_smoothly(cast("Series", replies), at)
            return
        last = protocol.replay(replies, what)
        if what in (DONE, PROGRESS) or self._closed:
            return
        if what == UNUSUAL:
            self._received(octets)
            if not self._chat or len(octets) == READ:
                self._read()
        elif what == BROKEN:
            self._force_close(_error(at)) if at else self._ended()
        elif what == SHORT:
            self._hold(memoryview(last)[at:])

    # --- writing ---

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send `data` now, as much of it as the socket takes; the rest when it takes more."""
        if self._held:
            self._hold(memoryview(data))
            return
        send = self._send
        try:
            sent = send(data, _NOW)
        except OSError as error:
            self._failed(error)
            sent = 0
        if sent != len(data):
            self._hold(memoryview(data)[sent:])

    def _hold(self, rest: memoryview) -> None:
        if self._closing:
            return
        if not self._held:
            self._held = True
            if self._loop.unwatched is self:
                self.watch()
            self._epoll.modify(self._number, EVENTS)  # tell when there is room
        self._out.append(rest)
        self._waiting += len(rest)
        if self._waiting > HIGH_WATER and not self._write_paused:
            self._write_paused = True
            self._protocol.pause_writing()

    def _flush(self) -> None:
        while self._out:
            try:
                sent = self._send(self._out[0], _NOW)
            except OSError as error:
                self._failed(error)
                return
            self._waiting -= sent
            self._out[0] = self._out[0][sent:]
            if self._out[0]:
                break
            del self._out[0]
        self._held = bool(self._out) or self._closing
        if self._write_paused and self._waiting <= LOW_WATER:
            self._write_paused = False
            self._protocol.resume_writing()
        if self._closing and not self._out:
            self._end(None)

    def get_write_buffer_size(self) -> int:
        """Octets that the socket has not taken yet."""
        return self._waiting

    # --- reading ---

    def pause_reading(self) -> None:
        """Leave what comes in the socket."""
        if not self._closing:
            self._read_paused = True
            self._on_ready[self._number] = self._unusual

    def resume_reading(self) -> None:
        """Read again."""
        if not self._closing:
            self._read_paused = False
            self._on_ready[self._number] = self._ready
            self._loop.call_soon(self._read)

    # --- the end ---

    def is_closing(self) -> bool:
        """Whether nothing more can be written."""
        return self._closing

    def close(self) -> None:
        """Send what waits, then close. `connection_lost` follows."""
        if not self._closing:
            self._closing = self._held = True
            if not self._out:
                self._end(None)

    def abort(self) -> None:
        """Reset the connection. `connection_lost` follows."""
        self._force_close(None)

    def _force_close(self, error: BaseException | None) -> None:
        """As `abort`; also what asyncio's TLS calls."""
        if not self._closed:
            self._socket.setsockopt(_SOL_SOCKET, _SO_LINGER, _RESET)
            self._end(error)

    def _end(self, error: BaseException | None) -> None:
        self._leave_socket()
        self._loop.call_soon(self._lose, error)

    def _lose(self, error: BaseException | None) -> None:
        self._protocol.connection_lost(cast("Exception | None", error))
        self._forget()

    def discard(self) -> None:
        """As `abort`, but the protocol wants to hear no more: `connection_lost` does not follow."""
        if not self._closed:
            self._socket.setsockopt(_SOL_SOCKET, _SO_LINGER, _RESET)
            self._leave_socket()
            self._protocol, self._received = _NOBODY, _unheard

    def _leave_socket(self) -> None:
        self._closing = self._held = self._closed = True
        self._out.clear()
        self._waiting = 0
        self._on_ready[self._number] = _ignore
        self._end_chat()
        self._loop.sockets.discard(self)
        if self._loop.unwatched is self:
            self._loop.unwatched = None
        self._socket.close()

    def _forget(self) -> None:
        """Let go of the protocol, which has us: what is a cycle only the garbage collector frees."""
        self._protocol = _NOBODY
        self._received = _unheard

    # --- the rest of an asyncio transport ---

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Give what comes to `protocol` from now on."""
        self._protocol = cast("asyncio.Protocol", protocol)
        self._received = (
            partial(_fill, protocol)
            if isinstance(protocol, asyncio.BufferedProtocol)
            else self._protocol.data_received
        )

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Who gets what comes."""
        return self._protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """`socket` only."""
        return self._socket if name == "socket" else default


class Conducted(Protocol):
    """A protocol that has chats."""

    def replay(self, replies: Sequence[int], what: int) -> bytes:
        """Hear replies of a chat that has come to `what`, see `Told`; what was written after the last."""

    def went_smoothly(self, series: Series, at: int) -> None:
        """A chat is over, and what it measured is `series`; the last reply came `at` (`clock` ns)."""


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


def _unheard(data: bytes) -> None:
    """Nobody wants it."""


def _ignore(event: int) -> None:
    """A socket that was closed after the wait."""


def _fill(protocol: asyncio.BufferedProtocol, data: bytes) -> None:
    """Copy `data` into the buffers of `protocol`."""
    while data:
        buffer = memoryview(protocol.get_buffer(len(data)))
        size = min(len(buffer), len(data))
        buffer[:size] = data[:size]
        protocol.buffer_updated(size)
        data = data[size:]
