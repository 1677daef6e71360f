"""Delivery status notifications as they were delivered: octets into a `Report`, with what breaks RFC 3464.

    report = parse_report(content)          # None: not a delivery report in the form of RFC 3464
    report.envelope_id, report.recipients[0].action, report.flaws

MIME is the standard library's business, which is lenient; the fields are ours, which are not. Never raises.
"""

from __future__ import annotations

import email
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.message import Message
from email.utils import getaddresses
from enum import StrEnum

from smtpbench.wire.replies import escape

ACTIONS = frozenset({"failed", "delayed", "delivered", "relayed", "expanded"})  # §2.3.3
SHOWN = 80  # characters of a value that a flaw repeats

_ATOM = r"[!#$%&'*+/0-9=?A-Z^_`a-z{|}~-]+"
_TYPED = re.compile(rf"({_ATOM})[ \t]*;[ \t]*(.+)")  # §2.1.2: a type, a semicolon, a value
_FIELD_NAME = re.compile(_ATOM)
_STATUS = re.compile(r"\d\.(?:0|[1-9]\d{0,2})\.(?:0|[1-9]\d{0,2})")  # §2.3.4: no leading zeros
_COMMENT = re.compile(r"\([^()]*\)")
_DATE = re.compile(  # RFC 822's date-time with the year of RFC 1123; §2.2.5: a numeric zone
    r"(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[ \t]*,)?\s*\d{1,2}\s+"
    r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)\s+\d{2,4}\s+\d{2}:\d{2}(?::\d{2})?\s+[+-]\d{4}",
    re.IGNORECASE,
)


class About(StrEnum):
    """What a flaw concerns."""

    FORM = "form"  # the MIME structure, and that each field is one
    FIELDS = "fields"  # a field that must be there and is not, or comes twice
    ACTION = "action"  # the Action of a recipient
    VALUES = "values"  # the value of another field


@dataclass(frozen=True, slots=True)
class Flaw:
    """One thing that RFC 3464 does not allow."""

    about: About
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class RecipientReport:
    """The fields about one recipient. Names are in lower case, values unfolded; `action` in lower case."""

    fields: Mapping[str, str]

    @property
    def action(self) -> str:
        """What became of the message, or ""."""
        return _bare(self.fields.get("action", "")).lower()

    @property
    def status(self) -> str:
        """The RFC 3463 code, or ""."""
        return _bare(self.fields.get("status", ""))

    @property
    def address(self) -> str:
        """The address of Final-Recipient without its type, or ""."""
        return _value(self.fields.get("final-recipient", ""))

    @property
    def original_address(self) -> str | None:
        """The address of Original-Recipient without its type, None if the field is absent."""
        found = self.fields.get("original-recipient")
        return None if found is None else _value(found)


@dataclass(frozen=True, slots=True)
class Report:
    """One report. `returned` is the part with the original or its header, None if there is none."""

    to: tuple[str, ...]
    fields: Mapping[str, str]
    recipients: tuple[RecipientReport, ...]
    returned: bytes | None
    returned_type: str | None
    flaws: tuple[Flaw, ...]

    @property
    def envelope_id(self) -> str | None:
        """The Original-Envelope-Id, None if the field is absent."""
        return self.fields.get("original-envelope-id")

    def flaws_about(self, *subjects: About) -> tuple[Flaw, ...]:
        """The flaws that concern `subjects`."""
        return tuple(flaw for flaw in self.flaws if flaw.about in subjects)

    def __str__(self) -> str:
        said = ", ".join(f"{item.action or 'no action'} ({item.status})" for item in self.recipients)
        about = "" if self.envelope_id is None else f"; Original-Envelope-Id {_shown(self.envelope_id)}"
        return f"report: {said or 'on nobody'}{about}" + "".join(f"; {flaw}" for flaw in self.flaws)


def parse_report(content: bytes) -> Report | None:
    """The report that `content` (a message with its header, either line end) is; None if it is none.

    It is one if it is a multipart/report with report-type=delivery-status, or if it is a message of several
    parts of which one is a message/delivery-status: then what is wrong with it is among the flaws.
    """
    message = email.message_from_bytes(content)
    kind = _parameter(message, "report-type")
    parts = _parts(message)
    status = next((part for part in parts if part.get_content_type() == "message/delivery-status"), None)
    proper = message.get_content_type() == "multipart/report" and kind == "delivery-status"
    if not proper and (status is None or message.get_content_maintype() != "multipart"):
        return None
    groups = [] if status is None else [_Group(block) for block in _parts(status)]
    per_message, per_recipient = (groups[0], groups[1:]) if groups else (_Group(Message()), [])
    flaws = [
        *_type_flaws(message, kind),
        *_form_flaws(parts, status, groups),
        *per_message.flaws(_MESSAGE_FIELDS, required=("reporting-mta",)),
        *(flaw for group in per_recipient for flaw in _recipient_flaws(group)),
    ]
    returned = next((part for part in parts[2:3]), None)
    return Report(
        to=tuple(address for _, address in getaddresses([str(to) for to in message.get_all("To", [])])),
        fields=per_message.values,
        recipients=tuple(RecipientReport(group.values) for group in per_recipient),
        returned=None if returned is None else _octets(returned),
        returned_type=None if returned is None else returned.get_content_type(),
        flaws=tuple(flaws),
    )


