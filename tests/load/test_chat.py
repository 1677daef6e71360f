"""Chats: with them and without, a server hears the same, and the same is measured."""

from __future__ import annotations

import asyncio
import re
import socket
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from smtpbench.load import eventloop, supply, transport
from smtpbench.load.chat import (
    DONE,
    PROGRESS,
    PURE,
    READ,
    SHORT,
    SMOOTH,
    available,
)
from smtpbench.load.engine import Engine
from smtpbench.load.result import LoadResult
from smtpbench.load.setup import make_engine
from smtpbench.load.workload import Workload
from smtpbench.target import Endpoint, Role, Target, Timeouts
from tests.load.conftest import HANG_UP, SILENCE, Script, Server, serving
from tests.load.engines import begun, ended
from tests.load.wires import NO_PIPELINING, YES

pytestmark = pytest.mark.skipif(not available(), reason="_chat.c is not built: no C compiler")
LIMIT_S = 20.0
LATE_S = 0.01  # long enough for loopback; what comes later is found by the next wait

# --- a whole engine, both ways ---

ANSWERS = [
    b"250 ok\r\n", b"250-several\r\n250 lines\r\n", b"250\r\n", b"354 go\r\n", b"450 later\r\n",
    b"550 5.1.1 no\r\n", b"421 closing\r\n", b"what\r\n", HANG_UP,
    b"250 " + READ * b"x" + b"\r\n",
]  # fmt: skip
VERBS = ["greeting", "EHLO", "MAIL", "RCPT", "DATA", "content", "RSET", "QUIT"]
_PLACES = st.tuples(st.sampled_from(VERBS), st.integers(1, 6))
_CHANGES = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{9}|\nDate: [^\r]*")

_PORT = re.compile(r"(?<=^127\.0\.0\.1):\d+")


def scripted(odd: dict[tuple[str, int], bytes]) -> Script:
    """As ever, but for the nth answer to some of `VERBS`."""

    def answer(verb: str, usual: bytes) -> Callable[[int], bytes]:
        return lambda nth: odd.get((verb, nth), usual)

    return Script(
        greeting=answer("greeting", b"220 test\r\n"),
        ehlo=answer("EHLO", NO_PIPELINING),
        answers={
            verb: answer(verb, usual)
            for verb, usual in {
                "MAIL": b"250 ok\r\n", "RCPT": b"250 ok\r\n", "DATA": b"354 go\r\n", "RSET": b"250 ok\r\n",
                "QUIT": b"221 bye\r\n",
            }.items()
        },
        after_content=answer("content", b"250 2.0.0 queued\r\n"),
    )  # fmt: skip


def account(result: LoadResult, server: Server) -> dict[str, Any]:
    """All that was counted, of both sides; what differs by nature is left out."""
    return {
        "totals": result.totals,
        "replies": result.replies,
        "phases": {
            name: stats.count for name, stats in result.phases.items() if stats.count and name != "session"
        },
        "outcomes": {name: stats.count for name, stats in result.outcomes.items()},
        "refusals": [_PORT.sub("", refusal) for refusal in result.refusals],
        "commands": server.commands,
        "contents": [_CHANGES.sub(b"", content) for content in server.contents],
        "different": len(set(server.contents)),
    }


async def accounted(
    script: Script, *, reply_s: float = 2.0, **fields: object
) -> tuple[dict[str, Any], Counted]:
    """What comes of a workload of one user, and how its transactions were conducted."""
    async with serving(script, timeouts=Timeouts(connect=2, reply=reply_s)) as (server, target):
        engine = begun(target, **{"users": 1, "watch_share": 0, "message_size": 512, **fields})
        counted = Counted(engine)
        return account(await ended(engine, LIMIT_S), server), counted


class Counted:
    """Counts the visits of an engine, and what is told of its chats."""

    def __init__(self, engine: Engine) -> None:
        self.loop, self.told, self.visits = engine._loop, dict.fromkeys(range(7), 0), 0
        began = engine._visits.begin

        def begin(*args: Any) -> bool:
            begun = began(*args)
            self.visits += begun
            return begun

        engine._visits.begin = begin  # type: ignore[assignment]
        if not self.loop.conducts:
            return
        chats = self._chats = self.loop.chats
        self.loop._chats = self  # type: ignore[assignment]
        for name in ("start", "visit", "watch", "drop", "forget", "hasten", "curtail", "halt"):
            setattr(self, name, getattr(chats, name))
        self.poll = lambda *args: self._count(chats.poll(*args))
        self.alone = lambda *args: self._count(chats.alone(*args))
        self.progress = lambda *args: self._count(chats.progress(*args))
        self.loop._poll = self.poll

    @property
    def opening(self) -> int:
        return self._chats.opening

    @property
    def awaited(self) -> bool:
        return self._chats.awaited

    @awaited.setter
    def awaited(self, awaited: bool) -> None:
        self._chats.awaited = awaited

    def _count(self, events: Any) -> Any:
        for number, event in events or ():
            if number < 0:
                self.told[event[0]] += 1
        return events


