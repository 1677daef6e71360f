"""RFC 9422, LIMITS: what a server says it will take in a session, and whether it does.

Its rows are not yet held against the text: nothing here says more than non-strict.
"""

from __future__ import annotations

import re

from smtpbench.conformance import (
    EXTENSION,
    RECIPIENT,
    Answer,
    Ending,
    Expectation,
    Observation,
    Peer,
    Untested,
    all_of,
    case,
    choice,
    closed_with_421,
    codes,
    expect,
    severity,
    that,
)

LIMITS = EXTENSION("LIMITS")
WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(?:=[!-:<-~]+)?")
NUMBERED = ("MAILMAX", "RCPTMAX", "RCPTDOMAINMAX")
NUMBER = re.compile(r"[1-9][0-9]{0,5}")
MINIMUM = 100  # recipients: RFC 5321 §4.5.3.1.8
MOST = 1_200  # transactions or recipients that a case is ready to try
GROUP = 50  # commands in one segment, where they may be

otherwise: Expectation[str] = that("something else", lambda text: True)
one_too_many = severity(4, 5) | closed_with_421 | choice(severity(2))


async def announced(peer: Peer, name: str) -> int:
    """The number that the server gives for `name`."""
    words = (await peer.until_ready())["LIMITS"]
    values = dict(word.upper().partition("=")[::2] for word in words)
    if not NUMBER.fullmatch(values.get(name, "")):
        raise Untested(f"{name} is not announced with a number")
    if int(values[name]) > MOST:
        raise Untested(f"{name} is {values[name]}: more than this case tries")
    return int(values[name])


async def repeat(peer: Peer, lines: tuple[bytes, ...], times: int) -> Answer:
    """Send `lines` that often; the first answer that is no 2yz, or the last."""
    in_groups = GROUP if "PIPELINING" in peer.extensions else 1
    last = Answer(b"", ())
    for start in range(0, times, in_groups):
        group = lines * min(in_groups, times - start)
        answer = await peer.pipeline(*group)
        for line, reply in zip(group, answer.replies, strict=False):
            last = Answer(line, (reply,))
            if reply.severity != 2:
                return last
        if answer.ending is not Ending.OPEN:
            return Answer(group[0], (), answer.ending, answer.waited)
    return last


@case("MISC-30", needs=[LIMITS], broken_by="limits-with-semicolons")
async def keyword_has_names_and_values(peer: Peer) -> Observation:
    """LIMITS is followed by names, each with an optional value; the numbers are numbers above zero."""
    words = (await peer.until_ready())["LIMITS"]
    values = [word.upper().partition("=")[::2] for word in words]
    numbers = all(NUMBER.fullmatch(value) for name, value in values if name in NUMBERED)
    good = numbers and all(WORD.fullmatch(word) for word in words)
    named: Expectation[str] = that("names of limits, each with an optional value", lambda text: good)
    return expect(" ".join(("LIMITS", *words)), named, near=otherwise)


@case("MISC-31", needs=[LIMITS], accuses=False)
async def limits_are_registered(peer: Peer) -> Observation:
    """Every limit is one of MAILMAX, RCPTMAX and RCPTDOMAINMAX, or has been registered since."""
    words = (await peer.until_ready())["LIMITS"]
    names = {word.upper().partition("=")[0] for word in words}
    known: Expectation[str] = that("known limits only", lambda text: names <= set(NUMBERED))
    return expect(" ".join(("LIMITS", *words)), known, choice=otherwise)


@case("MISC-32", needs=[LIMITS], broken_by=("mailmax-not-reached", "mailmax-closes"))
async def as_many_transactions_as_announced(peer: Peer) -> Observation:
    """As many MAIL as MAILMAX says are accepted in a session; one more is refused with a reply."""
    most = await announced(peer, "MAILMAX")
    await peer.until_allowed()
    mail = b"MAIL FROM:<%s>" % peer.sender.encode()
    reached = await repeat(peer, (mail, b"RSET"), most)
    if reached.severity != 2:
        return expect(reached, severity(2))
    return all_of(expect(reached, severity(2)), expect(await peer.command(mail), one_too_many))


@case("MISC-33", needs=[LIMITS, RECIPIENT], broken_by="rcptmax-not-reached")
async def as_many_recipients_as_announced(peer: Peer) -> Observation:
    """As many RCPT as RCPTMAX says are accepted in a transaction; one more is refused with a reply.

    They all name one mailbox, because no other is known.
    """
    most = await announced(peer, "RCPTMAX")
    await peer.until_mail()
    rcpt = b"RCPT TO:<%s>" % peer.recipient.encode()
    reached = await repeat(peer, (rcpt,), most)
    if reached.severity != 2:
        return expect(reached, codes(250, 251))
    return all_of(expect(reached, codes(250, 251)), expect(await peer.command(rcpt), one_too_many))


@case("MISC-34", needs=[LIMITS], accuses=False)
async def fewer_recipients_than_the_minimum(peer: Peer) -> Observation:
    """A RCPTMAX below 100 departs from RFC 5321, and says so."""
    most = await announced(peer, "RCPTMAX")
    enough: Expectation[str] = that(f"at least {MINIMUM}", lambda text: most >= MINIMUM)
    return expect(f"RCPTMAX={most}", enough, choice=otherwise)
