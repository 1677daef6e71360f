"""The next hop in the hands of a case: what goes in, what comes out, what a case says of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from smtpbench.conformance.bench import Bench
from smtpbench.conformance.cases import Case, case
from smtpbench.conformance.deliveries import Message
from smtpbench.conformance.expectations import expect, that
from smtpbench.conformance.needs import RELAY, RETRY
from smtpbench.conformance.nexthop import CameBack, Relayed, each_session, each_transaction, next_hop
from smtpbench.conformance.observation import Observation, Outcome, Untested
from smtpbench.conformance.peer import Peer
from smtpbench.conformance.reference import reference
from smtpbench.conformance.result import Verdict
from smtpbench.conformance.survey import survey
from smtpbench.delivery.hop import Hop
from smtpbench.delivery.hop_script import (
    ACCEPT,
    DEFER,
    REFUSE,
    HopLine,
    HopRecipient,
    HopScript,
    HopSession,
    HopTransaction,
)
from smtpbench.lab.workspace import Workspace
from smtpbench.target import Timeouts

TO = "a@relay.example"


@pytest.fixture
async def relaying(place: Workspace, catalogue) -> AsyncIterator[Bench]:
    """The reference server on the bench, with a next hop."""
    async with Hop() as hop, reference(place, hop=hop) as (target, observer):
        yield Bench(catalogue, await survey(target, observable=True), observer, hop=hop)


def ask(question, *needs) -> Case:
    """A case of `question`."""
    question.__doc__ = "A question."
    return case("T-1", needs=[RELAY, *needs])(question)


async def answered(bench: Bench, question, *needs):
    async with asyncio.timeout(20):
        return await bench.run(ask(question, *needs))


async def test_what_goes_in_comes_out_and_is_in_the_transcript(relaying: Bench) -> None:
    async def question(peer: Peer) -> Observation:
        async with next_hop(peer) as hop:
            to = hop.recipient("MiXed-")
            await hop.send(peer.marked_body(b".x\r\n"), to, sender=peer.recipient)
            seen = await hop.ended(await hop.relayed(to))
            assert seen.deliveries(to) == 1
            assert Message(seen.complete[0].content or b"").same_as(peer.marked_body(b".x\r\n"))
            return expect(seen, each_session("quit", lambda one: one.ended == "quit"))

    result = await answered(relaying, question)
    assert result.verdict is Verdict.PASS, result
    hop_lines = [line.bytes for line in result.transcript if "next hop, session" in line.bytes]
    assert any("client: RCPT TO:<MiXed-smtpbench-" in line for line in hop_lines)


async def test_replies_by_attempt_and_what_comes_back(relaying: Bench) -> None:
    async def question(peer: Peer) -> Observation:
        async with next_hop(peer) as hop:
            later, never = hop.recipient(rcpt=(DEFER, ACCEPT)), hop.recipient(rcpt=(REFUSE,))
            await hop.send(peer.marked_body(b"x\r\n"), later, never, sender=peer.recipient)
            again = await hop.attempts(later, number=2, retries=True)
            assert [one.recipients[0].code for one in again.transactions] == [451, 250]
            back = await hop.came_back()
            assert not back.about(later)
            return expect(back, that("a notification", lambda seen: len(seen.about(never)) == 1))

    result = await answered(relaying, question, RETRY)
    assert result.verdict is Verdict.PASS, result


async def test_a_message_that_comes_back_is_settled(relaying: Bench) -> None:
    async def question(peer: Peer) -> Observation:
        async with next_hop(peer, HopScript().without("8BITMIME", "CHUNKING")) as hop:
            to = hop.recipient()
            await hop.send(peer.marked_body("é\r\n".encode()), to, sender=peer.recipient)
            return expect(await hop.settled(to), that("nothing here", lambda seen: not seen.transactions))

    result = await answered(relaying, question)
    assert result.verdict is Verdict.PASS, result


async def test_nothing_at_the_hop_is_untested(relaying: Bench) -> None:
    async def question(peer: Peer) -> Observation:
        async with next_hop(peer) as hop:
            await hop.relayed(hop.recipient())
            raise AssertionError("nothing was sent")

    result = await answered(relaying, question)
    assert (result.verdict, result.reason) == (Verdict.UNTESTED, "the message did not come to the next hop")


async def test_a_refused_message_is_untested(relaying: Bench) -> None:
    async def question(peer: Peer) -> Observation:
        async with next_hop(peer) as hop:
            await hop.send(b"lone\nLF\r\n", hop.recipient())
            raise AssertionError("it was refused")

    result = await answered(relaying, question)
    assert (result.verdict, result.reason) == (Verdict.UNTESTED, "the message was not accepted")


async def test_without_a_relay_the_case_is_untested(place: Workspace, catalogue) -> None:
    async def question(peer: Peer) -> Observation:
        raise AssertionError("not asked")

    async with reference(place) as (target, observer):
        bench = Bench(catalogue, await survey(target, observable=True), observer)
        result = await answered(bench, question)
    assert (result.verdict, result.reason) == (Verdict.UNTESTED, "no next hop: [relay] is not set")


@pytest.mark.parametrize(
    ("retry_s", "slow", "reason"),
    [
        (None, True, "relay.retry_s is not set"),
        (300.0, False, "run with --slow"),
        (300.0, True, None),
        (1.0, False, None),
    ],
)
async def test_a_second_attempt_is_waited_for_if_it_is_known_to_come(relaying, retry_s, slow, reason) -> None:
    relay = relaying.facts.target.relay.model_copy(update={"retry_s": retry_s})
    target = relaying.facts.target.model_copy(update={"relay": relay})
    unmet = RETRY.unmet(replace(relaying.facts, target=target, slow=slow))
    assert (unmet is None) == (reason is None)
    assert (reason or "") in (unmet or "")


def transaction(code: int | None, content: bytes | None = b"x\r\n", rcpt: int = 250) -> HopTransaction:
    session = HopSession(1, ended="quit")
    recipients = [HopRecipient(b"RCPT TO:<A@relay.example>", b"A@relay.example", rcpt)]
    return HopTransaction(
        session, b"MAIL FROM:<>", False, frozenset(), recipients, content, content, code=code
    )


def test_only_what_the_hop_took_counts_as_delivered() -> None:
    seen = Relayed(
        (transaction(250), transaction(0), transaction(None, None), transaction(250, rcpt=550)), 1.0
    )
    assert seen.deliveries(TO) == 1
    assert len(seen.complete) == 3
    assert str(Relayed((transaction(0),), 1.0)) == (
        "MAIL FROM:<>, RCPT TO:<A@relay.example> → 250, 3 octets → dropped, session quit"
    )
    assert str(Relayed((), 1.5)) == "nothing at the next hop within 1.5 s"


def test_expectations_need_something_to_hold_of() -> None:
    anything = each_transaction("…", lambda one: True), each_session("…", lambda one: True)
    for expectation in anything:
        assert expectation.judge(Relayed((), 0.0)) is Outcome.VIOLATES
        assert expectation.judge(Relayed((transaction(250),), 0.0)) is Outcome.CONFORMS
    assert (
        each_transaction("…", lambda one: False).judge(Relayed((transaction(250),), 0.0)) is Outcome.VIOLATES
    )


def test_what_came_back_names_whom_it_is_about() -> None:
    back = CameBack((Message(b"Final-Recipient: rfc822;A@RELAY.example\r\n"),), 1.0)
    assert len(back.about(TO)) == 1
    assert not back.about("b@relay.example")
    assert str(back) == "1 message came back"
    assert str(CameBack((), 2.0)) == "nothing came back within 2 s"


async def test_a_peer_without_a_hop_says_so(relaying: Bench) -> None:
    relaying.hop = None

    async def question(peer: Peer) -> Observation:
        async with next_hop(peer):
            raise Untested("it is there")

    result = await answered(relaying, question)
    assert result.reason == "no next hop: [relay] is not set"


def test_a_session_that_began_too_early() -> None:
    session = HopSession(1, lines=[HopLine(0.0, "note", b"sent before the reply: NOOP\r\n")])
    assert session.early
    assert not HopSession(1, lines=[HopLine(0.0, "server", b"220 x")]).early


async def test_the_wait_for_the_hop_is_not_the_time_of_the_case(relaying: Bench) -> None:
    free = asyncio.Event()

    async def holder() -> None:
        async with relaying.hop.conduct(HopScript().without("DSN")):
            holds.set()
            await free.wait()

    async def question(peer: Peer) -> Observation:
        limit = peer._around.limit
        with peer.time_stopped():
            assert limit.when() is None
        asyncio.get_running_loop().call_later(0.3, free.set)  # longer than the case has
        async with next_hop(peer):
            return expect(0, that("there", lambda seen: True))

    holds = asyncio.Event()
    holding = asyncio.create_task(holder())
    await holds.wait()
    question.__doc__ = "A question."
    relaying.facts = replace(
        relaying.facts,
        target=relaying.facts.target.model_copy(update={"timeouts": Timeouts(delivery=0.01, quiet=0.01)}),
    )
    async with asyncio.timeout(20):
        result = await relaying.run(case("T-1", needs=[RELAY], deadline=0.1)(question))
        await holding
    assert result.verdict is Verdict.PASS, result
