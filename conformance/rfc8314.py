"""RFC 8314: TLS for mail submission."""

from __future__ import annotations

import ssl
import warnings

from smtpbench.conformance import (
    ENDPOINT,
    Expectation,
    Observation,
    Peer,
    Role,
    Untested,
    case,
    codes,
    expect,
    near,
    that,
)


@case("3207-20", needs=[ENDPOINT(Role.SUBMISSIONS)], broken_by="submissions-greets-500")
async def implicit_tls_is_served(peer: Peer) -> Observation:
    """The endpoint with TLS from the start greets with 220 inside it."""
    answer = await peer.connect()
    if not peer.session.tls_active:
        raise Untested("TLS is not active from the start")
    return expect(answer, codes(220), untested=codes(554, 521))


@case("3207-21", needs=[ENDPOINT(Role.SUBMISSION)], broken_by="old-tls-accepted")
async def old_versions_are_refused(peer: Peer) -> Observation:
    """A client that knows nothing newer than TLS 1.1 gets no TLS session.

    Whether it is more than advice was not read in the text, so at most this is non-strict.
    """
    await peer.until_greeted()
    if peer.session.tls_active:
        raise Untested("TLS is active from the start")
    await peer.ehlo()
    if (await peer.command(b"STARTTLS")).code != 220:
        raise Untested("STARTTLS was not accepted")
    old = await peer.handshake(old_tls())
    none: Expectation[str] = that("no TLS session", lambda seen: not old)
    seen = "a TLS session of version 1.1 or older" if old else "no TLS session"
    return expect(seen, none | near(that("a TLS session", lambda seen: old)))


def old_tls() -> ssl.SSLContext:
    """A client context for TLS 1.0 and 1.1 alone, with the ciphers of then."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():  # ssl warns of old versions, which are what is asked for
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context
