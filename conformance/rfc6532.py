"""RFC 6532, internationalized header fields: UTF-8 in the header of a message."""

from __future__ import annotations

from smtpbench.conformance import (
    DELIVERED,
    EXTENSION,
    RECIPIENT,
    Delivery,
    Expectation,
    Message,
    Observation,
    Peer,
    case,
    choice,
    each_message,
    expect,
    taken,
    that,
)

FIELDS = (
    "Comments: δοκιμή, Prüfung, 試験, 🧪".encode(),  # two, three and four octets a character
    "Cc: Ünïcode <δοκιμή@bücher.example>".encode(),
)


@case(
    "6531-19",
    needs=[EXTENSION("SMTPUTF8"), RECIPIENT, DELIVERED],
    after="rfc5321.data.end-of-data-gets-one-reply",
    broken_by=("utf8-header-lost", "strips-eighth-bit"),
)
async def utf8_header_fields_arrive_unchanged(peer: Peer) -> Observation:
    """Header fields in UTF-8, sent with SMTPUTF8, are delivered as they were sent."""
    await peer.until_mail(SMTPUTF8=None, BODY="8BITMIME")
    delivery = taken(await peer.delivered(peer.marked_body(b"text\r\n", *FIELDS)))
    same: Expectation[Message] = that(
        "in UTF-8", lambda message: all(message.holds(field) for field in FIELDS)
    )
    # A final delivery may turn them into what an old mailbox can hold; RFC 6531 does not reach that far.
    encoded: Expectation[Message] = that("encoded", lambda message: b"=?utf-8?" in message.content.lower())
    recoded: Expectation[Delivery] = each_message("as encoded words", encoded)
    return expect(delivery, each_message("in UTF-8 as they were sent", same) | choice(recoded))
