"""RFC 5322, message format: what a server lets through, and what it mends or refuses.

A relay need not look into a message (RFC 5321 §2.4, §6.4). RFC 6409 §8 has what a submission server passes on
conform, and §6.3 leaves it free to refuse what does not: whoever does neither is told so, and not accused.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from smtpbench.conformance import (
    AUTH,
    DELIVERED,
    ENDPOINT,
    RECIPIENT,
    Delivery,
    Expectation,
    Message,
    Observation,
    Peer,
    Role,
    Untested,
    case,
    choice,
    each_message,
    expect,
    refused,
    taken,
    that,
)

MX = (RECIPIENT, DELIVERED)
SUBMITTED = (ENDPOINT(Role.SUBMISSION), AUTH, RECIPIENT, DELIVERED)
AFTER = "rfc5321.data.end-of-data-gets-one-reply"
LINE = 998  # §2.1.1: characters of a line, CRLF not counted
BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")

passed_on: Expectation[Delivery] = that("passed on as it is", lambda delivery: delivery.arrived > 0)


def header(message: Message) -> bytes:
    """The header section of what was delivered."""
    return re.split(rb"\r?\n\r?\n", message.raw, maxsplit=1)[0]


def count(message: Message, name: bytes) -> int:
    """How many header fields called `name` there are."""
    return len(re.findall(rb"(?mi)^%s[ \t]*:" % name, header(message)))


def written(peer: Peer, *fields: bytes, body: bytes = b"text\r\n") -> bytes:
    """A message with the marker and `fields` in its header, and no field besides."""
    return b"\r\n".join((b"X-Smtpbench: " + peer.marker, *fields, b"", body))


def author(peer: Peer) -> bytes:
    """A From field."""
    return b"From: <%s>" % peer.sender.encode()


DATE = b"Date: Thu, 01 Jan 2026 00:00:00 +0000"


async def treatment(peer: Peer, content: bytes, what: str, right: Callable[[Message], bool]) -> Observation:
    """What becomes of a faulty message: it is refused, or mended so that `right`, or passed on."""
    delivery = await peer.delivered(content)
    if delivery.accepted and not delivery.messages:
        raise Untested("the message was accepted and not delivered", str(delivery))
    if not delivery.replies:
        raise Untested("the message had no reply", str(delivery))
    mended = each_message(what, that(what, right))
    return expect(delivery, refused | mended, choice=passed_on | that("refused otherwise", bool))


# Lines


@case("5322-1", needs=MX, after=AFTER, broken_by="wraps-long-lines")
async def body_line_of_998_characters(peer: Peer) -> Observation:
    """A line of 998 characters in the body is delivered as it was sent."""
    line = b"x" * LINE
    delivery = taken(await peer.delivered(peer.marked_body(line + b"\r\nlast\r\n")))
    whole: Expectation[Message] = that("whole", lambda message: message.holds(b"\r\n" + line + b"\r\n"))
    return expect(delivery, each_message("the line as it was sent", whole))


@case("5322-1", needs=MX, after=AFTER, broken_by="wraps-long-lines")
async def header_line_of_998_characters(peer: Peer) -> Observation:
    """A line of 998 characters in the header is delivered with all of them."""
    line = b"Comments: ".ljust(LINE, b"x")
    delivery = taken(await peer.delivered(peer.marked_body(b"text\r\n", line)))
    whole: Expectation[Message] = that("whole", lambda message: message.holds(b"\r\n" + line + b"\r\n"))
    folded: Expectation[Message] = that(
        "folded",
        lambda message: line.replace(b" ", b"") in re.sub(rb"\r?\n[ \t]+| ", b"", message.content),
    )
    return expect(
        delivery, each_message("the line as it was sent", whole) | choice(each_message("folded anew", folded))
    )


@case("5322-2", needs=SUBMITTED, after=AFTER, accuses=False)
async def bare_cr_and_lf_are_not_passed_on(peer: Peer) -> Observation:
    """A submitted message with bare CR and bare LF is refused or mended, or passed on."""
    content = peer.marked_body(b"one\rtwo\nthree\r\n")

    def clean(message: Message) -> bool:
        # In a mailbox with LF line ends a bare LF does not show.
        ends = b"\n" if message.line_ends == "lf" else b"\r\n"
        return BARE.search(message.content.replace(ends, b"")) is None

    return await treatment(peer, content, "CR and LF only together", clean)


# Fields


@case("5322-3", needs=SUBMITTED, after=AFTER, accuses=False)
async def second_from_is_not_passed_on(peer: Peer) -> Observation:
    """A submitted message with two From fields is refused or mended, or passed on."""
    content = written(peer, author(peer), b"From: <second@example.net>", DATE)
    return await treatment(peer, content, "one From field", lambda message: count(message, b"From") == 1)


@case("5322-3", needs=SUBMITTED, after=AFTER, accuses=False)
async def required_fields_are_there(peer: Peer) -> Observation:
    """A submitted message without From and Date is refused or gains them, or is passed on."""

    def complete(message: Message) -> bool:
        return count(message, b"From") == count(message, b"Date") == 1

    return await treatment(peer, written(peer, b"Subject: none"), "one From and one Date field", complete)


@case("5322-3", needs=MX, after=AFTER, accuses=False)
async def two_from_fields_from_outside(peer: Peer) -> Observation:
    """A message from outside with two From fields: a reader and a filter may see different ones."""
    content = written(peer, author(peer), b"From: <second@example.net>", DATE)
    return await treatment(peer, content, "one From field", lambda message: count(message, b"From") == 1)


@case("5322-4", needs=SUBMITTED, after=AFTER, accuses=False)
async def several_authors_need_a_sender(peer: Peer) -> Observation:
    """A submitted message whose From names two mailboxes is refused or gains a Sender, or is passed on."""
    content = written(peer, author(peer) + b", <second@example.net>", DATE)
    return await treatment(peer, content, "a Sender field", lambda message: count(message, b"Sender") == 1)


ODD_NAMES = (b"Subject : space", b"Sub ject: space inside", b"Subj\xe9ct: eight bits")
ODD = re.compile(rb"(?mi)^subject[ \t]+:|^sub ject:|^subj\xe9ct:")


@case("5322-5", needs=SUBMITTED, after=AFTER, accuses=False)
async def odd_field_names_are_not_passed_on(peer: Peer) -> Observation:
    """A submitted message with illegal names of header fields is refused or mended, or passed on."""
    content = written(peer, author(peer), DATE, *ODD_NAMES)
    return await treatment(peer, content, "legal names", lambda message: ODD.search(header(message)) is None)


@case("5322-5", needs=MX, after=AFTER, accuses=False)
async def space_before_the_colon_from_outside(peer: Peer) -> Observation:
    """A message from outside with a space between From and its colon: some readers take it for From."""
    content = written(peer, b"From : <second@example.net>", author(peer), DATE)
    return await treatment(peer, content, "no such field", lambda message: b"From :" not in header(message))
