"""AUTH exchanges step by step, for cases whose messages no client library would send.

What a client says inside an exchange is secret: the transcript has it redacted, and the Answer of a step
repeats the mechanism's name at most.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from dataclasses import replace

from smtpbench.conformance.answer import Answer
from smtpbench.conformance.observation import Untested
from smtpbench.conformance.peer import Peer
from smtpbench.wire.commands import CRLF


async def until_auth_offered(peer: Peer, mechanism: str | None = None) -> None:
    """EHLO accepted with AUTH on offer, `mechanism` among its own; inside TLS if need be."""
    await peer.until_ready()
    if "AUTH" not in peer.extensions and "STARTTLS" in peer.extensions:
        await until_tls(peer)
    if "AUTH" not in peer.extensions:
        raise Untested("AUTH is not offered")
    if mechanism and mechanism not in peer.extensions.auth_mechanisms:
        raise Untested(f"AUTH {mechanism} is not offered")


async def until_tls(peer: Peer) -> None:
    """EHLO accepted inside TLS."""
    await peer.until_ready()
    if not peer.session.tls_active:
        answer = await peer.starttls()
        if answer.code != 220:
            raise Untested("STARTTLS was not accepted", str(answer))
        await peer.until_ready()


async def until_challenged(peer: Peer, mechanism: str = "PLAIN") -> Answer:
    """AUTH with `mechanism` and no initial response, answered 334; that answer."""
    await until_auth_offered(peer, mechanism)
    answer = await peer.command(f"AUTH {mechanism}".encode())
    if answer.code != 334:
        raise Untested(f"AUTH {mechanism} was not answered 334", str(answer))
    return answer


async def begin_auth(peer: Peer, mechanism: str, initial: bytes) -> Answer:
    """AUTH with the initial response `initial` (octets, not yet base64); the reply."""
    asked = f"AUTH {mechanism}".encode()
    await peer.send(asked + b" " + (base64.b64encode(initial) or b"=") + CRLF)
    return replace(await peer.read(), asked=asked)


async def respond(peer: Peer, response: bytes) -> Answer:
    """Answer a challenge with `response` (octets, not yet base64); the reply."""
    return await respond_raw(peer, base64.b64encode(response))


async def respond_raw(peer: Peer, line: bytes) -> Answer:
    """Answer a challenge with exactly this line, CRLF added; the reply."""
    await peer.send(line + CRLF, secret=True)
    return await peer.read()


def challenge_of(answer: Answer) -> bytes:
    """The data of a 334 reply; empty for any other reply, and for one that is not base64."""
    try:
        return base64.b64decode(b"".join(answer.lines), validate=True) if answer.code == 334 else b""
    except binascii.Error:
        return b""


def unknown_user() -> str:
    """A user name that nobody has, so that a failure locks nobody out."""
    return f"smtpbench-{secrets.token_hex(8)}"


def plain_message(username: str, password: str, authzid: str = "") -> bytes:
    """The message of PLAIN (RFC 4616 §2)."""
    return b"\0".join(part.encode() for part in (authzid, username, password))