@settings(max_examples=15, deadline=None)
@given(
    odd=st.dictionaries(_PLACES, st.sampled_from(ANSWERS), max_size=3),
    each=st.sampled_from([1, 2, None]),
    recipients=st.integers(1, 3),
    hurried=st.booleans(),
)
@example(odd={}, each=1, recipients=1, hurried=False)
@example(odd={("greeting", 4): b"220 another\r\n"}, each=1, recipients=1, hurried=True)
@example(odd={("EHLO", 4): b"250 test\r\n"}, each=1, recipients=1, hurried=False)
@example(odd={("EHLO", 4): b"250-test\r\n250 PIPELINING\r\n"}, each=1, recipients=1, hurried=True)
@example(odd={("QUIT", 4): HANG_UP}, each=1, recipients=1, hurried=False)
@example(odd={("MAIL", 4): b"421 4.3.2 closing\r\n"}, each=1, recipients=2, hurried=True)
@example(odd={("content", 3): b"250 ok\n"}, each=None, recipients=1, hurried=False)
def test_it_makes_no_difference(
    odd: dict[tuple[str, int], bytes], each: int | None, recipients: int, hurried: bool
) -> None:
    """`hurried`: all that is under way is looked at every two ms, so that visits unfold wherever they are."""

    def run(*, conducts: bool) -> dict[str, Any]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(eventloop, "available", lambda: conducts)
            patch.setattr(supply, "RESERVE", 1)  # also of so few
            if hurried:
                patch.setattr("smtpbench.load.engine.TICK_S", 0.002)
                patch.setattr("smtpbench.load.engine.TICKS_A_BATCH", 1)
            fields = {"messages": 6, "messages_per_session": each, "recipients": recipients}
            return asyncio.run(accounted(scripted(odd), reply_s=0.8, **fields))[0]

    assert run(conducts=True) == run(conducts=False)


async def test_what_is_as_wished_is_told_once_a_chat() -> None:
    """Eight messages a chat, and at the end only one: others who share them have some as well."""
    result, counted = await accounted(scripted({}), messages=80)
    assert result["totals"].accepted == result["different"] == 80
    assert counted.told == {**dict.fromkeys(range(6), 0), SMOOTH: counted.told[SMOOTH]}
    assert 17 <= counted.told[SMOOTH] <= 25


async def test_a_session_of_one_message_is_one_chat_once_the_server_is_known() -> None:
    result, counted = await accounted(scripted({}), messages=10, messages_per_session=1)
    assert result["totals"].accepted == result["different"] == result["totals"].sessions == 10
    assert counted.told == {**dict.fromkeys(range(6), 0), SMOOTH: 10}
    assert counted.visits == 8
    assert result["phases"] == dict.fromkeys(
        ("connect", "banner", "ehlo", "mail", "rcpt", "data", "body", "transaction"), 10
    )


async def test_all_users_have_messages_to_the_end() -> None:
    """What a session takes ahead is missed by nobody: with as many messages as users each sends one."""
    users, enough = 12, asyncio.Event()

    async def all_are_there(server: Server) -> None:
        if len(server.contents) == users:
            enough.set()
        await enough.wait()

    async with serving(scripted({}), before_answer=all_are_there) as (_, target):
        result = await ended(begun(target, users=users, messages=users, watch_share=0), LIMIT_S)
    assert result.totals.accepted == users


async def test_many_recipients_are_told_in_parts() -> None:
    """83 replies a message, and no more than 64 are told at a time."""
    result, counted = await accounted(scripted({}), messages=3, recipients=80)
    assert result["phases"]["rcpt"] == 240
    assert (counted.told[DONE], counted.told[PROGRESS]) == (3, 3)


async def test_a_content_that_does_not_fit_is_sent_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def small(family: int, kind: int) -> Any:
        made = socket.socket(family, kind)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        return made

    monkeypatch.setattr(transport, "_socket", SimpleNamespace(socket=small))
    result, counted = await accounted(scripted({}), messages=3, message_size=1_000_000)
    assert {len(content) for content in result["contents"]} == {len(result["contents"][0])}
    assert 999_900 < len(result["contents"][0]) < 1_000_000
    assert result["totals"].accepted == 3
    assert counted.told[SHORT] == 3


