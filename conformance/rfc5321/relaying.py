"""RFC 5321 §7.9: mail for others, however their address is written."""

from __future__ import annotations

from smtpbench.conformance import (
    ENDPOINT,
    FOREIGN_RECIPIENT,
    RECIPIENT,
    Observation,
    Peer,
    Role,
    all_of,
    case,
    expect,
    instead_of_rcpt,
    put_off,
    severity,
)


def spellings(foreign: str, local_domain: str) -> list[str]:
    """Paths that once led, or lead, from a host that relays to `foreign`."""
    name, _, domain = foreign.rpartition("@")
    return [
        f"{name}%{domain}@{local_domain}",
        f"{domain}!{name}@{local_domain}",
        f'"{foreign}"@{local_domain}',
        f'"{name}%{domain}"@{local_domain}',
        f"@{local_domain}:{foreign}",
        f"{name}@[192.0.2.1]",
    ]


@case(
    "MISC-39",
    needs=[ENDPOINT(Role.MX), RECIPIENT, FOREIGN_RECIPIENT],
    broken_by=("open-relay", "percent-sign-is-relayed"),
)
async def foreign_addresses_in_odd_spellings(peer: Peer) -> Observation:
    """A foreign address is refused too if it is written with %, !, quotes, a source route or a literal.

    One that is accepted shows no relay yet: the server can have a mailbox of that name, or know the client.
    """
    local = peer.recipient.rpartition("@")[2]
    lines = [f"RCPT TO:<{path}>".encode() for path in spellings(peer.foreign_recipient, local)]
    answers = [await instead_of_rcpt(peer, line) for line in lines]
    return all_of(*(expect(answer, severity(5), untested=put_off) for answer in answers))
