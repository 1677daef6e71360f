from __future__ import annotations

import asyncio
import base64
import gc
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from smtpbench.load import engine as engine_module
from smtpbench.load.engine import Engine
from smtpbench.load.result import OUTCOMES, LoadResult, PhaseStats
from smtpbench.load.setup import make_engine
from smtpbench.load.transport import SocketTransport
from smtpbench.load.workload import Workload
from smtpbench.server import Server as ReferenceServer
from smtpbench.server import ServerConfig
from smtpbench.server.store import MemoryStore
from smtpbench.target import Credentials, Endpoint, Role, Target, Timeouts, Tls
from tests.load.conftest import HANG_UP, SILENCE, Reply, Running, Script, Server
from tests.load.engines import begun, ended

pytestmark = pytest.mark.usefixtures("conducts")
LIMIT_S = 20
NO_PIPELINING = b"250-test\r\n250 SIZE 1000000\r\n"


async def run(target: Target, **fields: object) -> LoadResult:
    """A whole workload, in one engine."""
    return await finish(begun(target, **fields))


async def finish(engine: Engine) -> LoadResult:
    result = await ended(engine, LIMIT_S)
    last = engine.batches[-1]
    assert (last.sessions_open, last.under_way, last.waiting, last.ended) == (0, 0, 0, True)
    assert result.totals.unaccounted == 0
    for outcome in OUTCOMES:
        stats = result.outcomes.get(outcome, PhaseStats())
        assert stats.count == getattr(result.totals, outcome)
    return result


@pytest.mark.parametrize("chop", [False, True])
@pytest.mark.parametrize("pipelining", [False, True])
async def test_every_message_arrives_once_and_whole(running: Running, pipelining: bool, chop: bool) -> None:
    async with running(Script(chop=chop)) as (server, target):
        result = await run(target, users=3, messages=20, pipelining=pipelining, message_size=1500)
    assert result.totals.accepted == 20
    assert len(set(server.contents)) == 20
    assert {len(content) for content in server.contents} == {1500}
    for phase in ("mail", "rcpt", "data", "body", "transaction"):
        assert result.phases[phase].count == 20
    assert result.replies == {"220": server.connections, "221": server.connections, "354": 20,
                              "250": server.connections + 60}  # fmt: skip


async def test_with_pipelining_the_content_leads_the_next_group(running: Running) -> None:
    async with running() as (server, target):
        await run(target, users=1, messages=3)
    group = b"MAIL FROM:<sender@example.org>\r\nRCPT TO:<rcpt@example.net>\r\nDATA\r\n"
    ehlo, first, *contents = server.reads[:5]
    assert ehlo.startswith(b"EHLO")
    assert first == group
    assert [content.endswith(b"\r\n.\r\n" + group) for content in contents] == [True, True, False]
    assert contents[2].endswith(b"\r\n.\r\n")


async def test_pipelining_waits_to_be_offered(running: Running) -> None:
    async with running(Script(ehlo=NO_PIPELINING)) as (server, target):
        result = await run(target, users=1, messages=3)
    assert result.totals.accepted == 3
    assert all(read.count(b"\r\n") == 1 for read in server.reads if b"Message-ID" not in read)


@pytest.mark.parametrize("pipelining", [False, True])
async def test_with_chunking_messages_go_as_bdat(pipelining: bool) -> None:
    store = MemoryStore()
    async with ReferenceServer(ServerConfig(sink=True), store=store) as server:
        target = Target(
            endpoints={Role.MX: Endpoint(port=server.port)}, timeouts=Timeouts(connect=2, reply=2)
        )
        result = await run(target, users=2, messages=10, chunking=True, pipelining=pipelining)
    assert result.totals.accepted == len(store.messages) == 10
    assert result.phases["data"].count == 0
    assert result.phases["body"].count == 10


async def test_a_session_carries_as_many_messages_as_it_may(running: Running) -> None:
    async with running() as (server, target):
        result = await run(target, users=1, messages=6, messages_per_session=2)
    assert result.totals.accepted == 6
    assert server.connections == 3
    assert server.commands.count(b"QUIT") == 3


