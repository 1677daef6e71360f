"""RFC 7505: a domain whose only MX is "." takes no mail.

Its row is not yet held against the text: nothing here says more than non-strict.
"""

from __future__ import annotations

from smtpbench.conformance import (
    AUTH,
    ENDPOINT,
    NULL_MX_DOMAIN,
    Answer,
    Expectation,
    Observation,
    Peer,
    Role,
    case,
    codes,
    expect,
    instead_of_mail,
    put_off,
    severity,
    that,
)

null_mx_sender: Expectation[Answer] = that(
    "550 with 5.7.27", lambda answer: answer.code == 550 and answer.enhanced in (None, (5, 7, 27))
)


@case("MISC-24", needs=[ENDPOINT(Role.MX), NULL_MX_DOMAIN], broken_by="null-mx-refused-with-553")
async def a_sender_who_takes_no_mail(peer: Peer) -> Observation:
    """MAIL from a domain with a null MX is accepted, or refused with 550 and 5.7.27."""
    answer = await instead_of_mail(peer, f"MAIL FROM:<sender@{peer.null_mx_domain}>".encode())
    return expect(answer, null_mx_sender, choice=codes(250), near=severity(5), untested=put_off)


@case(
    "MISC-24", needs=[ENDPOINT(Role.SUBMISSION), AUTH, NULL_MX_DOMAIN], broken_by="null-mx-refused-with-553"
)
async def a_recipient_who_takes_no_mail(peer: Peer) -> Observation:
    """RCPT for a domain with a null MX is refused with 556, or accepted by a server that looks later."""
    await peer.until_mail()
    answer = await peer.command(f"RCPT TO:<nobody@{peer.null_mx_domain}>".encode())
    return expect(answer, codes(556), choice=codes(250, 251), near=severity(5), untested=put_off)
