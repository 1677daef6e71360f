"""A receiver that tests talk to in memory: octets in, reply lines out, deliveries kept."""

import asyncio
from datetime import UTC, datetime

import pytest
import uvloop

from smtpbench.server import Receiver, ServerConfig
from smtpbench.server.dialogue import Deliver


def pytest_asyncio_loop_factories(config, item):
    """The server runs on either loop, and their TLS and transports differ: test both."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Talk:
    """One session. `say` gives back what the receiver sent; `stored` are its copies, `holds` how
    long each delivery was to wait (seconds); `works`: stores work.
    """

    def __init__(self, receiver_class=Receiver, *, client="127.0.0.1", encrypted=False, works=True, **config):
        self.receiver = receiver_class(ServerConfig(**config), client=client, tls=encrypted, now=lambda: NOON)
        self.works = works
        self.stored = []
        self.holds = []
        self.greeting = self.receiver.greeting()

    def say(self, data):
        out = self.receiver.feed(data)
        while isinstance(self.receiver.action, Deliver):
            copies = self.receiver.action.copies
            self.holds.append(self.receiver.action.hold)
            if self.works:
                self.stored += copies
            out += self.receiver.delivered([self.works] * len(copies))
        return out

    def codes(self, data):
        """The code of each reply to `data`."""
        lines = self.say(data).split(b"\r\n")
        assert lines.pop() == b""
        return [int(line[:3]) for line in lines if line[3:4] == b" "]

    def send(self, content, recipients=(b"alice@example.com",), sender=b"sender@example.org"):
        """A whole transaction by DATA; the codes from 354 on."""
        self.say(b"EHLO client.example.org\r\n")
        self.say(b"MAIL FROM:<" + sender + b">\r\n")
        for recipient in recipients:
            self.say(b"RCPT TO:<" + recipient + b">\r\n")
        return self.codes(b"DATA\r\n") + self.codes(content + b".\r\n")


@pytest.fixture
def talk():
    return Talk()


@pytest.fixture(scope="session")
def new_talk():
    """`Talk` itself, for sessions with settings."""
    return Talk