@pytest.mark.parametrize("pipelining", [False, True])
@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA"])
async def test_a_refused_message_is_counted_and_the_session_goes_on(
    running: Running, verb: str, pipelining: bool
) -> None:
    good = b"354 go\r\n" if verb == "DATA" else b"250 ok\r\n"
    answers: dict[str, Reply] = {verb: lambda n: b"452 no room\r\n" if n == 2 else good}
    if verb != "DATA":  # as a server that knows its state
        refused = {2} if pipelining else set()
        answers["DATA"] = lambda n: b"503 nothing to send\r\n" if n in refused else b"354 go\r\n"
    async with running(Script(answers=answers)) as (server, target):
        result = await run(target, users=1, messages=4, pipelining=pipelining)
    assert (result.totals.accepted, result.totals.rejected_4xx) == (3, 1)
    assert result.first_refusal == "452 no room"
    assert result.totals.rejected_5xx == result.totals.dropped == 0
    assert server.connections == 1
    assert len(server.contents) == 3


async def test_354_without_a_recipient_is_ended_with_a_lone_dot(running: Running) -> None:
    script = Script(answers={"RCPT": b"550 nobody\r\n"}, after_content=b"554 no recipients\r\n")
    async with running(script) as (server, target):
        result = await run(target, users=1, messages=2)
    assert result.totals.rejected_5xx == 2
    assert server.contents == [b"", b""]


async def test_a_refusal_after_the_content_counts_by_its_class(running: Running) -> None:
    replies = {1: b"451-try\r\n451 later\r\n", 2: b"552 too big\r\n"}
    async with running(Script(after_content=lambda n: replies.get(n, b"250 ok\r\n"))) as (_, target):
        result = await run(target, users=1, messages=3)
    totals = result.totals
    assert (totals.accepted, totals.rejected_4xx, totals.rejected_5xx) == (1, 1, 1)
    assert result.first_refusal == "451-try / 451 later"


async def test_421_ends_the_session_and_a_new_one_goes_on(running: Running) -> None:
    script = Script(answers={"MAIL": lambda n: b"421 closing\r\n" if n == 2 else b"250 ok\r\n"})
    async with running(script) as (server, target):
        result = await run(target, users=1, messages=3, pipelining=False)
    assert (result.totals.accepted, result.totals.rejected_4xx) == (2, 1)
    assert server.connections == 2


@pytest.mark.parametrize("pipelining", [False, True])
async def test_a_connection_that_breaks_drops_the_message_under_way_alone(
    running: Running, pipelining: bool
) -> None:
    async with running(Script(after_content=lambda n: HANG_UP if n == 2 else b"250 ok\r\n")) as (
        server,
        target,
    ):
        result = await run(target, users=1, messages=4, pipelining=pipelining)
    assert (result.totals.accepted, result.totals.dropped) == (3, 1)
    assert server.connections == 2


@pytest.mark.parametrize("verb", ["MAIL", "DATA"])
async def test_no_answer_is_a_timeout(running: Running, verb: str) -> None:
    script = Script(
        answers={verb: lambda n: SILENCE if n == 1 else (b"354 go\r\n" if verb == "DATA" else b"250 ok\r\n")}
    )
    async with running(script, timeouts=Timeouts(connect=1, reply=0.5)) as (_, target):
        result = await run(target, users=1, messages=2, pipelining=False)
    assert (result.totals.accepted, result.totals.timeouts) == (1, 1)


@pytest.mark.parametrize(
    ("script", "outcome"),
    [
        (Script(greeting=b"554 go away\r\n"), "rejected_5xx"),
        (Script(greeting=b"421 busy\r\n"), "rejected_4xx"),
        (Script(greeting=HANG_UP), "dropped"),
        (Script(greeting=SILENCE), "timeouts"),
        (Script(greeting=b"HTTP/1.1 400 Bad Request\r\n"), "dropped"),
        (Script(greeting=b"x" * 100_000), "dropped"),
        (Script(greeting=b"2" * 100_000), "dropped"),
    ],
)
async def test_a_session_that_cannot_be_opened_costs_a_message(
    running: Running, script: Script, outcome: str
) -> None:
    async with running(script, timeouts=Timeouts(connect=1, reply=0.5)) as (_, target):
        result = await run(target, users=1, messages=1)
    assert getattr(result.totals, outcome) == 1
    assert result.totals.accepted == result.totals.sessions == 0


