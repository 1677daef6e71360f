"""The Received line that the server under test put on a message (RFC 5321 §4.4)."""

from __future__ import annotations

import re

from smtpbench.conformance.deliveries import taken
from smtpbench.conformance.observation import Untested
from smtpbench.conformance.peer import Peer

_COMMENT = re.compile(r"\((?:[^()\\]|\\.)*\)")
_WITH = re.compile(r"\swith\s+([A-Za-z0-9-]+)", re.IGNORECASE)


async def received_line(peer: Peer) -> str:
    """The Received line of the server that took the message from us; untested if there is none.

    Behind it the message may have passed through others of the same site, each with a line above it.
    """
    delivery = taken(await peer.delivered(peer.marked_body(b"text\r\n")))
    lines = [line for message in delivery.messages for line in message.received]
    if not lines:
        raise Untested("no Received line was added", str(delivery))
    return lines[-1]


def with_clause(line: str) -> str:
    """The protocol of the WITH clause in upper case, "" without one; "with" in a comment is none."""
    bare = line
    while (shorter := _COMMENT.sub(" ", bare)) != bare:
        bare = shorter
    found = _WITH.search(bare.rpartition(";")[0])
    return found[1].upper() if found else ""
