"""RFC 6710, MT-PRIORITY: some messages before others."""

from __future__ import annotations

import re

from smtpbench.conformance import (
    DELIVERED,
    ENDPOINT,
    EXTENSION,
    RECIPIENT,
    Delivery,
    Expectation,
    Observation,
    Peer,
    Role,
    Untested,
    all_of,
    case,
    codes,
    expect,
    mail_with,
    near,
    not_codes,
    severity,
    taken,
    that,
    untested,
)

MT_PRIORITY = EXTENSION("MT-PRIORITY")
PRIORITY = re.compile(r"\bPRIORITY\s+(-?\d)\b", re.IGNORECASE)
refused = severity(4, 5)


@case("MISC-16", needs=[MT_PRIORITY], broken_by="two-priorities-accepted")
async def two_priorities_are_an_error(peer: Peer) -> Observation:
    """MAIL with two MT-PRIORITY parameters is refused, the same value twice as well as two."""
    answers = [await mail_with(peer, f"MT-PRIORITY=-1 MT-PRIORITY={second}") for second in (-1, -2)]
    return all_of(*(expect(answer, refused) for answer in answers))


@case("MISC-17", needs=[MT_PRIORITY], broken_by="priority-of-any-value")
async def other_values_are_an_error(peer: Peer) -> Observation:
    """An MT-PRIORITY that is out of range, no whole number, no number or missing is refused."""
    words = ("MT-PRIORITY=10", "MT-PRIORITY=-10", "MT-PRIORITY=1.5", "MT-PRIORITY=high", "MT-PRIORITY")
    return all_of(*[expect(await mail_with(peer, word), refused) for word in words])


@case("MISC-17", needs=[MT_PRIORITY], broken_by="no-negative-priority")
async def values_from_the_range_are_understood(peer: Peer) -> Observation:
    """MT-PRIORITY from -9 to 0 is no syntax error; a server may turn a low priority away all the same."""
    answers = [await mail_with(peer, f"MT-PRIORITY={value}") for value in (-9, -1, 0)]
    expected = codes(250) | untested(not_codes(500, 501, 502, 504, 555))
    return all_of(*(expect(answer, expected) for answer in answers))


@case(
    "MISC-18",
    needs=[ENDPOINT(Role.MX), MT_PRIORITY, RECIPIENT, DELIVERED],
    broken_by="priority-for-everybody",
)
async def strangers_cannot_raise_a_priority(peer: Peer) -> Observation:
    """A positive priority from a client that has not authenticated is refused or lowered.

    What was granted stands in the Received line. The server may trust the client for its address, which
    cannot be seen from here: a priority that is kept is tolerated.
    """
    answer = await mail_with(peer, "MT-PRIORITY=9")
    if answer.severity != 2:
        return expect(answer, refused)
    await peer.until_mail(**{"MT-PRIORITY": "9"})
    delivery = taken(await peer.delivered(peer.marked_body(b"text\r\n")))
    granted = PRIORITY.search(" ".join(delivery.messages[0].received))
    if granted is None:
        raise Untested("the Received line has no PRIORITY clause: what was granted cannot be seen")
    lowered: Expectation[Delivery] = that("a priority of at most 0", lambda _: int(granted[1]) <= 0)
    kept: Expectation[Delivery] = that("a positive priority", lambda _: True)
    return expect(delivery, lowered | near(kept))
