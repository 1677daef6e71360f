"""RFC 5321 §4.4, §6.3, §6.4, §7.2: what a server puts above a message, and what it leaves below."""

from __future__ import annotations

import re

from smtpbench.conformance import (
    DELIVERED,
    RECIPIENT,
    SECOND_RECIPIENT,
    Delivery,
    Expectation,
    Message,
    Observation,
    Peer,
    Untested,
    case,
    each_message,
    expect,
    received_line,
    severity,
    taken,
    that,
)

NEEDS = (RECIPIENT, DELIVERED)
AFTER = "rfc5321.data.end-of-data-gets-one-reply"
RECEIVED_AFTER = "rfc5321.trace.received-line-on-top"

# Stamp of §4.4, with the words of RFC 5322 §3.2 that it uses; the date is a question of its own.
FWS = r"[ \t]+"
COMMENT = r"\((?:[^()\\]|\\.|\([^()]*\))*\)"
CFWS = rf"(?:{FWS}|{COMMENT})+"
ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
DOMAIN = r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?"
LITERAL = r"\[[^\[\]\s]+\]"
TCP_INFO = rf"\((?:{DOMAIN}{FWS})?{LITERAL}\)"
EXTENDED_DOMAIN = rf"(?:{DOMAIN}(?:{FWS}{TCP_INFO})?|{LITERAL}{FWS}{TCP_INFO})"
PATH = r"(?:<[^<>\s]*>|[^<>\s;()]+)"
STAMP = re.compile(
    rf"from{FWS}{EXTENDED_DOMAIN}{CFWS}by{FWS}{EXTENDED_DOMAIN}"
    rf"(?:{CFWS}via{FWS}{ATOM})?(?:{CFWS}with{FWS}{ATOM})?(?:{CFWS}id{FWS}(?:{ATOM}|<[^<>\s]+>))?"
    rf"(?:{CFWS}for{FWS}{PATH})?(?:{CFWS}{ATOM}{FWS}{ATOM})*(?:{CFWS})?;{FWS}\S",
    re.IGNORECASE,
)
CLAUSES = re.compile(r"from\s+\S.*?\sby\s+\S.*;\s*\S", re.IGNORECASE)
FOR = re.compile(r"\sfor\s+(.*?)(?:\s+with\s.*)?;[^;]*$", re.IGNORECASE)
MAILBOX = re.compile(r"[^\s<>,;()]+@[^\s<>,;()]+")
DATE = re.compile(r";\s*(?:[A-Z][a-z]{2}\s*,\s*)?\d{1,2}\s+[A-Z][a-z]{2}\s+\d{4}\s+\d\d:\d\d")
NUMERIC_ZONE = re.compile(r"[+-]\d{4}\s*(?:\(.*\)\s*)?$")

EARLIER = [
    b"Received: from hop%d.example.org by hop%d.example.org with SMTP id earlier%d;"
    b" Thu, 01 Jan 2026 00:00:0%d +0000" % (n, n - 1, n, 9 - n)
    for n in (1, 2, 3)
]


def has(what: str, pattern: re.Pattern[str]) -> Expectation[str]:
    """`pattern` is found in what was seen."""
    return that(what, lambda seen: pattern.search(seen) is not None)


@case(
    "5321-D-34",
    needs=NEEDS,
    after=AFTER,
    broken_by=("no-received", "received-at-bottom"),
)
async def received_line_on_top(peer: Peer) -> Observation:
    """The server puts a Received line above all that was in the message."""
    added: Expectation[Message] = that("a Received line on top", lambda message: bool(message.received))
    delivery = taken(await peer.delivered(peer.marked_body(b"text\r\n")))
    return expect(delivery, each_message("a Received line on top of the message", added))


@case("5321-D-35", needs=NEEDS, after=RECEIVED_AFTER, broken_by="received-without-from")
async def received_names_the_client(peer: Peer) -> Observation:
    """The FROM clause of the Received line has the name from EHLO and the client's address as a literal."""
    clause = r"(?:(?!\sby\s).)*"  # to the BY clause; the order is a matter of the grammar
    name = rf"(?={clause}(?<![\w.-]){re.escape(peer.target.client_name)}(?![\w.-]))"
    literal = rf"(?={clause}\[[0-9A-Fa-f:.v]+\])"
    both = re.compile(rf"^from\s{name}{literal}", re.IGNORECASE)
    either = re.compile(r"^from\s+\S", re.IGNORECASE)
    return expect(
        await received_line(peer),
        has("from, the name given to EHLO, and an address literal", both),
        near=has("a FROM clause", either),
    )


