"""The server side of SASL, one generator for each mechanism.

An exchange yields challenges, is sent responses, and returns the user's name; `AuthRefused` says which
reply ends it otherwise. The first challenge is not sent when the client gave an initial response.
A message that breaks the grammar of its mechanism fails the authentication as a wrong password does:
RFC 4954 §4 has 501 for what is no base64, and 535 for a client that cannot be authenticated.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

import scramp

Users = Mapping[str, str]
Exchange = Generator[bytes, bytes, str]


@dataclass(frozen=True, slots=True)
class Site:
    """What a mechanism is told: the users and their passwords, our host name, and the channel.

    `bindings` maps each channel binding type that this connection has (RFC 5929) to its data, or for
    ``tls-server-end-point`` to the certificate in PEM; empty without TLS.
    """

    users: Users = field(repr=False)
    host: str = ""
    bindings: Mapping[str, bytes | str] = field(default_factory=dict, repr=False)


class AuthRefused(Exception):
    """The exchange ends with this reply: code, RFC 3463 code and text."""

    def __init__(self, code: int, enhanced: str, text: str) -> None:
        super().__init__(text)
        self.reply = (code, enhanced, text)


def bad_credentials() -> AuthRefused:
    """The reply to a wrong name or password; it does not tell which (RFC 4954 §6)."""
    return AuthRefused(535, "5.7.8", "Authentication credentials invalid")


def not_base64() -> AuthRefused:
    """The reply to a response that cannot be decoded (RFC 4954 §4)."""
    return AuthRefused(501, "5.5.2", "Malformed base64")


def check_password(users: Users, name: str, password: bytes) -> str:
    """`name` if the password is that user's; raises AuthRefused otherwise."""
    expected = users.get(name)
    if not hmac.compare_digest((expected or "").encode(), password) or expected is None:
        raise bad_credentials()
    return name


def plain(site: Site) -> Exchange:
    """RFC 4616: ``[authzid] NUL authcid NUL passwd``. Nobody may act for another."""
    response = yield b""
    parts = response.split(b"\0")
    if len(parts) != 3 or not parts[1] or not parts[2]:
        raise bad_credentials()
    authzid, name, password = parts
    if authzid not in (b"", name):
        raise bad_credentials()
    return check_password(site.users, _text(name), password)


def login(site: Site) -> Exchange:
    """The expired LOGIN draft: name and password, each after its prompt."""
    name = yield b"Username:"
    password = yield b"Password:"
    return check_password(site.users, _text(name), password)


def cram_challenge(host: str) -> bytes:
    """RFC 2195 §2: random digits, a timestamp and our name, as a message identifier."""
    return f"<{secrets.randbits(64)}.{time.time_ns()}@{host}>".encode("ascii")


def cram_md5(site: Site, *, new_challenge: Callable[[str], bytes] = cram_challenge) -> Exchange:
    """RFC 2195: HMAC-MD5 of a challenge that is used once."""
    challenge = new_challenge(site.host)
    response = yield challenge
    name, _, digest = response.rpartition(b" ")
    user = _text(name)
    expected = hmac.new(site.users.get(user, "").encode(), challenge, "md5").hexdigest().encode()
    if not hmac.compare_digest(expected, digest) or user not in site.users:
        raise bad_credentials()
    return user


class Scram:
    """RFC 5802 and RFC 7677, message by message; ``-PLUS`` binds the exchange to the TLS channel."""

    def __init__(self, site: Site, name: str) -> None:
        self.site = site
        self.mechanism = scramp.ScramMechanism(name)
        self.server: Any = None
        self.user = ""

    def exchange(self) -> Exchange:
        """As the other mechanisms; a message of the server that is empty is not sent."""
        first = yield b""
        try:
            final = yield self.begin(_text(first)).encode()
            proof = self.finish(_text(final)).encode()
        except (KeyError, ValueError, scramp.ScramException):  # unknown name; not SCRAM; wrong proof or nonce
            raise bad_credentials() from None
        if proof:
            yield proof  # its answer is empty: SMTP has no data with success
        return self.user

    def begin(self, client_first: str) -> str:
        """server-first-message."""
        self.server = self.mechanism.make_server(self._stored, self.binding(client_first))
        self.server.set_client_first(client_first)
        return str(self.server.get_server_first())

    def finish(self, client_final: str) -> str:
        """server-final-message; raises ScramException if the client proves nothing."""
        self.server.set_client_final(client_final)
        return str(self.server.get_server_final())

    def binding(self, client_first: str) -> tuple[str, bytes | str] | None:
        """The channel binding of the type that the client asks for (RFC 5802 §6.1), else any that there is.

        With one that it did not ask for, the exchange fails where it has to: at the flag ``y``, which says
        that the client saw no offer, and at a type that we do not have.
        """
        wanted = client_first.partition(",")[0].removeprefix("p=")
        known = self.site.bindings
        return next(((name, known[name]) for name in (wanted, *known) if name in known), None)

    def _stored(self, user: str) -> Any:
        self.user = user
        return _keys(self.mechanism.name, self.site.users[user])


