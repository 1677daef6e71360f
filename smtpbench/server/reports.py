"""Delivery status notifications, sans-IO: who is owed one (RFC 3461 §5.2), and its octets (RFC 3464).

    due = [recipient for recipient in outcomes if is_due(recipient.notify, recipient.action)]
    content = report(original, due, mta="mx.example.com", now=now, ident=secrets.token_hex(8))

A report goes to the reverse-path of the original, from the null reverse-path, and never for a message that
came from the null one itself (`is_returnable`). This file may not know how it is sent.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from enum import StrEnum

from smtpbench.server.trace import header_of
from smtpbench.wire.grammar import decode_xtext

MAX_LINE = 998  # RFC 5322 §2.1.1; content with a longer line is labelled binary


class Action(StrEnum):
    """What became of a message for one recipient (RFC 3464 §2.3.3)."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    RELAYED = "relayed"
    EXPANDED = "expanded"


_KEYWORD = {  # the NOTIFY keyword that asks for a report of each action
    Action.FAILED: "FAILURE",
    Action.DELAYED: "DELAY",
    Action.DELIVERED: "SUCCESS",
    Action.RELAYED: "SUCCESS",
    Action.EXPANDED: "SUCCESS",
}
_BY_DEFAULT = frozenset({Action.FAILED})  # RFC 3461 §4.1 allows "delayed" too; it is not needed


@dataclass(frozen=True, slots=True)
class Original:
    """The message a report is about.

    `sender` is the reverse-path without brackets; `content` has CRLF line ends; `envid` and `ret` are the
    values of MAIL's parameters as sent (`envid` in xtext), None where they were absent.
    """

    sender: bytes
    content: bytes
    arrival: datetime
    envid: str | None = None
    ret: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the message for one recipient.

    `address` is the mailbox of RCPT without brackets; `orcpt` (in xtext) and `notify` are RCPT's parameters
    as sent. `status` is an RFC 3463 code. `diagnostic` is an SMTP reply (its lines with line breaks between
    them, RFC 3461 §9.2), of `remote` if that is given: the name of the server it was to be relayed to.
    """

    address: bytes
    action: Action
    status: str
    notify: str | None = None
    orcpt: str | None = None
    diagnostic: str | None = None
    remote: str | None = None


def is_due(notify: str | None, action: Action) -> bool:
    """Whether a recipient's NOTIFY asks for a report of `action` (RFC 3461 §5.2.2 to §5.2.6)."""
    if notify is None:
        return action in _BY_DEFAULT
    return _KEYWORD[action] in notify.upper().split(",")


def is_returnable(sender: bytes) -> bool:
    """Whether there is anybody to report to: not for the null reverse-path (RFC 3461 §5.2)."""
    return bool(sender)


def report(original: Original, outcomes: Sequence[Outcome], *, mta: str, now: datetime, ident: str) -> bytes:
    """One report about `outcomes`, CRLF line ends, with its header.

    `mta` is the reporting server's domain name; `ident` must be new for each report and not guessable: it
    makes the Message-ID and the boundary. The whole original comes back only if the report has a failure
    and RET=FULL asked for it (RFC 3461 §4.3, §6.2).
    """
    failed = any(outcome.action is Action.FAILED for outcome in outcomes)
    whole = failed and (original.ret or "").upper() == "FULL"
    returned = original.content if whole else header_of(original.content) + b"\r\n"
    boundary = f"=_{ident}".encode("ascii")
    parts = (
        _part("text/plain; charset=utf-8", _explanation(outcomes, mta)),
        _part("message/delivery-status", delivery_status(original, outcomes, mta=mta)),
        _part(_returned_type(original.content, whole=whole), returned),
    )
    body = b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts)
    header = _header(original, outcomes, mta, now, ident, boundary, _encoding(body))
    return header + b"\r\n" + body + b"--" + boundary + b"--\r\n"


def delivery_status(original: Original, outcomes: Sequence[Outcome], *, mta: str) -> bytes:
    """The body of the message/delivery-status part: fields per message, then per recipient (§2.2, §2.3)."""
    message = [("Original-Envelope-Id", _decoded(original.envid))] if original.envid is not None else []
    message += [("Reporting-MTA", f"dns; {mta}"), ("Arrival-Date", format_datetime(original.arrival))]
    groups = [message, *(_recipient_fields(outcome) for outcome in outcomes)]
    return b"\r\n".join(b"".join(_field(*field) for field in group) for group in groups)


