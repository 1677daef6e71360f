"""An event loop that listens: the engine's, with sockets that clients connect to. For sinks.

A connection costs few system calls beyond its reads and writes: to take it, to be told of what comes on it,
to close it. What the listener is set to passes on (Linux), and the last words
leave in one segment with the end of the connection.
"""

from __future__ import annotations

import _socket
import asyncio
import errno
import select
import signal
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVarTuple, Unpack

from smtpbench.load.congestion import hold_nothing_back, is_local
from smtpbench.load.eventloop import EventLoop
from smtpbench.load.transport import SocketTransport

Args = TypeVarTuple("Args")

RETRY_S = 0.1  # how long nothing is accepted where the system has no file descriptor or memory left
SCARCE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_READ = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET
# Ints and `_socket`, as in `transport.py`.
_STREAM, _LAST = int(socket.SOCK_STREAM), int(socket.MSG_MORE | socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)


class ServingLoop(EventLoop):
    """`create_server` (in clear; ValueError if it is to be TLS) and `add_signal_handler` as asyncio has them.

    `scarce` counts how often the system had no file descriptor or memory for a client, who then waits in the
    listen queue.
    """

    def __init__(self) -> None:
        super().__init__()
        self.scarce = 0
        self._signals: tuple[socket.socket, socket.socket] | None = None
        self._handlers: dict[int, Callable[[], object]] = {}

    def close(self) -> None:
        """As asyncio's."""
        if self._signals is not None:
            for number in list(self._handlers):
                self.remove_signal_handler(number)
            signal.set_wakeup_fd(-1)
            for end in self._signals:
                end.close()
            self._signals = None
        super().close()

    # --- listening: what BaseEventLoop leaves to its subclasses ---

    def _start_serving(
        self, protocol_factory: Callable[[], asyncio.BaseProtocol], sock: socket.socket,
        sslcontext: ssl.SSLContext | None = None, server: asyncio.Server | None = None, *_: object,
    ) -> None:  # fmt: skip
        if sslcontext is not None:
            if server is not None:
                server.close()
            raise ValueError("this loop serves in clear only; TLS can begin with start_tls")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if is_local(sock.getsockname()[0]):
            hold_nothing_back(sock)
        self.on_ready[sock.fileno()] = partial(self._accept, sock, int(sock.family), protocol_factory)
        self._epoll.register(sock.fileno(), select.EPOLLIN)

    def _stop_serving(self, sock: socket.socket) -> None:
        self.on_ready.pop(sock.fileno(), None)
        sock.close()

    def _accept(
        self, listener: socket.socket, family: int, protocol_factory: Callable[[], asyncio.BaseProtocol],
        _: int,
    ) -> None:  # fmt: skip
        """Take one client: if there are more, the next wait says so, and nobody's answer is late for it."""
        try:
            number, address = listener._accept()  # type: ignore[attr-defined]
        except OSError as error:
            if error.errno in SCARCE:
                self.scarce += 1
                self._epoll.modify(listener.fileno(), 0)
                self.call_later(RETRY_S, self._listen_again, listener)
            return  # or the client is gone already
        connected = _socket.socket(family, _STREAM, 0, number)  # blocking: every call says not to wait
        AcceptedTransport(self, self._epoll, self.on_ready, protocol_factory(), connected, number, address)

    def _listen_again(self, listener: socket.socket) -> None:
        if listener.fileno() in self.on_ready:
            self._epoll.modify(listener.fileno(), select.EPOLLIN)

    # --- signals ---

    def add_signal_handler(self, sig: int, callback: Callable[[Unpack[Args]], object], *args: *Args) -> None:
        """As asyncio's."""
        if self._signals is None:
            self._signals = told, tell = socket.socketpair()
            for end in self._signals:
                end.setblocking(False)
            self.on_ready[told.fileno()] = self._signalled
            self._epoll.register(told.fileno(), select.EPOLLIN)
            signal.set_wakeup_fd(tell.fileno())
        self._handlers[sig] = partial(callback, *args)
        signal.signal(sig, _nothing)
        signal.siginterrupt(sig, False)

    def remove_signal_handler(self, sig: int) -> bool:
        """As asyncio's."""
        if self._handlers.pop(sig, None) is None:
            return False
        signal.signal(sig, signal.default_int_handler if sig == signal.SIGINT else signal.SIG_DFL)
        return True

    def _signalled(self, _: int) -> None:
        assert self._signals is not None
        for number in self._signals[0].recv(64):
            if number in self._handlers:
                self.call_soon(self._handlers[number])


class AcceptedTransport(SocketTransport):
    """One connection that a client made."""

    __slots__ = ("_address",)
    read_size = 1 << 16  # octets: a usual message in one piece

    def __init__(
        self, loop: ServingLoop, epoll: Any, on_ready: dict[int, Callable[[int], None]],
        protocol: asyncio.BaseProtocol, connected: _socket.socket, number: int, address: Any,
    ) -> None:  # fmt: skip
        self._loop, self._on_ready, self._epoll, self._address = loop, on_ready, epoll, address
        self._out, self._waiting, self._chat = [], 0, 0
        self._held = self._closing = self._closed = self._write_paused = self._read_paused = False
        self.set_protocol(protocol)
        self._socket, self._number = connected, number
        self._recv, self._send = connected.recv, connected.send
        on_ready[number] = self._ready
        epoll.register(number, _READ)
        protocol.connection_made(self)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """`socket` and `peername` only."""
        return self._address if name == "peername" else super().get_extra_info(name, default)

    def end_with(self, data: bytes) -> None:
        """Send `data` and close, in one segment; `connection_lost` has been called when this returns."""
        if self._held or self._closing:
            self.write(data)
            self.close()
            return
        try:
            sent = self._send(data, _LAST)
        except BlockingIOError:
            sent = 0
        except OSError:
            sent = len(data)  # the client is gone: there is nobody to tell
        if sent < len(data):
            self._hold(memoryview(data)[sent:])
            self.close()
            return
        protocol = self._protocol
        self._leave_socket()
        self._forget()
        protocol.connection_lost(None)


def _nothing(_: int, __: object) -> None:
    """A signal is handled by the loop."""
