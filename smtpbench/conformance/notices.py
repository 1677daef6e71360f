"""Notifications: what a server tells the sender of a message about its delivery.

    asked = await mailed(peer, peer.recipient, notify="SUCCESS")
    return expect(await notices_of(peer, asked), notified("delivered"))

Each message has an identifier of its own, in its header and in its ENVID, and is sent from a mailbox that
is observed, so that a report arrives where we see it and can be told from those on other messages.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from smtpbench.conformance.deliveries import MARKER_FIELD, Message
from smtpbench.conformance.expectations import Expectation, that
from smtpbench.conformance.observation import Untested
from smtpbench.conformance.peer import Peer
from smtpbench.delivery.reports import Report, parse_report
from smtpbench.wire.replies import escape

IDENT_FIELD = b"X-Smtpbench-Message"
OUR_MARK = b"smtpbench-"  # every marker begins with it
SHOWN_HEADER = 8_192  # octets of a message in which its telling fields are looked for
_TELLING = re.compile(rb"(?mi)^(?:Subject|Content-Type):.{0,100}")
STRANGERS = b"delivery-status"  # in every report, whatever it is about


@dataclass(frozen=True)
class Mailing:
    """One accepted message: what tells it from others, its envelope, and its content."""

    ident: bytes
    sender: str
    recipient: str
    content: bytes


@dataclass(frozen=True)
class Notice:
    """One message about a mailing; `report` is None if it is not in the form of RFC 3464."""

    message: Message
    report: Report | None

    def __str__(self) -> str:
        if self.report is not None:
            return str(self.report)
        return f"a notice that is no multipart/report: {shown_fields(self.message.raw)}"


@dataclass(frozen=True)
class Notices:
    """What was sent back about one mailing, and how long was waited for it (seconds)."""

    notices: tuple[Notice, ...]
    waited: float

    @property
    def reports(self) -> tuple[Report, ...]:
        """The notices that are reports."""
        return tuple(notice.report for notice in self.notices if notice.report is not None)

    @property
    def actions(self) -> tuple[str, ...]:
        """The Action of each recipient of each report."""
        return tuple(item.action for report in self.reports for item in report.recipients)

    def __str__(self) -> str:
        return " · ".join(map(str, self.notices)) or f"no notification within {self.waited:.3g} s"


def shown_fields(message: bytes) -> str:
    """The Subject and the Content-Type of a message, in words that are safe to show."""
    found = _TELLING.findall(message[:SHOWN_HEADER])
    return ", ".join(escape(re.sub(rb"\s+", b" ", field)) for field in found) or "without a Subject"


async def mailed(
    peer: Peer,
    recipient: str,
    *,
    sender: str | None = None,
    envid: str | None = None,
    ret: str | None = None,
    notify: str | None = None,
    orcpt: str | None = None,
    rewrite: Callable[[bytes], bytes] = lambda content: content,
) -> Mailing:
    """Send a message in a session of its own, from the fixture's recipient unless told otherwise.

    `envid` has ``{}`` where the identifier goes. Parameters that are None are not sent. `rewrite` changes
    the content. Raises Untested if the message is not accepted.
    """
    session = peer.new_session()
    ident = b"%s.%d" % (peer.marker, time.monotonic_ns())
    path = peer.recipient if sender is None else sender
    envelope_id = None if envid is None else envid.format(ident.decode("ascii"))
    await session.until_mail(path, **_given(ENVID=envelope_id, RET=ret))
    await session.until_rcpt(recipient, **_given(NOTIFY=notify, ORCPT=orcpt))
    content = rewrite(peer.marked_body(b"notify\r\n", IDENT_FIELD + b": " + ident))
    if (ended := await session.content(content)).severity != 2:
        raise Untested("the message was not accepted", str(ended))
    return Mailing(ident, path, recipient, content)


def _given(**parameters: str | None) -> dict[str, str | None]:
    return {name: value for name, value in parameters.items() if value is not None}


async def notices_of(peer: Peer, mailing: Mailing) -> Notices:
    """Wait for a notice about `mailing`, and give all there are.

    None within `timeouts.delivery` counts only if a message from the null reverse-path, as a report is,
    does arrive after that, and no report has arrived that could be about any message.
    """
    began = time.monotonic()
    wait = peer.target.timeouts.delivery
    found = await _wait(peer, mailing, wait)
    if not found:
        if peer.target.observe is not None and peer.target.observe.url.startswith("sink:"):
            raise Untested("mail is relayed to our sink, and who reports then is not known")
        await peer.fence(sender="")
        found = await _wait(peer, mailing, peer.target.timeouts.quiet)
    if not found and await _strangers(peer):
        raise Untested("a report arrived that does not tell which message it is about")
    return Notices(found, time.monotonic() - began)


async def notices_behind(peer: Peer, mailing: Mailing, control: Mailing) -> Notices:
    """What there is about `mailing` once a notice about `control`, sent after it, has arrived.

    Raises Untested where that one does not arrive: then an absence would say nothing.
    """
    began = time.monotonic()
    if not await _wait(peer, control, peer.target.timeouts.delivery):
        raise Untested("no notification arrives here, also not where one is due")
    found = await _wait(peer, mailing, peer.target.timeouts.quiet)
    return Notices(found, time.monotonic() - began)


async def _wait(peer: Peer, mailing: Mailing, within: float) -> tuple[Notice, ...]:
    deadline = time.monotonic() + within
    number = 1
    while True:
        messages = await peer.arrivals(mailing.ident, number, max(deadline - time.monotonic(), 0))
        notices = tuple(
            Notice(message, parse_report(message.raw)) for message in messages if not _is_copy(message)
        )
        if notices or len(messages) < number:
            return notices
        number = len(messages) + 1


def _is_copy(message: Message) -> bool:
    """Whether a message is the mailing itself."""
    return message.content.startswith(MARKER_FIELD)


async def _strangers(peer: Peer) -> bool:
    """Whether a report has come that names none of our messages."""
    return any(OUR_MARK not in message.raw for message in await peer.arrivals(STRANGERS, 0, 0))


# What conforms ------------------------------------------------------------------------------------

no_notice: Expectation[Notices] = that("no notification", lambda seen: not seen.notices)


def notified(*actions: str) -> Expectation[Notices]:
    """There is a report, and each says one of `actions` for each recipient."""
    return that(
        f"a notification with the Action {' or '.join(actions)}",
        lambda seen: bool(seen.actions) and all(action in actions for action in seen.actions),
    )


formless: Expectation[Notices] = that(
    "a notice that is no multipart/report", lambda seen: bool(seen.notices) and not seen.reports
)


def each_notice(what: str, holds: Callable[[Notice], bool]) -> Expectation[Notices]:
    """There is a notice, and `holds` is true of each."""
    return that(what, lambda seen: bool(seen.notices) and all(map(holds, seen.notices)))


def each_report(what: str, holds: Callable[[Report], bool]) -> Expectation[Notices]:
    """There is a notice, each is a report, and `holds` is true of each."""
    return each_notice(what, lambda notice: notice.report is not None and holds(notice.report))


def some(notices: Notices) -> Notices:
    """`notices`, unless there are none: then a question about their form is untested."""
    if not notices.notices:
        raise Untested("no notification arrived", str(notices))
    return notices


def reported(notices: Notices) -> Notices:
    """`some(notices)`, without those that are not in the form of RFC 3464; untested if none is left."""
    left = tuple(notice for notice in some(notices).notices if notice.report is not None)
    if not left:
        raise Untested("the notification is no multipart/report", str(notices))
    return replace(notices, notices=left)
