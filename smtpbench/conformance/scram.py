"""SCRAM (RFC 5802) from the client's side, message by message, so that a case can send a wrong one.

A client library builds right messages only, and refuses what a weak server says before a case can see it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from dataclasses import dataclass, field

from smtpbench.conformance.answer import Answer
from smtpbench.conformance.exchange import begin_auth, challenge_of, respond, until_auth_offered
from smtpbench.conformance.observation import Untested
from smtpbench.conformance.peer import Peer

HASHES = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-1": "sha1"}  # the better one first
MAX_ITERATIONS = 1_000_000  # about half a second of our time; a server may name any number


@dataclass
class ScramClient:
    """The messages of one exchange. `header` is the gs2-header (§7); `extension` an attribute that stands
    before the user name; `final_suffix` is added to the nonce of the last message, proof included."""

    username: str
    password: str
    digest: str = "sha256"
    header: str = "n,,"
    extension: str = ""
    final_suffix: str = ""
    nonce: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    expected_signature: bytes = b""

    @property
    def bare(self) -> str:
        """client-first-message-bare."""
        name = self.username.replace("=", "=3D").replace(",", "=2C")
        return "".join(f"{part}," for part in (self.extension,) if part) + f"n={name},r={self.nonce}"

    def first(self) -> bytes:
        """client-first-message."""
        return (self.header + self.bare).encode()

    def final(self, server_first: bytes) -> bytes:
        """client-final-message with a proof; keeps what the server's signature has to be.

        Raises Untested if `server_first` has no nonce, salt and iteration count that we can work with.
        """
        said = attributes(server_first)
        salt, count = _salt_and_count(said)
        binding = base64.b64encode(self.header.encode()).decode("ascii")
        without_proof = f"c={binding},r={said.get('r', '')}{self.final_suffix}"
        message = b",".join((self.bare.encode(), server_first, without_proof.encode()))
        salted = hashlib.pbkdf2_hmac(self.digest, self.password.encode(), salt, count)
        client_key = self._hmac(salted, b"Client Key")
        stored_key = hashlib.new(self.digest, client_key).digest()
        signature = self._hmac(stored_key, message)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        self.expected_signature = self._hmac(self._hmac(salted, b"Server Key"), message)
        return f"{without_proof},p={base64.b64encode(proof).decode('ascii')}".encode()

    def proven_by(self, server_final: bytes) -> bool:
        """Whether `server_final` has the signature of a server that knows the user's key (§3)."""
        said = attributes(server_final).get("v", "")
        return bool(self.expected_signature) and hmac.compare_digest(
            said.encode(), base64.b64encode(self.expected_signature)
        )

    def _hmac(self, key: bytes, message: bytes) -> bytes:
        return hmac.new(key, message, self.digest).digest()


@dataclass(frozen=True)
class ScramResult:
    """What the server said in one exchange: its two messages (empty if it sent none) and the last reply."""

    server_first: bytes
    server_final: bytes
    answer: Answer


def attributes(message: bytes) -> dict[str, str]:
    """The attributes of a SCRAM message by their letter."""
    parts = message.decode("utf-8", "replace").split(",")
    return {part[0]: part[2:] for part in parts if part[1:2] == "="}


def _salt_and_count(said: dict[str, str]) -> tuple[bytes, int]:
    count = said.get("i", "")
    try:
        salt = base64.b64decode(said.get("s", ""), validate=True)
    except binascii.Error:
        salt = b""
    if not salt or not (count.isascii() and count.isdecimal()) or not 0 < int(count[:9]) <= MAX_ITERATIONS:
        raise Untested("the server's first SCRAM message has no salt and iteration count that we can use")
    return salt, int(count)


def scram_client(
    peer: Peer, mechanism: str, *, header: str = "n,,", extension: str = "", final_suffix: str = ""
) -> ScramClient:
    """A client with the target's credentials for `mechanism`, which may be a ``-PLUS`` one."""
    user = peer.credentials
    password = user.password()
    if not (user.username + password).isascii():
        raise Untested("the credentials are not ASCII, and SASLprep is not ours to test")
    digest = HASHES[mechanism.removesuffix("-PLUS")]
    return ScramClient(user.username, password, digest, header, extension, final_suffix)


async def offered_scram(peer: Peer) -> str:
    """The best SCRAM mechanism without channel binding that is offered."""
    await until_auth_offered(peer)
    for name in HASHES:
        if name in peer.extensions.auth_mechanisms:
            return name
    raise Untested(f"neither {' nor '.join(HASHES)} is offered")


async def scram_exchange(peer: Peer, mechanism: str, client: ScramClient) -> ScramResult:
    """A whole exchange with the messages of `client`, as far as the server goes along."""
    server_first = server_final = b""
    answer = await begin_auth(peer, mechanism, client.first())
    if answer.code == 334:
        server_first = challenge_of(answer)
        refused = "e" in attributes(server_first)
        answer = await respond(peer, b"" if refused else client.final(server_first))
    if answer.code == 334:
        server_final = challenge_of(answer)
        answer = await respond(peer, b"")
    return ScramResult(server_first, server_final, answer)