def _recipient_fields(outcome: Outcome) -> list[tuple[str, str]]:
    fields = []
    if outcome.orcpt is not None:
        kind, _, address = outcome.orcpt.partition(";")
        fields.append(("Original-Recipient", f"{kind};{_original(kind, address)}"))
    fields += [
        ("Final-Recipient", _typed_address(outcome.address)),
        ("Action", outcome.action.value),
        ("Status", outcome.status),
    ]
    if outcome.remote is not None:
        fields.append(("Remote-MTA", f"dns; {outcome.remote}"))
    if outcome.diagnostic is not None:
        fields.append(("Diagnostic-Code", f"smtp; {outcome.diagnostic}"))
    return fields


def _original(kind: str, address: str) -> str:
    """The address of an ORCPT: xtext, but of the utf-8 type what RFC 6533 §3 calls utf-8-addr-xtext."""
    return _escaped(address) if kind.lower() == "utf-8" else _decoded(address)


def _typed_address(address: bytes) -> str:
    """An address with its type: rfc822, or utf-8 with its other characters as ``\\x{…}`` (RFC 6533 §3)."""
    if address.isascii():
        return f"rfc822;{address.decode('ascii')}"
    return f"utf-8;{_escaped(address.decode('utf-8', 'replace'))}"


def _escaped(text: str) -> str:
    return "".join(char if char.isascii() else f"\\x{{{ord(char):X}}}" for char in text)


def _decoded(xtext: str) -> str:
    """The printable text that an xtext stands for; one that is none is given as it came."""
    octets = decode_xtext(xtext.encode("ascii", "replace"))
    return xtext if octets is None else octets.decode("latin-1")


def _field(name: str, value: str) -> bytes:
    """One field: a line break in the value folds it, and what is not printable ASCII is replaced."""
    lines = [re.sub(r"[^\t -~]", "?", line) for line in re.split(r"\r?\n", value)]
    return (f"{name}: " + "\r\n ".join(lines) + "\r\n").encode("ascii")


def _header(
    original: Original,
    outcomes: Sequence[Outcome],
    mta: str,
    now: datetime,
    ident: str,
    boundary: bytes,
    encoding: str,
) -> bytes:
    subject = ", ".join(sorted({outcome.action.value for outcome in outcomes}))
    lines = (
        f"From: Mail Delivery System <postmaster@{mta}>".encode(),
        b"To: <" + original.sender + b">",
        f"Subject: Delivery status: {subject}".encode(),
        f"Date: {format_datetime(now)}".encode(),
        f"Message-ID: <{ident}@{mta}>".encode(),
        b"Auto-Submitted: auto-replied",  # RFC 3834 §5
        b"MIME-Version: 1.0",
        b'Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary="' + boundary + b'"',
        f"Content-Transfer-Encoding: {encoding}".encode(),
    )
    return b"".join(line + b"\r\n" for line in lines)


def _part(kind: str, body: bytes) -> bytes:
    head = f"Content-Type: {kind}\r\nContent-Transfer-Encoding: {_encoding(body)}\r\n\r\n"
    return head.encode("ascii") + body


def _encoding(body: bytes) -> str:
    """The label that is true of `body` as it is (RFC 2045 §2.7 to §2.9): nothing is encoded."""
    lines = body.split(b"\r\n")
    if b"\0" in body or any(len(line) > MAX_LINE or b"\r" in line or b"\n" in line for line in lines):
        return "binary"
    return "7bit" if body.isascii() else "8bit"


def _returned_type(content: bytes, *, whole: bool) -> str:
    """The type of the third part; a header with UTF-8 in it has its own names (RFC 6533 §4)."""
    plain = header_of(content).isascii()
    if whole:
        return "message/rfc822" if plain else "message/global"
    return "text/rfc822-headers" if plain else "message/global-headers"


_SAID = {
    Action.FAILED: "could not be delivered",
    Action.DELAYED: "could not be delivered yet; it will be tried again",
    Action.DELIVERED: "was delivered",
    Action.RELAYED: "was relayed to a server that does not report delivery",
    Action.EXPANDED: "was delivered and sent on to several other addresses",
}


def _explanation(outcomes: Sequence[Outcome], mta: str) -> bytes:
    lines = [b"This is a report by the mail server " + mta.encode() + b".", b""]
    for outcome in outcomes:
        said = f"> {_SAID[outcome.action]} ({outcome.status})."
        lines.append(b"Your message for <" + outcome.address + said.encode())
    return b"".join(line + b"\r\n" for line in lines)
