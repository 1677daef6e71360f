"""LOGIN, the mechanism of an expired draft: two prompts."""

from __future__ import annotations

from smtpbench.conformance import (
    ENDPOINT,
    MECHANISM,
    Expectation,
    Observation,
    Peer,
    Role,
    begin_auth,
    case,
    challenge_of,
    codes,
    expect,
    respond,
    severity,
    that,
    unknown_user,
    until_auth_offered,
    until_challenged,
)

LOGIN = [ENDPOINT(Role.SUBMISSION), MECHANISM("LOGIN")]
PROMPTS = (("username", "password"), ("user name", "password"))  # the field's, and the draft's


@case("4954-31", needs=LOGIN, broken_by="login-prompts-otherwise")
async def asks_for_the_name_then_for_the_password(peer: Peer) -> Observation:
    """LOGIN prompts for a user name, and when that is given for a password."""
    first = challenge_of(await until_challenged(peer, "LOGIN"))
    second = challenge_of(await respond(peer, unknown_user().encode()))
    prompts = " / ".join(prompt.decode("latin-1") for prompt in (first, second))
    usual: Expectation[str] = that(
        "Username: and Password:",
        lambda seen: tuple(part.strip(" :\0").lower() for part in seen.split("/")) in PROMPTS,
    )
    return expect(prompts, usual)


@case("4954-31", needs=LOGIN, broken_by="login-takes-no-initial-response")
async def takes_the_name_as_initial_response(peer: Peer) -> Observation:
    """LOGIN takes the user name with the command."""
    await until_auth_offered(peer, "LOGIN")
    answer = await begin_auth(peer, "LOGIN", unknown_user().encode())
    return expect(answer, codes(334), untested=severity(4))
