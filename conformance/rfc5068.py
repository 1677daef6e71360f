"""RFC 5068: mail from other sites needs no authentication."""

from __future__ import annotations

from smtpbench.conformance import (
    ENDPOINT,
    RECIPIENT,
    Observation,
    Peer,
    Role,
    case,
    codes,
    expect,
    not_codes,
    severity,
)


@case("MISC-15", needs=[ENDPOINT(Role.MX), RECIPIENT], broken_by="mx-needs-authentication")
async def mail_from_other_sites_needs_no_authentication(peer: Peer) -> Observation:
    """Where mail of other sites comes in, a local recipient is accepted without authentication."""
    await peer.until_ready()
    mail = await peer.command(b"MAIL FROM:<%s>" % peer.sender.encode())
    answer = mail if mail.severity != 2 else await peer.command(b"RCPT TO:<%s>" % peer.recipient.encode())
    # Only 530 says that authentication is what is missing; who is refused otherwise may be so for any reason.
    return expect(answer, severity(2), near=codes(530), untested=severity(4) | severity(5) & not_codes(530))
