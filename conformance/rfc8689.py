"""RFC 8689, REQUIRETLS: what is offered, and its parameter. What becomes of a message is asked elsewhere."""

from __future__ import annotations

from smtpbench.conformance import (
    TLS,
    TLS_EXTENSION,
    Expectation,
    Observation,
    Peer,
    Untested,
    any_reply,
    case,
    codes,
    expect,
    near,
    not_codes,
    put_off,
    severity,
    that,
    untested,
    until_tls,
)

REQUIRETLS = "REQUIRETLS"


async def inside_tls(peer: Peer) -> None:
    """Ready for MAIL inside TLS."""
    await until_tls(peer)
    await peer.until_allowed()


@case("MISC-25", needs=[TLS], broken_by="requiretls-in-clear-only")
async def requiretls_is_listed_inside_tls(peer: Peer) -> Observation:
    """A server that lists REQUIRETLS lists it in the EHLO reply inside TLS.

    The sentence with the MUST is a condition on the client that uses the extension, so a server that lists it
    in clear only is not accused of more than being of no use.
    """
    await peer.ehlo()
    offered = REQUIRETLS in peer.extensions
    await inside_tls(peer)
    listed = REQUIRETLS in peer.extensions
    if not (offered or listed):
        raise Untested("REQUIRETLS is not offered")
    among: Expectation[str] = that("REQUIRETLS among the keywords", lambda _: listed)
    clear_only: Expectation[str] = that("REQUIRETLS in clear only", lambda _: offered)
    return expect("EHLO inside TLS lists " + ", ".join(peer.extensions), among | near(clear_only))


@case("MISC-26", needs=[TLS_EXTENSION(REQUIRETLS)], broken_by="requiretls-not-recognised")
async def requiretls_stands_alone(peer: Peer) -> Observation:
    """MAIL with REQUIRETLS is understood inside TLS."""
    await inside_tls(peer)
    answer = await peer.command(b"MAIL FROM:<%s> REQUIRETLS" % peer.sender.encode())
    return expect(answer, codes(250) | untested(not_codes(500, 501, 502, 504, 555)))


@case("MISC-26", needs=[TLS_EXTENSION(REQUIRETLS)], broken_by="requiretls-with-a-value")
async def requiretls_with_a_value_is_a_syntax_error(peer: Peer) -> Observation:
    """MAIL with a value of REQUIRETLS is answered 501; no rule forbids to let it pass."""
    await inside_tls(peer)
    answer = await peer.command(b"MAIL FROM:<%s> REQUIRETLS=1" % peer.sender.encode())
    return expect(answer, codes(501), near=any_reply, untested=put_off)


@case("MISC-27", needs=[TLS_EXTENSION(REQUIRETLS)])
async def requiretls_in_clear(peer: Peer) -> Observation:
    """What the server does with a MAIL with REQUIRETLS outside TLS."""
    await peer.ehlo()
    if peer.session.tls_active:
        raise Untested("there is no session in clear on this port")
    answer = await peer.command(b"MAIL FROM:<%s> REQUIRETLS" % peer.sender.encode())
    return expect(answer, severity(5), choice=codes(250), untested=put_off)
