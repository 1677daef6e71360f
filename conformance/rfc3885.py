"""RFC 3885, MTRK: a message that can be tracked.

Its row is not yet held against the text: nothing here says more than non-strict.
"""

from __future__ import annotations

from smtpbench.conformance import (
    EXTENSION,
    Observation,
    Peer,
    all_of,
    any_reply,
    case,
    codes,
    expect,
    mail_with,
    near,
    not_understood,
    severity,
    untested,
)

MTRK = EXTENSION("MTRK")
CERTIFIER = "c210cGJlbmNoIGNlcnRpZmllciAhIQ"  # base64


@case("MISC-9", needs=[MTRK], broken_by="mtrk-not-recognised")
async def mtrk_is_taken_in_its_form(peer: Peer) -> Observation:
    """MTRK with a certifier, alone and with a number of seconds after a colon, is understood."""
    await peer.until_ready()
    envid = " ENVID=smtpbench" if "DSN" in peer.extensions else ""
    answers = [await mail_with(peer, f"MTRK={value}{envid}") for value in (CERTIFIER, f"{CERTIFIER}:172800")]
    expected = codes(250) | near(not_understood) | untested(severity(4, 5))
    return all_of(*(expect(answer, expected) for answer in answers))


@case("MISC-9", needs=[MTRK], broken_by="mtrk-takes-anything")
async def mtrk_of_another_form_is_refused(peer: Peer) -> Observation:
    """MTRK without a value, or with a time that is no number, is refused."""
    answers = [await mail_with(peer, word) for word in ("MTRK", f"MTRK={CERTIFIER}:soon")]
    return all_of(*(expect(answer, severity(4, 5), near=any_reply) for answer in answers))