@lru_cache(maxsize=64)
def _keys(mechanism: str, password: str) -> Any:
    """Salt, keys and iterations as a server keeps them (RFC 5802 §3): to derive them takes milliseconds."""
    return scramp.ScramMechanism(mechanism).make_auth_info(password)


def scram(site: Site, *, name: str) -> Exchange:
    """The exchange of the SCRAM mechanism `name`."""
    return Scram(site, name).exchange()


_BEARER = re.compile(  # RFC 7628 §3.1, with the gs2-header of RFC 5801 §4 as these mechanisms have it
    rb"[ny],(?:a=(?P<user>(?:[^\0,=]|=2C|=3D)+))?,\x01"
    rb"(?P<pairs>(?:[A-Za-z]+=[\t\r\n -~]*\x01)*)\x01"
)
_BEARER_AUTH = re.compile(r"(?i:bearer) +([A-Za-z0-9._~+/-]+=*) *")  # RFC 6750 §2.1


def oauthbearer(site: Site) -> Exchange:
    """RFC 7628: a token in one message. Here a user's password is the token, and tells who it is."""
    response = yield b""
    matched = _BEARER.fullmatch(response)
    if matched is None:
        yield from _bearer_error("invalid_request")
        raise bad_credentials()
    pairs = dict(pair.split("=", 1) for pair in matched["pairs"].decode("ascii").split("\x01")[:-1])
    token = _BEARER_AUTH.fullmatch(pairs.get("auth", ""))
    user = _owner(site.users, token[1]) if token else None
    acting = _text(matched["user"] or b"").replace("=2C", ",").replace("=3D", "=")
    if user is None or acting not in ("", user) or pairs.get("host", site.host).lower() != site.host.lower():
        yield from _bearer_error("invalid_token")
        raise bad_credentials()
    return user


def _bearer_error(status: str) -> Generator[bytes, bytes, None]:
    """§3.2.2, §3.2.3: the error, which the client answers before the exchange fails."""
    yield json.dumps({"status": status, "scope": "mail"}).encode("ascii")


def _owner(users: Users, token: str) -> str | None:
    return next(
        (name for name, secret in users.items() if hmac.compare_digest(secret.encode(), token.encode())), None
    )


def _text(octets: bytes) -> str:
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        raise bad_credentials() from None


@dataclass(frozen=True, slots=True)
class Mechanism:
    """`initial`: whether the client may send an initial response (RFC 4954 §4). `binds`: it needs channel
    binding. `protected`: it needs TLS (RFC 7628 §3)."""

    exchange: Callable[[Site], Exchange]
    initial: bool = True
    binds: bool = False
    protected: bool = False


def _scram(name: str) -> Mechanism:
    return Mechanism(partial(scram, name=name), binds=name.endswith("-PLUS"))


MECHANISMS: Mapping[str, Mechanism] = {
    "PLAIN": Mechanism(plain),
    "LOGIN": Mechanism(login),
    "CRAM-MD5": Mechanism(cram_md5, initial=False),
    "SCRAM-SHA-1": _scram("SCRAM-SHA-1"),  # RFC 5802 §4: all that have SCRAM have this one
    "SCRAM-SHA-1-PLUS": _scram("SCRAM-SHA-1-PLUS"),
    "SCRAM-SHA-256": _scram("SCRAM-SHA-256"),
    "SCRAM-SHA-256-PLUS": _scram("SCRAM-SHA-256-PLUS"),
    "OAUTHBEARER": Mechanism(oauthbearer, protected=True),
}