async def test_a_reply_that_is_not_smtp_drops_the_message(running: Running) -> None:
    async with running(Script(answers={"RCPT": b"what?\r\n"})) as (_, target):
        result = await run(target, users=1, messages=1)
    assert result.totals.dropped == 1


@pytest.mark.alone
async def test_an_open_workload_follows_its_plan(running: Running) -> None:
    async with running() as (server, target):
        result = await run(target, rate=200.0, arrivals="constant", messages=60)
    assert result.totals.accepted == len(server.contents) == 60
    assert result.totals.missed == 0
    assert result.duration_s == pytest.approx(0.3, abs=0.25)
    assert result.from_intended_start["transaction"].count == 60
    assert server.connections < 60  # sessions are kept for the next arrival


async def test_latency_from_the_intended_start_counts_the_wait_for_a_session(running: Running) -> None:
    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await original(reader, writer)

    script = Script(after_content=lambda n: b"250 ok\r\n")
    async with running(script) as (server, target):
        original = server.serve
        result = await run(
            target, rate=2000.0, arrivals="constant", messages=200, max_sessions=1, pipelining=False
        )
    planned, actual = result.from_intended_start["transaction"], result.phases["transaction"]
    assert result.totals.accepted == 200
    assert server.connections == 1
    assert planned.max_ms >= actual.max_ms


def stopping_in_silence(holder: list[Engine]) -> Script:
    """A server that stops the engine that is put into `holder`, and never answers the first message."""

    def stop(_: int) -> bytes:
        holder[0].stop()
        return SILENCE

    return Script(after_content=stop)


async def test_arrivals_that_found_no_session_in_time_are_missed(running: Running) -> None:
    holder: list[Engine] = []
    script = stopping_in_silence(holder)
    async with running(script, timeouts=Timeouts(connect=1, reply=0.5)) as (_, target):
        engine = make_engine(target, Workload(rate=1.0, max_sessions=1, pipelining=False))
        holder.append(engine)
        engine.start_arrivals(iter([0.0] * 100))
        result = await finish(engine)
    assert (result.totals.timeouts, result.totals.missed) == (1, 99)
    assert result.from_intended_start["missed"].count == 99
    assert result.from_intended_start["transaction"].count == 99  # none was accepted; those that waited stay
    assert result.from_intended_start["timeouts"].p50_ms >= 500
    assert result.rates.offered_per_s * result.duration_s == pytest.approx(100, abs=1)


async def test_who_is_stopped_in_the_middle_of_a_plan_does_not_say_that_it_is_done(running: Running) -> None:
    holder: list[Engine] = []
    script = stopping_in_silence(holder)
    async with running(script, timeouts=Timeouts(connect=1, reply=0.3)) as (_, target):
        engine = make_engine(target, Workload(rate=1.0, max_sessions=1, pipelining=False))
        holder.append(engine)
        engine.start_arrivals(number / 100 for number in range(10_000))  # some are due while it winds up
        result = await finish(engine)
    assert result.totals.timeouts == 1
    assert [batch.spent for batch in engine.batches if batch.ended] == [False]


@pytest.mark.parametrize(
    "answers", [{}, {"MAIL": b"421 closing\r\n"}, {"MAIL": HANG_UP}, {"EHLO": HANG_UP}], ids=str
)
async def test_arrivals_that_wait_when_the_last_session_ends_get_another(
    running: Running, answers: dict[str, bytes]
) -> None:
    async with running(Script(answers=answers)) as (server, target):
        engine = make_engine(target, Workload(rate=1.0, max_sessions=1, messages_per_session=1))
        engine.start_arrivals(iter([0.0] * 5))
        result = await finish(engine)  # by itself: all that was planned has an outcome
    totals = result.totals
    assert totals.accepted + totals.rejected_4xx + totals.dropped == server.connections == 5
    assert totals.missed == 0


async def test_lmtp_expects_a_reply_for_each_recipient(running: Running) -> None:
    script = Script(
        answers={"LHLO": b"250-test\r\n250 PIPELINING\r\n"},
        after_content=lambda n: b"250 a\r\n250 b\r\n" if n == 1 else b"250 a\r\n550 b\r\n",
    )
    async with running(script, role=Role.LMTP) as (server, target):
        result = await run(target, users=1, messages=2, recipients=2)
    assert server.commands[0].startswith(b"LHLO ")
    assert (result.totals.accepted, result.totals.rejected_5xx) == (1, 1)


