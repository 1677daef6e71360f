"""Generated MIME: messages of an exact size, rendered by the standard library's `email` package.

Each kind has a frame (headers, structure, a few fixed lines) and a bulk that grows with the size asked for.
Two things stand in the rendered octets as markers, where no transfer encoding touches them: the identifier,
and a line that gives way to as much text as is missing to the exact size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import format_datetime
from random import Random

from smtpbench.delivery.fingerprint import MASK
from smtpbench.errors import UsageError
from smtpbench.load.corpus.plain import domain_of, filler, plain

LONGEST_LINE = 998  # octets without CRLF (RFC 5321 §4.5.3.1.6, RFC 5322 §2.1.1)
_FILL = b"%%fill%%\r\n"
_SHORTEST_FILL = 2  # a line with nothing in it
_ENCODED_LINE, _DECODED_LINE = 78, 57  # octets of a base64 line with its CRLF, and what it holds

_SENTENCES = (
    "Please find the figures of last week below.",
    "The meeting is moved to Thursday, ten o'clock.",
    "Thank you for your order; it will be sent tomorrow.",
    "A quick reminder: the invoice is due at the end of the month.",
    "Let me know whether this works for you.",
    "See the notes in the shared folder.",
)
_ACCENTED = (
    "Schöne Grüße aus Köln!",
    "Voilà, le café est prêt à côté.",
    "¿Mañana a las diez en la oficina?",
    "Smörgåsbord på fredag.",
    "Дата: завтра.",
)


@dataclass(frozen=True)
class Envelope:
    """What the headers show of the transaction. `utf8`: the headers are UTF-8 (RFC 6532), not RFC 2047."""

    sender: str
    recipients: tuple[str, ...]
    utf8: bool = False


class Maker:
    """Makes the pieces of contents for one envelope.

    `in_body` is whether the body has the identifier too: it cannot where the body is signed beforehand.
    """

    def __init__(self, envelope: Envelope, *, in_body: bool = True) -> None:
        self._envelope, self._in_body = envelope, in_body
        self._frames: dict[str, int] = {}

    def make(self, kind: str, size: int, random: Random) -> list[bytes]:
        """The pieces of a content of exactly `size` octets. Raises UsageError if that is too small for it."""
        envelope = self._envelope
        if kind == "plain":
            return plain(
                size, envelope.sender, envelope.recipients, utf8=envelope.utf8, in_body=self._in_body
            )
        spare = size - self._frame(kind)
        if spare < _SHORTEST_FILL:
            raise UsageError(
                f"message size {size}: too small for content {kind}, which takes {size - spare + 2} octets "
                f"at least"
            )
        octets = self._render(kind, spare - _SHORTEST_FILL, random)
        missing = size - (len(octets) - len(_FILL))
        return octets.replace(_FILL, filler(missing)).split(MASK)

    def _frame(self, kind: str) -> int:
        """The size of a message of `kind` with no bulk."""
        if kind not in self._frames:
            self._frames[kind] = len(self._render(kind, 0, Random(0))) - len(_FILL)
        return self._frames[kind]

    def _render(self, kind: str, bulk: int, random: Random) -> bytes:
        """A message with at most `bulk` octets more than its frame, and its markers."""
        envelope = self._envelope
        message = EmailMessage(SMTPUTF8 if envelope.utf8 else SMTP)
        message["From"] = f"<{envelope.sender}>"
        more = ", undisclosed-recipients:;" if len(envelope.recipients) > 3 else ""
        message["To"] = ", ".join(f"<{one}>" for one in envelope.recipients[:3]) + more
        message["Date"] = format_datetime(datetime.now(UTC))
        message["Message-ID"] = f"<{MASK.decode()}@{domain_of(envelope.sender).decode()}>"
        identifier = f"{MASK.decode()}\n" if self._in_body else ""
        _BUILDERS[kind](message, identifier + _FILL.decode().replace("\r", ""), bulk, random)
        for part in message.walk():
            if part.is_multipart():
                part.set_boundary(f"=_{random.getrandbits(96):024x}")
        return message.as_bytes()


# A builder gets the text that holds the markers, for a part that is not base64.


def _html(message: EmailMessage, marked: str, bulk: int, random: Random) -> None:
    message["Subject"] = "Newsletter"
    message.set_content(marked + prose(bulk // 3, random), cte="7bit")
    html = prose(bulk - bulk // 3, random, "<p>{}</p>\n")
    message.add_alternative(f"<html><body>\n{html}</body></html>\n", subtype="html", cte="7bit")


def _attachment(message: EmailMessage, marked: str, bulk: int, random: Random) -> None:
    message["Subject"] = "The files"
    message.set_content(marked, cte="7bit")
    message.add_attachment(
        random.randbytes(bulk // _ENCODED_LINE * _DECODED_LINE) or b"\0", maintype="application",
        subtype="octet-stream", filename="scan.bin",
    )  # fmt: skip
    message.add_attachment(_ACCENTED[0] + "\n", cte="quoted-printable", filename="Grüße.txt")


def _quoted_printable(message: EmailMessage, marked: str, bulk: int, random: Random) -> None:
    message["Subject"] = "Greetings"
    text = marked + _ACCENTED[0] + "\n" + accented(bulk, random, 3)
    message.set_content(text, cte="quoted-printable")


def _headers(message: EmailMessage, marked: str, bulk: int, random: Random) -> None:
    message["Subject"] = "Grüße, заметка, smörgås: a subject that takes more than one line"
    message["Reply-To"] = "Jürgen Groß <reply@example.org>"
    message["References"] = " ".join(f"<{random.getrandbits(48):012x}@list.example.org>" for _ in range(5))
    message.set_content(marked + prose(bulk, random), cte="7bit")


def _long_lines(message: EmailMessage, marked: str, bulk: int, random: Random) -> None:
    message["Subject"] = "Generated without line breaks"
    longs = ("lorem ipsum " * 84)[:LONGEST_LINE] + "\n"
    message.set_content(marked + longs * (bulk // (LONGEST_LINE + 2)), cte="7bit")


def _dots(message: EmailMessage, marked: str, bulk: int, random: Random) -> None:
    message["Subject"] = "Dots"
    message.set_content(f".\n{marked}..\n.\n" + prose(bulk, random, ".{}\n"), cte="7bit")


def _eight_bit(message: EmailMessage, marked: str, bulk: int, random: Random) -> None:
    message["Subject"] = "Greetings"
    message.set_content(marked + _ACCENTED[0] + "\n" + accented(bulk, random, 1), cte="8bit")


_BUILDERS: dict[str, Callable[[EmailMessage, str, int, Random], None]] = {
    "html": _html,
    "attachment": _attachment,
    "quoted-printable": _quoted_printable,
    "headers": _headers,
    "long-lines": _long_lines,
    "dots": _dots,
    "8bit": _eight_bit,
}


def prose(octets: int, random: Random, form: str = "{}\n") -> str:
    """Lines that take at most so many octets with CRLF."""
    return _lines(octets, [form.format(line) for line in _SENTENCES], random, 1)


def accented(octets: int, random: Random, each: int) -> str:
    """The same, with characters outside ASCII, each octet of which takes `each` octets in transfer."""
    return _lines(octets, [f"{line}\n" for line in _ACCENTED], random, each)


def _lines(octets: int, choice: Sequence[str], random: Random, each: int) -> str:
    costs = {line: _cost(line, each) for line in choice}
    taken = []
    while octets >= costs[line := random.choice(choice)]:
        octets -= costs[line]
        taken.append(line)
    return "".join(taken)


def _cost(line: str, each: int) -> int:
    octets = line.encode()
    high = sum(octet >= 0x80 for octet in octets)
    return len(octets) - high + each * high + 1  # LF becomes CRLF
