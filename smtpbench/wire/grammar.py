"""The words of a command line: paths, domains, address literals, parameters, xtext.

RFC 5321 §4.1.2 and §4.1.3, with the UTF-8 forms of RFC 6531 §3.3 and the xtext of RFC 3461 §4:

    Path           = "<" [ A-d-l ":" ] Mailbox ">"         A-d-l = "@" Domain *( "," "@" Domain )
    Mailbox        = Local-part "@" ( Domain / address-literal )
    Domain         = sub-domain *( "." sub-domain )         sub-domain = Let-dig [ Ldh-str ]
    Dot-string     = Atom *( "." Atom )
    Quoted-string  = DQUOTE *( qtextSMTP / quoted-pairSMTP ) DQUOTE
    esmtp-param    = esmtp-keyword [ "=" esmtp-value ]

Everything is octets in, values out, None for what does not match. This file may not know which command
the words belong to, nor which reply a mistake deserves.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

MAX_LOCAL_PART = 64  # §4.5.3.1.1, quotes included
MAX_DOMAIN = 255  # §4.5.3.1.2
# The 256 octets that §4.5.3.1.3 gives to a path are what a receiver must take at least, and a 64-octet
# local-part at a 255-octet domain is longer than that: the parts are limited here, the path is not.

_LET_DIG = rb"[A-Za-z0-9\x80-\xff]"
_SUB_DOMAIN = rb"%s(?:[A-Za-z0-9\x80-\xff-]*%s)?" % (_LET_DIG, _LET_DIG)
_DOMAIN = rb"%s(?:\.%s)*" % (_SUB_DOMAIN, _SUB_DOMAIN)
_ATOM = rb"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\xff-]+"
_DOT_STRING = rb"%s(?:\.%s)*" % (_ATOM, _ATOM)
_QUOTED = rb'"(?:[ !#-\[\]-~\x80-\xff]|\\[ -~])*"'
_LITERAL = rb"\[[!-Z^-~]+\]"
_PATH = re.compile(
    rb"<(?:(?P<route>@%s(?:,@%s)*):)?(?P<local>%s|%s)@(?P<domain>%s|%s)>"
    % (_DOMAIN, _DOMAIN, _DOT_STRING, _QUOTED, _DOMAIN, _LITERAL)
)
_POSTMASTER = re.compile(rb"<(?P<local>postmaster)>", re.IGNORECASE)
_WHOLE_DOMAIN = re.compile(_DOMAIN)
_IPV4 = re.compile(rb"(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})")
_IPV6_TAG = b"IPV6:"
_PARAMETER = re.compile(rb"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~\x80-\xff]+))?")
_XTEXT = re.compile(rb"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")
_HEXCHAR = re.compile(rb"\+([0-9A-F]{2})")
_QUOTED_PAIR = re.compile(rb"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Path:
    """A reverse-path or forward-path. The null path and ``<Postmaster>`` have an empty domain.

    `local` and `domain` are as written, case and quotes kept; `route` holds the domains of a source
    route, which §4.1.1.3 tells a receiver to recognise and to ignore.
    """

    local: bytes
    domain: bytes
    route: tuple[bytes, ...] = ()

    @property
    def mailbox(self) -> bytes:
        """``local@domain`` as written, or ``Postmaster``, or nothing for the null path."""
        return self.local + b"@" + self.domain if self.domain else self.local

    @property
    def local_value(self) -> bytes:
        """The local-part without quotes and quoted pairs: §4.1.2 makes all its spellings one mailbox."""
        if not self.local.startswith(b'"'):
            return self.local
        return _QUOTED_PAIR.sub(rb"\1", self.local[1:-1])

    @property
    def is_utf8(self) -> bool:
        """Whether the mailbox has octets above 127, which only SMTPUTF8 allows."""
        return not self.mailbox.isascii()


NULL_PATH = Path(b"", b"")


def is_domain(text: bytes) -> bool:
    """Whether `text` is a Domain of at most 255 octets (U-labels included, RFC 6531 §3.3)."""
    return len(text) <= MAX_DOMAIN and bool(_WHOLE_DOMAIN.fullmatch(text)) and _is_utf8(text)


def is_address_literal(text: bytes) -> bool:
    """Whether `text` is ``[IPv4]`` or ``[IPv6:…]``; no other tag is registered (§4.1.3)."""
    if not (text.startswith(b"[") and text.endswith(b"]")):
        return False
    inner = text[1:-1]
    match = _IPV4.fullmatch(inner)
    if match:
        return all(int(number) <= 255 for number in match.groups())
    if inner[: len(_IPV6_TAG)].upper() != _IPV6_TAG or b"%" in inner:
        return False
    try:
        ipaddress.IPv6Address(inner[len(_IPV6_TAG) :].decode("ascii"))
    except ValueError:
        return False
    return True


def parse_reverse_path(text: bytes) -> tuple[Path, bytes] | None:
    """The reverse-path that `text` begins with and what follows it; ``<>`` is the null path."""
    if text.startswith(b"<>"):
        return NULL_PATH, text[2:]
    return _path(text)


def parse_forward_path(text: bytes) -> tuple[Path, bytes] | None:
    """The forward-path that `text` begins with and what follows it; ``<Postmaster>`` needs no domain."""
    match = _POSTMASTER.match(text)
    if match:
        return Path(match["local"], b""), text[match.end() :]
    return _path(text)


def _path(text: bytes) -> tuple[Path, bytes] | None:
    match = _PATH.match(text)
    if match is None:
        return None
    local, domain = match["local"], match["domain"]
    valid_domain = is_address_literal(domain) if domain.startswith(b"[") else is_domain(domain)
    if len(local) > MAX_LOCAL_PART or not valid_domain or not _is_utf8(local):
        return None
    route = tuple(hop[1:] for hop in match["route"].split(b",")) if match["route"] else ()
    return Path(local, domain, route), text[match.end() :]


def parse_parameters(text: bytes) -> list[tuple[str, str | None]] | None:
    """The ``*( SP esmtp-param )`` after a path, keywords in upper case; None for a value not given."""
    parameters: list[tuple[str, str | None]] = []
    if not text:
        return parameters
    if not text.startswith(b" ") or not _is_utf8(text):
        return None
    for word in text[1:].split(b" "):
        match = _PARAMETER.fullmatch(word)
        if match is None:
            return None
        value = match[2].decode("utf-8") if match[2] is not None else None
        parameters.append((match[1].decode("ascii").upper(), value))
    return parameters


def decode_xtext(text: bytes) -> bytes | None:
    """The octets that an xtext stands for (``+2B`` is ``+``), or None where it is malformed."""
    if not _XTEXT.fullmatch(text):
        return None
    return _HEXCHAR.sub(lambda match: bytes([int(match[1], 16)]), text)


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
