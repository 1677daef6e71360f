"""Notifications: found by their message, waited for, and told from what says nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from smtpbench.conformance import (
    Expectation,
    Notice,
    Notices,
    Outcome,
    Peer,
    Untested,
    each_notice,
    each_report,
    formless,
    mailed,
    no_notice,
    notices_behind,
    notices_of,
    notified,
    reported,
    some,
)
from smtpbench.conformance.conversation import Surroundings
from smtpbench.conformance.deliveries import Message
from smtpbench.conformance.reference import reference
from smtpbench.conformance.survey import survey
from smtpbench.delivery.reports import parse_report
from smtpbench.lab.workspace import Workspace
from smtpbench.server.reports import Action, Original, report
from smtpbench.server.reports import Outcome as Told
from smtpbench.target import Observe, Role

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
DELIVERED = notified("delivered")


@asynccontextmanager
async def peer_at(place: Workspace, *faults: str, observe: str = "maildir:/nowhere") -> AsyncIterator[Peer]:
    """A peer of the reference server with `faults`; the target file says that `observe` is observed."""
    async with reference(place, *faults) as (target, observer):
        facts = await survey(target, observable=True)
        facts = replace(facts, target=target.model_copy(update={"observe": Observe(url=observe)}))
        peer = Peer(Surroundings(facts, observer, None, target.main, Role.MX))
        try:
            yield peer
        finally:
            await peer.close()


def made(*actions: Action, sender: bytes = b"alice@example.com") -> bytes:
    """A report on a message that is none of ours."""
    told = [Told(b"bob@example.com", action, "2.0.0") for action in actions]
    return report(Original(sender, b"", NOON), told, mta="mx.example.com", now=NOON, ident="i")


def notice(content: bytes) -> Notice:
    return Notice(Message(content), parse_report(content))


async def test_a_notice_is_known_by_its_message(place: Workspace) -> None:
    async with peer_at(place) as peer:
        one = await mailed(
            peer, peer.recipient, envid="{}+2Ba", ret="HDRS", notify="SUCCESS", orcpt="rfc822;a"
        )
        two = await mailed(peer, peer.recipient, notify="SUCCESS")
        first, second = await notices_of(peer, one), await notices_of(peer, two)
    assert [item.envelope_id for item in first.reports] == [one.ident.decode() + "+a"]
    assert first.reports[0].recipients[0].original_address == "a"
    assert [item.envelope_id for item in second.reports] == [None]
    assert str(second) == "report: delivered (2.0.0)"
    assert one.ident in one.content
    assert peer.marker in one.ident
    assert first.notices[0].message.sender == ""


async def test_an_absence_is_judged_behind_a_null_sender_message(place: Workspace) -> None:
    async with peer_at(place, "success-not-reported") as peer:
        found = await notices_of(peer, await mailed(peer, peer.recipient, notify="SUCCESS"))
    assert no_notice.judge(found) is Outcome.CONFORMS
    assert DELIVERED.judge(found) is Outcome.VIOLATES
    assert found.waited >= peer.target.timeouts.delivery
    assert str(found).startswith("no notification within ")


async def test_an_absence_behind_a_sink_says_nothing(place: Workspace) -> None:
    async with peer_at(place, "success-not-reported", observe="sink:127.0.0.1:25") as peer:
        asked = await mailed(peer, peer.recipient, notify="SUCCESS")
        with pytest.raises(Untested, match="relayed to our sink"):
            await notices_of(peer, asked)


async def test_an_absence_says_nothing_where_a_report_cannot_be_told(place: Workspace) -> None:
    async with peer_at(place, "success-not-reported") as peer:
        asked = await mailed(peer, peer.recipient, notify="SUCCESS")
        other = peer.new_session()
        await other.until_mail("")
        assert (await other.content(made(Action.DELIVERED))).code == 250
        with pytest.raises(Untested, match="does not tell which message"):
            await notices_of(peer, asked)


async def test_an_absence_says_nothing_where_null_senders_are_refused(place: Workspace) -> None:
    async with peer_at(place, "success-not-reported", "null-sender-refused") as peer:
        asked = await mailed(peer, peer.recipient, notify="SUCCESS")
        with pytest.raises(Untested, match="MAIL was not accepted"):
            await notices_of(peer, asked)


async def test_what_must_not_come_is_judged_behind_what_came(place: Workspace) -> None:
    async with peer_at(place) as peer:
        silent = await mailed(peer, peer.recipient)
        control = await mailed(peer, peer.recipient, notify="SUCCESS")
        assert no_notice.judge(await notices_behind(peer, silent, control)) is Outcome.CONFORMS
        assert DELIVERED.judge(await notices_behind(peer, control, control)) is Outcome.CONFORMS


async def test_without_the_control_an_absence_says_nothing(place: Workspace) -> None:
    async with peer_at(place, "success-not-reported") as peer:
        silent = await mailed(peer, peer.recipient)
        control = await mailed(peer, peer.recipient, notify="SUCCESS")
        with pytest.raises(Untested, match="also not where one is due"):
            await notices_behind(peer, silent, control)


async def test_a_message_that_is_not_accepted_is_untested(place: Workspace) -> None:
    async with peer_at(place) as peer:
        with pytest.raises(Untested, match="RCPT was not accepted"):
            await mailed(peer, peer.unknown_recipient)
        with pytest.raises(Untested, match="MAIL was not accepted"):
            await mailed(peer, peer.recipient, envid="a+GG")
        with pytest.raises(Untested, match="the message was not accepted"):
            await mailed(peer, peer.recipient, rewrite=lambda content: b"Received: loop\r\n" * 101 + content)


ONE, MIXED = notice(made(Action.DELIVERED)), notice(made(Action.DELIVERED, Action.FAILED))
PLAIN = notice(b"Subject: your mail\r\n\r\nis lost\r\n")


@pytest.mark.parametrize(
    ("expectation", "conforming", "violating"),
    [
        (no_notice, [()], [(ONE,), (PLAIN,)]),
        (DELIVERED, [(ONE,), (ONE, ONE)], [(), (MIXED,), (PLAIN,)]),
        (notified("delivered", "failed"), [(MIXED,)], [()]),
        (formless, [(PLAIN,)], [(), (ONE,), (ONE, PLAIN)]),
        (each_notice("a report", lambda item: item.report is not None), [(ONE,)], [(), (ONE, PLAIN)]),
        (
            each_report("two", lambda item: len(item.recipients) == 2),
            [(MIXED,)],
            [(), (ONE, MIXED), (PLAIN,)],
        ),
    ],
)
def test_expectations(
    expectation: Expectation[Notices],
    conforming: list[tuple[Notice, ...]],
    violating: list[tuple[Notice, ...]],
) -> None:
    assert {expectation.judge(Notices(seen, 1.0)) for seen in conforming} == {Outcome.CONFORMS}
    assert {expectation.judge(Notices(seen, 1.0)) for seen in violating} == {Outcome.VIOLATES}


def test_questions_of_form_need_something_to_look_at() -> None:
    with pytest.raises(Untested, match="no notification arrived"):
        some(Notices((), 1.0))
    with pytest.raises(Untested, match="no multipart/report"):
        reported(Notices((PLAIN,), 1.0))
    assert some(Notices((PLAIN,), 1.0)).notices == (PLAIN,)
    assert reported(Notices((PLAIN, ONE), 1.0)).notices == (ONE,)
