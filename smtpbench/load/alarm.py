"""A timer that an event loop waits for like for a socket: timerfd_create(2), which Python has from 3.13 on.

A wait that has a time limit of its own sets a timer of the machine each time it blocks, and in a virtual
machine that is a way out of it and back, at every reply if there is one session. An alarm is set once for
many waits, and rings on the µs, where `epoll` rounds a time limit up to whole ms.
"""

from __future__ import annotations

import ctypes
import math
import os
import time

_CLOEXEC, _NONBLOCK, _ABSTIME = os.O_CLOEXEC, os.O_NONBLOCK, 1  # TFD_CLOEXEC, TFD_NONBLOCK, TFD_TIMER_ABSTIME
_NS = 1_000_000_000


class _Itimerspec(ctypes.Structure):
    """Two struct timespec: the interval, 0 for an alarm that rings once, and when it does."""

    _fields_ = tuple((name, ctypes.c_long) for name in ("every_s", "every_ns", "at_s", "at_ns"))


class Alarm:
    """Readable from the moment it rings; its descriptor is `number`."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.number = self._checked(self._libc.timerfd_create(time.CLOCK_MONOTONIC, _CLOEXEC | _NONBLOCK))
        self._when = _Itimerspec()
        self._by_reference = ctypes.byref(self._when)
        self.at = math.inf  # not set

    def set(self, at: float) -> None:
        """Ring at (`monotonic`), or never; if it is past, now."""
        self.at = at
        when = self._when
        if at == math.inf:
            when.at_s = when.at_ns = 0
        else:
            when.at_s, when.at_ns = divmod(max(int(at * _NS), 1), _NS)
        self._checked(self._libc.timerfd_settime(self.number, _ABSTIME, self._by_reference, None))

    def close(self) -> None:
        """Ring no more."""
        os.close(self.number)

    @staticmethod
    def _checked(result: int) -> int:
        if result < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return result
