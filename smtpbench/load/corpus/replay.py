"""Mail of the user's own, to be replayed: a folder of .eml files, a Maildir, or an mbox.

A message is sent as it is in the file but for two things. Its line ends become CRLF, whatever they were
(CRLF, LF or CR alone), because SMTP carries no others (RFC 5321 §2.3.8). And one line is added on top, our
header field with the identifier (`FIELD` in delivery/fingerprint.py). A signature in it stays valid.
``>From `` in an mbox is left as it is: which of the dialects of mbox wrote it cannot be known.

Addresses in the mail are never used: the envelope is the workload's.
"""

from __future__ import annotations

import hashlib
import mailbox
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from smtpbench.delivery.fingerprint import FIELD, split
from smtpbench.errors import UsageError

MESSAGE_MAX = 64 << 20
CORPUS_MAX = 512 << 20  # in each process
MESSAGES_MAX = 200_000
COMPLAINTS_MAX = 5
LONGEST_LINE = 998  # octets without CRLF (RFC 5321 §4.5.3.1.6)

_LINE_END = re.compile(rb"\r\n|\r|\n")
_HEADER_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")  # RFC 5322 §2.2, and the blanks of its §4.5


@dataclass(frozen=True, slots=True)
class Mail:
    """One message; `name` says where it is from, and `octets` are as they go out, without our line."""

    name: str
    octets: bytes

    @property
    def pieces(self) -> list[bytes]:
        """As `Content` takes them: our line on top."""
        return [FIELD + b": ", b"\r\n" + self.octets]


@dataclass(frozen=True)
class Corpus:
    """All of it, in the order of the file names or of the mbox."""

    mails: tuple[Mail, ...]

    @cached_property
    def summary(self) -> str:
        """What a result says of it. Two are the same if this is the same."""
        digest, octets, long = hashlib.sha256(), 0, 0
        for mail in self.mails:
            digest.update(b"%d:" % len(mail.octets) + mail.octets)
            octets += len(mail.octets)
            long += max(map(len, mail.octets.split(b"\r\n"))) > LONGEST_LINE
        lines = f", {long:,} with lines longer than {LONGEST_LINE} octets" if long else ""
        messages = f"{len(self.mails):,} message{'s' if len(self.mails) != 1 else ''}"
        return f"{messages}, {octets:,} octets{lines}, sha256 {digest.hexdigest()[:16]}"


def read_corpus(path: Path) -> Corpus:
    """The corpus at `path`. Raises UsageError: a line for each of the first files that cannot be replayed."""
    mails: list[Mail] = []
    complaints: list[str] = []
    octets = 0
    for name, raw in _found(path):
        normal = b"" if isinstance(raw, str) else _LINE_END.sub(b"\r\n", raw)
        complaint = raw if isinstance(raw, str) else _complaint(normal)
        if complaint:
            complaints.append(f"corpus {name}: {complaint}")
            continue
        mails.append(Mail(name, normal if normal.endswith(b"\r\n") else normal + b"\r\n"))
        octets += len(normal)
        if octets > CORPUS_MAX or len(mails) > MESSAGES_MAX:
            raise UsageError(
                f"corpus {path}: too large: more than {CORPUS_MAX:,} octets or {MESSAGES_MAX:,} messages; "
                "take a part of it"
            )
    if complaints:
        more = len(complaints) - COMPLAINTS_MAX
        complaints[COMPLAINTS_MAX:] = [f"corpus {path}: {more:,} more of the kind"] if more > 0 else []
        raise UsageError("\n".join(complaints))
    if not mails:
        raise UsageError(f"corpus {path}: {_nothing(path)}")
    return Corpus(tuple(mails))


def _found(path: Path) -> Iterator[tuple[str, bytes | str]]:
    """The name of each message, and its octets or why they cannot be had."""
    if path.is_dir():
        for file in _files(path):
            yield str(file), _read(file)
    elif path.suffix.lower() == ".eml" or not path.is_file():
        yield str(path), _read(path)
    else:
        yield from _mbox(path)


def _files(folder: Path) -> list[Path]:
    maildir = [folder / "cur", folder / "new"]
    if all(one.is_dir() for one in maildir):
        return sorted(file for one in maildir for file in one.iterdir())
    return sorted(file for file in folder.rglob("*") if file.suffix.lower() == ".eml")


def _read(file: Path) -> bytes | str:
    try:
        if file.exists() and not file.is_file():
            return "not a file"
        if file.stat().st_size > MESSAGE_MAX:
            return _too_big(file.stat().st_size)
        return file.read_bytes()
    except OSError as error:
        return str(error.strerror)


def _mbox(path: Path) -> Iterator[tuple[str, bytes | str]]:
    try:
        box = mailbox.mbox(path, create=False)
        try:
            for number, key in enumerate(box.iterkeys(), 1):
                octets = box.get_bytes(key)
                big = len(octets) > MESSAGE_MAX
                yield f"{path}, message {number}", _too_big(len(octets)) if big else octets
        finally:
            box.close()
    except OSError as error:
        yield str(path), str(error.strerror)


def _too_big(octets: int) -> str:
    return f"too big: {octets:,} octets, expected {MESSAGE_MAX:,} at most"


def _complaint(octets: bytes) -> str:
    """Why a message cannot be replayed, or ""."""
    if not octets.strip():
        return "empty"
    if not _HEADER_FIELD.match(octets):
        return "it does not begin with a header field"
    try:
        split(octets)[0].decode("utf-8")
    except UnicodeDecodeError:
        return "its header is neither ASCII nor UTF-8, which no extension of SMTP carries"
    return ""


def _nothing(path: Path) -> str:
    if path.is_dir():
        return "no .eml file in it, and it is no Maildir"
    return "no message in it: in an mbox each begins with a line 'From '; a file of one alone is named .eml"
