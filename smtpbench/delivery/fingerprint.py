"""What is the same message and what is not: identifiers, and digests that a faithful relay does not change.

An identifier is eight hex digits for the run of one process, a hyphen and nine for the message. A message
that we made has it in its Message-ID and in its body; one that must not be changed (replayed, or signed) has
it in a header field of ours alone, `FIELD`.

`digest` is of the body, less what a mailbox or a relay may change without touching what was said:

- header fields: relays add trace fields above and may complete others below, so the header is not judged;
- line ends: CRLF where a server stores LF, and empty lines at the end (an mbox puts one there);
- ``>`` before ``From `` at the beginning of a line, which an mbox needs;
- the identifier itself, so that all messages made from one content have one digest.

`decoded_digest` is of what the MIME parts hold once their transfer encoding is undone, with their types. A
body whose `digest` differs while its `decoded_digest` does not was *transformed* (8bit to quoted-printable,
say: RFC 6152 §3, RFC 2045 §6); where both differ it is *corrupted*.
"""

from __future__ import annotations

import email
import hashlib
import re

IDENTIFIER = rb"[0-9a-f]{8}-[0-9a-f]{9}"
RUN_DIGITS = 8
_NUMBER_DIGITS = 9
ID_LENGTH = RUN_DIGITS + 1 + _NUMBER_DIGITS
FIELD = b"X-Smtpbench-Id"
DIGEST_SIZE = 16  # octets of SHA-256 that are kept: against chance, not against an enemy

MASK = b"0" * RUN_DIGITS + b"-" + b"0" * _NUMBER_DIGITS
# It is searched for by its hyphen, which is rare: at every other octet a search for hex digits would begin.
_ANY = re.compile(rb"-(?<=(?<![0-9A-Za-z-])[0-9a-f]{8}-)[0-9a-f]{9}(?![0-9A-Za-z-])")
_FIELDS = (  # the name as it is looked for, with the line end before it; what follows the colon
    (b"\n" + FIELD.lower() + b":", re.compile(rb"\s*(" + IDENTIFIER + rb")\s*$", re.MULTILINE)),
    (b"\nmessage-id:", re.compile(rb"\s*<?(" + IDENTIFIER + rb")@")),
)
_QUOTED_FROM = re.compile(rb"^>+(?=From )", re.MULTILINE)


def make_identifier(run: bytes, number: int) -> bytes:
    """The identifier of message `number` of `run`."""
    return b"%s-%09x" % (run, number)


def number_of(identifier: bytes) -> int:
    """The number in an identifier."""
    return int(identifier[RUN_DIGITS + 1 :], 16)


def split(content: bytes) -> tuple[bytes, bytes]:
    """The header, without the empty line, and the body of a message with either line end."""
    end = content.find(b"\n\r\n")
    bare = content.find(b"\n\n", 0, end + 1 if end >= 0 else None)
    if bare >= 0:
        end, body = bare, bare + 2
    elif end >= 0:
        body = end + 3
    else:
        return content, b""
    return content[: end - 1 if content[end - 1 : end] == b"\r" else end], content[body:]


def header_identifier(header: bytes) -> bytes:
    """The identifier in the field of ours or else in the Message-ID, or b"" if neither has one."""
    lowered = b"\n" + header.lower()
    for name, value in _FIELDS:
        at = lowered.find(name)
        while at >= 0:
            found = value.match(header, at + len(name) - 1)
            if found:
                return found[1]
            at = lowered.find(name, at + 1)
    return b""


def identifiers(octets: bytes) -> list[bytes]:
    """All that looks like an identifier, in order, each once."""
    if b"-" not in octets:
        return []
    return list(
        dict.fromkeys([octets[found.start() - RUN_DIGITS : found.end()] for found in _ANY.finditer(octets)])
    )


def digest(body: bytes, identifier: bytes) -> bytes:
    """The digest of a body, in the form that survives a faithful relay (see above)."""
    return _hash(_canonical(body).replace(identifier, MASK) if identifier else _canonical(body))


def decoded_digest(content: bytes, identifier: bytes) -> bytes:
    """The digest of the types and the decoded octets of all MIME parts of a message that hold no others."""
    parts = []
    for part in email.message_from_bytes(content).walk():
        if not part.is_multipart():
            payload = part.get_payload(decode=True)
            octets = payload if isinstance(payload, bytes) else b""
            parts.append(part.get_content_type().encode("ascii", "replace") + b"\n" + _canonical(octets))
    whole = b"\0".join(parts)
    return _hash(whole.replace(identifier, MASK) if identifier else whole)


def _canonical(body: bytes) -> bytes:
    if b"\r\n" in body:
        body = body.replace(b"\r\n", b"\n")
    if b">From " in body:
        body = _QUOTED_FROM.sub(b"", body)
    return body.rstrip(b"\n")


def _hash(octets: bytes) -> bytes:
    return hashlib.sha256(octets).digest()[:DIGEST_SIZE]
