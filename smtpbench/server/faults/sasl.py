"""Faults of the SASL mechanisms: PLAIN, LOGIN, CRAM-MD5, SCRAM, OAUTHBEARER."""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Callable
from typing import Any

from smtpbench.server.faults.registry import fault
from smtpbench.server.receiver import Receiver
from smtpbench.server.sasl import (
    MECHANISMS,
    Exchange,
    Scram,
    Site,
    bad_credentials,
    check_password,
    cram_md5,
    plain,
)


def _replaced(
    name: str, summary: str, mechanisms: str, exchange: Callable[[Site, str], Exchange], *rows: str
) -> None:
    """Register a fault that has `exchange` in place of the mechanisms whose names match `mechanisms`."""

    class Replaced(Receiver):
        def begin_exchange(self, name: str) -> Exchange:
            if re.fullmatch(mechanisms, name):
                return exchange(self.site(), name)
            return super().begin_exchange(name)

    Replaced.__doc__ = summary
    fault(name, *rows)(Replaced)


def _spoken(inner: Exchange, change: Callable[[bytes], bytes]) -> Exchange:
    """`inner` with each challenge changed."""
    challenge = next(inner)
    while True:
        response = yield change(challenge)
        try:
            challenge = inner.send(response)
        except StopIteration as done:
            return str(done.value)


def _challenges(change: Callable[[bytes], bytes]) -> Callable[[Site, str], Exchange]:
    """The mechanism itself, with each challenge changed."""
    return lambda site, name: _spoken(MECHANISMS[name].exchange(site), change)


# PLAIN


def _loose_plain(site: Site, _: str) -> Exchange:
    parts = (yield b"").split(b"\0")
    if len(parts) == 2:
        parts = [b"", *parts]
    authzid, name, password = (part.decode("utf-8", "replace") for part in (*parts, b"", b"")[:3])
    if authzid not in ("", name):
        raise bad_credentials()
    return (
        name if not password and name in site.users else check_password(site.users, name, password.encode())
    )


def _plain_for_anybody(site: Site, _: str) -> Exchange:
    response = yield b""
    inner = plain(site)
    next(inner)
    try:
        inner.send(b"\0" + response.partition(b"\0")[2])
    except StopIteration as done:
        return str(done.value)
    raise AssertionError("PLAIN has one message")


_replaced(
    "plain-parses-loosely",
    "PLAIN takes two parts or four, and no password for any.",
    "PLAIN",
    _loose_plain,
    "4954-29",
)
_replaced(
    "plain-ignores-authorization-identity",
    "PLAIN takes any authorization identity.",
    "PLAIN",
    _plain_for_anybody,
    "4954-30",
)

# LOGIN


def _prompts(challenge: bytes) -> bytes:
    return {b"Username:": b"Who?", b"Password:": b"Prove it"}.get(challenge, challenge)


_replaced("login-prompts-otherwise", "LOGIN has other prompts.", "LOGIN", _challenges(_prompts), "4954-31")


def _no_initial(site: Site, _: str) -> Exchange:
    yield b"Username:"
    raise bad_credentials()


_replaced(
    "login-takes-no-initial-response",
    "LOGIN refuses its first response.",
    "LOGIN",
    _no_initial,
    "4954-31",
)

# CRAM-MD5

_replaced(
    "cram-md5-challenge-repeated",
    "CRAM-MD5 has the same challenge each time.",
    "CRAM-MD5",
    lambda site, _: cram_md5(site, new_challenge=lambda host: f"<1.2@{host}>".encode()),
    "4954-32",
)
_replaced(
    "cram-md5-challenge-plain-number",
    "The challenge of CRAM-MD5 is a number.",
    "CRAM-MD5",
    lambda site, _: cram_md5(site, new_challenge=lambda host: str(secrets.randbits(64)).encode()),
    "4954-32",
)

# SCRAM


def _scram(name: str, summary: str, kind: type[Scram], *rows: str) -> None:
    """Register a fault that speaks SCRAM as `kind` does."""
    _replaced(name, summary, "SCRAM-.*", lambda site, mechanism: kind(site, mechanism).exchange(), *rows)


def _first(name: str, summary: str, pattern: bytes, replacement: bytes, *rows: str) -> None:
    """Register a fault that replaces `pattern` in the server's messages."""
    _replaced(name, summary, "SCRAM-.*", _challenges(lambda said: re.sub(pattern, replacement, said)), *rows)