async def test_starttls_then_auth(running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    monkeypatch.setenv("TEST_PASSWORD", "secret")
    ehlo = b"250-test\r\n250-STARTTLS\r\n250-AUTH PLAIN LOGIN\r\n250 PIPELINING\r\n"
    async with running(
        Script(ehlo=ehlo, tls=context),
        tls=Tls(ca=tmp_path / "ca.pem"),
        auth=Credentials(username="user", password_env="TEST_PASSWORD"),
    ) as (server, target):
        result = await run(target, users=1, messages=5, tls="starttls")
    assert result.totals.accepted == 5
    assert server.commands[1] == b"STARTTLS"
    assert server.commands[3] == b"AUTH PLAIN " + base64.b64encode(b"\0user\0secret")
    assert all(result.phases[name].count for name in ("starttls", "tls", "auth"))


async def test_a_certificate_of_nobody_we_trust_ends_the_session(running: Running) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    async with running(Script(ehlo=b"250-test\r\n250 STARTTLS\r\n", tls=context)) as (server, target):
        result = await run(target, users=1, messages=1, tls="starttls")
    assert result.totals.dropped == 1
    assert server.contents == []


async def test_what_is_sent_in_the_clear_behind_starttls_is_not_believed(running: Running) -> None:
    script = Script(ehlo=b"250-test\r\n250 STARTTLS\r\n", answers={"STARTTLS": b"220 go\r\n250 injected\r\n"})
    async with running(script) as (_, target):
        result = await run(target, users=1, messages=1, tls="starttls")
    assert result.totals.dropped == 1
    assert result.phases["tls"].count == 0


async def test_no_more_than_one_message_waits_for_a_server_that_reads_slowly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    size, most = 20_000_000, 0  # more than the sockets hold
    hold = SocketTransport._hold

    def noted(transport: SocketTransport, rest: memoryview) -> None:
        nonlocal most
        hold(transport, rest)
        most = max(most, transport.get_write_buffer_size())

    monkeypatch.setattr(SocketTransport, "_hold", noted)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 test\r\n")
        while line := await reader.readline():
            writer.write({b"DATA": b"354 go\r\n", b"QUIT": b"221 bye\r\n"}.get(line[:4], b"250 ok\r\n"))
            if line == b"DATA\r\n":
                await reader.readexactly(size + 3)
                writer.write(b"250 ok\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        target = Target(endpoints={Role.MX: Endpoint(port=port)}, timeouts=Timeouts(connect=2, reply=9))
        result = await run(target, users=1, messages=3, message_size=size)
    assert result.totals.accepted == 3
    assert size / 4 < most < size + 1000


async def test_nobody_listening(running: Running) -> None:
    async with running() as (_, target):
        pass
    result = await run(target, users=1, messages=1)
    assert result.totals.dropped == 1


async def test_stop_lets_the_message_under_way_finish(running: Running) -> None:
    holder: list[Engine] = []

    def stop_then_answer(_: int) -> bytes:
        holder[0].stop()
        return b"250 ok\r\n"

    async with running(Script(after_content=stop_then_answer, ehlo=NO_PIPELINING)) as (server, target):
        engine = make_engine(target, Workload(users=1))
        holder.append(engine)
        engine.add_user()
        result = await finish(engine)
    assert result.totals.accepted == len(server.contents) == 1
    assert server.commands[-1] == b"QUIT"


@pytest.mark.parametrize("per_session", [1, 4])
async def test_a_run_ends_with_its_last_session(
    running: Running, monkeypatch: pytest.MonkeyPatch, per_session: int
) -> None:
    """And not with the tick after it."""
    holder: list[Engine] = []
    ticked = threading.Event()

    async def put_off_the_tick(server: Server) -> None:
        if len(server.contents) == 4:
            await asyncio.to_thread(ticked.wait, LIMIT_S)
            monkeypatch.setattr(engine_module, "TICK_S", 10 * LIMIT_S)
            ticked.clear()
            await asyncio.to_thread(ticked.wait, 1)  # the tick that was due already

    async with running(Script(ehlo=NO_PIPELINING), before_answer=put_off_the_tick) as (server, target):
        holder.append(begun(target, users=1, messages=4, messages_per_session=per_session))
        monkeypatch.setattr(holder[0]._watch, "look_around", lambda *_: ticked.set())  # at every tick
        result = await ended(holder[0], LIMIT_S)
    assert result.totals.accepted == len(server.contents) == 4


async def test_a_user_that_is_removed_says_quit(running: Running) -> None:
    async with running() as (server, target):
        engine = make_engine(target, Workload(users=2, messages=200))
        first, _ = engine.add_user(), engine.add_user()
        engine.remove_user(first)
        result = await finish(engine)
    assert result.totals.accepted == 200
    assert server.commands.count(b"QUIT") == server.connections


async def test_an_endpoint_with_the_tls_asked_for_is_preferred(running: Running) -> None:
    async with running() as (server, target):
        port = target.main.port
        two = target.model_copy(
            update={
                "endpoints": {Role.MX: Endpoint(port=1, tls="starttls"), Role.SUBMISSION: Endpoint(port=port)}
            }
        )
        result = await run(two, users=1, messages=1, tls="none")
    assert result.totals.accepted == len(server.contents) == 1


async def test_each_outcome_has_a_histogram_of_its_own(running: Running) -> None:
    def answer(number: int) -> bytes:
        return {2: b"451 later\r\n", 3: b"550 never\r\n", 4: HANG_UP, 5: SILENCE}.get(number, b"250 ok\r\n")

    async with running(Script(after_content=answer), timeouts=Timeouts(connect=1, reply=0.5)) as (_, target):
        result = await run(
            target, rate=20.0, arrivals="constant", messages=7, max_sessions=1, pipelining=False
        )
    assert {name: stats.count for name, stats in result.outcomes.items()} == {
        "accepted": 3, "rejected_4xx": 1, "rejected_5xx": 1, "dropped": 1, "timeouts": 1,
    }  # fmt: skip
    assert result.outcomes["timeouts"].p50_ms >= 500 > result.outcomes["accepted"].max_ms
    planned = result.from_intended_start
    assert {name: stats.count for name, stats in planned.items()} == {
        **{name: stats.count for name, stats in result.outcomes.items()}, "transaction": 3,
    }  # fmt: skip
    for name, stats in result.outcomes.items():
        assert planned[name].max_ms >= stats.max_ms


async def test_a_closed_workload_has_no_intended_start(running: Running) -> None:
    async with running() as (_, target):
        result = await run(target, users=1, messages=3)
    assert result.from_intended_start == {}


async def test_what_a_late_plan_had_yet_to_bring_is_missed(running: Running) -> None:
    """A generator that is behind its plan when the run ends owes an account of what it had not begun."""
    holder: list[Engine] = []

    def plan() -> Iterator[float]:
        yield 0.0
        holder[0].stop()  # from within: all that follows is due and has not been looked at
        yield from [0.0] * 1000
        yield 3600.0

    async with running() as (_, target):
        engine = make_engine(target, Workload(rate=1.0))
        holder.append(engine)
        engine.start_arrivals(plan())
        result = await finish(engine)
    assert result.totals.offered == 1001
    assert result.totals.missed >= 1000


async def test_a_bare_lf_among_pipelined_replies_moves_no_reply_to_another_message(running: Running) -> None:
    """The replies of a group come in one read; one that a bare LF ends is one of them."""
    script = Script(after_content=lambda n: b"250 ok\n" if n % 2 else b"250 ok\r\n")
    async with running(script) as (server, target):
        result = await run(target, users=2, messages=40)
    assert result.totals.accepted == len(server.contents) == 40
    assert result.replies["354"] == 40


async def test_an_interrupt_leaves_no_task_behind(running: Running, caplog: pytest.LogCaptureFixture) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    async with running() as (_, target):
        engine = begun(target, users=1)
        engine._loop.call_later(0.05, interrupt)

        with pytest.raises(KeyboardInterrupt):
            await asyncio.to_thread(engine.run)
    assert engine.finished
    gc.collect()
    assert not caplog.records  # asyncio logs a task that was destroyed
