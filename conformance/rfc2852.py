"""RFC 2852, DELIVERBY: a time by which a message is to be delivered, and what to do afterwards.

Its rows are not yet held against the text: nothing here says more than non-strict.
"""

from __future__ import annotations

from smtpbench.conformance import (
    EXTENSION,
    Expectation,
    Observation,
    Peer,
    Untested,
    all_of,
    any_reply,
    case,
    codes,
    expect,
    mail_with,
    near,
    not_understood,
    severity,
    that,
    untested,
)

DELIVERBY = EXTENSION("DELIVERBY")
USUAL = 86_400  # seconds, a day: no server has reason to call it too short
refused = severity(4, 5)


def shortest(peer: Peer) -> int:
    """The shortest time that the server announces, 0 if it announces none."""
    value = next(iter(peer.extensions["DELIVERBY"]), "").partition(",")[0]
    return int(value) if value.isascii() and value.isdecimal() else 0


@case("MISC-5", needs=[DELIVERBY], broken_by="deliverby-in-words")
async def keyword_has_a_number_of_seconds_or_nothing(peer: Peer) -> Observation:
    """The DELIVERBY keyword stands alone or has a number of seconds after it."""
    words = (await peer.until_ready())["DELIVERBY"]
    time = "".join(words).partition(",")[0]  # what follows a comma is for extensions to come
    good = len(words) <= 1 and time.isascii() and (not time or (time.isdecimal() and len(time) <= 9))
    number: Expectation[str] = that("nothing, or a number of seconds of at most nine digits", lambda _: good)
    other: Expectation[str] = that("something else", lambda _: True)
    return expect(" ".join(("DELIVERBY", *words)), number, near=other)


@case("MISC-6", needs=[DELIVERBY], broken_by="by-not-recognised")
async def by_is_taken_in_its_forms(peer: Peer) -> Observation:
    """BY with the mode N or R, with and without T, is understood."""
    values = [f"{USUAL};{mode}" for mode in ("N", "R", "NT", "RT")]
    answers = [await mail_with(peer, f"BY={value}") for value in values]
    return all_of(
        *(expect(answer, codes(250) | near(not_understood) | untested(refused)) for answer in answers)
    )


@case("MISC-6", needs=[DELIVERBY], broken_by="by-takes-anything")
async def by_of_another_form_is_a_syntax_error(peer: Peer) -> Observation:
    """BY without a mode, with another mode, without a time or with one of too many digits is refused."""
    values = (f"{USUAL}", f"{USUAL};", f"{USUAL};X", ";N", "1234567890;N", f"{USUAL};NX")
    answers = [await mail_with(peer, f"BY={value}") for value in values]
    return all_of(*(expect(answer, codes(501), near=any_reply) for answer in answers))


@case("MISC-7", needs=[DELIVERBY], broken_by="by-returns-at-once")
async def return_needs_a_time_above_zero(peer: Peer) -> Observation:
    """BY with the mode R and a time of zero or less is refused."""
    answers = [await mail_with(peer, f"BY={time};R") for time in (0, -1)]
    return all_of(*(expect(answer, refused, near=any_reply) for answer in answers))


@case("MISC-7", needs=[DELIVERBY], broken_by="by-returns-at-once")
async def return_needs_the_announced_time(peer: Peer) -> Observation:
    """BY with the mode R and a time shorter than the announced one is refused."""
    await peer.until_ready()
    time = shortest(peer)
    if time < 2:
        raise Untested("no shortest time is announced")
    return expect(await mail_with(peer, f"BY={time - 1};R"), refused, near=any_reply)
