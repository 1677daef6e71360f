"""RFC 6729, the STATE clause of a Received line: why a message waits.

Its row is not yet held against the text: nothing here says more than non-strict.
"""

from __future__ import annotations

import re

from smtpbench.conformance import (
    DELIVERED,
    RECIPIENT,
    Expectation,
    Observation,
    Peer,
    Untested,
    case,
    expect,
    taken,
    that,
)

CLAUSE = re.compile(r"\sstate\s+([^\s;]*)", re.IGNORECASE)
WORD = re.compile(r"([A-Za-z][A-Za-z0-9-]*)(?:/[!-~]+)?")
KNOWN = frozenset(
    {"auth", "content", "convert", "moderation", "normal", "other", "outqueue", "quarantine", "timed"}
)


@case("MISC-19", needs=[RECIPIENT, DELIVERED], broken_by="state-without-a-word")
async def state_is_a_registered_word(peer: Peer) -> Observation:
    """The STATE clause of a Received line has a word of the registry; one that is not known may be newer."""
    delivery = taken(await peer.delivered(peer.marked_body(b"text\r\n")))
    found = [match[1] for line in delivery.messages[0].received for match in CLAUSE.finditer(line)]
    if not found:
        raise Untested("no Received line has a STATE clause")
    words = [match[1].lower() if (match := WORD.fullmatch(word)) else "" for word in found]
    known: Expectation[str] = that("a word that is known", lambda _: KNOWN.issuperset(words))
    another: Expectation[str] = that("another word", lambda _: all(words))
    return expect("STATE " + ", ".join(found), known, choice=another)
