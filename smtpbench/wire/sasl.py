"""SASL mechanisms, client side: what to answer to each challenge.

PLAIN (RFC 4616), LOGIN (an expired draft that every server has), CRAM-MD5 (RFC 2195), SCRAM-SHA-256
(RFC 5802 and 7677, through scramp), XOAUTH2 (a vendor's precursor) and OAUTHBEARER (RFC 7628).
Challenges and responses here are octets; base64 is RFC 4954's framing and belongs to the session.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Protocol

from scramp import ScramClient, ScramException

SCRAM_CHALLENGES = 2


class Mechanism(Protocol):
    """One authentication exchange."""

    initial: bytes | None
    """The initial response, or None for a mechanism in which the server speaks first."""

    def respond(self, challenge: bytes) -> bytes:
        """The response to a challenge. Raises ValueError if the challenge makes no sense."""


class Plain:
    """RFC 4616: one message, ``authzid NUL authcid NUL passwd``."""

    def __init__(self, username: str, password: str, authzid: str = "") -> None:
        self.initial: bytes | None = b"\0".join(part.encode() for part in (authzid, username, password))

    def respond(self, challenge: bytes) -> bytes:
        """The same message again, for a server that ignored the initial response."""
        return self.initial or b""


class Login:
    """User name and password, each in answer to a prompt."""

    initial: bytes | None = None

    def __init__(self, username: str, password: str) -> None:
        self._answers = [username.encode(), password.encode()]

    def respond(self, challenge: bytes) -> bytes:
        """User name first, password second, whatever the prompts say."""
        if not self._answers:
            raise ValueError("LOGIN: a third challenge")
        return self._answers.pop(0)


class CramMd5:
    """RFC 2195: user name and the keyed MD5 of the challenge."""

    initial: bytes | None = None

    def __init__(self, username: str, password: str) -> None:
        self._username, self._key = username, password.encode()

    def respond(self, challenge: bytes) -> bytes:
        """``username SP hexdigest``."""
        return f"{self._username} {hmac.new(self._key, challenge, 'md5').hexdigest()}".encode()


class Scram:
    """RFC 5802: client-first, client-final; the server's signature is checked in the last challenge."""

    def __init__(self, mechanism: str, username: str, password: str) -> None:
        self._client = ScramClient([mechanism], username, password)
        self._challenges = 0
        self.initial: bytes | None = self._client.get_client_first().encode()

    def respond(self, challenge: bytes) -> bytes:
        """Client-final to server-first; empty to server-final, once its signature is verified."""
        self._challenges += 1
        if self._challenges > SCRAM_CHALLENGES:
            raise ValueError("SCRAM: a third challenge")
        message = challenge.decode("utf-8", "strict")
        try:
            return self._answer(message)
        except ScramException as error:
            raise ValueError(f"SCRAM: {error}") from None

    def _answer(self, message: str) -> bytes:
        if self._challenges == SCRAM_CHALLENGES:
            self._client.set_server_final(message)
            return b""
        self._client.set_server_first(message)
        return str(self._client.get_client_final()).encode()


class _Bearer:
    """A token in one message; an error comes as a challenge that is answered with `_dummy`."""

    initial: bytes | None
    _dummy: bytes

    def respond(self, challenge: bytes) -> bytes:
        """The empty answer that lets the server send its final 535."""
        return self._dummy


class XOAuth2(_Bearer):
    """``user=… ^A auth=Bearer … ^A ^A``."""

    _dummy = b""

    def __init__(self, username: str, token: str) -> None:
        self.initial = f"user={username}\1auth=Bearer {token}\1\1".encode()


class OAuthBearer(_Bearer):
    """RFC 7628 §3.1: GS2 header, then key/value pairs; a lone ^A answers the error (§3.2.3)."""

    _dummy = b"\1"

    def __init__(self, username: str, token: str) -> None:
        name = username.replace("=", "=3D").replace(",", "=2C")
        self.initial = f"n,a={name},\1auth=Bearer {token}\1\1".encode()


_MECHANISMS: dict[str, Callable[[str, str], Mechanism]] = {
    "SCRAM-SHA-256": lambda username, password: Scram("SCRAM-SHA-256", username, password),
    "CRAM-MD5": CramMd5,
    "PLAIN": Plain,
    "LOGIN": Login,
    "XOAUTH2": XOAuth2,
    "OAUTHBEARER": OAuthBearer,
}
MECHANISMS = tuple(_MECHANISMS)
PASSWORD_MECHANISMS = MECHANISMS[:4]  # strongest first; the others take a token, not a password


def mechanism(name: str, username: str, password: str) -> Mechanism:
    """A new exchange of the mechanism `name` (any case); `password` is the token for the OAuth ones.

    Raises KeyError for a name not in `MECHANISMS`.
    """
    return _MECHANISMS[name.upper()](username, password)
