"""Which delivered messages are reports on ours, and what they say: octets into `Notice`s.

A report is matched to its original by what it returns (the header of the original, or all of it), by its
Original-Envelope-Id, and else by an identifier anywhere in it. Reports in a form of the server's own say
nothing that can be relied on but that there was a failure; they count as one that is not strict.
"""

from __future__ import annotations

from collections.abc import Collection
from email.parser import BytesHeaderParser

from smtpbench.delivery.accounts import Notice
from smtpbench.delivery.fingerprint import RUN_DIGITS, header_identifier, identifiers, split
from smtpbench.delivery.reports import Report, parse_report


def read_notices(
    content: bytes, at_ns: int, *, runs: Collection[bytes], sender: str | None = None
) -> list[Notice] | None:
    """What a report says about messages of `runs`; None if `content` is no report on any of them.

    `sender` is the envelope's: a message from the null reverse-path (RFC 5321 §4.5.5) with an identifier in
    its body and not in its Message-ID is a report, whatever its form.
    """
    header, body = split(content)
    if header_identifier(header):
        return None
    found = [one for one in identifiers(body) if one[:RUN_DIGITS] in runs]
    if not found:
        return None
    report = parse_report(content)
    if report is not None:
        return _strict(report, found, at_ns)
    if sender == "" or _is_automatic(header):
        return [Notice(found[0], "", "failed", at_ns, strict=False)]
    return None


def _strict(report: Report, found: list[bytes], at_ns: int) -> list[Notice]:
    named = _original(report)
    identifier = named if named in found else found[0]
    return [
        Notice(identifier, recipient.original_address or recipient.address, recipient.action, at_ns,
               strict=not report.flaws)
        for recipient in report.recipients
    ] or [Notice(identifier, "", "failed", at_ns, strict=False)]  # fmt: skip


def _original(report: Report) -> bytes:
    """The identifier of what the report is on, by what it returns or by its envelope identifier."""
    if report.returned is not None and (named := header_identifier(report.returned)):
        return named
    inside = identifiers((report.envelope_id or "").encode("utf-8", "replace"))
    return inside[0] if inside else b""


def _is_automatic(header: bytes) -> bool:
    """RFC 3834 §5, and the null reverse-path as final delivery writes it down."""
    fields = BytesHeaderParser().parsebytes(header + b"\n\n")
    return str(fields.get("Return-Path", "")).strip() == "<>" or str(
        fields.get("Auto-Submitted", "no")
    ).lower().startswith("auto-")
