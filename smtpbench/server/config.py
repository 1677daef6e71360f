"""What a server is told about itself: names, mailboxes, users, limits, what it offers."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

from smtpbench.target import Role

KEYWORDS = (  # in the order in which EHLO lists them
    "PIPELINING",
    "SIZE",
    "8BITMIME",
    "SMTPUTF8",
    "CHUNKING",
    "BINARYMIME",
    "ENHANCEDSTATUSCODES",
    "DSN",
    "STARTTLS",
    "AUTH",
    "HELP",
    "EXPN",
    "VRFY",
    "ETRN",
    "DELIVERBY",
    "MTRK",
    "BURL",
    "FUTURERELEASE",
    "MT-PRIORITY",
    "RRVS",
    "PRDR",
    "LIMITS",
    "REQUIRETLS",
)
ALL_EXTENSIONS = frozenset(KEYWORDS)
_SUBMISSION = frozenset({Role.SUBMISSION, Role.SUBMISSIONS})
_SMTP = _SUBMISSION | {Role.MX}
ROLES_OF = {  # the extensions that not every port may have
    "ETRN": frozenset({Role.MX}),  # RFC 6409 §7 has no place for it
    "DELIVERBY": _SMTP,
    "MTRK": _SMTP,
    "BURL": _SUBMISSION,  # RFC 4468 §3.1
    "FUTURERELEASE": _SUBMISSION,  # RFC 4865 §3
    "PRDR": _SMTP,  # LMTP answers for each recipient anyhow
}
# A sink is a plain next hop: these would change what happens between it and the server under test.
NOT_OF_A_SINK = frozenset(KEYWORDS[KEYWORDS.index("ETRN") :]) - {"REQUIRETLS"}
NEXT_HOP_EXTENSIONS = frozenset(  # what a next hop of ours offers unless told otherwise
    {"PIPELINING", "SIZE", "8BITMIME", "SMTPUTF8", "CHUNKING", "BINARYMIME", "ENHANCEDSTATUSCODES", "DSN"}
)


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """Settings of one `Server`; the defaults are the strict reference server on a free port.

    `domains` are final here, each with all of `mailboxes` (matched without case, ``+detail`` ignored);
    their first is the domain of a bare ``<Postmaster>``. Mail for a mailbox that is `bouncing` is accepted,
    is not delivered, and is reported to its sender (RFC 3461 §5.2.6). `users` maps a user name to its
    password, which is their OAUTHBEARER token too. `certificate` is that of `tls` in PEM: with it SCRAM
    offers channel binding (RFC 5802 §6).
    `takes_no_mail` greets with `no_mail_code`: with 554 and then answers 503 to all but QUIT (RFC 5321 §3.1),
    or with 521 and then answers 521 (RFC 7504 §3).
    `sink` accepts any recipient, adds no trace and needs no mailbox. Sizes are in octets, times in seconds.
    Mail for a domain of `relays` (in lower case), or one below it, is taken from anybody and sent on to that
    host and port;
    `relay_ca` and `relay_name` are who signs its certificate and the name in it, for REQUIRETLS.

    `spool` is a folder where mail that is to be sent on is kept until it is settled (see spool.py); without
    one it is in memory.

    `max_transactions` is announced with LIMITS and kept. `max_hold` is the longest that FUTURERELEASE offers;
    held messages are in memory and end with the server, so it is not offered by default. `owners_since` says
    since when a mailbox has had its owner (RFC 7293); `null_mx` names domains that take no mail (RFC 7505),
    `burl` what there is to fetch by BURL.
    """

    host: str = "127.0.0.1"
    port: int = 0
    role: Role = Role.MX
    name: str = "mx.example.com"
    domains: tuple[str, ...] = ("example.com",)
    mailboxes: tuple[str, ...] = ("postmaster", "alice", "bob")
    bouncing: tuple[str, ...] = ("bouncer",)
    users: Mapping[str, str] = field(default_factory=dict, repr=False)
    auth_in_clear: bool = False
    tls: ssl.SSLContext | None = None
    certificate: str | None = field(default=None, repr=False)
    extensions: frozenset[str] = ALL_EXTENSIONS
    bare_line_ends: Literal["keep", "refuse"] = "keep"
    max_size: int = 32 * 1024 * 1024  # §4.5.3.1.7 asks for 64 KiB; this is what big mail servers allow
    max_recipients: int = 1_000  # §4.5.3.1.8 asks for 100
    max_line: int = 4_096  # a MAIL line with every extension's allowance is about 1 600
    max_hops: int = 100  # §6.3: at least 100 Received lines before a loop is suspected
    idle_timeout: float = 300.0  # §4.5.3.2.7
    sink: bool = False
    max_transactions: int | None = None
    max_hold: int = 0
    owners_since: Mapping[str, datetime] = field(default_factory=dict)
    null_mx: frozenset[str] = frozenset()
    burl: Mapping[str, bytes] = field(default_factory=dict)
    takes_no_mail: bool = False
    no_mail_code: Literal[554, 521] = 554
    relays: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    spool: Path | None = None
    relay_retry: float = 1_800.0  # §4.5.4.1: at least 30 minutes
    relay_attempts: int = 240  # … for 5 days
    relay_timeout: float = 300.0  # §4.5.3.2
    relay_ca: Path | None = None
    relay_name: str | None = None

    def has(self, keyword: str) -> bool:
        """Whether this server has an extension at all, on offer at the moment or not."""
        roles = ROLES_OF.get(keyword)
        return (
            keyword in self.extensions
            and (roles is None or self.role in roles)
            and not (self.sink and keyword in NOT_OF_A_SINK)
            and not (keyword == "FUTURERELEASE" and not self.max_hold)
        )

    def relay_of(self, domain: str) -> tuple[str, int] | None:
        """The host and port where mail for `domain` is sent on to, if it is."""
        labels = domain.lower().split(".")
        above = (".".join(labels[at:]) for at in range(len(labels)))
        return next((self.relays[name] for name in above if name in self.relays), None)

    @property
    def is_submission(self) -> bool:
        """Whether mail is taken from authenticated users only (RFC 6409)."""
        return self.role in (Role.SUBMISSION, Role.SUBMISSIONS)
