"""Mixes: kinds of sessions by share, each through its own door and in its own manner."""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random

import pytest

from smtpbench.errors import Inconclusive, UsageError
from smtpbench.load.course import User
from smtpbench.load.engine import Engine
from smtpbench.load.kinds import Mix, NotOffered
from smtpbench.load.manner import Traffic
from smtpbench.load.probe import probe
from smtpbench.load.result import LoadResult
from smtpbench.load.setup import make_engine, make_kinds
from smtpbench.load.workload import Workload, make_workload
from smtpbench.target import Credentials, Endpoint, Fixtures, Role, Target, from_url
from tests.load.conftest import Running, Script
from tests.load.test_engine import NO_PIPELINING, finish, run

ALL = b"250-test\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-SMTPUTF8\r\n250-8BITMIME\r\n250 DSN\r\n"
# Of the chi-square distribution with 3 degrees of freedom: exceeded once in a thousand times.
CHI_SQUARE_CRITICAL = 16.27


def test_kinds_come_out_as_their_shares_say() -> None:
    shares = [50, 30, 15, 5]
    mix, number = Mix("abcd", shares, Random(7)), 20_000
    seen = Counter(mix.draw() for _ in range(number))
    expected = [number * share / 100 for share in shares]
    chi_square = sum((seen[k] - e) ** 2 / e for k, e in zip("abcd", expected, strict=True))
    assert chi_square < CHI_SQUARE_CRITICAL
    again = Mix("abcd", shares, Random(7))
    assert Counter(again.draw() for _ in range(number)) == seen


def sessions_of(result: LoadResult) -> dict[str, int]:
    return {name: one.sessions for name, one in result.traffic.items()}


async def test_a_mix_goes_through_each_door_in_its_manner(running: Running) -> None:
    async with running() as (mx, target), running(Script(ehlo=NO_PIPELINING)) as (other, there):
        both = target.model_copy(
            update={"endpoints": {Role.MX: target.main, Role.SUBMISSION: Endpoint(port=there.main.port)}}
        )
        result = await run(
            both, users=4, messages=200, message_size=2048, seed=3,
            traffic=[{"share": "75%", "endpoint": "mx"},
                     {"share": "25%", "endpoint": "submission", "message_size": "4k", "recipients": 2,
                      "recipient": "other@example.net"}],
        )  # fmt: skip
    assert result.totals.accepted == 200
    assert sessions_of(result) == {"mx": mx.connections, "submission": other.connections}
    assert sum(sessions_of(result).values()) == result.totals.sessions
    kinds = result.traffic.values()
    assert sum(one.accepted for one in kinds) == sum(one.transaction.count for one in kinds) == 200
    assert result.phases["transaction"].count == 200
    for phase in ("connect", "mail", "rcpt", "session"):  # what a kind measured is its own, and in the whole
        assert sum(one.phases[phase].count for one in kinds) == result.phases[phase].count
    assert result.traffic["submission"].phases["rcpt"].count == 2 * other.connections
    assert 200 <= result.totals.sessions < 204  # one message each; at the end some find none left
    assert 130 < mx.connections < 170
    assert {len(content) for content in mx.contents} == {2048}
    assert {len(content) for content in other.contents} == {4096}
    rcpts = [line for line in other.commands if line.startswith(b"RCPT")]
    assert rcpts == [b"RCPT TO:<other@example.net>"] * (2 * other.connections)


async def test_what_a_kind_met_is_told_of_it(running: Running) -> None:
    async with running(Script(answers={"RCPT": b"450 later\r\n"})) as (_, target), running() as (_, there):
        both = target.model_copy(
            update={"endpoints": {Role.MX: target.main, Role.SUBMISSION: Endpoint(port=there.main.port)}}
        )
        result = await run(
            both, users=2, messages=60, seed=3,
            traffic=[{"endpoint": "mx"}, {"endpoint": "submission"}, {"name": "gone", "endpoint": "mx",
                                                                      "smtputf8": True}],
        )  # fmt: skip
    busy, fine, gone = (result.traffic[name] for name in ("mx", "submission", "gone"))
    assert busy.rejected_4xx == result.totals.rejected_4xx > 0
    assert gone.rejected_5xx == result.totals.rejected_5xx > 0
    assert gone.sessions == busy.accepted == busy.transaction.count == 0
    assert fine.accepted == fine.transaction.count == result.totals.accepted > 0
    assert result.totals.unaccounted == 0


