"""Chats: transactions that `_chat.c` conducts as long as every reply is as wished.

A chat is what a session would have sent and heard anyway. When it is over, or takes another turn, its replies
and their times are given to the session's own methods, in their order (`Connection.replay`), and nothing
knows the difference: not the recorder, not what follows. So there is one place where it is decided what a
reply means, and where the module is not built (no C compiler), every reply just goes there by itself.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from smtpbench.wire.replies import Reply

if TYPE_CHECKING:
    from smtpbench.load._chat import Chats

PURE = "SMTPBENCH_PURE_PYTHON"  # an environment variable: do without the module
# In the place of a code: the greeting, or the answer to EHLO, is the expected; there is a connection.
AS_GREETED, AS_OFFERED, CONNECTED = -1, -2, -3
READ = 1024  # octets that are taken at a time
AHEAD = 8  # messages that a chat may have …
AHEAD_OCTETS = 1 << 14  # … if each is no longer than this, so that they are no burden

DONE, PROGRESS, UNUSUAL, BROKEN, SHORT, ENDED, SMOOTH = range(7)

# What has become of a chat: one of these, its number, `at`, its replies, octets. The replies are code, time
# (`perf_counter_ns`), code, time and so on. The octets are those that came and were not as wished (UNUSUAL).
# `at` is an errno, 0 for the end of the stream (BROKEN), or how much of what follows the last reply was sent
# (SHORT). SMOOTH is DONE for a chat of which nothing was told before: `at` is when the last reply came, and
# in the place of replies there is a `Series`, or of a whole session what `Recorder.take_visit` takes.
Told = tuple[int, int, int, Sequence[int], bytes]
Series = tuple[bytes, bytes, bytes, bytes, bytes, bytes]  # see `Recorder.take_in`


@dataclass(frozen=True, slots=True)
class Opening:
    """How a server has greeted and answered EHLO, in the expectation that it does so again."""

    greeting: Reply
    offers: Reply
    octets: tuple[bytes, bytes, bytes, bytes]  # greeting, EHLO, answer, and the address as `struct sockaddr`


@cache
def available() -> bool:
    """Whether the module was built, and is wanted."""
    if os.environ.get(PURE):
        return False
    try:
        import smtpbench.load._chat  # noqa: F401 - whether it can be
    except ImportError:
        return False
    return True


def new_chats(epoll: int) -> Chats:
    """The chats of an event loop with this `epoll`, if they are `available`."""
    from smtpbench.load._chat import Chats  # it may not be there

    return Chats(epoll)
