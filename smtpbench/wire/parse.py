"""A command line into a `Command`, or into the reply that its mistake deserves (RFC 5321 §4.1.1, §4.2).

    500  the verb is not known, or the line holds a bare CR or LF
    501  the argument or the value of a parameter does not match the grammar
    502  the verb is known and obsolete
    550, 553  a UTF-8 mailbox without SMTPUTF8, in MAIL and in RCPT (RFC 6531 §3.5)
    555  a MAIL or RCPT parameter that is not known (§4.1.1.11)

The order of commands is `state.py`'s; whether a mailbox exists is the receiver's. This file may know
neither.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from smtpbench.wire.grammar import (
    Path,
    decode_xtext,
    is_address_literal,
    is_domain,
    parse_forward_path,
    parse_parameters,
    parse_reverse_path,
)
from smtpbench.wire.parameters import MAIL_PARAMETERS, RCPT_PARAMETERS
from smtpbench.wire.state import Verb

Parameters = Mapping[str, str | None]
OBSOLETE = frozenset({b"SEND", b"SOML", b"SAML", b"TURN"})  # RFC 821; RFC 5321 §3.6.1 and appendix F
MAX_SIZE_DIGITS = 20  # RFC 1870 §4
MAX_ORCPT = 500  # RFC 3461 §4.2
MAX_ENVID = 100  # RFC 3461 §4.4


@dataclass(frozen=True, slots=True)
class Command:
    """One well-formed command.

    `argument` is what followed the verb, white space at its end removed. `path` and `parameters` are
    those of MAIL and RCPT, `size` (octets) is that of BDAT, `last` that of BDAT and BURL.
    """

    verb: Verb
    argument: bytes = b""
    path: Path | None = None
    parameters: Parameters = field(default_factory=dict)
    size: int = 0
    last: bool = False


@dataclass(frozen=True, slots=True)
class CommandError:
    """Why a line is no command: reply code, RFC 3463 code and text, and the verb if it was known."""

    code: int
    enhanced: str
    text: str
    verb: Verb | None = None


def parse_command(
    line: bytes, *, known: frozenset[str] | None = None, utf8: bool = False
) -> Command | CommandError:
    """What `line` (without its CRLF) says.

    `known` names the MAIL and RCPT parameters that are on offer, None for all that this file knows;
    `utf8` says that the transaction of a RCPT began with SMTPUTF8.
    """
    if b"\r" in line or b"\n" in line:
        return CommandError(500, "5.5.2", "Syntax error: bare CR or LF in the command line")
    word, _, argument = line.rstrip(b" \t").partition(b" ")
    try:
        verb = Verb(word.decode("ascii").upper())
    except ValueError:
        if word.upper() in OBSOLETE:
            return CommandError(502, "5.5.1", "Command not implemented: it is obsolete")
        return CommandError(500, "5.5.2", "Command not recognized")
    if verb in (Verb.MAIL, Verb.RCPT):
        return _envelope(verb, argument, known, utf8)
    return _PARSERS.get(verb, _no_argument)(verb, argument)


def _syntax(verb: Verb, usage: str) -> CommandError:
    return CommandError(501, "5.5.4", f"Syntax: {usage}", verb)


def _no_argument(verb: Verb, argument: bytes) -> Command | CommandError:
    return _syntax(verb, f"{verb} takes no argument") if argument else Command(verb)


_PRINTABLE = re.compile(rb"[\t -~\x80-\xff]*")


def _free_text(verb: Verb, argument: bytes) -> Command | CommandError:
    if not _PRINTABLE.fullmatch(argument):
        return _syntax(verb, f"control character in the argument of {verb}")
    return Command(verb, argument)


def _some_text(verb: Verb, argument: bytes) -> Command | CommandError:
    return _free_text(verb, argument) if argument else _syntax(verb, f"{verb} string")


def _hello(verb: Verb, argument: bytes) -> Command | CommandError:
    if argument.isascii() and (is_domain(argument) or is_address_literal(argument)):
        return Command(verb, argument)
    return _syntax(verb, f"{verb} domain or address literal")


_BDAT = re.compile(rb"(\d{1,20})( +LAST)?", re.IGNORECASE)


def _bdat(verb: Verb, argument: bytes) -> Command | CommandError:
    match = _BDAT.fullmatch(argument)
    if match is None:
        return _syntax(verb, "BDAT size [LAST]")
    return Command(verb, argument, size=int(match[1]), last=match[2] is not None)


_ETRN = re.compile(rb"#[!-~]+|@?[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")


def _etrn(verb: Verb, argument: bytes) -> Command | CommandError:
    """RFC 1985 §5: a fully qualified name, perhaps for its subdomains too, or the name of a queue."""
    name = argument.removeprefix(b"@")
    qualified = argument.startswith(b"#") or (b"." in name and is_domain(name))
    if not _ETRN.fullmatch(argument) or not qualified:
        return _syntax(verb, "ETRN [@]domain or ETRN #queue")
    return Command(verb, argument)


_BURL = re.compile(rb"([A-Za-z][A-Za-z0-9+.-]*:[!-~]+)( LAST)?", re.IGNORECASE)


def _burl(verb: Verb, argument: bytes) -> Command | CommandError:
    """RFC 4468 §3.5; `argument` of the command is the URL alone."""
    match = _BURL.fullmatch(argument)
    if match is None:
        return _syntax(verb, "BURL URL [LAST]")
    return Command(verb, match[1], last=match[2] is not None)


_PARSERS: Mapping[Verb, Callable[[Verb, bytes], Command | CommandError]] = {
    Verb.EHLO: _hello,
    Verb.HELO: _hello,
    Verb.LHLO: _hello,
    Verb.NOOP: _free_text,
    Verb.HELP: _free_text,
    Verb.VRFY: _some_text,
    Verb.EXPN: _some_text,
    Verb.AUTH: _some_text,
    Verb.BDAT: _bdat,
    Verb.ETRN: _etrn,
    Verb.BURL: _burl,
    Verb.XCLIENT: _some_text,
    Verb.XFORWARD: _some_text,
}

_USAGE = {Verb.MAIL: (b"FROM:", "MAIL FROM:<address>"), Verb.RCPT: (b"TO:", "RCPT TO:<address>")}
_PATH_CODE = {Verb.MAIL: "5.1.7", Verb.RCPT: "5.1.3"}
_UTF8_CODE = {Verb.MAIL: 550, Verb.RCPT: 553}


def _envelope(
    verb: Verb, argument: bytes, known: frozenset[str] | None, utf8: bool
) -> Command | CommandError:
    keyword, usage = _USAGE[verb]
    if argument[: len(keyword)].upper() != keyword:
        return _syntax(verb, f"{usage} [parameters]")
    text = argument[len(keyword) :]
    found = parse_reverse_path(text) if verb is Verb.MAIL else parse_forward_path(text)
    if found is None:
        return CommandError(501, _PATH_CODE[verb], "Syntax error in the address", verb)
    path, rest = found
    pairs = parse_parameters(rest)
    if pairs is None:
        return _syntax(verb, f"{usage} *( SP keyword [=value] )")
    error = _check_parameters(verb, pairs, known)
    if error is not None:
        return error
    parameters = dict(pairs)
    if path.is_utf8 and not (utf8 or "SMTPUTF8" in parameters):
        return CommandError(_UTF8_CODE[verb], "5.6.7", "A UTF-8 address needs SMTPUTF8", verb)
    return Command(verb, argument, path, MappingProxyType(parameters))


def _check_parameters(
    verb: Verb, pairs: list[tuple[str, str | None]], known: frozenset[str] | None
) -> CommandError | None:
    checks = _PARAMETERS[verb]
    names = [name for name, _ in pairs]
    for name, value in pairs:
        if name not in checks or (known is not None and name not in known):
            return CommandError(555, "5.5.4", f"{verb} parameter not recognized or not implemented", verb)
        if names.count(name) > 1:
            return _syntax(verb, f"{name} may come only once")
        if not checks[name](value):
            return _syntax(verb, f"bad value of {name}")
    return None


def _size(value: str | None) -> bool:
    return value is not None and value.isascii() and value.isdecimal() and len(value) <= MAX_SIZE_DIGITS


def _one_of(*words: str) -> Callable[[str | None], bool]:
    return lambda value: value is not None and value.upper() in words


def _absent(value: str | None) -> bool:
    return value is None


def _xtext(value: str | None, limit: int) -> bytes | None:
    """The decoded value, or None where it is missing, too long or malformed."""
    if value is None or len(value) > limit or not value.isascii():
        return None
    return decode_xtext(value.encode("ascii"))


_GRAPHIC = re.compile(rb"[\t -~]+")  # RFC 3461 §4.2, §4.4: printable before it was encoded


def _printable(value: str | None, limit: int) -> bool:
    decoded = _xtext(value, limit)
    return decoded is not None and bool(_GRAPHIC.fullmatch(decoded))


def _envid(value: str | None) -> bool:
    return _printable(value, MAX_ENVID)


def _auth(value: str | None) -> bool:
    decoded = _xtext(value, MAX_ORCPT)
    if decoded is None:
        return False
    found = parse_reverse_path(decoded if decoded == b"<>" else b"<" + decoded + b">")
    return found is not None and not found[1]


def _notify(value: str | None) -> bool:
    """RFC 3461 §4.1; the list rule of RFC 822 §2.7 lets an element come twice, or be empty."""
    words = (value or "").upper().split(",")
    some = set(words) - {""}
    return words == ["NEVER"] or (bool(some) and some <= {"SUCCESS", "FAILURE", "DELAY"})


_ATOM = re.compile(r"[A-Za-z0-9!#$%&'*+/?^_`{|}~-]+")  # RFC 822's, without the = that no value can hold


def _orcpt(value: str | None) -> bool:
    kind, _, address = (value or "").partition(";")
    if not _ATOM.fullmatch(kind) or not address or len(value or "") > MAX_ORCPT:
        return False
    # RFC 6533 §3 lets the utf-8 type carry UTF-8 and \x{…}; the others are xtext
    return kind.lower() == "utf-8" or _printable(address, MAX_ORCPT)


_Check = Callable[[str | None], bool]
_PARAMETERS: Mapping[Verb, Mapping[str, _Check]] = {
    Verb.MAIL: {
        "SIZE": _size,  # RFC 1870
        "BODY": _one_of("7BIT", "8BITMIME", "BINARYMIME"),  # RFC 6152, RFC 3030
        "SMTPUTF8": _absent,  # RFC 6531 §3.4
        "RET": _one_of("FULL", "HDRS"),  # RFC 3461 §4.3
        "ENVID": _envid,  # RFC 3461 §4.4
        "AUTH": _auth,  # RFC 4954 §5
        **MAIL_PARAMETERS,
    },
    Verb.RCPT: {"NOTIFY": _notify, "ORCPT": _orcpt, **RCPT_PARAMETERS},  # RFC 3461 §4.1, §4.2
}
