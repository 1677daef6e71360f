"""Making foreign text safe to show. What a server sent may hold escapes, markup and control characters."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

MARKDOWN_ACTIVE = frozenset("&<>\"'`*_[]()\\|~#!@$:")


def visible(text: str) -> str:
    r"""`text` with every character that is not printable as a backslash escape.

    Control characters, line ends, bidirectional overrides and lone surrogates become ``\xNN``,
    ``\uNNNN`` or ``\n``: what is left is one line that no terminal obeys and that XML 1.0 allows.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def markdown(text: str) -> str:
    """`text` for a Markdown paragraph or table cell, active characters as entities."""
    return "".join(f"&#{ord(c)};" if c in MARKDOWN_ACTIVE else c for c in visible(text))


def fence(lines: list[str]) -> str:
    """A row of backticks longer than any in `lines`: the fence of a Markdown code block about them."""
    longest = 0
    for line in lines:
        run = 0
        for character in line:
            run = run + 1 if character == "`" else 0
            longest = max(longest, run)
    return "`" * max(3, longest + 1)


def wire_lines(escaped: str) -> list[str]:
    r"""One write or read of a transcript, cut after each escaped line end (``\n``)."""
    lines: list[str] = []
    begin = at = 0
    while (at := escaped.find("\\", at)) >= 0:
        at += 2
        if escaped[at - 1 : at] == "n":
            lines.append(escaped[begin:at])
            begin = at
    return [*lines, escaped[begin:]] if begin < len(escaped) or not lines else lines


def milliseconds(value: float) -> str:
    """A latency for people: three significant digits, in µs, ms or s."""
    if value < 1:
        return f"{value * 1000:.0f} µs"
    if value < 1000:
        return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} ms"
    return f"{value / 1000:.2f} s"


def seconds(value: float) -> str:
    """A duration for people."""
    return milliseconds(value * 1000) if value < 60 else f"{value // 60:.0f} min {value % 60:.0f} s"


def number(value: float) -> str:
    """A count or a rate with commas at the thousands; one decimal below a hundred."""
    return f"{value:,.{0 if value >= 100 or value == int(value) else 1}f}"


def fact(value: Any) -> str:
    """A value of a workload or target for people."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{name} {fact(inner)}" for name, inner in value.items())
    if isinstance(value, list | tuple):
        return "; ".join(map(fact, value))
    if isinstance(value, float) and abs(value) < 1:
        return f"{value:.3g}"
    return number(value) if isinstance(value, int | float) else str(value)


def moment(started: str) -> str:
    """An ISO 8601 time in UTC for people; what is no such time stays as it is."""
    try:
        return f"{datetime.fromisoformat(started).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    except ValueError:
        return started or "unknown"
