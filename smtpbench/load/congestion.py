"""Loopback has no path that could be congested, so nothing of ours over it is held back.

Where the system has BBR, the kernel models the path of each socket at every acknowledgement, and what is
written leaves when a timer of the kernel says so. That costs both ends at every message, and shows a path
that is not there. Between hosts, what the system has is part of what is measured, and stays.
"""

from __future__ import annotations

import _socket
import socket
from contextlib import suppress

RENO = b"reno"  # every kernel has it, and anybody may choose it
# `_socket` and an int, as in `transport.py`
_TCP, _CONGESTION = int(socket.IPPROTO_TCP), int(getattr(socket, "TCP_CONGESTION", 13))


def is_local(host: str) -> bool:
    """Whether a numeric address is one of loopback."""
    return host.startswith("127.") or host == "::1"


def hold_nothing_back(sock: _socket.socket) -> None:
    """For a socket that connects to loopback, or listens there: whom it accepts is the same."""
    with suppress(OSError):  # then it is as the system has it
        sock.setsockopt(_TCP, _CONGESTION, RENO)
