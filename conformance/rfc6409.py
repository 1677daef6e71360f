"""RFC 6409, message submission: who may submit, and what has no place on its port."""

from __future__ import annotations

from smtpbench.conformance import (
    AUTH,
    ENDPOINT,
    FOREIGN_RECIPIENT,
    Expectation,
    Observation,
    Peer,
    Role,
    Untested,
    case,
    codes,
    expect,
    near,
    severity,
    that,
    untested,
)


@case(
    "6409-1",
    needs=[ENDPOINT(Role.SUBMISSION), AUTH, FOREIGN_RECIPIENT],
    broken_by="submission-needs-no-auth",
)
async def mail_needs_authentication(peer: Peer) -> Observation:
    """MAIL from a client that has not authenticated is refused, not only what follows it."""
    await peer.until_ready()
    answer = await peer.command(b"MAIL FROM:<%s>" % peer.sender.encode())
    expected = codes(530) | near(severity(2, 5)) | untested(severity(4))
    if answer.severity != 2:
        return expect(answer, expected)
    # "Unless … independently authorized": who may relay without AUTH is known by other means.
    rcpt = b"RCPT TO:<%s>" % peer.foreign_recipient.encode()
    if (await peer.command(rcpt)).severity != 5:
        raise Untested("the client is recognised without AUTH", str(answer))
    return expect(answer, expected)


@case("6409-12", "6409-13", needs=[ENDPOINT(Role.SUBMISSION)], broken_by="submission-offers-etrn")
async def etrn_and_atrn_are_not_offered(peer: Peer) -> Observation:
    """EHLO on a submission port lists neither ETRN nor ATRN."""
    listed = " ".join(await peer.until_ready())
    neither: Expectation[str] = that(
        "neither ETRN nor ATRN", lambda seen: not {"ETRN", "ATRN"}.intersection(seen.split())
    )
    # Read in the table of RFC 4409, which 6409 replaces: not enough to accuse a server of breaking 6409.
    return expect(listed, neither, near=that("one of them", lambda seen: True))
