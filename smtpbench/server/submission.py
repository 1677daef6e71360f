"""What a submission server does that a relay does not (RFC 6409): it checks messages, and completes them.

The functions know messages alone, octets in and octets out; `Submission` puts them into a session. What is
added goes on top of the message, so that what the client sent stays in one piece.
"""

from __future__ import annotations

import re
import secrets
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime, getaddresses, parsedate_to_datetime

from smtpbench.server.commands import Refusal, SessionCommands, Transaction
from smtpbench.server.trace import header_of
from smtpbench.wire.grammar import Path

_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")
_FIELD = re.compile(rb"([!-9;-~]+):((?:[^\r\n]|\r\n[ \t])*)(?:\r\n|\Z)")  # RFC 5322 §2.2, no obs-optional
_ONCE = frozenset(  # RFC 5322 §3.6: at most one of each
    b"date from sender reply-to to cc bcc message-id in-reply-to references subject".split()
)
_ATOMS = rb"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.\x80-\xff-]+"
_MESSAGE_ID = re.compile(rb"\s*<%s@(?:%s|\[[!-Z^-~]*\])>\s*" % (_ATOMS, _ATOMS))  # RFC 5322 §3.6.4


@dataclass(frozen=True, slots=True)
class Field:
    """One header field: its name in lower case, its value as it stands, and all its octets."""

    name: bytes
    value: bytes
    raw: bytes


def fields_of(content: bytes) -> list[Field] | None:
    """The header fields of a message, or None where a line of its header is none (RFC 5322 §2.2)."""
    header = header_of(content)
    fields: list[Field] = []
    at = 0
    while at < len(header):
        match = _FIELD.match(header, at)
        if match is None:
            return None
        fields.append(Field(match[1].lower(), match[2], match[0].removesuffix(b"\r\n") + b"\r\n"))
        at = match.end()
    return fields


def breach(content: bytes) -> str | None:
    """What a message has that RFC 5322 does not allow and nobody but its author can mend, or None."""
    if _BARE.search(content):
        return "bare CR or LF in the content"
    fields = fields_of(content)
    if fields is None:
        return "a line of the header is no header field"
    counts = Counter(field.name for field in fields)
    twice = [name.decode("ascii").title() for name in _ONCE if counts[name] > 1]
    if twice:
        return f"more than one {min(twice)} field"
    return None


def completed(
    content: bytes, *, what: Set[str], user: str | None, now: datetime, ident: str, host: str
) -> bytes:
    """A message with the fields that it lacks, and without those that are not to go on.

    Date and Message-ID are added, or replaced where their syntax is wrong (§8.2, §8.3); Sender is added if
    `user`, the address of who submits, is not the only one in From (§8.1), and From if there is none; Bcc is
    removed (RFC 5322 §3.6.3). All that for the fields named in `what` alone.
    """
    fields = fields_of(content)
    if fields is None:
        return content
    values = {field.name: field.value for field in fields}
    new: dict[str, bytes] = {}
    if not _is_date(values.get(b"date")):
        new["date"] = b"Date: " + format_datetime(now).encode("ascii")
    if not _MESSAGE_ID.fullmatch(values.get(b"message-id", b"")):
        new["message-id"] = f"Message-ID: <{ident}@{host}>".encode()
    if user and b"from" not in values:
        new["from"] = f"From: <{user}>".encode()
    elif user and b"sender" not in values and _addresses(values[b"from"]) != [user.lower()]:
        new["sender"] = f"Sender: <{user}>".encode()
    added = {name: line + b"\r\n" for name, line in new.items() if name in what}
    drop = {name.encode() for name in added} | ({b"bcc"} if "bcc" in what else set())
    kept = b"".join(field.raw for field in fields if field.name not in drop)
    return b"".join(added.values()) + kept + content[sum(len(field.raw) for field in fields) :]


def _is_date(value: bytes | None) -> bool:
    try:
        parsedate_to_datetime((value or b"").decode("ascii"))
    except ValueError:
        return False
    return True


def _addresses(value: bytes) -> list[str]:
    return [address.lower() for _, address in getaddresses([value.decode("utf-8", "replace")])]


def is_qualified(path: Path) -> bool:
    """Whether the domain of `path`, if it has one, is more than one label, or an address literal."""
    return not path.domain or b"." in path.domain or path.domain.startswith(b"[")


class Submission(SessionCommands):
    """The checks and the completion in a session; on other endpoints they do nothing."""

    mends: Set[str] = frozenset({"date", "from", "message-id", "sender", "bcc"})  # field names

    def unqualified(self, path: Path) -> Refusal | None:
        """RFC 6409 §4.2: 554 for a domain that is not fully qualified."""
        if not self.config.is_submission or is_qualified(path) or self.is_local(path.domain):
            return None
        return 554, "5.1.8" if self.transaction is None else "5.1.2", "The domain is not fully qualified"

    def improper(self, transaction: Transaction, content: bytes) -> Refusal | None:
        """RFC 6409 §6.3: 554 for a message with faults of syntax."""
        found = breach(content) if self.config.is_submission and not transaction.binary else None
        return (554, "5.6.0", found[:1].upper() + found[1:]) if found else None

    def submitted(self, parts: Sequence[bytes], now: datetime) -> list[bytes]:
        """RFC 6409 §8: the content as it goes on."""
        content = b"".join(parts)
        if not self.config.is_submission or breach(content):
            return [content]
        return [self.complete(content, now)]

    def complete(self, content: bytes, now: datetime) -> bytes:
        """The message with what it lacks."""
        return completed(
            content,
            what=self.mends,
            user=self.submitter(),
            now=now,
            ident=secrets.token_hex(8),
            host=self.config.name,
        )

    def submitter(self) -> str | None:
        """The address of the user who submits, where that user has a mailbox here."""
        known = self.authenticated in self.config.mailboxes
        return f"{self.authenticated}@{self.config.domains[0]}" if known else None