def _parts(message: Message) -> list[Message]:
    payload = message.get_payload()
    return [part for part in payload if isinstance(part, Message)] if isinstance(payload, list) else []


def _parameter(message: Message, name: str) -> str | None:
    value = message.get_param(name)
    return value.lower() if isinstance(value, str) else None


def _octets(part: Message) -> bytes:
    if part.is_multipart():  # message/rfc822 holds a message, not octets
        return b"".join(inner.as_bytes() for inner in _parts(part))
    decoded = part.get_payload(decode=True)
    return decoded if isinstance(decoded, bytes) else b""


class _Group:
    """A block of fields. Of a field that comes twice the first counts."""

    def __init__(self, block: Message) -> None:
        self.values: dict[str, str] = {}
        self.names: list[str] = []
        for name, value in block.items():
            self.names.append(name.lower())
            self.values.setdefault(name.lower(), re.sub(r"\r?\n(?=[ \t])", "", str(value)).strip())
        rest = block.get_payload()
        self.rest = rest.strip() if isinstance(rest, str) else ""

    def flaws(self, known: frozenset[str], *, required: tuple[str, ...]) -> Iterator[Flaw]:
        """What is wrong with the fields, the value of Action and Status aside."""
        if self.rest:
            yield Flaw(About.FORM, f"no field: {_shown(self.rest)}")
        for name in required:
            if name not in self.values:
                yield Flaw(About.FIELDS, f"no {name.title()} field")
        for name in sorted(known & set(self.names)):
            if self.names.count(name) > 1:
                yield Flaw(About.FIELDS, f"{name.title()} comes twice")
        for name, value in self.values.items():
            check = _CHECKS.get(name)
            if check is not None and not check.fullmatch(value):
                yield Flaw(About.VALUES, f"{name.title()} has the value {_shown(value)}")


_MESSAGE_FIELDS = frozenset(
    {"original-envelope-id", "reporting-mta", "dsn-gateway", "received-from-mta", "arrival-date"}
)
_RECIPIENT_FIELDS = frozenset(
    {
        "original-recipient",
        "final-recipient",
        "action",
        "status",
        "remote-mta",
        "diagnostic-code",
        "last-attempt-date",
        "final-log-id",
        "will-retry-until",
    }
)
_DATED = re.compile(rf"{_DATE.pattern}(?:\s*\([^()]*\))*", re.IGNORECASE)
_CHECKS = {
    **dict.fromkeys(("reporting-mta", "dsn-gateway", "received-from-mta", "remote-mta"), _TYPED),
    **dict.fromkeys(("original-recipient", "final-recipient", "diagnostic-code"), _TYPED),
    **dict.fromkeys(("arrival-date", "last-attempt-date", "will-retry-until"), _DATED),
}


def _type_flaws(message: Message, kind: str | None) -> Iterator[Flaw]:
    if message.get_content_type() != "multipart/report":
        yield Flaw(About.FORM, f"the type is {_shown(message.get_content_type())}, not multipart/report")
    elif kind != "delivery-status":
        yield Flaw(About.FORM, f"report-type is {_shown(kind or 'missing')}, not delivery-status")


def _form_flaws(parts: list[Message], status: Message | None, groups: list[_Group]) -> Iterator[Flaw]:
    if status is None:
        yield Flaw(About.FORM, "no message/delivery-status part")
        return
    if parts[1:2] != [status]:
        yield Flaw(About.FORM, "message/delivery-status is not the second part")
    encoding = str(status.get("Content-Transfer-Encoding", "7bit")).strip().lower()
    if _bare(encoding) != "7bit":
        yield Flaw(About.FORM, f"message/delivery-status is encoded as {_shown(encoding)}")
    if len(groups) < 2:
        yield Flaw(About.FIELDS, "no fields about a recipient")


def _recipient_flaws(group: _Group) -> Iterator[Flaw]:
    yield from group.flaws(_RECIPIENT_FIELDS, required=("final-recipient", "status"))
    recipient = RecipientReport(group.values)
    if "action" not in group.values:
        yield Flaw(About.ACTION, "no Action field")
    elif recipient.action not in ACTIONS:
        yield Flaw(About.ACTION, f"Action has the value {_shown(group.values['action'])}")
    if "status" in group.values and not _STATUS.fullmatch(recipient.status):
        yield Flaw(About.VALUES, f"Status has the value {_shown(group.values['status'])}")
    if "will-retry-until" in group.values and recipient.action not in ("delayed", ""):
        yield Flaw(About.VALUES, "Will-Retry-Until in a report that is not on a delay")


def _bare(value: str) -> str:
    """A value without comments."""
    return _COMMENT.sub("", value).strip()


def _value(typed: str) -> str:
    """What follows the type."""
    match = _TYPED.fullmatch(typed)
    return match[2] if match else ""


def _shown(value: str) -> str:
    return escape(value.encode("utf-8", "surrogateescape")[:SHOWN])
