"""RFC 2195, CRAM-MD5: the challenge."""

from __future__ import annotations

import re

from smtpbench.conformance import (
    ENDPOINT,
    MECHANISM,
    Expectation,
    Observation,
    Peer,
    Role,
    case,
    challenge_of,
    expect,
    that,
    until_challenged,
)

CRAM_MD5 = [ENDPOINT(Role.SUBMISSION), MECHANISM("CRAM-MD5")]
MESSAGE_ID = re.compile(r"<[^<>@\s]+@[^<>@\s]+>")  # RFC 822 §6.1 with what stands in such challenges


async def challenges(peer: Peer) -> tuple[str, str]:
    """The challenges of two sessions."""
    first = challenge_of(await until_challenged(peer, "CRAM-MD5"))
    second = challenge_of(await until_challenged(peer.new_session(), "CRAM-MD5"))
    return first.decode("latin-1"), second.decode("latin-1")


@case("4954-32", needs=CRAM_MD5, broken_by="cram-md5-challenge-repeated")
async def the_challenge_is_new_each_time(peer: Peer) -> Observation:
    """Two exchanges have different challenges."""
    new: Expectation[tuple[str, str]] = that("two challenges", lambda seen: seen[0] != seen[1])
    return expect(await challenges(peer), new)


@case("4954-32", needs=CRAM_MD5, broken_by="cram-md5-challenge-plain-number")
async def the_challenge_is_a_message_identifier(peer: Peer) -> Observation:
    """The challenge has the form of a message identifier."""
    form: Expectation[str] = that(
        "<digits.timestamp@host>", lambda seen: bool(MESSAGE_ID.fullmatch(seen.strip()))
    )
    return expect((await challenges(peer))[0], form)
