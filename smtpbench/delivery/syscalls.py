"""What strace writes (``-f -ttt -T -yy -o FILE``), read: a `Call` for each system call, as they end.

A call that another process interrupts is in two lines, ``<unfinished ...>`` and ``<... resumed>``, which are
joined here. This file knows neither a process nor a file: it reads lines and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_LINE = re.compile(r"(\d+) +(\d+\.\d+) (.*)")
_NAME = re.compile(r"(\w+)\(")
_RESUMED = re.compile(r"<\.\.\. (\w+) resumed>")
_UNFINISHED = "<unfinished ...>"
_END = re.compile(r"\)\s+= (?=\S)")
_TOOK = re.compile(r" <(\d+\.\d+)>$")
_NUMBER = re.compile(r"-?\d+")
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"(\.\.\.)?')
_DESCRIPTOR = re.compile(r"(-?\d+|AT_FDCWD)<(.*)>(?:\(deleted\))?$")
_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|[0-7]{1,3}|.)", re.DOTALL)
_LETTERS = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v", b"f": b"\f", b"a": b"\a", b"b": b"\b"}
_OPENING, _CLOSING = "([{", ")]}"


@dataclass(frozen=True, slots=True)
class Call:
    """One system call. `at` and `ended` are wall clock, s; `began` and `done` count lines, and are the order
    that the tracer saw: a call that began after another was done was made after it.

    `result` is None for a call that did not return. `returned` is the descriptor it returned, if it did.
    """

    pid: int
    name: str
    arguments: tuple[str, ...]
    result: int | None
    at: float
    ended: float
    began: int
    done: int
    returned: str = ""

    @property
    def succeeded(self) -> bool:
        """Whether it returned, and no error."""
        return self.result is not None and self.result >= 0

    @property
    def octets(self) -> bytes:
        """What it wrote, as far as it was written: the octets of all its buffers, without those that were not
        taken."""
        joined = b"".join(unquote(text) for argument in self.arguments[1:] for text in _strings(argument))
        return joined[: self.result] if self.result is not None else joined

    @property
    def truncated(self) -> bool:
        """Whether the tracer left some of the octets out."""
        return any(found[2] for argument in self.arguments[1:] for found in _STRING.finditer(argument))

    def descriptor(self, place: int = 0) -> Descriptor | None:
        """The descriptor that is argument number `place`, if it is one."""
        return descriptor(self.arguments[place]) if place < len(self.arguments) else None

    def text(self, place: int) -> str:
        """The string that is argument number `place`; "" if it is none."""
        found = _STRING.match(self.arguments[place]) if place < len(self.arguments) else None
        return unquote(found[1]).decode("utf-8", "backslashreplace") if found else ""

    def has(self, *flags: str) -> bool:
        """Whether one of `flags` is among those of an argument."""
        words = {word for argument in self.arguments[1:] for word in argument.split("|")}
        return any(flag in words for flag in flags)


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A descriptor, and what it is open on: a path, ``TCP:[…->…]``, ``UNIX-STREAM:[…->…]``, ``pipe:[…]``."""

    number: str
    name: str

    @property
    def is_file(self) -> bool:
        """Whether it is open on something that has a path."""
        return self.name.startswith("/")

    @property
    def ends(self) -> tuple[str, str] | None:
        """Of a connected socket, its end and the other one."""
        _, bracket, rest = self.name.partition(":[")
        local, arrow, remote = rest.partition("]")[0].partition("->") if bracket else ("", "", "")
        if not arrow:
            local, arrow, remote = rest.removesuffix("]").partition("->")
        return (local, remote.partition(",")[0]) if arrow else None


def parse_calls(lines: Iterable[str]) -> Iterator[Call]:
    """The calls in `lines`. What is no call (signals, exits) is left out, and so is what cannot be read."""
    begun: dict[tuple[int, str], tuple[str, float, int]] = {}
    number = 0
    for number, line in enumerate(lines):
        found = _LINE.match(line)
        if found is None:
            continue
        pid, at, text = int(found[1]), float(found[2]), found[3].rstrip("\n")
        first, began = at, number
        if resumed := _RESUMED.match(text):
            before = begun.pop((pid, resumed[1]), None)
            if before is None:
                continue
            head, first, began = before
            text = head + text[resumed.end() :]
        elif text.endswith(_UNFINISHED):
            if name := _NAME.match(text):
                begun[pid, name[1]] = (text.removesuffix(_UNFINISHED).rstrip(" "), at, number)
            continue
        if (call := _call(pid, text, (first, at), (began, number))) is not None:
            yield call
    for (pid, _), (text, at, began) in begun.items():  # never returned, or not while it was traced
        if (call := _call(pid, f"{text}) = ?", (at, at), (began, number + 1))) is not None:
            yield call


def _call(pid: int, text: str, times: tuple[float, float], lines: tuple[int, int]) -> Call | None:
    name, ends = _NAME.match(text), list(_END.finditer(text))
    if name is None or not ends:
        return None
    inside, answer = text[name.end() : ends[-1].start()], text[ends[-1].end() :]
    took = _TOOK.search(answer)
    answer = answer[: took.start()] if took else answer
    result = _NUMBER.match(answer)
    first, last = times
    return Call(
        pid, name[1], tuple(split_arguments(inside)), int(result[0]) if result else None,
        first, max(last, first + float(took[1]) if took else last), *lines, answer,
    )  # fmt: skip


def split_arguments(text: str) -> list[str]:
    """The arguments of a call, cut at the commas that are in no string, bracket or name of a descriptor."""
    found, depth, begin, at = [], 0, 0, 0
    while at < len(text):
        character = text[at]
        if character == '"':
            string = _STRING.match(text, at)
            at = string.end() if string else len(text)
            continue
        if character in _OPENING:
            depth += 1
        elif character in _CLOSING:
            depth -= 1
        elif character == "<" and at and (text[at - 1].isdecimal() or text[at - 1] == "D"):
            at = _end_of_name(text, at)
            continue
        elif character == "," and depth == 0:
            found.append(text[begin:at].strip())
            begin = at + 1
        at += 1
    if last := text[begin:].strip():
        found.append(last)
    return found


def _end_of_name(text: str, at: int) -> int:
    """Past the ``>`` that ends the name of a descriptor: another is escaped, or the arrow of a socket."""
    while at < len(text):
        at = text.find(">", at)
        if at < 0:
            return len(text)
        at += 1
        if text[at - 2] != "-":
            return at
    return at


def descriptor(text: str) -> Descriptor | None:
    """A descriptor with its name, as ``5</var/spool/x>``; None if `text` is none."""
    found = _DESCRIPTOR.match(text)
    if found is None:
        return None
    name = unquote(found[2]).decode("utf-8", "backslashreplace")
    return Descriptor(found[1], name.removesuffix(" (deleted)"))


def unquote(text: str) -> bytes:
    """The octets that a string of strace stands for (C's escapes)."""
    octets = text.encode("utf-8", "surrogateescape")
    return _ESCAPE.sub(_one, octets) if b"\\" in octets else octets


def _one(found: re.Match[bytes]) -> bytes:
    escape: bytes = found[1]
    if escape.startswith(b"x") and len(escape) == 3:
        return bytes([int(escape[1:], 16)])
    if escape.isdigit():
        return bytes([int(escape, 8) & 0xFF])
    return _LETTERS.get(escape, escape)


def _strings(argument: str) -> list[str]:
    return [found[1] for found in _STRING.finditer(argument)]
