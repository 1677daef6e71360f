"""RFC 3464: the form of delivery status notifications, judged as they were delivered."""

from __future__ import annotations

from smtpbench.conformance import (
    BOUNCING_RECIPIENT,
    DELIVERED,
    EXTENSION,
    RECIPIENT,
    About,
    Expectation,
    Notices,
    Observation,
    Peer,
    case,
    each_notice,
    each_report,
    expect,
    mailed,
    notices_of,
    reported,
    some,
)

SEEN = [EXTENSION("DSN"), RECIPIENT, DELIVERED]
FAILS = [RECIPIENT, DELIVERED, BOUNCING_RECIPIENT]
FORM = (About.FORM, About.FIELDS, About.VALUES)
FORM_FAULTS = (
    "report-is-plain-text",
    "report-without-reporting-mta",
    "report-without-final-recipient",
    "report-without-status",
    "report-status-of-one-number",
)

well_formed: Expectation[Notices] = each_notice(
    "a multipart/report with all that RFC 3464 demands, and no more than it allows",
    lambda notice: notice.report is not None and not notice.report.flaws_about(*FORM),
)
known_actions: Expectation[Notices] = each_report(
    "failed, delayed, delivered, relayed or expanded",
    lambda report: bool(report.recipients) and not report.flaws_about(About.ACTION),
)


@case("3461-22", needs=SEEN, broken_by=FORM_FAULTS)
async def reports_of_success_have_their_form(peer: Peer) -> Observation:
    """A report of success is a multipart/report with the fields that it must have."""
    asked = await mailed(peer, peer.recipient, envid="{}", notify="SUCCESS")
    return expect(some(await notices_of(peer, asked)), well_formed)


@case("3461-22", needs=FAILS, broken_by=FORM_FAULTS)
async def reports_of_failure_have_their_form(peer: Peer) -> Observation:
    """A report of failure is a multipart/report with the fields that it must have."""
    lost = await mailed(peer, peer.bouncing_recipient)
    return expect(some(await notices_of(peer, lost)), well_formed)


@case("3461-23", needs=SEEN, broken_by=("report-action-unknown", "report-without-action"))
async def reports_say_what_was_done(peer: Peer) -> Observation:
    """A report has a known Action for each recipient."""
    asked = await mailed(peer, peer.recipient, envid="{}", notify="SUCCESS")
    return expect(reported(await notices_of(peer, asked)), known_actions)


@case("3461-23", needs=FAILS, broken_by=("report-action-unknown", "report-without-action"))
async def reports_of_failure_say_what_was_done(peer: Peer) -> Observation:
    """A report of failure has a known Action for each recipient."""
    lost = await mailed(peer, peer.bouncing_recipient)
    return expect(reported(await notices_of(peer, lost)), known_actions)


@case("3461-24", needs=SEEN, broken_by=("report-envid-not-decoded", "report-envid-lower-case"))
async def the_envelope_identifier_comes_back(peer: Peer) -> Observation:
    """The Original-Envelope-Id of a report is the ENVID, decoded, to the letter."""
    asked = await mailed(peer, peer.recipient, envid="{}+2BaB+3Dc/D", notify="SUCCESS")
    decoded = asked.ident.decode("ascii") + "+aB=c/D"
    same = each_report(decoded, lambda report: report.envelope_id == decoded)
    return expect(reported(await notices_of(peer, asked)), same)
