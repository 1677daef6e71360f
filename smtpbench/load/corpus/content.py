"""A content: the octets of a message, rendered once, around the places where its identifier goes.

The form of an identifier is described in `delivery/fingerprint.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

from smtpbench.delivery.fingerprint import ID_LENGTH, split
from smtpbench.load.identifiers import Identifiers
from smtpbench.load.script import END_OF_DATA


class Content:
    """Messages that differ in their identifiers only.

    `pieces` are header and body with CRLF line ends, cut at the one or two places of the identifier, none of
    which is at the beginning or inside of a line end. They are kept once, however many messages are made.
    `size` is in octets, before dot-stuffing; `name` is for people. Not to be used from two threads at once.
    """

    __slots__ = ("_bdat", "_ids", "_index", "_pieces", "_second", "_wire", "name", "needs", "size")

    def __init__(self, pieces: Sequence[bytes], identifiers: Identifiers, name: str = "") -> None:
        places = len(pieces) - 1
        if places not in (1, 2) or not pieces[-1].endswith(b"\r\n"):
            raise ValueError("expected two or three pieces, the last of which ends with CRLF")
        self.name = name
        self._pieces = tuple(pieces)
        self.size = sum(map(len, pieces)) + ID_LENGTH * places
        self.needs = _needs(pieces)
        self._second = 2 * places - 1  # where the last identifier goes; with one place the first is the last
        self._wire = [*_interleaved(_stuffed(pieces)), END_OF_DATA, b""]
        self._bdat = [b"BDAT %d LAST\r\n" % self.size, *_interleaved(pieces), b""]
        self._ids = identifiers
        self._index = identifiers.add(self)

    def next_content(self, after: bytes = b"") -> bytes:
        """The next message as it goes over the wire: dots doubled, the end-of-data line, then `after`."""
        ids, parts = self._ids, self._wire
        ids.content = self._index
        ids.number = number = ids.number + 1
        parts[1] = parts[self._second] = b"%s-%09x" % (ids.run, number)
        parts[-1] = after
        return b"".join(parts)

    def next_bdat(self, after: bytes = b"") -> bytes:
        """The next message as one ``BDAT n LAST`` and its n octets (RFC 3030 §2), then `after`."""
        ids, parts = self._ids, self._bdat
        ids.content = self._index
        ids.number = number = ids.number + 1
        parts[2] = parts[self._second + 1] = b"%s-%09x" % (ids.run, number)
        parts[-1] = after
        return b"".join(parts)

    def stored(self, identifier: bytes) -> bytes:
        """A message as a mailbox would hold it."""
        return identifier.join(self._pieces)


def _interleaved(pieces: Sequence[bytes]) -> list[bytes]:
    """The pieces, with a gap between each two."""
    gapped: list[bytes] = []
    for piece in pieces:
        gapped += (piece, b"")
    return gapped[:-1]


def _stuffed(pieces: Sequence[bytes]) -> list[bytes]:
    """The dots at the beginning of lines doubled (RFC 5321 §4.5.2). No piece but the first begins a line."""
    first, *others = (piece.replace(b"\r\n.", b"\r\n..") for piece in pieces)
    return [b"." + first if first.startswith(b".") else first, *others]


def _needs(pieces: Sequence[bytes]) -> frozenset[str]:
    """The extensions without which it may not be sent.

    A header of UTF-8 needs SMTPUTF8, which includes 8BITMIME (RFC 6531 §3.1); 8-bit text needs 8BITMIME.
    """
    if all(piece.isascii() for piece in pieces):
        return frozenset()
    header, body = split(b"x".join(pieces))
    wanted = {"SMTPUTF8": header, "8BITMIME": body}
    return frozenset(name for name, octets in wanted.items() if not octets.isascii())