async def test_an_open_workload_draws_its_kinds_too(running: Running) -> None:
    async with running() as (server, target):
        result = await run(
            target, rate=2000.0, messages=100,
            traffic=[{"name": "big", "message_size": "8k", "messages_per_session": 2}, {"name": "small"}],
        )  # fmt: skip
    assert result.totals.accepted == 100
    assert result.traffic.keys() == {"big", "small"}
    assert {len(content) for content in server.contents} == {1024, 8192}


async def test_dsn_smtputf8_and_chunking_are_on_the_wire(running: Running) -> None:
    async with running(Script(ehlo=ALL), fixtures=Fixtures(utf8_recipient="größe@example.net")) as (
        server,
        target,
    ):
        result = await run(
            target, users=1, messages=3,
            traffic=[{"smtputf8": True, "dsn": {"notify": "success,failure", "ret": "hdrs"},
                      "messages_per_session": 3}],
        )  # fmt: skip
    assert result.totals.accepted == 3
    mails = [line for line in server.commands if line.startswith(b"MAIL")]
    assert all(
        line.startswith(b"MAIL FROM:<sender@example.org> BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=")
        for line in mails
    )
    assert len(set(mails)) == 3
    rcpt = "RCPT TO:<größe@example.net> NOTIFY=SUCCESS,FAILURE ORCPT=utf-8;größe@example.net"
    assert server.commands.count(rcpt.encode()) == 3
    assert "größe@example.net".encode() in server.contents[0]


@pytest.mark.parametrize(
    ("traffic", "missing"),
    [
        ({"smtputf8": True}, "SMTPUTF8"),
        ({"dsn": {"notify": ["never"]}, "chunking": True}, "CHUNKING, DSN"),
        ({"name": "piped", "pipelining": True}, "PIPELINING"),
    ],
)
async def test_what_is_not_offered_is_told_before_the_load(
    running: Running, traffic: dict[str, object], missing: str
) -> None:
    async with running(Script(ehlo=NO_PIPELINING)) as (server, target):
        workload = Workload(users=1, messages=1, traffic=[{}, traffic])
        with pytest.raises(NotOffered, match=f"does not offer {missing}$") as caught:
            await asyncio.to_thread(probe, target, workload)
        assert str(caught.value).startswith(workload.traffic_name(1))
        result = await run(target, users=1, messages=2, traffic=[traffic])  # as plain Locust does, unasked
    assert result.totals.rejected_5xx == 2
    assert "does not offer" in result.first_refusal
    assert server.commands.count(b"QUIT") == server.connections


@pytest.mark.parametrize(
    ("traffic", "complaint"),
    [
        (
            {"endpoint": "lmtp"},
            r"traffic\[1\].endpoint: 'lmtp': the target has no such endpoint, expected mx",
        ),
        ({"auth": True}, r"traffic\[1\].auth: the target names no user"),
        ({"recipient": "größe@example.net"}, r"traffic\[1\].address 'größe@example.net': expected printable"),
    ],
)
def test_what_the_target_does_not_have_is_told_in_a_line(traffic: dict[str, object], complaint: str) -> None:
    workload = Workload(users=1, traffic=[{}, traffic])
    with pytest.raises(UsageError, match=complaint):
        make_kinds(from_url("smtp://127.0.0.1:25"), workload, Random(1))


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"share": 0}, r"traffic\[1\].share: 0: "),
        ({"share": "5 %%"}, r"traffic\[1\].share: '5 %%': "),
        ({"message_size": "1"}, r"traffic\[1\].message_size: '1': expected 512 to"),
        ({"dsn": {"notify": "never,delay"}}, r"traffic\[1\].dsn.notify: 'never,delay': expected never, or"),
        ({"endpoint": "smtp"}, r"traffic\[1\].endpoint: 'smtp': "),
        ({"users": 3}, r"traffic\[1\].users: "),
    ],
)
def test_a_mix_that_makes_no_sense_is_named(fields: dict[str, object], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint) as caught:
        make_workload(users=1, traffic=[{}, fields])
    assert len(str(caught.value).splitlines()) == 1


