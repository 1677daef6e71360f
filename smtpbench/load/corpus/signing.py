"""DKIM signatures (RFC 6376) on what we send, by dkimpy: rsa-sha256, relaxed/relaxed.

A signature takes milliseconds, a thousand times what a message costs otherwise. So a content is signed once,
when the pool is made, and what differs from message to message is not under the signature: the identifier is
in the Message-ID alone, which need not be signed (it is not among the fields of RFC 6376 §5.4.1), or in a
field of ours. The body has none, and is signed whole: no ``l=``. To a verifier it costs what any other costs.

`each` signs every message by itself, all of it: with the identifier in the body, and the Message-ID under the
signature. That is for servers that would notice that signatures repeat, and it bounds the rate of a process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smtpbench.delivery.fingerprint import MASK, make_identifier
from smtpbench.errors import UsageError
from smtpbench.load.corpus.content import Content
from smtpbench.load.identifiers import Identifiers

SHORTEST_KEY = 1024  # bits: verifiers need not take fewer (RFC 8301 §3.2)
_CANONICAL = (b"relaxed", b"relaxed")  # survives what relays do to blanks and to the case of field names


@dataclass(frozen=True)
class Signing:
    """How contents are signed: `key` is a file with an RSA key in PEM; its public half is in the DNS at
    ``SELECTOR._domainkey.DOMAIN``.
    """

    key: str
    selector: str
    domain: str
    each: bool = False


class Signer:
    """Signs as `signing` says. Raises UsageError if there is no usable key."""

    def __init__(self, signing: Signing) -> None:
        import dkim  # a tenth of a second, which nobody should wait for who does not sign

        self.each = signing.each
        self._dkim: Any = dkim
        self._key = _read_key(signing.key, dkim)
        self._selector, self._domain = signing.selector.encode(), signing.domain.encode("idna")

    def field(self, message: bytes, *, message_id: bool) -> bytes:
        """The DKIM-Signature field for the top of `message`; it signs the Message-ID or leaves it out."""
        one = self._dkim.DKIM(message)
        fields = one.default_sign_headers()
        if not message_id:
            fields = [name for name in fields if name.lower() != b"message-id"]
        signed: bytes = one.sign(
            self._selector, self._domain, self._key, canonicalize=_CANONICAL, include_headers=fields
        )
        return signed

    def check(self, message: bytes, name: str) -> None:
        """That `message` can be signed. Raises UsageError."""
        try:
            fields = self._dkim.DKIM(message).default_sign_headers()
        except self._dkim.MessageFormatError:
            raise UsageError(f"dkim: {name}: its header is not well-formed") from None
        if b"from" not in map(bytes.lower, fields):
            raise UsageError(f"dkim: {name}: no From field, which has to be signed")


class SignedContent(Content):
    """A content each of whose messages is signed by itself."""

    __slots__ = ("_signer",)

    def __init__(self, pieces: Sequence[bytes], identifiers: Identifiers, name: str, signer: Signer) -> None:
        super().__init__(pieces, identifiers, name)
        self._signer = signer

    def next_content(self, after: bytes = b"") -> bytes:
        """See `Content`."""
        content = super().next_content(after)
        return self._field() + content

    def next_bdat(self, after: bytes = b"") -> bytes:
        """See `Content`."""
        _, _, content = super().next_bdat(after).partition(b"\r\n")
        field = self._field()
        return b"BDAT %d LAST\r\n%s%s" % (len(field) + self.size, field, content)

    def _field(self) -> bytes:
        """The signature of the message that was rendered last."""
        identifier = make_identifier(self._ids.run, self._ids.number)
        return self._signer.field(self.stored(identifier), message_id=True)


def signed_once(pieces: Sequence[bytes], signer: Signer) -> list[bytes]:
    """`pieces` with a signature on top that holds whatever the identifier is."""
    first, *others = pieces
    return [signer.field(MASK.join(pieces), message_id=False) + first, *others]


def _read_key(path: str, dkim: Any) -> bytes:
    try:
        pem = Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"dkim: key {path}: {error.strerror}") from None
    try:
        bits = dkim.crypto.parse_pem_private_key(pem)["modulus"].bit_length()
    except (dkim.crypto.UnparsableKeyError, ValueError):
        raise UsageError(
            f"dkim: key {path}: expected an RSA private key in PEM without a password (openssl genrsa 2048)"
        ) from None
    if bits < SHORTEST_KEY:
        raise UsageError(f"dkim: key {path}: {bits} bits, expected {SHORTEST_KEY} at least")
    return pem
