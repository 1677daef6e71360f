"""What was delivered: messages as the observer gave them back, and the expectations about them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from smtpbench.conformance.answer import Answer
from smtpbench.conformance.expectations import (
    Expectation,
    closed_with_421,
    closed_with_refusal,
    stricter,
    that,
)
from smtpbench.conformance.observation import Outcome, Untested
from smtpbench.wire.replies import escape

MARKER_FIELD = b"X-Smtpbench"  # on top of every message that a case sends
# Fields that a server puts above a message on its way to the mailbox (RFC 5321 §4.4 and local habit).
TRACE_FIELDS = frozenset({b"return-path", b"received", b"delivered-to", b"x-original-to"})
_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:(.*(?:\r?\n[ \t].*)*)(?:\r?\n|\Z)")
SHOWN_DIFFERENCE = 40  # octets shown from where two contents begin to differ


@dataclass(frozen=True)
class Message:
    """One delivered message. `raw` is what the mailbox holds; `sender` and `recipients` are its envelope,
    as far as the mailbox tells it.

    `trace` holds the fields that delivery put on top, as (name in lower case, unfolded value), from the
    top down; `content` is what remains below them. The marker field, which every message of a case begins
    with, shows where that is; without one, trace ends at the first field that is none. In a mailbox with
    LF line ends both sides of a comparison are taken to LF first: which bare LF was a CRLF is lost there.
    """

    raw: bytes
    line_ends: Literal["crlf", "lf"] = "crlf"
    sender: str | None = None
    recipients: tuple[str, ...] = ()
    trace: tuple[tuple[str, str], ...] = field(init=False)
    content: bytes = field(init=False)

    def __post_init__(self) -> None:
        above = self._above(lambda name: name != MARKER_FIELD.lower())
        if not self.raw[above[-1].end() if above else 0 :].startswith(MARKER_FIELD):
            above = self._above(lambda name: name in TRACE_FIELDS)
        trace = [
            (field[1].decode("ascii").lower(), re.sub(rb"\r?\n", b"", field[2]).strip().decode("latin-1"))
            for field in above
        ]
        object.__setattr__(self, "trace", tuple(trace))
        object.__setattr__(self, "content", self.raw[above[-1].end() if above else 0 :])

    def _above(self, counts: Callable[[bytes], bool]) -> list[re.Match[bytes]]:
        """The header fields from the top down to the first whose name (in lower case) does not count."""
        fields: list[re.Match[bytes]] = []
        at = 0
        while (match := _FIELD.match(self.raw, at)) and counts(match[1].lower()):
            fields.append(match)
            at = match.end()
        return fields

    def traces(self, name: str) -> tuple[str, ...]:
        """Values of the trace fields called `name`, from the top down."""
        return tuple(value for key, value in self.trace if key == name.lower())

    @property
    def received(self) -> tuple[str, ...]:
        """Values of the Received fields that delivery put on top, newest first."""
        return self.traces("received")

    def same_as(self, content: bytes) -> bool:
        """Whether the message is `content` (as sent, dots not stuffed) to the octet, trace aside."""
        return self.content == self._local(content)

    def holds(self, part: bytes) -> bool:
        """Whether `part` occurs in the content."""
        return self._local(part) in self.content

    def difference(self, content: bytes) -> str:
        """Where and how the message first differs from `content`, in words; "" if it does not."""
        sent = self._local(content)
        if sent == self.content:
            return ""
        at = next((i for i, (a, b) in enumerate(zip(sent, self.content, strict=False)) if a != b), None)
        if at is None:
            at = min(len(sent), len(self.content))
        show = slice(at, at + SHOWN_DIFFERENCE)
        return (
            f"from octet {at}: sent {escape(sent[show])!s}, delivered {escape(self.content[show])!s} "
            f"({len(sent)} octets sent, {len(self.content)} delivered)"
        )

    def _local(self, content: bytes) -> bytes:
        return content.replace(b"\r\n", b"\n") if self.line_ends == "lf" else content


@dataclass(frozen=True)
class Delivery(Answer):
    """All replies from the end of data to the close, and every message with the case's marker.

    The messages are complete: a message sent afterwards in a session of its own (the fence) had
    arrived, and nothing more came for `timeouts.quiet` after it.
    """

    messages: tuple[Message, ...] = ()
    sent: bytes | None = None  # the content, where the report shall say how the first copy differs from it

    @property
    def arrived(self) -> int:
        """Messages delivered."""
        return len(self.messages)

    @property
    def accepted(self) -> bool:
        """Whether the server took the message: its first reply after the end of data is a 2yz."""
        return self.severity == 2

    @property
    def seen(self) -> str:
        """The replies, how many messages arrived, and how the first differs from what was sent."""
        number = {0: "nothing", 1: "1 message"}.get(self.arrived, f"{self.arrived} messages")
        changed = "" if self.sent is None or not self.messages else self.messages[0].difference(self.sent)
        return f"{super().seen} · {number} delivered" + (f", changed {changed}" if changed else "")


def _orderly(delivery: Answer, *digits: int) -> bool:
    """One reply of these classes, then at most the one to our QUIT, whose code is another question."""
    rest = delivery.replies[1:]
    return delivery.severity in digits and (not rest or (len(rest) == 1 and rest[0].severity == 2))


one_message: Expectation[Delivery] = that(
    "one 2yz reply and one message delivered",
    lambda delivery: _orderly(delivery, 2) and delivery.arrived == 1,
)
refused: Expectation[Delivery] = that(
    "one 4yz or 5yz reply and nothing delivered",
    lambda delivery: _orderly(delivery, 4, 5) and not delivery.arrived,
)
nothing_delivered: Expectation[Delivery] = that("nothing delivered", lambda delivery: not delivery.arrived)
not_split: Expectation[Delivery] = one_message | stricter(refused | closed_with_421 | closed_with_refusal)


def taken(delivery: Delivery) -> Delivery:
    """`delivery`, unless its message was refused or, though accepted, lost: then the case is untested.

    For questions about the octets of a message: whether it may be refused or lost is asked elsewhere.
    """
    if delivery.severity in (4, 5):
        raise Untested("the message was refused", str(delivery))
    if delivery.accepted and not delivery.messages:
        raise Untested("the message was accepted and not delivered", str(delivery))
    return delivery


def messages(number: int) -> Expectation[Delivery]:
    """One 2yz reply and exactly `number` messages delivered (one for each recipient, say)."""
    return that(
        f"one 2yz reply and {number} messages delivered",
        lambda delivery: _orderly(delivery, 2) and delivery.arrived == number,
    )


def intact(content: bytes) -> Expectation[Delivery]:
    """At least one message was delivered, and each is `content` to the octet, trace fields aside."""
    return that(
        "the content as it was sent",
        lambda delivery: delivery.arrived > 0 and all(item.same_as(content) for item in delivery.messages),
    )


def each_message(what: str, holds: Expectation[Message]) -> Expectation[Delivery]:
    """At least one message was delivered, and `holds` judges each of them as conforming."""
    return that(
        what,
        lambda delivery: (
            delivery.arrived > 0 and all(holds.judge(item) is Outcome.CONFORMS for item in delivery.messages)
        ),
    )
