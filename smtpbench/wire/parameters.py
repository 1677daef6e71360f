"""Values of the MAIL and RCPT parameters that the less usual extensions bring: their grammar, as predicates.

    BY          by-time ";" by-mode ["T"]; with mode R the time is above zero      RFC 2852 §4
    MTRK        base64 [":" seconds]                                               RFC 3885
    HOLDFOR     1*9DIGIT seconds, the first digit not 0                            RFC 4865 §4
    HOLDUNTIL   date-time of RFC 3339                                              RFC 4865 §4
    MT-PRIORITY -9 to 9, no plus sign and no minus zero                            RFC 6710 §7
    RRVS        date-time of RFC 3339 [";" ("C" / "R")]                            RFC 7293 §3
    REQUIRETLS  no value                                                           RFC 8689 §2
    PRDR        no value                                                           draft-hall-prdr

Whether a time is too long, or in the past, is the receiver's to say: there is no clock in here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

_BY = re.compile(r"([+-]?[0-9]{1,9});([NR])T?", re.IGNORECASE)
_MTRK = re.compile(r"[A-Za-z0-9+/]+(?::[0-9]{1,9})?")  # no padding: a parameter cannot hold an equals sign
_HOLDFOR = re.compile(r"[1-9][0-9]{0,8}")
_PRIORITY = re.compile(r"-?[1-9]|0")
_DATE_TIME = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)", re.ASCII | re.IGNORECASE
)


def parse_by(value: str) -> tuple[int, str] | None:
    """Seconds and mode (N or R) of a BY value, None where it is malformed."""
    match = _BY.fullmatch(value)
    if match is None:
        return None
    seconds, mode = int(match[1]), match[2].upper()
    return None if mode == "R" and seconds <= 0 else (seconds, mode)


def parse_date_time(value: str) -> datetime | None:
    """The moment in UTC that an RFC 3339 date-time names, None where it is malformed or no day."""
    if not _DATE_TIME.fullmatch(value):
        return None
    try:
        return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def parse_rrvs(value: str) -> tuple[datetime, str] | None:
    """The moment of an RRVS value and what to do if it cannot be kept (C, R or nothing)."""
    moment, semicolon, action = value.partition(";")
    found = parse_date_time(moment)
    if found is None or (semicolon and action.upper() not in ("C", "R")):
        return None
    return found, action.upper()


_Check = Callable[[str | None], bool]


def _matches(pattern: re.Pattern[str]) -> _Check:
    return lambda value: value is not None and pattern.fullmatch(value) is not None


def _parsed(parse: Callable[[str], object]) -> _Check:
    return lambda value: value is not None and parse(value) is not None


def _absent(value: str | None) -> bool:
    return value is None


MAIL_PARAMETERS: Mapping[str, _Check] = {
    "BY": _parsed(parse_by),
    "MTRK": _matches(_MTRK),
    "HOLDFOR": _matches(_HOLDFOR),
    "HOLDUNTIL": _parsed(parse_date_time),
    "MT-PRIORITY": _matches(_PRIORITY),
    "PRDR": _absent,
    "REQUIRETLS": _absent,
}
RCPT_PARAMETERS: Mapping[str, _Check] = {"RRVS": _parsed(parse_rrvs)}
