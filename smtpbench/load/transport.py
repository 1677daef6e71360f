"""A TCP connection of the engine's event loop, as an asyncio transport.

Its socket is registered once, edge-triggered and for both directions, so that a message takes no system
calls but waits, reads and writes. What is written goes out at once. What the socket does not take waits
here, and the protocol is told to pause while that is more than `HIGH_WATER`.
"""

from __future__ import annotations

import asyncio
import errno
import os
import select
import socket
import struct
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from smtpbench.load.eventloop import EventLoop

OnReady = dict[int, Callable[[int], None]]

EVENTS = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
_READABLE = select.EPOLLIN | select.EPOLLOUT
_ENDED = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
READ_SIZE = 448  # replies are short; CPython allocates objects of up to 512 octets itself, which is cheaper
HIGH_WATER, LOW_WATER = 1 << 16, 1 << 14  # octets that wait: the protocol pauses above, goes on below
_RESET = struct.pack("ii", 1, 0)  # struct linger: close without TIME_WAIT


class SocketTransport(asyncio.Transport):
    """One connection, from connect to close. Made by `EventLoop.connect`.

    `abort` resets the connection, so that its port is free at once; `close` sends what waits, then FIN.
    """

    __slots__ = (
        "_closed", "_closing", "_held", "_loop", "_number", "_on_ready", "_out", "_protocol", "_read_paused",
        "_received", "_recv", "_send", "_socket", "_waiting", "_write_paused",
    )  # fmt: skip
    _start_tls_compatible = True

    def __init__(
        self, loop: EventLoop, epoll: Any, on_ready: OnReady, protocol: asyncio.BaseProtocol,
        address: tuple[str, int],
    ) -> None:  # fmt: skip
        super().__init__()
        self._loop, self._on_ready = loop, on_ready
        self._out: list[memoryview] = []
        self._waiting = 0  # octets in `_out`
        self._held = self._closing = self._closed = self._write_paused = self._read_paused = False
        self.set_protocol(protocol)
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._socket = loop.new_socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._number = self._socket.fileno()
        self._recv, self._send = self._socket.recv, self._socket.send
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        on_ready[self._number] = self._connected
        code = self._socket.connect_ex(address)
        if code in (0, errno.EINPROGRESS):
            epoll.register(self._number, EVENTS)
        else:
            self._force_close(_error(code))

    # --- what the loop calls ---

    def _connected(self, event: int) -> None:
        """The attempt to connect has an end."""
        if event & _ENDED and (code := self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)):
            self._force_close(_error(code))
            return
        self._on_ready[self._number] = self._ready
        cast("asyncio.Protocol", self._protocol).connection_made(self)
        if event != select.EPOLLOUT:
            self._unusual(event)

    def _ready(self, event: int) -> None:
        """The common case: a reply has come, all of it in one read."""
        if event != _READABLE or self._held:
            self._unusual(event)
            return
        try:
            data = self._recv(READ_SIZE)
        except OSError as error:
            self._failed(error)
            return
        self._received(data) if data else self._ended()
        if len(data) == READ_SIZE:
            self._read()

    def _unusual(self, event: int) -> None:
        if event & select.EPOLLOUT and self._out:
            self._flush()
        if event & (select.EPOLLIN | _ENDED):
            self._read()

    def _read(self) -> None:
        """Read until there is nothing left: an edge is told once."""
        while not (self._closing or self._read_paused):
            try:
                data = self._recv(READ_SIZE)
            except OSError as error:
                self._failed(error)
                return
            if not data:
                self._ended()
                return
            self._received(data)

    def _ended(self) -> None:
        if not cast("asyncio.Protocol", self._protocol).eof_received():
            self.close()

    def _failed(self, error: OSError) -> None:
        if not isinstance(error, BlockingIOError):
            self._force_close(error)

    # --- writing ---

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send `data` now, as much of it as the socket takes; the rest when it takes more."""
        if self._held:
            self._hold(memoryview(data))
            return
        try:
            sent = self._send(data)
        except OSError as error:
            self._failed(error)
            sent = 0
        if sent != len(data):
            self._hold(memoryview(data)[sent:])

    def _hold(self, rest: memoryview) -> None:
        if self._closing:
            return
        self._out.append(rest)
        self._waiting += len(rest)
        self._held = True
        if self._waiting > HIGH_WATER and not self._write_paused:
            self._write_paused = True
            self._protocol.pause_writing()

    def _flush(self) -> None:
        while self._out:
            try:
                sent = self._send(self._out[0])
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
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._end(error)

    def _end(self, error: BaseException | None) -> None:
        self._closing = self._held = self._closed = True
        self._out.clear()
        self._waiting = 0
        self._on_ready[self._number] = _ignore
        self._socket.close()
        self._loop.call_soon(self._protocol.connection_lost, cast("Exception | None", error))

    # --- the rest of an asyncio transport ---

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Give what comes to `protocol` from now on."""
        self._protocol = protocol
        self._received: Callable[[bytes], None] = (
            partial(_fill, protocol)
            if isinstance(protocol, asyncio.BufferedProtocol)
            else cast("asyncio.Protocol", protocol).data_received
        )

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Who gets what comes."""
        return self._protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """`socket` only."""
        return self._socket if name == "socket" else default


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


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