@case(
    "5321-D-36",
    needs=NEEDS,
    after=RECEIVED_AFTER,
    broken_by=("received-without-from", "received-without-by"),
)
async def received_line_is_well_formed(peer: Peer) -> Observation:
    """The Received line has its clauses in the order and the form of the grammar, then a date."""
    return expect(
        await received_line(peer),
        that("the Stamp of RFC 5321 §4.4", lambda seen: STAMP.match(seen) is not None),
        near=that("FROM, BY and a date", lambda seen: CLAUSES.match(seen) is not None),
    )


@case("5321-D-37", needs=NEEDS, after=RECEIVED_AFTER, broken_by="received-two-digit-year")
async def received_date_has_a_full_year(peer: Peer) -> Observation:
    """The date of the Received line has a year of four digits and the order day, month, year, time."""
    return expect(await received_line(peer), has("a date with a year of four digits", DATE))


@case("5321-D-38", needs=NEEDS, after=RECEIVED_AFTER, broken_by="received-named-zone")
async def received_date_has_a_numeric_zone(peer: Peer) -> Observation:
    """The date of the Received line gives its zone as a numeric offset."""
    return expect(await received_line(peer), has("a zone like +0000 at the end", NUMERIC_ZONE))


@case(
    "5321-D-39",
    needs=(*NEEDS, SECOND_RECIPIENT),
    after=RECEIVED_AFTER,
    broken_by="received-for-two-paths",
)
async def for_clause_has_one_path(peer: Peer) -> Observation:
    """With two recipients the Received line has a FOR clause with one path, or none."""
    await peer.until_rcpt(peer.recipient, peer.second_recipient)
    return expect("; ".join(for_clauses(await received_line_of_all(peer))) or "no FOR clause", one_path_each)


one_path_each: Expectation[str] = that(
    "at most one path in each FOR clause",
    lambda seen: all(len(MAILBOX.findall(clause)) <= 1 for clause in seen.split("; ")),
)


async def received_line_of_all(peer: Peer) -> list[str]:
    """The Received lines of every copy of a message to the recipients so far."""
    delivery = taken(await peer.delivered(peer.marked_body(b"text\r\n")))
    return [line for message in delivery.messages for line in message.received]


def for_clauses(lines: list[str]) -> list[str]:
    """What stands behind FOR in those of `lines` that have it, comments aside."""
    return [match[1] for line in lines if (match := FOR.search(re.sub(COMMENT, "", line)))]


@case(
    "5321-D-40",
    needs=(*NEEDS, SECOND_RECIPIENT),
    after=AFTER,
    broken_by="received-for-two-paths",
)
async def header_does_not_list_the_recipients(peer: Peer) -> Observation:
    """No copy has both recipients in the fields that the server has added."""
    await peer.until_rcpt(peer.recipient, peer.second_recipient)
    content = peer.marked_body(b"text\r\n")
    delivery = taken(await peer.delivered(content))
    names = (peer.recipient.lower().encode(), peer.second_recipient.lower().encode())
    alone: Expectation[Message] = that(
        "at most one recipient", lambda message: not all(name in added(message, content) for name in names)
    )
    return expect(delivery, each_message("at most one recipient named by the server in each copy", alone))


def added(message: Message, content: bytes) -> bytes:
    """The header lines of `message` that are not in `content`, in lower case, To and Sender aside.

    A submission server may add Sender (RFC 6409 §8.1), and who submits may write to themselves.
    """
    header = re.split(rb"\r?\n\r?\n", message.raw, maxsplit=1)[0]
    new = (line.lower() for line in header.splitlines() if line not in content.splitlines())
    return b"\n".join(line for line in new if not line.startswith((b"to:", b"sender:")))


@case(
    "5321-D-41",
    needs=NEEDS,
    after=AFTER,
    broken_by=("received-reordered", "received-removed"),
)
async def earlier_received_lines_are_kept(peer: Peer) -> Observation:
    """Received lines that the message has already stay as they are and in their order."""
    delivery = taken(await peer.delivered(peer.marked_body(b"text\r\n", *EARLIER)))
    kept: Expectation[Message] = that(
        "the lines", lambda message: [x for x in message.raw.splitlines() if b"id earlier" in x] == EARLIER
    )
    return expect(delivery, each_message("the three Received lines as they were sent", kept))


# Return-Path


