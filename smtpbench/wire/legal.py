"""Which reply code fits which command: RFC 5321 §4.3.2, and what the extensions add to it.

The table of §4.3.2 lists the "usual" replies, and says itself that special circumstances can have others.
So what is strict here is success: a 2yz or 3yz is one of those listed. A refusal may be any that some
text allows for commands of that kind. This file may not know what was asked before, nor why.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

GREETING = "the greeting"
CONTENT = "the end of data"
RESPONSE = "an AUTH response"

# RFC 5321 §4.2.3, and the codes that its extensions add: 235, 334, 432, 454, 530, 534, 535, 538 (RFC 4954,
# 3207), 453, 458, 459 (1985), 521, 556 (7504), 523-525 (5248's table), 555 is in 5321 itself.
_DONE = {211, 214, 220, 221, 235, 250, 251, 252, 253}
_GO_ON = {334, 353, 354}  # 353: PRDR
_LATER = {421, 422, 430, 432, 450, 451, 452, 453, 454, 455, 458, 459}
_SYNTAX = {500, 501, 502, 503, 504, 521, 523, 524, 525, 530, 533, 534, 535, 538}
_NEVER = {550, 551, 552, 553, 554, 555, 556, 557}
KNOWN_CODES = frozenset(_DONE | _GO_ON | _LATER | _SYNTAX | _NEVER)

# Any command: §4.3.2 (421, 500, 501); out of sequence (§4.1.4); a host that takes no mail (RFC 7504 §3);
# TLS or AUTH first (RFC 3207 §4, RFC 4954 §6).
_ANY = frozenset({421, 500, 501, 503, 521, 530})
# What names a client, an address or a message is refused for policy (§7.8, §7.9) or for a trouble that
# passes; the table has these codes under some of the commands that can meet them.
_REFUSED = frozenset({450, 451, 452, 454, 455, 504, 550, 554})
_ENVELOPE = _REFUSED | {523, 524, 525, 533, 535, 538, 551, 552, 553, 555, 556}
_MESSAGE = _REFUSED | {523, 524, 552, 553, 556}
_OPTIONAL = frozenset({502})  # §4.2.4: known and not implemented; not for the required commands of §4.5.1

_TABLE: Mapping[str, frozenset[int]] = MappingProxyType(
    {
        GREETING: frozenset({220, 554}),
        "EHLO": _REFUSED | _OPTIONAL | {250},
        "LHLO": _REFUSED | {250},
        "HELO": _REFUSED | {250},
        "MAIL": _ENVELOPE | {250},
        "RCPT": _ENVELOPE | {250, 251},
        "DATA": _MESSAGE | {354},
        CONTENT: _MESSAGE | {250, 353},
        "BDAT": frozenset({250, *(code for code in KNOWN_CODES if code >= 400)}),  # RFC 3030 §2 lists none
        "RSET": frozenset({250}),
        "NOOP": frozenset({250}),
        "QUIT": frozenset({221}),
        "HELP": _OPTIONAL | {211, 214, 504},
        "VRFY": _ENVELOPE | _OPTIONAL | {250, 251, 252},
        "EXPN": _ENVELOPE | _OPTIONAL | {250, 252},
        "STARTTLS": _REFUSED | _OPTIONAL | {220},  # RFC 3207 §4
        "AUTH": _REFUSED | _OPTIONAL | {235, 334, 432, 534, 535, 538},  # RFC 4954 §4, §6
        RESPONSE: _REFUSED | {235, 334, 432, 534, 535, 538},
    }
)


def fits(asked: str, code: int) -> bool:
    """Whether `code` may answer `asked`: a verb or GREETING, CONTENT, RESPONSE; any fits others."""
    return asked not in _TABLE or code in _ANY or code in _TABLE[asked]
