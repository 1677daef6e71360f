"""What the scripted next hop is told to do, and what it writes down of the server that relays to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from smtpbench.server.config import NEXT_HOP_EXTENSIONS
from smtpbench.server.scripted import ACCEPT as ACCEPT  # where the cases look for it
from smtpbench.server.scripted import ScriptedReply
from smtpbench.wire.state import Verb

HopReply = ScriptedReply  # its name in the cases
ORDINARY_EXTENSIONS = NEXT_HOP_EXTENSIONS

AHEAD = b"sent before the reply: "  # a note begins with it where a client did not wait for a late reply
DEFER = HopReply(code=451, enhanced="4.3.0", text="Try again later")
REFUSE = HopReply(code=550, enhanced="5.1.1", text="No such mailbox")
DROP = HopReply(code=0, close=True)


@dataclass(frozen=True, kw_only=True)
class HopScript:
    """How every connection is treated while the script is in force; the default is an ordinary server.

    `extensions` are offered (STARTTLS with a certificate of the hop's own), `inside_tls` in their place
    after STARTTLS if it is given; `keywords` are further lines
    of the EHLO reply. `replies` answers a verb, `greeting` the connection.
    """

    extensions: frozenset[str] = ORDINARY_EXTENSIONS
    inside_tls: frozenset[str] | None = None
    keywords: tuple[str, ...] = ()
    greeting: HopReply | None = None
    replies: Mapping[Verb, HopReply] = field(default_factory=dict)

    def without(self, *extensions: str) -> HopScript:
        """The same script, not offering `extensions`."""
        return replace(self, extensions=self.extensions - set(extensions))


ORDINARY = HopScript()


@dataclass(frozen=True, slots=True)
class RecipientScript:
    """Replies to RCPT and to the end of data by attempt, for one recipient; the last one stays in force."""

    rcpt: tuple[HopReply, ...] = (ACCEPT,)
    content: tuple[HopReply, ...] = (ACCEPT,)


@dataclass(frozen=True, slots=True)
class HopLine:
    """One thing said in a session: a line without its CRLF (``client``), a reply (``server``), an event.

    `t_s` counts from the beginning of the session. `ahead` holds what the client had sent behind the
    line before it could have had the reply.
    """

    t_s: float
    sender: Literal["client", "server", "note"]
    octets: bytes
    tls: bool = False
    ahead: bytes = b""


@dataclass(slots=True)
class HopRecipient:
    """A RCPT of a transaction: the line, its address without brackets, and the code it was answered with."""

    line: bytes
    address: bytes
    code: int


@dataclass(slots=True)
class HopTransaction:
    """One MAIL and what came after it.

    `raw` is all that came after 354 (or in chunks), end of data included, before any dot is removed;
    `content` is the message. Both are None until the end of data has come. `code` is the reply to it: 0
    if the connection was broken off instead. `offered` are the extensions of the EHLO before it.
    """

    session: HopSession
    mail: bytes
    tls: bool
    offered: frozenset[str]
    recipients: list[HopRecipient] = field(default_factory=list)
    raw: bytes | None = None
    content: bytes | None = None
    chunked: bool = False
    code: int | None = None

    @property
    def accepted(self) -> tuple[bytes, ...]:
        """The recipients for whom the hop took the message; none before it has said 2yz."""
        if self.code is None or self.code // 100 != 2:
            return ()
        return tuple(item.address for item in self.recipients if item.code // 100 == 2)


@dataclass(slots=True)
class HopSession:
    """One connection of a server to the hop. `ended` tells how: None while it lasts."""

    number: int
    lines: list[HopLine] = field(default_factory=list)
    transactions: list[HopTransaction] = field(default_factory=list)
    ended: Literal["quit", "closed by the client", "closed by us"] | None = None

    @property
    def commands(self) -> list[HopLine]:
        """What the client said, content aside."""
        return [line for line in self.lines if line.sender == "client"]

    @property
    def early(self) -> bool:
        """Whether the client sent anything before the greeting."""
        return bool(self.lines) and self.lines[0].octets.startswith(AHEAD)

    def verbs(self) -> list[bytes]:
        """The first word of each command, in upper case."""
        return [line.octets.split(b" ")[0].upper() for line in self.commands]
