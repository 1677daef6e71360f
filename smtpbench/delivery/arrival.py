"""A message as an observer saw it arrive: what the ledger needs of it, and no more."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from smtpbench.delivery.fingerprint import (
    RUN_DIGITS,
    decoded_digest,
    digest,
    header_identifier,
    identifiers,
    split,
)


@dataclass(frozen=True, slots=True)
class Arrival:
    """One message at an observer, for all recipients of one transaction or of one mailbox.

    `identifier` is b"" for a message that is none of ours. `at_ns` is wall clock time, nanoseconds since
    the epoch. `sender` and `recipients` are the envelope as far as the observer knows it (no recipients: one
    copy for somebody). `digest` is that of `fingerprint.digest`; `decoded` that of
    `fingerprint.decoded_digest`, or b"" where it was not needed. `spliced`: header and body name different
    messages. `session` numbers the observer's sessions, 0 where it has none.
    """

    identifier: bytes
    at_ns: int
    sender: str | None = None
    recipients: tuple[str, ...] = ()
    digest: bytes = b""
    decoded: bytes = b""
    spliced: bool = False
    session: int = 0


@dataclass(frozen=True, slots=True)
class Read:
    """One message of ours as whoever looks into its mailbox over `protocol` read it ("": a file).

    It was there at `at_ns`, whole, and could not be found at `since_ns`; `stated_ns` is when the server says
    that it was delivered, if it does. Wall clock, ns since the epoch.
    """

    protocol: str
    identifier: bytes
    at_ns: int
    since_ns: int
    stated_ns: int | None = None


def read_arrival(
    content: bytes,
    at_ns: int,
    *,
    sender: str | None = None,
    recipients: tuple[str, ...] = (),
    session: int = 0,
    known: Collection[bytes] = (),
) -> Arrival:
    """The arrival that `content` (header and body, either line end) is. `known` are digests that were sent.

    The Message-ID says which message it is, or the body if that has lost it. A body that is in `known` is not
    decoded: that would cost a hundred times as much.
    """
    found, spliced, body = identify(content)
    exact = digest(body, found)
    decoded = b"" if exact in known else decoded_digest(content, found)
    return Arrival(found, at_ns, sender, recipients, exact, decoded, spliced, session)


def identify(content: bytes) -> tuple[bytes, bool, bytes]:
    """Which message `content` is, whether it is spliced (see `Arrival`), and its body."""
    header, body = split(content)
    found = header_identifier(header)
    if found and found in body:
        return found, False, body
    inside = [one for one in identifiers(body) if not found or one[:RUN_DIGITS] == found[:RUN_DIGITS]]
    return found or (inside[0] if inside else b""), bool(found and inside), body
