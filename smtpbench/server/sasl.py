"""The server side of SASL, one generator for each mechanism.

An exchange yields challenges, is sent responses, and returns the user's name; `AuthRefused` says which
reply ends it otherwise. The first challenge is not sent when the client gave an initial response.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any

import scramp

Users = Mapping[str, str]
Exchange = Generator[bytes, bytes, str]


class AuthRefused(Exception):
    """The exchange ends with this reply: code, RFC 3463 code and text."""

    def __init__(self, code: int, enhanced: str, text: str) -> None:
        super().__init__(text)
        self.reply = (code, enhanced, text)


def bad_credentials() -> AuthRefused:
    """The reply to a wrong name or password; it does not tell which (RFC 4954 §6)."""
    return AuthRefused(535, "5.7.8", "Authentication credentials invalid")


def malformed(what: str) -> AuthRefused:
    """The reply to a response that does not match the mechanism's grammar."""
    return AuthRefused(501, "5.5.2", f"Malformed {what}")


def check_password(users: Users, name: str, password: bytes) -> str:
    """`name` if the password is that user's; raises AuthRefused otherwise."""
    expected = users.get(name)
    if not hmac.compare_digest((expected or "").encode(), password) or expected is None:
        raise bad_credentials()
    return name


def plain(users: Users, host: str) -> Exchange:
    """RFC 4616: ``[authzid] NUL authcid NUL passwd``. Nobody may act for another."""
    response = yield b""
    parts = response.split(b"\0")
    if len(parts) != 3 or not parts[1] or not parts[2]:
        raise malformed("PLAIN response")
    authzid, name, password = parts
    if authzid not in (b"", name):
        raise bad_credentials()
    return check_password(users, _text(name), password)


def login(users: Users, host: str) -> Exchange:
    """The expired LOGIN draft: name and password, each after its prompt."""
    name = yield b"Username:"
    password = yield b"Password:"
    return check_password(users, _text(name), password)


def cram_md5(users: Users, host: str) -> Exchange:
    """RFC 2195: HMAC-MD5 of a challenge that is used once."""
    challenge = f"<{secrets.randbits(64)}.{time.time_ns()}@{host}>".encode("ascii")
    response = yield challenge
    name, space, digest = response.rpartition(b" ")
    if not space:
        raise malformed("CRAM-MD5 response")
    user = _text(name)
    expected = hmac.new(users.get(user, "").encode(), challenge, "md5").hexdigest().encode()
    if not hmac.compare_digest(expected, digest) or user not in users:
        raise bad_credentials()
    return user


def scram_sha_256(users: Users, host: str) -> Exchange:
    """RFC 7677, without channel binding."""
    mechanism = scramp.ScramMechanism("SCRAM-SHA-256")
    names: list[str] = []

    def stored(name: str) -> Any:
        names.append(name)
        return mechanism.make_auth_info(users[name])

    server = mechanism.make_server(stored)
    first = yield b""
    try:
        server.set_client_first(_text(first))
        final = yield server.get_server_first().encode()
        server.set_client_final(_text(final))
        yield server.get_server_final().encode()  # its answer is empty: SMTP has no data with success
    except (KeyError, ValueError, scramp.ScramException):  # unknown name; not SCRAM; wrong proof or nonce
        raise bad_credentials() from None
    return names[0]


def _text(octets: bytes) -> str:
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        raise malformed("UTF-8") from None


@dataclass(frozen=True, slots=True)
class Mechanism:
    """`initial`: whether the client may send an initial response (RFC 4954 §4)."""

    exchange: Callable[[Users, str], Exchange]
    initial: bool = True


MECHANISMS: Mapping[str, Mechanism] = {
    "PLAIN": Mechanism(plain),
    "LOGIN": Mechanism(login),
    "CRAM-MD5": Mechanism(cram_md5, initial=False),
    "SCRAM-SHA-256": Mechanism(scram_sha_256),
}