async def return_paths(peer: Peer, *fields: bytes) -> str:
    """All Return-Path fields of a message that went to its final mailbox, from the top down."""
    observe = peer.target.observe
    if observe is not None and observe.url.startswith("sink:"):
        raise Untested("the target relays to us: this is no final delivery")
    delivery = taken(await peer.delivered(peer.marked_body(b"text\r\n", *fields)))
    header = re.split(rb"\r?\n\r?\n", delivery.messages[0].raw, maxsplit=1)[0]
    found = re.findall(rb"(?mi)^Return-Path:[ \t]*(.*?)\r?$", header)
    return ", ".join(value.decode("latin-1") for value in found) or "no Return-Path"


@case(
    "5321-D-42",
    needs=NEEDS,
    after=AFTER,
    broken_by=("no-return-path", "two-return-paths", "return-path-wrong"),
)
async def return_path_has_the_sender(peer: Peer) -> Observation:
    """The delivered message has one Return-Path field, with the reverse-path of MAIL."""
    expected = f"<{peer.sender}>"
    return expect(await return_paths(peer), that(expected, lambda seen: seen == expected))


@case("5321-D-42", needs=NEEDS, after=AFTER, broken_by=("no-return-path", "two-return-paths"))
async def return_path_of_the_null_sender(peer: Peer) -> Observation:
    """The Return-Path of a message from the null sender is <>."""
    await peer.until_mail("")
    return expect(await return_paths(peer), that("<>", lambda seen: seen == "<>"))


@case("5321-D-43", needs=NEEDS, after=AFTER)
async def earlier_return_path(peer: Peer) -> Observation:
    """What becomes of a Return-Path that the message has already: removed or kept."""
    seen = await return_paths(peer, b"Return-Path: <earlier@example.net>")
    return expect(seen, that("any treatment of it", bool))


# Loops and repairs


@case("5321-D-44", needs=[RECIPIENT], after=AFTER, broken_by="loop-limit-30")
async def ninety_nine_received_lines_are_no_loop(peer: Peer) -> Observation:
    """A message with 99 Received lines is not taken for a loop."""
    plain = await peer.content_of(peer.marked_body(b"text\r\n"))
    if plain.severity != 2:
        raise Untested("a message without Received lines was refused too", str(plain))
    return expect(await peer.content_of(hops(peer, 99)), severity(2))


@case("5321-D-45", needs=NEEDS, after=AFTER, accuses=False)
async def five_hundred_received_lines(peer: Peer) -> Observation:
    """A message with 500 Received lines is refused or not delivered, if hops are what the server counts."""
    delivery = await peer.delivered(hops(peer, 500))
    stopped: Expectation[Delivery] = that("not delivered", lambda delivery: not delivery.arrived)
    other_means: Expectation[Delivery] = that("delivered: hops are not counted here", lambda delivery: True)
    return expect(delivery, stopped, choice=other_means)


@case("5321-D-28", needs=NEEDS, after=AFTER, broken_by="delivers-after-refusal")
async def refused_message_is_not_delivered(peer: Peer) -> Observation:
    """A message that was refused after its end of data is not delivered later."""
    delivery = await peer.delivered(hops(peer, 500))
    if delivery.severity not in (4, 5):
        raise Untested("a message with 500 Received lines was not refused", str(delivery))
    return expect(delivery, that("nothing delivered", lambda delivery: not delivery.arrived))


def hops(peer: Peer, number: int) -> bytes:
    """A message with `number` Received lines."""
    line = b"Received: from hop.example.org by hop.example.org with SMTP; Thu, 01 Jan 2026 00:00:00 +0000"
    return peer.marked_body(b"text\r\n", *[line] * number)


@case("5321-D-46", needs=NEEDS, after=AFTER, accuses=False)
async def relayed_message_is_not_completed(peer: Peer) -> Observation:
    """A relay adds no Message-ID and no Date to a message without them."""
    sender = peer.sender.encode()
    content = b"X-Smtpbench: %s\r\nFrom: <%s>\r\nSubject: smtpbench\r\n\r\ntext\r\n" % (peer.marker, sender)
    delivery = taken(await peer.delivered(content))
    bare: Expectation[Message] = that(
        "neither", lambda message: not re.search(rb"(?m)^(message-id|date):", added(message, content))
    )
    observe = peer.target.observe
    relayed = observe is not None and observe.url.startswith("sink:")
    completed: Expectation[Delivery] = that("completed by the server of the mailbox", lambda _: not relayed)
    return expect(delivery, each_message("neither Message-ID nor Date added", bare), choice=completed)
