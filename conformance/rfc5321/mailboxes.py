"""RFC 5321 §2.4, §4.1.1.3, §4.1.2: which mailbox a path means, and how its name is kept."""

from __future__ import annotations

import re

from smtpbench.conformance import (
    DELIVERED,
    RECIPIENT,
    Expectation,
    Message,
    Observation,
    Peer,
    Untested,
    all_of,
    case,
    codes,
    each_message,
    expect,
    instead_of_rcpt,
    put_off,
    taken,
    that,
)


def other_case(address: str) -> str:
    """`address` with the letters of its local-part in the other case."""
    local, at, domain = address.rpartition("@")
    return local.swapcase() + at + domain


def own_trace(message: Message) -> str:
    """What the last server wrote of the envelope: its Received field, and the Return-Path."""
    return "\n".join((*message.received[:1], *message.traces("return-path")))


@case("5321-A-8", needs=[RECIPIENT, DELIVERED], broken_by="local-part-case-lowered")
async def case_of_the_local_part_is_kept(peer: Peer) -> Observation:
    """Local-parts are in the trace fields in the case in which they came."""
    sender, recipient = other_case(peer.sender), other_case(peer.recipient)
    await peer.until_mail(sender)
    await peer.until_rcpt(recipient)
    delivery = taken(await peer.delivered(peer.marked_body(b"case\r\n")))
    trace = "\n".join(own_trace(message) for message in delivery.messages)
    found = re.findall(f"{re.escape(sender)}|{re.escape(recipient)}", trace, re.IGNORECASE)
    if not found:
        raise Untested("the trace fields name neither the sender nor the recipient", trace)
    kept: Expectation[str] = that(
        "the addresses as they were given", lambda _: {*found} <= {sender, recipient}
    )
    return expect(", ".join(found), kept)


@case("5321-C-19", needs=[RECIPIENT, DELIVERED], broken_by="source-route-kept")
async def source_route_is_stripped(peer: Peer) -> Observation:
    """A message with a source route goes to the mailbox behind it, and the route is gone."""
    await peer.until_rcpt(f"@relay.example,@hop.example:{peer.recipient}")
    delivery = taken(await peer.delivered(peer.marked_body(b"route\r\n")))
    gone: Expectation[Message] = that("no route", lambda message: "@relay.example" not in own_trace(message))
    return expect(delivery, each_message("a message whose trace has no route", gone))


@case("5321-C-23", needs=[RECIPIENT], broken_by=("quoted-forms-differ", "quoted-local-part-refused"))
async def quoted_forms_are_one_mailbox(peer: Peer) -> Observation:
    """The recipient is accepted by the quoted forms of its name too."""
    local, _, domain = peer.recipient.rpartition("@")
    forms = (f'"{local}"', f'"{local[:-1]}\\{local[-1]}"')
    seen = [await instead_of_rcpt(peer, f"RCPT TO:<{form}@{domain}>".encode()) for form in forms]
    # To read no quoted strings at all (501, 553) is against the grammar, which another case asks.
    unread = codes(501, 553)
    return all_of(*(expect(answer, codes(250, 251), near=unread, untested=put_off) for answer in seen))