async def test_two_answers_at_once_are_both_heard() -> None:
    """The second is taken for that to MAIL, as it is where there are no chats: what follows is RCPT."""
    followed = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 test\r\n")
        for answer in (NO_PIPELINING, *YES[:3]):
            await reader.readline()
            writer.write(answer)
        await reader.readuntil(b"\r\n.\r\n")
        writer.write(b"250 a\r\n250 b\r\n")
        followed.set_result([(await reader.readline())[:4] for _ in range(2)])
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        engine = begun(Target(endpoints={Role.MX: Endpoint(port=port)}), users=1, messages=2, watch_share=0)
        await ended(engine, LIMIT_S)
    assert await followed == [b"MAIL", b"RCPT"]


@pytest.mark.parametrize("limit", [1, 2])
async def test_who_waits_at_the_gate_gets_in_though_the_messages_inside_take_long(
    limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two users fill it, with visits whose messages are answered when the third has brought one as well."""
    monkeypatch.setattr("smtpbench.load.engine.CONNECTING_MAX", limit)
    monkeypatch.setattr("smtpbench.load.engine.TICKS_A_BATCH", 1000)  # no sweep
    inside, enough = asyncio.Event(), asyncio.Event()

    async def all_are_there(server: Server) -> None:
        if len(server.contents) == 6:
            inside.set()
        if len(server.contents) == 7:
            enough.set()
        if len(server.contents) > 4:
            await enough.wait()

    async with serving(scripted({}), before_answer=all_are_there) as (_, target):
        engine = begun(target, users=2, messages=9, messages_per_session=1, watch_share=0)
        counted = Counted(engine)
        running = asyncio.create_task(ended(engine, LIMIT_S))
        async with asyncio.timeout(LIMIT_S):
            await inside.wait()
        assert counted.visits >= 2
        engine.add_user()
        result = await running
    assert (result.totals.accepted, result.totals.timeouts) == (9, 0)


@pytest.mark.parametrize("verb", ["greeting", "EHLO", "MAIL", "RCPT", "content", "QUIT"])
async def test_a_server_that_falls_silent_is_a_timeout(verb: str) -> None:
    """In the third session, which is a chat from the beginning."""
    result, counted = await accounted(scripted({(verb, 3): SILENCE}), messages=4, messages_per_session=1)
    lost = 0 if verb == "QUIT" else 1
    assert (result["totals"].accepted, result["totals"].timeouts) == (4 - lost, lost)
    assert counted.visits
    assert result["totals"].offered == 4


async def test_a_visit_whose_connection_takes_long_becomes_a_session() -> None:
    """The listener's queue is full when the third session connects; its SYN is sent again after 1 and 3 s."""
    loop, fillers = asyncio.get_running_loop(), list[socket.socket]()
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        listener.setblocking(False)

        async def fill(server: Server) -> None:
            if len(server.contents) == 2:
                fillers.append(socket.create_connection(listener.getsockname()))

        server = Server(scripted({}), fill)

        async def accept() -> None:
            for nth in range(1, 5):
                if nth == 3:
                    await asyncio.sleep(1.3)  # until it was looked at
                connection, _ = await loop.sock_accept(listener)
                await server.serve(*await asyncio.open_connection(sock=connection))

        accepting = asyncio.create_task(accept())
        target = Target(endpoints={Role.MX: Endpoint(port=listener.getsockname()[1])})
        engine = begun(target, users=1, messages=3, messages_per_session=1, watch_share=0)
        counted = Counted(engine)
        stop_filling = asyncio.create_task(_close_after(2.0, fillers))
        result = await ended(engine, LIMIT_S)
        await accepting
        await stop_filling
    assert counted.visits == 1
    assert result.totals.accepted == len(server.contents) == 3
    assert result.totals.offered == 3
    assert result.phases["connect"].max_ms > 900


async def _close_after(seconds: float, connections: list[socket.socket]) -> None:
    await asyncio.sleep(seconds)
    for connection in connections:
        connection.close()


async def test_without_the_module_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PURE, "1")
    available.cache_clear()
    try:
        assert not available()
    finally:
        monkeypatch.undo()
        available.cache_clear()
    monkeypatch.setitem(sys.modules, "smtpbench.load._chat", None)
    available.cache_clear()
    try:
        assert not available()
    finally:
        available.cache_clear()


async def test_sessions_that_are_removed_or_stopped_finish_what_is_out() -> None:
    arrived, release = asyncio.Event(), asyncio.Event()

    async def later(server: Server) -> None:
        if len(server.contents) == 3:
            arrived.set()
        await release.wait()

    async with serving(scripted({}), before_answer=later) as (server, target):
        engine = make_engine(target, Workload(users=3, messages=100, watch_share=0))
        users = [engine.add_user() for _ in range(3)]
        running_engine = asyncio.create_task(ended(engine, LIMIT_S))
        await arrived.wait()
        engine.remove_user(users[0])
        engine.stop()
        release.set()
        result = await running_engine
    assert (result.totals.accepted, result.totals.offered) == (3, 3)
    assert server.commands.count(b"QUIT") == 3