def test_what_an_entry_leaves_out_is_as_the_workload_says() -> None:
    workload = Workload(users=1, message_size=2048, messages_per_session=7, pipelining=False)
    manner = Traffic(pipelining=True, recipients=3).over(workload)
    assert (manner.message_size.fixed, manner.recipients.fixed, manner.pipelining) == (2048, 3, True)
    assert manner.messages_per_session is not None
    assert manner.messages_per_session.fixed == 7


async def test_a_kind_that_cannot_be_had_is_named(running: Running) -> None:
    async with running(Script(answers={"STARTTLS": b"454 not now\r\n"})) as (_, target):
        workload = Workload(users=1, messages=1, traffic=[{}, {"name": "secret", "tls": "starttls"}])
        with pytest.raises(Inconclusive, match=r"^secret: .* STARTTLS: 454 not now"):
            await asyncio.to_thread(probe, target, workload)


async def test_the_introduction_is_that_of_the_first_kind(running: Running) -> None:
    async with running() as (_, target), running(Script(ehlo=NO_PIPELINING)) as (_, there):
        both = target.model_copy(update={"endpoints": {Role.MX: target.main, Role.SUBMISSION: there.main}})
        workload = Workload(users=1, traffic=[{"endpoint": "submission"}, {}])
        introduction = await asyncio.to_thread(probe, both, workload)
    assert (introduction["endpoint"], introduction["role"]) == (there.main.address, "submission")
    assert introduction["extensions"] == ["SIZE"]


def test_submission_in_a_mix_logs_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_PASSWORD", "secret")
    target = Target(
        endpoints={Role.MX: Endpoint(port=25), Role.SUBMISSION: Endpoint(port=587)},
        auth=Credentials(username="user", password_env="TEST_PASSWORD"),
    )
    workload = Workload(users=1, traffic=[{"auth": True}, {"auth": False}, {"endpoint": "submission"}])
    logins = [kind.door.login for kind in make_kinds(target, workload, Random(1))]
    assert [login and login.required for login in logins] == [True, None, True]


async def test_a_session_lies_idle_between_its_messages(running: Running) -> None:
    async with running() as (server, target):
        result = await run(target, users=1, messages=3, idle="100ms")
    assert result.totals.accepted == 3
    assert server.connections == 1
    assert result.duration_s >= 0.2
    assert server.contents[0]
    assert all(b"MAIL" not in read for read in server.reads if b"\r\n.\r\n" in read)


async def test_an_idle_session_of_an_open_workload_leaves_arrivals_to_others(running: Running) -> None:
    async with running() as (server, target):
        result = await run(target, rate=100.0, arrivals="constant", messages=10, idle="1h")
    assert result.totals.accepted == 10
    assert server.connections == 10
    assert result.duration_s < 5  # nobody waits for what is idle when all is sent


async def test_a_user_thinks_between_sessions_as_well(running: Running) -> None:
    async with running() as (server, target):
        result = await run(target, users=1, messages=3, messages_per_session=1, think_time="100ms")
    assert server.connections == 3
    assert result.duration_s >= 0.2


@pytest.mark.parametrize("per_session", [None, 1])
async def test_the_end_cuts_a_pause_short(running: Running, per_session: int | None) -> None:
    holder: list[tuple[Engine, User]] = []

    def stop_at_the_second(n: int) -> bytes:
        if n == 2:
            engine, first = holder[0]
            engine.remove_user(first)
            engine.stop()
        return b"250 ok\r\n"

    async with running(Script(after_content=stop_at_the_second)) as (server, target):
        engine = make_engine(target, Workload(users=2, think_time="1h", messages_per_session=per_session))
        holder.append((engine, engine.add_user()))
        engine.add_user()
        result = await finish(engine)
    assert result.totals.accepted == 2
    assert server.commands.count(b"QUIT") == 2


def test_thinking_is_for_users() -> None:
    with pytest.raises(UsageError, match="think_time: is for users"):
        make_workload(rate=1.0, think_time="1s")
