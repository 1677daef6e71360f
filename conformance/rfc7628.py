"""RFC 7628, OAUTHBEARER: the error in JSON, and messages that are no good."""

from __future__ import annotations

import json

from smtpbench.conformance import (
    AUTH,
    ENDPOINT,
    MECHANISM,
    Answer,
    Expectation,
    Observation,
    Peer,
    Role,
    Untested,
    all_of,
    begin_auth,
    case,
    challenge_of,
    expect,
    respond,
    severity,
    that,
    unknown_user,
    until_auth_offered,
)

BEARER = [ENDPOINT(Role.SUBMISSION), MECHANISM("OAUTHBEARER")]


def message(username: str, token: str) -> bytes:
    """A complete client response (§3.1)."""
    return f"n,a={username},\1auth=Bearer {token}\1\1".encode()


def has_a_status(challenge: bytes) -> bool:
    """Whether it is a JSON object with the member that §3.2.2 requires."""
    try:
        said = json.loads(challenge)
    except ValueError:
        return False
    return isinstance(said, dict) and isinstance(said.get("status"), str)


async def fail(peer: Peer, response: bytes) -> tuple[bytes, Answer]:
    """The error challenge to `response` (empty if none came), and the last reply."""
    await until_auth_offered(peer, "OAUTHBEARER")
    answer = await begin_auth(peer, "OAUTHBEARER", response)
    challenge = challenge_of(answer)
    return challenge, await respond(peer, b"\1") if answer.code == 334 else answer


@case("4954-40", needs=BEARER, broken_by=("bearer-fails-at-once", "bearer-error-is-no-json"))
async def a_failure_is_explained_in_json(peer: Peer) -> Observation:
    """A token that is no good gets a challenge with the error in JSON, and 5yz once that is answered."""
    challenge, answer = await fail(peer, message(unknown_user(), "smtpbench-no-token"))
    explained: Expectation[bytes] = that("a JSON object with a status", has_a_status)
    if answer.severity == 4:
        raise Untested("the server cannot check tokens now", str(answer))
    return all_of(expect(challenge, explained), expect(answer, severity(5)))


@case("4954-41", needs=[*BEARER, AUTH], broken_by="bearer-parses-loosely")
async def a_malformed_message_fails(peer: Peer) -> Observation:
    """A good token without the last separator, or without a GS2 header, does not authenticate."""
    user = peer.credentials
    right = message(user.username, user.password())
    control = peer.new_session()
    await until_auth_offered(control, "OAUTHBEARER")
    accepted = await begin_auth(control, "OAUTHBEARER", right)
    if accepted.code != 235:
        raise Untested("the password is not taken as a token", str(accepted))
    seen = []
    for response in (right[:-1], right.partition(b"\1")[2]):
        _, answer = await fail(peer.new_session(), response)
        # The RFC has the grammar, and no word on a server that makes sense of other messages.
        seen.append(expect(answer, severity(5), near=severity(2), untested=severity(4)))
    return all_of(*seen)
