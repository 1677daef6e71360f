"""What a chat says and hears, and the module that conducts it with nothing else around."""

from __future__ import annotations

import select
import socket
from time import perf_counter_ns
from typing import Any

from smtpbench.load.chat import new_chats

NO_PIPELINING = b"250-test\r\n250 SIZE 1000000\r\n"
OPENING = (b"220 test\r\n", b"EHLO us\r\n", NO_PIPELINING)
YES = (b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n", b"250 ok\r\n")
COMMANDS = b"MAIL FROM:<>\r\nRCPT TO:<a@example.net>\r\nDATA\r\n"


class Wire:
    """The chats of one end of a connection; the other is `peer`."""

    def __init__(self) -> None:
        ours, self.peer = socket.socketpair()
        ours.setblocking(False)
        self.ours, self.number, self.epoll = ours, ours.fileno(), select.epoll()
        self.epoll.register(ours, select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET)
        self.chats = new_chats(self.epoll.fileno())
        self.began = perf_counter_ns()

    def start(self, contents: tuple[bytes, ...] = (b".\r\n",)) -> int:
        return -int(self.chats.start(self.number, COMMANDS, contents, self.began))

    def told(self, *answers: bytes) -> Any:
        """What is told after these answers, each of which is given when there is something to answer."""
        for answer in answers:
            self.peer.send(answer)
            if events := self.chats.poll(0, 0):
                return events
        return self.chats.poll(0, 0)

    def close(self) -> None:
        for one in (self.ours, self.peer, self.epoll):
            one.close()
