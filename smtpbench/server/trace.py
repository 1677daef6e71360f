"""The trace header a receiver adds (RFC 5321 §4.4): one Received line, and Return-Path at final delivery."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache

_RECEIVED = re.compile(rb"(?mi)^Received[ \t]*:")


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a Received line says: who sent it (`helo`, `client`), who took it (`by`), and how.

    `clauses` are additional ones, each a registered name and its value (RFC 5321 §4.4).
    """

    helo: str
    client: str
    by: str
    protocol: str
    ident: str
    date: datetime
    shared: bool = False  # one line for several recipients: §4.4 lets it name none of them
    clauses: tuple[str, ...] = ()

    def line(self, path: bytes) -> bytes:
        """The folded line for one recipient; `path` is a mailbox without brackets."""
        sender = self.helo if self.helo == self.client else f"{self.helo} ({self.client})"
        head = f"Received: from {sender}\r\n\tby {self.by} with {self.protocol} id {self.ident}"
        further = "".join(f"\r\n\t{clause}" for clause in self.clauses)
        return (
            head.encode("ascii")
            + (b"" if self.shared else b"\r\n\tfor <" + path + b">")
            + further.encode("ascii")
            + b";\r\n\t"
            + format_datetime(self.date).encode("ascii")
            + b"\r\n"
        )


def return_path(sender: bytes) -> bytes:
    """The Return-Path line of a reverse-path; empty for the null one gives ``<>``."""
    return b"Return-Path: <" + sender + b">\r\n"


@lru_cache(1_024)  # the same few clients connect again and again
def address_literal(host: str) -> str:
    """The address literal of an IP address (§4.1.3)."""
    address = ipaddress.ip_address(host.partition("%")[0])
    return f"[IPv6:{address}]" if address.version == 6 else f"[{address}]"


def header_of(content: bytes) -> bytes:
    """The header section of a message, up to and without the empty line."""
    return b"" if content.startswith(b"\r\n") else content.partition(b"\r\n\r\n")[0]


def count_received(content: bytes) -> int:
    """How many Received fields the header section has (§6.3)."""
    return len(_RECEIVED.findall(header_of(content)))


def protocol_token(*, lmtp: bool, extended: bool, tls: bool, authenticated: bool, utf8: bool) -> str:
    """The WITH keyword of RFC 3848 and RFC 6531 §3.7.3: ESMTPSA, UTF8SMTPS, LMTP, …"""
    if not (lmtp or extended):
        return "SMTP"
    base = "LMTP" if lmtp else "SMTP" if utf8 else "ESMTP"
    return ("UTF8" if utf8 else "") + base + ("S" if tls else "") + ("A" if authenticated else "")
