"""RFC 4865, FUTURERELEASE: a message that the submission server holds until its time.

Its rows are not yet held against the text: nothing here says more than non-strict.
"""

from __future__ import annotations

import re
import time
from datetime import datetime, timedelta

from smtpbench.conformance import (
    AUTH,
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
    expect,
    mail_with,
    nothing_delivered,
    severity,
    that,
)

NEEDS = (ENDPOINT(Role.SUBMISSION), EXTENSION("FUTURERELEASE"), AUTH)
HELD = 60  # seconds: long enough to see that a message does not come
KEYWORD = re.compile(r"([0-9]{1,9}) (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d))", re.ASCII)


async def limits(peer: Peer) -> tuple[int, datetime]:
    """The longest interval in seconds and the latest moment that the server announces."""
    match = KEYWORD.fullmatch(" ".join((await peer.until_ready())["FUTURERELEASE"]))
    if match is None:
        raise Untested("the limits are not announced in a form that is known")
    return int(match[1]), datetime.fromisoformat(match[2])


@case("MISC-12", needs=NEEDS, broken_by="futurerelease-without-limits")
async def keyword_has_both_limits(peer: Peer) -> Observation:
    """The FUTURERELEASE keyword has a number of seconds and a date and time after it."""
    seen = " ".join((await peer.until_ready())["FUTURERELEASE"])
    both: Expectation[str] = that("seconds, then a date and time", lambda text: bool(KEYWORD.fullmatch(text)))
    other: Expectation[str] = that("something else", lambda text: True)
    return expect(seen, both, near=other)


@case("MISC-13", needs=NEEDS, broken_by="hold-without-limits")
async def times_out_of_bounds_are_refused(peer: Peer) -> Observation:
    """HOLDFOR and HOLDUNTIL beyond the announced limits, and HOLDUNTIL in the past, are refused."""
    interval, latest = await limits(peer)
    later = (latest + timedelta(days=1)).isoformat().replace("+00:00", "Z")
    words = ["HOLDUNTIL=2020-01-01T00:00:00Z", f"HOLDUNTIL={later}"]
    if interval < 999_999_999:
        words.append(f"HOLDFOR={interval + 1}")
    return all_of(*[expect(await mail_with(peer, word), severity(4, 5)) for word in words])


@case("MISC-13", needs=NEEDS, broken_by="hold-takes-both")
async def one_time_only(peer: Peer) -> Observation:
    """A MAIL with HOLDFOR and HOLDUNTIL is refused."""
    interval, latest = await limits(peer)
    until = latest.isoformat().replace("+00:00", "Z")
    return expect(await mail_with(peer, f"HOLDFOR={interval} HOLDUNTIL={until}"), severity(4, 5))


@case("MISC-14", needs=[*NEEDS, RECIPIENT, DELIVERED], broken_by="hold-ignored")
async def a_held_message_is_not_delivered_early(peer: Peer) -> Observation:
    """A message with HOLDFOR is not in the mailbox when one that was sent after it is."""
    interval, _ = await limits(peer)
    held = min(HELD, interval)
    began = time.monotonic()
    await peer.until_mail(HOLDFOR=str(held))
    answer = await peer.content_of(peer.marked_body(b"text\r\n"))
    if answer.severity != 2:
        raise Untested("the message was not accepted", str(answer))
    found = await peer.nothing_arrived()
    if time.monotonic() - began >= held:
        raise Untested(f"its time of {held} s had come before the mailbox could be read")
    early: Expectation[Delivery] = that("delivered before its time", lambda seen: True)
    return expect(found, nothing_delivered, near=early)
