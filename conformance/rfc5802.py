"""RFC 5802 and RFC 7677, SCRAM: nonces, counts, extensions, the server's proof, channel binding."""

from __future__ import annotations

from smtpbench.conformance import (
    AUTH,
    ENDPOINT,
    HASHES,
    Expectation,
    Need,
    Observation,
    Peer,
    Role,
    Untested,
    attributes,
    begin_auth,
    case,
    challenge_of,
    expect,
    offered_scram,
    scram_client,
    scram_exchange,
    severity,
    that,
    until_auth_offered,
)

SCRAM = [
    ENDPOINT(Role.SUBMISSION),
    AUTH,
    Need(
        "SCRAM",
        lambda facts: (
            None if facts.mechanisms.intersection(HASHES) else f"neither {' nor '.join(HASHES)} is offered"
        ),
    ),
]


async def server_first(peer: Peer, nonce: str | None = None) -> dict[str, str]:
    """The attributes of the server's first message; the exchange is cancelled after it."""
    mechanism = await offered_scram(peer)
    client = scram_client(peer, mechanism)
    client.nonce = nonce or client.nonce
    answer = await begin_auth(peer, mechanism, client.first())
    said = attributes(challenge_of(answer))
    if "r" not in said:
        raise Untested("the first SCRAM message was not answered with a nonce", str(answer))
    await peer.command(b"*")
    return said


async def bound_scram(peer: Peer) -> str:
    """A SCRAM mechanism that is offered with channel binding and without."""
    await until_auth_offered(peer)
    offered = peer.extensions.auth_mechanisms
    for name in HASHES:
        if {name, f"{name}-PLUS"} <= {*offered}:
            return name
    raise Untested("SCRAM with channel binding is not offered", " ".join(offered))


@case("4954-33", needs=SCRAM, broken_by=("scram-nonce-not-extended", "scram-nonce-replaced"))
async def the_servers_nonce_extends_the_clients(peer: Peer) -> Observation:
    """The nonce in the server's first message is the client's with something behind it."""
    nonce = "smtpbench0123456789"
    extended: Expectation[str] = that(
        f"{nonce} and more", lambda seen: seen.startswith(nonce) and seen != nonce
    )
    return expect((await server_first(peer, nonce))["r"], extended)


@case("4954-34", needs=SCRAM, broken_by="scram-few-iterations")
async def the_iteration_count_is_4096_at_least(peer: Peer) -> Observation:
    """The server's first message has an iteration count of at least 4096."""
    count = (await server_first(peer)).get("i", "")
    if not count.isdecimal():
        raise Untested("the first message has no iteration count", count)
    enough: Expectation[str] = that("4096 or more", lambda seen: int(seen[:18]) >= 4096)
    return expect(count, enough)


@case("4954-35", needs=SCRAM, broken_by="scram-ignores-mandatory-extension")
async def a_mandatory_extension_fails(peer: Peer) -> Observation:
    """The right password does not authenticate in an exchange with the reserved attribute m."""
    mechanism = await offered_scram(peer)
    client = scram_client(peer, mechanism, extension="m=smtpbench")
    return expect((await scram_exchange(peer, mechanism, client)).answer, severity(5), untested=severity(4))


@case("4954-36", needs=SCRAM, broken_by="scram-accepts-changed-nonce")
async def a_changed_nonce_fails(peer: Peer) -> Observation:
    """A client's last message with a nonce that is not the server's does not authenticate."""
    mechanism = await offered_scram(peer)
    client = scram_client(peer, mechanism, final_suffix="x")
    result = await scram_exchange(peer, mechanism, client)
    if not result.server_first:
        raise Untested("the first SCRAM message was not answered", str(result.answer))
    return expect(result.answer, severity(5), untested=severity(4))


@case("4954-37", needs=SCRAM, broken_by=("scram-signature-wrong", "scram-without-signature"))
async def the_server_proves_that_it_knows_the_key(peer: Peer) -> Observation:
    """The server's last message has the signature that follows from the user's key."""
    mechanism = await offered_scram(peer)
    client = scram_client(peer, mechanism)
    result = await scram_exchange(peer, mechanism, client)
    if result.answer.code != 235:
        raise Untested("AUTH was not accepted", str(result.answer))
    proof = client.proven_by(result.server_final)
    signature = "the right one" if proof else "another one" if result.server_final else "none"
    return expect(f"signature: {signature}", that("signature: the right one", lambda _: proof))


@case("4954-38", needs=SCRAM, broken_by="scram-sha-256-uses-sha-1")
async def scram_sha_256_uses_sha_256(peer: Peer) -> Observation:
    """SCRAM-SHA-256 authenticates a client that computes its proof with SHA-256."""
    await until_auth_offered(peer, "SCRAM-SHA-256")
    for mechanism, digest in HASHES.items():
        session = peer.new_session()
        await until_auth_offered(session)
        client = scram_client(session, mechanism)
        if (await scram_exchange(session, "SCRAM-SHA-256", client)).answer.code == 235:
            return expect(digest, that("sha256", lambda seen: seen == "sha256"))
    raise Untested("the password was accepted with neither hash")


@case("4954-39", needs=SCRAM, broken_by="scram-ignores-flag-y")
async def a_client_that_saw_no_channel_binding_fails(peer: Peer) -> Observation:
    """Where SCRAM-…-PLUS is offered, an exchange that says it was not is a sign of an attack, and fails."""
    mechanism = await bound_scram(peer)
    client = scram_client(peer, mechanism, header="y,,")
    return expect((await scram_exchange(peer, mechanism, client)).answer, severity(5), untested=severity(4))


@case("4954-39", needs=SCRAM, broken_by="scram-accepts-any-binding")
async def an_unknown_channel_binding_fails(peer: Peer) -> Observation:
    """SCRAM-…-PLUS with a type of channel binding that does not exist fails."""
    mechanism = await bound_scram(peer)
    client = scram_client(peer, mechanism, header="p=smtpbench-none,,")
    result = await scram_exchange(peer, f"{mechanism}-PLUS", client)
    return expect(result.answer, severity(5), untested=severity(4))
