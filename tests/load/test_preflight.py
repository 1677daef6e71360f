"""Every limit that the reference server can set is noticed, and a server without any has none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from smtpbench.lab import open_target
from smtpbench.load.preflight import BUDGET_S, preflight
from smtpbench.load.result import Notice
from smtpbench.load.workload import Workload, make_workload
from smtpbench.server import Receiver, Server, ServerConfig
from smtpbench.server.limits import Limits, limited
from smtpbench.target import Endpoint, Fixtures, Role, Target, Timeouts
from tests.load.conftest import HANG_UP, Running, Script

USERS_10 = Workload(users=10)


def target_of(server: Server, **changes: object) -> Target:
    fields = {
        "endpoints": {server.config.role: Endpoint(port=server.port)},
        "fixtures": Fixtures(recipient="alice@example.com", unknown_recipient="nobody@example.com"),
        "timeouts": Timeouts(connect=5, reply=5),
        **changes,
    }
    return Target.model_validate(fields)


async def looked(
    workload: Workload = USERS_10,
    *,
    config: ServerConfig | None = None,
    receiver: Callable[..., Receiver] | None = None,
    limits: Limits | None = None,
) -> tuple[list[Notice], Server]:
    receiver = limited(limits) if limits else receiver
    async with Server(config or ServerConfig(), receiver=receiver) as server:
        notices = await asyncio.to_thread(preflight, target_of(server), workload)
        return notices, server


async def test_a_server_without_limits_has_none_and_gets_no_mail() -> None:
    notices, server = await looked(make_workload(users=60, recipients=5))
    assert notices == []
    assert server.store.messages == []  # type: ignore[attr-defined]


def test_the_embedded_server_has_none() -> None:
    with open_target("embedded") as target:
        assert preflight(target, make_workload(rate=100.0)) == []


async def test_a_sink_that_is_slow_is_looked_at_for_no_longer_than_the_budget(running: Running) -> None:
    async with running(Script(greeting=b"220-wait\r\n")) as (_, target):
        loop = asyncio.get_running_loop()
        begun = loop.time()
        notices = await asyncio.to_thread(preflight, target, USERS_10)
    assert loop.time() - begun < BUDGET_S + 2
    assert notices == []  # the load itself will say that nobody greets


@pytest.mark.parametrize(
    ("limits", "workload", "kind", "limit", "hits", "words"),
    [
        (Limits(connections=4), {"users": 10}, "connections", 4, True, "at most 4 connections at once"),
        (Limits(connections=4), {"rate": 5.0}, "connections", 4, True, "this workload may open 1,000"),
        (Limits(connections=20), {"users": 10}, None, None, False, ""),
        (Limits(connection_rate=6), {"users": 10}, "connection-rate", 6, True, "new connections from one"),
        (Limits(messages=20), {"users": 1}, "message-rate", 20, True, "a limit on messages from one client"),
        (Limits(recipients=5), {"users": 1}, "recipient-rate", 5, True, "a limit on recipients from one"),
        (Limits(recipients=25), {"users": 1}, "recipient-rate", 25, True, "a limit on recipients from one"),
        (Limits(message_recipients=5), {"users": 1, "recipients": 8}, "recipients", 5, True, "has up to 8"),
        (Limits(message_recipients=5), {"users": 1}, "recipients", 5, False, "stays below it"),
        (Limits(session_messages=7), {"users": 1}, "session-messages", 7, True, "keeps a session for all"),
        (Limits(session_messages=7), {"users": 1, "messages_per_session": 5}, None, None, False, ""),
        (Limits(session_messages=7), {"users": 1, "messages_per_session": 9}, "session-messages", 7, True,
         "sends up to 9"),
        (Limits(resets=10), {"users": 1}, "resets", 11, False, "554 5.7.0 Too many nonmail commands"),
        (Limits(resets=10), {"users": 1, "messages_per_session": 5}, None, None, False, ""),
        (Limits(resets=10, session_messages=7), {"users": 1}, "session-messages", 7, True, "keeps a session"),
        (Limits(greylist=300), {"users": 1}, "greylisting", None, True, "450 4.2.0 Greylisted"),
        (Limits(tarpit=4), {"users": 1}, "tarpit", 5, False, "errors are slowed down"),
    ],
)  # fmt: skip
async def test_a_limit_is_noticed_with_its_figure(
    limits: Limits, workload: dict[str, object], kind: str | None, limit: int | None, hits: bool, words: str
) -> None:
    notices, _ = await looked(make_workload(**workload), limits=limits)
    assert [one.kind for one in notices] == ([kind] if kind else [])
    for one in notices:
        assert one.hits is hits
        assert words in one.text
        assert limit is None or one.limit == limit


async def test_a_message_that_is_too_large_is_noticed_from_ehlo() -> None:
    notices, _ = await looked(make_workload(users=1, message_size=5000), config=ServerConfig(max_size=4000))
    assert [(one.kind, one.limit, one.asked, one.hits) for one in notices] == [("size", 4000, 5000, True)]


async def test_limits_that_are_announced_are_noticed_once() -> None:
    """RFC 9422: MAILMAX and RCPTMAX; the server keeps what it announces, too."""
    notices, _ = await looked(
        make_workload(users=1, recipients=6), config=ServerConfig(max_transactions=5, max_recipients=3)
    )
    assert {(one.kind, one.limit, one.hits) for one in notices} == {
        ("recipients", 3, True), ("session-messages", 5, True),
    }  # fmt: skip
    assert len(notices) == 2


async def test_a_server_that_wants_authentication() -> None:
    config = ServerConfig(role=Role.SUBMISSION, users={"alice": "secret"}, auth_in_clear=True)
    notices, _ = await looked(config=config)
    assert [(one.kind, one.hits) for one in notices] == [("auth-required", True)]


async def test_a_server_that_wants_tls(running: Running) -> None:
    script = Script(answers={"MAIL": b"530 5.7.0 Must issue a STARTTLS command first\r\n"})
    async with running(script) as (_, target):
        notices = await asyncio.to_thread(preflight, target, USERS_10)
    assert [one.kind for one in notices] == ["tls-required"]
    assert notices[0].text.startswith("TLS is required: MAIL is answered 530 5.7.0 Must issue")


async def test_a_server_that_turns_everybody_away(running: Running) -> None:
    async with running(Script(greeting=b"421 4.7.0 Too many connections from you\r\n")) as (_, target):
        notices = await asyncio.to_thread(preflight, target, USERS_10)
    assert [(one.kind, one.hits) for one in notices] == [("connections", True)]


async def test_a_session_that_ends_without_a_word(running: Running) -> None:
    script = Script(answers={"MAIL": lambda n: HANG_UP if n % 10 == 0 else b"250 ok\r\n"})
    async with running(script) as (_, target):
        notices = await asyncio.to_thread(preflight, target, Workload(users=1))
    assert [one.kind for one in notices] == ["session-messages"]


async def test_what_a_server_says_is_bounded_and_escaped(running: Running) -> None:
    script = Script(answers={"RCPT": b"450 \x1b[31m" + b"x" * 400 + b"\r\n"})
    async with running(script) as (_, target):
        [notice] = await asyncio.to_thread(preflight, target, USERS_10)
    assert "\x1b" not in notice.text
    assert len(notice.reply) <= 300
