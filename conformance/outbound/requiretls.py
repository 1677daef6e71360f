"""REQUIRETLS on its way through a relay (RFC 8689 §4.2.1, §5)."""

from __future__ import annotations

from smtpbench.conformance import (
    DELIVERED,
    RECIPIENT,
    REFUSE,
    RELAY,
    TLS_EXTENSION,
    HopScript,
    Observation,
    Peer,
    Untested,
    all_of,
    case,
    expect,
    next_hop,
    that,
)

NEEDS = [RELAY, RECIPIENT, DELIVERED, TLS_EXTENSION("REQUIRETLS")]
IN_CLEAR = HopScript()
WITHOUT = HopScript(extensions=HopScript().extensions | {"STARTTLS"})
WITH = HopScript(extensions=WITHOUT.extensions, keywords=("REQUIRETLS",))
SECRET = b"only for the recipient"


async def protected(peer: Peer, script: HopScript) -> Observation:
    """A message with REQUIRETLS at a hop that follows `script`: as it asks, or not at all."""
    async with next_hop(peer, script) as hop:
        to = hop.recipient()
        await hop.send(
            peer.marked_body(b"x\r\n"), to, sender=peer.recipient, mail={"REQUIRETLS": None}, tls=True
        )
        return expect(
            await hop.settled(to),
            that(
                "nothing but inside TLS, to a hop that offers REQUIRETLS, with the parameter",
                lambda seen: all(
                    one.tls and "REQUIRETLS" in one.offered and b" REQUIRETLS" in one.mail.upper()
                    for one in seen.complete
                ),
            ),
        )


@case("MISC-28", needs=NEEDS, broken_by=("relay-ignores-requiretls", "relay-omits-requiretls"))
async def a_message_goes_on_protected_or_not_at_all(peer: Peer) -> Observation:
    """REQUIRETLS keeps a message from a hop in clear, and from one that does not offer it."""
    return all_of(*[await protected(peer, script) for script in (IN_CLEAR, WITHOUT, WITH)])


@case("MISC-29", needs=NEEDS, broken_by="relay-returns-requiretls-in-full")
async def a_message_comes_back_without_its_body(peer: Peer) -> Observation:
    """A message with REQUIRETLS and RET=FULL that fails comes back with its header only."""
    async with next_hop(peer, WITHOUT) as hop:
        to = hop.recipient(rcpt=(REFUSE,))
        mail = {"REQUIRETLS": None, "RET": "FULL"}
        content = peer.marked_body(SECRET + b"\r\n")
        await hop.send(content, to, sender=peer.recipient, mail=mail, rcpt={"NOTIFY": "FAILURE"}, tls=True)
        back = await hop.came_back()
    if not back.about(to):
        raise Untested("no notification came back", str(back))
    return expect(
        back, that("the header alone", lambda seen: not any(SECRET in item.raw for item in seen.messages))
    )
