"""EHLO keyword lines (RFC 5321 §4.1.1.1).

ehlo-line    = ehlo-keyword *( SP ehlo-param )
ehlo-keyword = (ALPHA / DIGIT) *(ALPHA / DIGIT / "-")
ehlo-param   = 1*(%d33-126)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from smtpbench.wire.replies import Reply

_EHLO_LINE = re.compile(rb"[A-Za-z0-9][A-Za-z0-9-]*(?: [!-~]+)*")


@dataclass(frozen=True, slots=True)
class Extensions(Mapping[str, tuple[str, ...]]):
    """The extensions a server offered: keyword in upper case → its parameters as sent.

    `malformed` holds the lines that do not match the grammar (their keyword is read all the same,
    because clients in the field do). Of a keyword listed twice the parameters are joined.
    """

    keywords: Mapping[str, tuple[str, ...]]
    malformed: tuple[bytes, ...] = ()

    def __getitem__(self, keyword: str) -> tuple[str, ...]:
        return self.keywords[keyword]

    def __iter__(self) -> Iterator[str]:
        return iter(self.keywords)

    def __len__(self) -> int:
        return len(self.keywords)

    @property
    def auth_mechanisms(self) -> tuple[str, ...]:
        """The SASL mechanisms of the AUTH line, in upper case."""
        return tuple(mechanism.upper() for mechanism in self.get("AUTH", ()))

    @property
    def size_limit(self) -> int | None:
        """The fixed maximum message size of RFC 1870; 0 means none; None if not stated."""
        value = next(iter(self.get("SIZE", ())), "")
        return int(value) if value.isdecimal() and value.isascii() else None


NO_EXTENSIONS = Extensions({})


def parse_extensions(reply: Reply) -> Extensions:
    """The extensions of a positive EHLO or LHLO reply; its first line is the greeting, not a keyword."""
    if reply.severity != 2:
        return NO_EXTENSIONS
    keywords: dict[str, tuple[str, ...]] = {}
    malformed = []
    for line in reply.lines[1:]:
        if not _EHLO_LINE.fullmatch(line):
            malformed.append(line)
        keyword, *parameters = line.decode("ascii", "backslashreplace").split() or [""]
        name = keyword.upper()
        keywords[name] = keywords.get(name, ()) + tuple(parameters)
    return Extensions(keywords, tuple(malformed))