_first(
    "scram-nonce-replaced",
    "The server's first SCRAM message has a nonce of its own.",
    rb"^r=[^,]*",
    b"r=another0nonce",
    "4954-33",
)
_first(
    "scram-few-iterations",
    "The server's first SCRAM message says 1000 iterations.",
    rb",i=\d+",
    b",i=1000",
    "4954-34",
)
_first(
    "scram-signature-wrong",
    "The server's last SCRAM message has a wrong signature.",
    rb"^v=.*",
    b"v=" + base64.b64encode(bytes(32)),
    "4954-37",
)


class _OneNonce(Scram):
    def begin(self, client_first: str) -> str:
        said = super().begin(client_first)
        return re.sub("r=[^,]*", "r=" + client_first.rpartition("r=")[2], said)


class _AnyExtension(Scram):
    def begin(self, client_first: str) -> str:
        said = super().begin(re.sub("m=[^,]*,", "", client_first))
        self.server.client_first_bare = client_first.split(",", 2)[2]
        return said


class _AnyNonce(Scram):
    def finish(self, client_final: str) -> str:
        nonce = client_final.partition(",r=")[2].partition(",")[0]
        self.server.nonce = type(self.server.nonce)(nonce)
        return super().finish(client_final)


class _Unproven(Scram):
    def finish(self, client_final: str) -> str:
        super().finish(client_final)
        return ""


class _Sha1(Scram):
    def __init__(self, site: Site, name: str) -> None:
        super().__init__(site, name.replace("256", "1"))


class _NoDowngrade(Scram):
    def binding(self, client_first: str) -> tuple[str, bytes | str] | None:
        return None if client_first.startswith("y,") else super().binding(client_first)


class _Header:
    """Stands in for the header that the library parsed: `text`, whatever it says of channel binding."""

    def __init__(self, text: str) -> None:
        self._text = text

    def make_cbind_input(self, _: Any) -> bytes:
        return self._text.encode()


class _AnyBinding(Scram):
    def __init__(self, site: Site, name: str) -> None:
        super().__init__(site, name.removesuffix("-PLUS"))

    def binding(self, client_first: str) -> tuple[str, bytes | str] | None:
        return None if client_first.startswith("n,,") else super().binding(client_first)

    def begin(self, client_first: str) -> str:
        flag, authzid, bare = client_first.split(",", 2)
        if not flag.startswith("p="):
            return super().begin(client_first)
        said = super().begin(f"n,,{bare}")
        self.server.gs2_header = _Header(f"{flag},{authzid},")
        return said


_scram(
    "scram-nonce-not-extended",
    "The server adds nothing to the client's nonce in SCRAM.",
    _OneNonce,
    "4954-33",
)
_scram(
    "scram-ignores-mandatory-extension",
    "SCRAM ignores the reserved attribute m.",
    _AnyExtension,
    "4954-35",
)
_scram("scram-accepts-changed-nonce", "SCRAM does not compare the nonces.", _AnyNonce, "4954-36")
_scram("scram-without-signature", "SCRAM ends without the server's signature.", _Unproven, "4954-37")
_scram("scram-sha-256-uses-sha-1", "SCRAM-SHA-256 uses SHA-1.", _Sha1, "4954-38")
_scram("scram-ignores-flag-y", "SCRAM accepts a client that saw no -PLUS.", _NoDowngrade, "4954-39")
_scram("scram-accepts-any-binding", "SCRAM does not check the channel binding.", _AnyBinding, "4954-39")

# OAUTHBEARER


def _at_once(challenge: bytes) -> bytes:
    if challenge:
        raise bad_credentials()
    return challenge


def _loose_bearer(site: Site, _: str) -> Exchange:
    found = re.search(rb"auth=Bearer ([^\1]+)", (yield b""))
    for name, token in site.users.items():
        if found and found[1] == token.encode():
            return name
    yield b'{"status": "invalid_token"}'
    raise bad_credentials()


_replaced(
    "bearer-fails-at-once",
    "OAUTHBEARER fails without the error in JSON.",
    "OAUTHBEARER",
    _challenges(_at_once),
    "4954-40",
)
_replaced(
    "bearer-error-is-no-json",
    "The error of OAUTHBEARER is a word.",
    "OAUTHBEARER",
    _challenges(lambda challenge: b"invalid_token" if challenge else challenge),
    "4954-40",
)
_replaced(
    "bearer-parses-loosely",
    "OAUTHBEARER looks for a token anywhere.",
    "OAUTHBEARER",
    _loose_bearer,
    "4954-41",
)
