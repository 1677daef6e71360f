"""A visitor opens sessions as the load does; a target is waited for until they take as long as at rest."""

from __future__ import annotations

import asyncio
import ssl

import pytest
import trustme

from smtpbench.errors import SessionError
from smtpbench.load.recovery import Recovery
from smtpbench.load.visitor import Turned, Visitor
from smtpbench.load.workload import Workload
from smtpbench.target import Credentials, Endpoint, Role, Tls
from tests.load.conftest import Running, Script
from tests.load.sinks import sinking

ONE = Workload(users=1)


async def test_a_target_at_rest_has_recovered_at_once() -> None:
    async with sinking() as (sink, target):
        recovery = await asyncio.to_thread(Recovery, target, ONE, 30.0)
        given, recovered = await asyncio.to_thread(recovery.wait)
    assert recovered
    assert given < 5
    assert sink.messages == 10


async def test_a_target_that_stays_slow_is_given_no_more_than_the_bound() -> None:
    async with sinking() as (sink, target):
        recovery = await asyncio.to_thread(Recovery, target, ONE, 1.0)
        sink._delay = 0.5
        given, recovered = await asyncio.to_thread(recovery.wait)
    assert not recovered
    assert given >= 1


async def test_a_target_that_gets_well_again_is_waited_for() -> None:
    async with sinking() as (sink, target):
        recovery = await asyncio.to_thread(Recovery, target, ONE, 60.0)
        sink._delay = 0.3
        waiting = asyncio.create_task(asyncio.to_thread(recovery.wait))
        await sink.reached(7)  # two of the next look, slowly
        sink._delay = 0.0
        given, recovered = await waiting
    assert recovered
    assert given < 60


async def test_a_target_that_is_gone_has_not_recovered() -> None:
    async with sinking() as (_, target):
        recovery = await asyncio.to_thread(Recovery, target, ONE, 0.1)
    assert (await asyncio.to_thread(recovery.wait))[1] is False


async def test_a_visitor_begins_tls_and_logs_in(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "pass")
    ca, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    script = Script(ehlo=b"250-test\r\n250-STARTTLS\r\n250 AUTH PLAIN LOGIN\r\n", tls=context)
    async with running(script) as (server, target):
        endpoint = Endpoint(port=target.main.port, tls="starttls")
        changes = {
            "endpoints": {Role.SUBMISSION: endpoint}, "tls": Tls(verify=False),
            "auth": Credentials(username="alice", password_env="SECRET"),
        }  # fmt: skip
        visitor = Visitor(target.model_copy(update=changes), ONE)
        session = await visitor.open()
        assert await visitor.deliver(session)
        await session.quit()
    assert [line.split()[0] for line in server.commands] == [
        b"EHLO", b"STARTTLS", b"EHLO", b"AUTH", b"MAIL", b"RCPT", b"DATA", b"QUIT",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("script", "command"),
    [
        (Script(greeting=b"421 4.7.0 busy\r\n"), ""),
        (Script(answers={"EHLO": b"421 no\r\n"}), "EHLO"),
        (Script(answers={"EHLO": b"500 what\r\n", "HELO": b"550 no\r\n"}), "EHLO"),
    ],
)
async def test_a_visitor_that_is_turned_away_says_where(
    running: Running, script: Script, command: str
) -> None:
    async with running(script) as (_, target):
        with pytest.raises(Turned) as caught:
            await Visitor(target, ONE).open()
    assert caught.value.command == command
    assert isinstance(caught.value, SessionError)


async def test_a_message_that_is_refused_leaves_the_session_usable(running: Running) -> None:
    script = Script(answers={"RCPT": lambda n: b"550 no\r\n" if n == 1 else b"250 ok\r\n"})
    async with running(script) as (server, target):
        visitor = Visitor(target, ONE)
        session = await visitor.open()
        refused, accepted = [await visitor.deliver(session) for _ in range(2)]
        assert refused is None
        assert accepted is not None
        assert accepted.code == 250
        assert session.local_port > 0
        await session.quit()
    assert len(server.contents) == 1


async def test_lmtp_has_a_reply_for_each_recipient(running: Running) -> None:
    script = Script(after_content=b"250 one\r\n250 two\r\n")
    async with running(script, Role.LMTP) as (_, target):
        visitor = Visitor(target, Workload(users=1, recipients=2))
        session = await visitor.open()
        assert await visitor.deliver(session)
        assert await visitor.deliver(session)
        await session.quit()
