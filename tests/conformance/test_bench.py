"""One case on the bench: attempts, reasons, transcript, grade. And the Peer, against the reference server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import pytest

from smtpbench.conformance import (
    AUTH,
    DELIVERED,
    ENDPOINT,
    EXTENSION,
    NO_EXTENSION,
    RECIPIENT,
    SLOW,
    TLS,
    Answer,
    Case,
    Delivery,
    Ending,
    Need,
    Observation,
    Peer,
    Role,
    Untested,
    case,
    codes,
    expect,
    nothing_delivered,
    one_message,
    silence,
    single,
    that,
)
from smtpbench.conformance.bench import Bench
from smtpbench.conformance.conversation import Surroundings
from smtpbench.conformance.model import Catalogue
from smtpbench.conformance.reference import REFERENCE_TIMEOUTS, reference
from smtpbench.conformance.survey import survey
from smtpbench.delivery.observers import Delivered
from smtpbench.errors import Unreachable
from smtpbench.lab.workspace import Workspace
from smtpbench.target import Endpoint, Target

Question = Callable[[Peer], Awaitable[Observation]]


def asking(
    question: Question, *requirements: str, needs: Sequence[Need] = (), after: str = "", deadline: float = 5.0
) -> Case:
    async def ask(peer: Peer) -> Observation:
        """A case of this test."""
        return await question(peer)

    return case(*(requirements or ("T-1",)), needs=needs, after=after or (), deadline=deadline)(ask)


async def test_a_case_that_records_accuses_nobody(bench: Bench) -> None:
    @case("T-1", accuses=False)
    async def record(peer: Peer) -> Observation:
        """Which of two it is."""
        await peer.until_ready()
        return expect(await peer.command(b"NOOP"), codes(251), choice=codes(252))

    result = await bench.run(record)
    assert result.verdict == "untested"
    assert result.reason == "neither of the things that this case tells apart"
    assert "250" in result.observed


async def noop(peer: Peer) -> Observation:
    await peer.until_ready()
    return expect(await peer.command(b"NOOP"), codes(250))


async def unknown(peer: Peer) -> Observation:
    await peer.until_ready()
    return expect(await peer.command(b"NOSUCH"), codes(250))


async def test_a_result_has_all_that_a_report_needs(bench: Bench) -> None:
    result = await bench.run(asking(unknown, "T-2", "T-1"))
    assert result.verdict == "fail"  # T-1 is a MUST and the strongest of the two
    assert (result.level, result.rfc, result.section) == ("MUST", 5321, "1")
    assert result.requirements == ["T-2", "T-1"]
    assert result.expected == "250"
    assert result.observed.startswith("NOSUCH → 500 ")
    assert result.repro == f"smtpbench conform lab:reference --select {result.id}"
    assert [line.sender for line in result.transcript[:2]] == ["server", "client"]
    assert result.transcript[-1].bytes.startswith("500 ")
    assert bench.results == {result.id: result}


async def test_the_strongest_requirement_grades(bench: Bench) -> None:
    assert (await bench.run(asking(unknown, "T-2"))).verdict == "non-strict"
    assert (await bench.run(asking(unknown, "T-3"))).verdict == "info"
    assert (await bench.run(asking(noop, "T-3"))).verdict == "info"
    assert (await bench.run(asking(noop, "T-4"))).verdict == "pass"


@pytest.mark.parametrize(
    ("need", "reason"),
    [
        (EXTENSION("nosuch"), "NOSUCH is not offered"),
        (NO_EXTENSION("size"), "SIZE is offered"),
        (SLOW, "takes minutes: run with --slow"),
    ],
)
async def test_an_unmet_need_is_untested(bench: Bench, need: Need, reason: str) -> None:
    async def never(peer: Peer) -> Observation:
        raise AssertionError("asked although a need is not met")

    result = await bench.run(asking(never, needs=[need]))
    assert (result.verdict, result.reason) == ("untested", reason)


async def test_needs_of_a_bare_target(place: Workspace, catalogue: Catalogue) -> None:
    async with reference(place) as (whole, _):
        bare = Target(endpoints={Role.MX: whole.main}, timeouts=REFERENCE_TIMEOUTS)
        bench = Bench(catalogue, await survey(bare, observable=False))
        reasons = {
            need.name: (await bench.run(asking(noop, needs=[need]))).reason
            for need in (RECIPIENT, DELIVERED, AUTH, TLS, ENDPOINT(Role.LMTP))
        }
    assert reasons == {
        "recipient": "no fixture: fixtures.recipient (or --recipient) is not set",
        "delivered": "no observer: --observe is not given",
        "auth": "no credentials: --username is not given",
        "tls": None,
        "endpoint lmtp": "the target has no lmtp endpoint",
    }


async def test_after_a_violation_a_dependent_case_is_untested(bench: Bench) -> None:
    first = asking(unknown)
    dependent = replace(asking(noop, after=first.id), id="dependent")
    await bench.run(first)
    result = await bench.run(dependent)
    assert (result.verdict, result.reason) == ("untested", f"{first.id} is fail")


async def test_untested_says_what_came_instead(bench: Bench) -> None:
    async def refused(peer: Peer) -> Observation:
        await peer.until_rcpt("nobody-here@example.com")
        raise AssertionError("RCPT was accepted")

    result = await bench.run(asking(refused))
    assert (result.verdict, result.reason) == ("untested", "RCPT was not accepted")
    assert result.observed.startswith("RCPT TO:<nobody-here@example.com> → 550")


async def test_a_broken_case_is_our_error(bench: Bench) -> None:
    async def broken(peer: Peer) -> Observation:
        raise KeyError("no such thing")

    result = await bench.run(asking(broken))
    assert result.verdict == "error"
    assert result.reason is not None
    assert result.reason.startswith("KeyError: 'no such thing' (broken, line ")


async def test_a_case_has_a_deadline(bench: Bench) -> None:
    async def endless(peer: Peer) -> Observation:
        await asyncio.Event().wait()
        raise AssertionError

    result = await bench.run(asking(endless, deadline=0.05))
    assert (result.verdict, result.reason) == ("error", "not done within 1.55 s")


async def test_a_silence_counts_only_the_second_time(place: Workspace, catalogue: Catalogue) -> None:
    attempts = 0

    async def count(peer: Peer) -> Observation:
        nonlocal attempts
        attempts += 1
        return await noop(peer)

    async with reference(place, "noop-not-answered") as (target, observer):
        bench = Bench(catalogue, await survey(target, observable=True), observer)
        result = await bench.run(asking(count))
    assert attempts == 2
    assert (result.verdict, result.observed) == ("fail", "NOOP → no reply within 0.5 s")
    assert result.reason is not None
    assert result.reason.startswith("second attempt; first: 127.0.0.1:")
    assert any("run once more" in line.bytes for line in result.transcript)


async def test_a_close_is_in_the_answer(place: Workspace, catalogue: Catalogue) -> None:
    async def close(peer: Peer) -> Observation:
        await peer.until_ready()
        answer = await peer.command(b"QUIT")
        assert answer.ending is Ending.CLOSED
        return expect(answer, codes(221))

    async with reference(place, "quit-without-reply") as (target, observer):
        bench = Bench(catalogue, await survey(target, observable=True), observer)
        result = await bench.run(asking(close))
    assert result.verdict == "fail"
    assert result.observed == "QUIT → connection closed without a reply"


async def test_no_connection_is_untested(bench: Bench, unused_tcp_port: int) -> None:
    nowhere = bench.facts.target.model_copy(update={"endpoints": {Role.MX: Endpoint(port=unused_tcp_port)}})
    elsewhere = Bench(bench.catalogue, replace(bench.facts, target=nowhere))
    result = await elsewhere.run(asking(noop))
    assert result.verdict == "untested"
    assert result.reason is not None
    assert "cannot connect" in result.reason
    with pytest.raises(Unreachable):
        await survey(nowhere, observable=False)


# The Peer


async def ask(bench: Bench, question: Callable[[Peer], Awaitable[Answer]], *needs: Need) -> Answer:
    """What `question` saw, through the whole bench."""
    seen: list[Answer] = []

    async def keep(peer: Peer) -> Observation:
        seen.append(await question(peer))
        return expect(seen[0], codes())

    result = await bench.run(asking(keep, needs=needs))
    assert result.verdict == "fail", result.reason
    return seen[0]


async def test_steps_of_a_session(bench: Bench) -> None:
    async def steps(peer: Peer) -> Answer:
        assert (await peer.connect()).code == 220
        assert (await peer.connect()).code == 220
        assert await peer.until_ready()
        assert str(await peer.command(b"NOOP", extra=True)).startswith("NOOP → 250")
        assert [reply.code for reply in (await peer.pipeline(b"NOOP", b"RSET", b"FOO")).replies] == [
            250,
            250,
            500,
        ]
        assert silence.judge(await peer.settle()) == 0
        assert silence.judge(await peer.probe(b"NOOP")) == 0
        assert single(codes(250)).judge(await peer.probe(b"\r\n")) == 0
        await peer.send(b"NOOP\r\nNOOP\r\n")
        assert len((await peer.read(2)).replies) == 2
        await peer.until_rcpt()
        await peer.until_rcpt(peer.second_recipient)
        await peer.until_data()
        assert (await peer.content(peer.marked_body(b"text\r\n"))).code == 250
        assert (await peer.command(b"QUIT")).code == 221
        return await peer.until_closed()

    assert (await ask(bench, steps)).ending is Ending.CLOSED


async def test_starttls_and_auth(bench: Bench) -> None:
    async def secure(peer: Peer) -> Answer:
        await peer.until_ready()
        assert (await peer.starttls()).code == 220
        assert peer.session.tls_active
        assert not peer.extensions
        return await peer.auth()

    assert (await ask(bench, secure, TLS, AUTH)).code == 235


async def test_submission_is_authenticated_on_the_way(bench: Bench) -> None:
    async def submit(peer: Peer) -> Answer:
        return await peer.content_of(peer.marked_body(b"text\r\n"))

    assert (await ask(bench, submit, ENDPOINT(Role.SUBMISSION))).code == 250
    assert (await ask(bench, submit, ENDPOINT(Role.SUBMISSIONS))).code == 250
    assert (await ask(bench, submit, ENDPOINT(Role.LMTP))).code == 250


async def test_what_was_delivered(bench: Bench) -> None:
    async def deliver(peer: Peer) -> Answer:
        content = peer.marked_body(b".dot\r\n")
        delivery = await peer.delivered(content)
        assert one_message.judge(delivery) == 0
        assert delivery.messages[0].same_as(content)
        assert delivery.messages[0].sender == peer.sender
        assert delivery.messages[0].recipients == (peer.recipient,)
        return delivery

    delivery = await ask(bench, deliver, DELIVERED)
    assert isinstance(delivery, Delivery)
    assert len(delivery.messages[0].received) == 1


async def test_a_dropped_transaction_delivers_nothing(bench: Bench) -> None:
    async def drop(peer: Peer) -> Answer:
        await peer.until_data()
        await peer.send(peer.marked_body(b"half"))
        peer.drop()
        return await peer.nothing_arrived()

    assert nothing_delivered.judge(await ask(bench, drop, DELIVERED)) == 0  # type: ignore[arg-type]


async def test_what_must_not_arrive_is_seen(place: Workspace, catalogue: Catalogue) -> None:
    async def refuse(peer: Peer) -> Answer:
        await peer.until_data()
        await peer.send(peer.marked_body(b"first\n.\r\n" + peer.smuggled()))
        return await peer.delivery()

    async with reference(place, "data-ends-at-lf-dot-crlf") as (target, observer):
        bench = Bench(catalogue, await survey(target, observable=True), observer)
        delivery = await ask(bench, refuse, DELIVERED)
    assert isinstance(delivery, Delivery)
    assert [reply.code for reply in delivery.replies] == [250, 250, 250, 354, 250, 221]
    assert delivery.arrived == 2


async def test_a_fence_that_does_not_arrive_is_untested(place: Workspace, catalogue: Catalogue) -> None:
    async def reset(peer: Peer) -> Observation:
        await peer.until_rcpt()
        await peer.command(b"RSET")
        return expect(await peer.nothing_arrived(), nothing_delivered)

    async with reference(place, "accepts-and-loses") as (target, observer):
        bench = Bench(catalogue, await survey(target, observable=True), observer)
        result = await bench.run(asking(reset))
    assert (result.verdict, result.reason) == (
        "untested",
        "the fence message was accepted and did not arrive within 0.5 s",
    )


@pytest.mark.parametrize(("fault", "verdict"), [(None, "untested"), ("drops-bcc-recipient", "fail")])
async def test_mail_of_a_second_recipient_that_nobody_looks_for_is_not_lost(
    fault: str | None, verdict: str, place: Workspace, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def both(peer: Peer) -> Observation:
        await peer.until_rcpt(peer.recipient, peer.second_recipient)
        await peer.until_data()
        await peer.send(peer.marked_body(b"text\r\n"))
        delivery = await peer.delivery(b".\r\n", recipients=2)
        return expect(delivery, that("two", lambda seen: seen.arrived == 2))

    async with reference(place, *([fault] if fault else [])) as (target, observer):
        if fault is None:
            fetch = observer.fetch

            async def fetch_one(marker: bytes, at_least: int, within: float) -> list[Delivered]:
                found = await fetch(marker, at_least, within)
                return [item for item in found if target.fixtures.recipient in item.recipients]

            monkeypatch.setattr(observer, "fetch", fetch_one)
        bench = Bench(catalogue, await survey(target, observable=True), observer)
        result = await bench.run(asking(both))
    assert result.verdict == verdict
    if fault is None:
        assert result.reason is not None
        assert result.reason.startswith(
            f"the fence message for {target.fixtures.second_recipient} was accepted"
        )


async def test_two_sessions_share_a_marker(bench: Bench) -> None:
    async def two(peer: Peer) -> Answer:
        other = peer.new_session()
        assert other.marker == peer.marker
        await other.connect()
        await peer.connect()
        assert other.session is not peer.session
        return await other.command(b"NOOP")

    assert (await ask(bench, two)).code == 250


async def test_what_a_bare_target_has_not_is_untested(bench: Bench) -> None:
    bare = Target(endpoints=bench.facts.target.endpoints, timeouts=REFERENCE_TIMEOUTS)
    peer = Peer(Surroundings(replace(bench.facts, target=bare), None, None, bare.main, Role.MX))
    with pytest.raises(Untested, match=r"fixtures\.recipient is not set"):
        _ = peer.recipient
    with pytest.raises(Untested, match="no credentials"):
        _ = peer.credentials
    with pytest.raises(Untested, match="no observer"):
        await peer.nothing_arrived()
