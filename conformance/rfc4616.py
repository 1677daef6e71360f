"""RFC 4616, PLAIN: one message of three parts."""

from __future__ import annotations

from dataclasses import replace

from smtpbench.conformance import (
    AUTH,
    ENDPOINT,
    MECHANISM,
    Observation,
    Peer,
    Role,
    Untested,
    all_of,
    begin_auth,
    case,
    codes,
    expect,
    near,
    not_codes,
    plain_message,
    respond,
    severity,
    unknown_user,
    until_auth_offered,
    until_challenged,
)

PLAIN = [ENDPOINT(Role.SUBMISSION), MECHANISM("PLAIN")]


@case("4954-28", "4954-12", needs=PLAIN, broken_by="auth-lines-limited")
async def parts_of_255_octets_are_taken(peer: Peer) -> Observation:
    """A message of three parts of 255 octets is refused for its password, not for its length."""
    await until_challenged(peer)
    name = unknown_user().ljust(255, "x")
    answer = await respond(peer, plain_message(name, "p" * 255, authzid=name))
    return expect(answer, codes(535), near=severity(5) & not_codes(500), untested=severity(4))


@case("4954-29", needs=[*PLAIN, AUTH], broken_by="plain-parses-loosely")
async def a_message_of_another_form_fails(peer: Peer) -> Observation:
    """The right name and password with one NUL or with three do not authenticate, nor does no password."""
    user, password = peer.credentials.username, peer.credentials.password()
    right = plain_message(user, password)
    # That an empty password fails is a SHALL; of other forms the RFC has the grammar alone.
    lenient, strict = severity(5) | near(severity(2)), severity(5)
    seen = []
    for what, message, conforms in (
        (b"with one NUL", right[1:], lenient),
        (b"with three NULs", right + b"\0", lenient),
        (b"with no password", plain_message(user, ""), strict),
    ):
        session = peer.new_session()
        await until_auth_offered(session, "PLAIN")
        answer = replace(await begin_auth(session, "PLAIN", message), asked=b"AUTH PLAIN " + what)
        seen.append(expect(answer, conforms, untested=severity(4)))
    return all_of(*seen)


@case("4954-30", needs=[*PLAIN, AUTH], broken_by="plain-ignores-authorization-identity")
async def acting_as_somebody_else_fails(peer: Peer) -> Observation:
    """The right name and password do not authenticate for an authorization identity that nobody has."""
    user = peer.credentials
    control = await peer.new_session().auth("PLAIN")
    if control.code != 235:
        raise Untested("AUTH PLAIN was not accepted", str(control))
    await until_auth_offered(peer, "PLAIN")
    message = plain_message(user.username, user.password(), authzid=unknown_user())
    return expect(await begin_auth(peer, "PLAIN", message), severity(5), untested=severity(4))
