"""How servers begin a session, kept so that a chat can expect it again."""

from __future__ import annotations

import socket
import struct

from smtpbench.load.chat import Opening
from smtpbench.load.eventloop import EventLoop
from smtpbench.load.flow import Flow
from smtpbench.load.kinds import Kind


class Openings:
    """The greeting and the answer to EHLO of each kind of session, once they were the same twice in a row."""

    def __init__(self, loop: EventLoop) -> None:
        self._loop = loop
        self._last: dict[str, tuple[bytes, bytes]] = {}
        self._expected: dict[str, Opening | None] = {}

    def of(self, kind: Kind) -> Opening | None:
        """What the next session of `kind` will hear, as far as one can tell."""
        return self._expected.get(kind.name)

    def learn(self, kind: Kind, flow: Flow) -> None:
        """A session was opened reply by reply."""
        if not self._loop.conducts or not kind.door.plain or flow.greeting is None or flow.hello is None:
            return
        heard = flow.greeting.raw, flow.hello.raw
        by_chat = type(flow) is Flow and flow.conducted and not (flow.chunking and kind.script.chunking)
        again, self._last[kind.name] = self._last.get(kind.name) == heard, heard
        self._expected[kind.name] = (
            Opening(
                flow.greeting,
                flow.hello,
                (*heard[:1], kind.door.hello, heard[1], sockaddr(kind.door.host, kind.door.port)),
            )
            if again and by_chat
            else None
        )


def sockaddr(host: str, port: int) -> bytes:
    """An address as connect(2) takes it: ip(7), ipv6(7). `host` is numeric."""
    if ":" not in host:
        return struct.pack("=H", socket.AF_INET) + struct.pack("!H", port) + socket.inet_aton(host) + bytes(8)
    address, _, zone = host.partition("%")
    scope = socket.if_nametoindex(zone) if zone else 0
    return b"".join((
        struct.pack("=H", socket.AF_INET6), struct.pack("!HI", port, 0),
        socket.inet_pton(socket.AF_INET6, address), struct.pack("=I", scope),
    ))  # fmt: skip
