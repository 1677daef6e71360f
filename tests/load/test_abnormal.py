"""Abnormal sessions do what their name says, and are counted apart."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

import pytest

from smtpbench.errors import UsageError
from smtpbench.load.abnormal import COUNTS, DOES
from smtpbench.load.behaviours import BEHAVIOURS
from smtpbench.load.beside import Beside
from smtpbench.load.eventloop import EventLoop
from smtpbench.load.kinds import Kind, NotOffered
from smtpbench.load.probe import probe
from smtpbench.load.setup import make_abnormal, make_engine, make_mix
from smtpbench.load.workload import Workload, make_workload
from smtpbench.target import Fixtures, Target, Timeouts, from_url
from tests.load.conftest import HANG_UP, SILENCE, Running, Script
from tests.load.test_engine import finish, run

LIMIT_S = 20
SIZE_LIMIT = 100_000
EHLO = b"250-test\r\n250-PIPELINING\r\n250 SIZE 100000\r\n"


def in_an_engines_loop(work: Callable[[], Coroutine[None, None, None]]) -> None:
    with asyncio.Runner(loop_factory=EventLoop) as runner:
        runner.run(work())


async def behave(target: Target, kind: str, number: int = 1, **fields: Any) -> dict[str, Any]:
    """`number` sessions of one abnormal kind, to their end; what was counted."""
    workload = Workload(users=1, abnormal=[{"kind": kind, "share": 0.5, **fields}])
    (abnormal,) = make_abnormal(target, workload, Random(1))
    beside = Beside(number)

    async def all_of_them() -> None:
        for _ in range(number):
            beside.begin(abnormal)
        await asyncio.wait_for(asyncio.gather(*beside._tasks), LIMIT_S)

    await asyncio.to_thread(in_an_engines_loop, all_of_them)
    counts = beside.take_counts()[kind]
    assert counts["sent"] == number == sum(counts[name] for name in COUNTS[1:-1])
    return counts


def test_every_kind_is_told_and_done() -> None:
    assert BEHAVIOURS.keys() == DOES.keys()
    shares = {kind: f"{i}%" for i, kind in enumerate(DOES, 1)}
    workload = make_workload(users=1, abnormal=[f"{kind}={share}" for kind, share in shares.items()])
    assert [one.kind for one in workload.abnormal] == list(DOES)
    assert [one.share for one in workload.abnormal] == [i / 100 for i in range(1, len(DOES) + 1)]


async def test_unknown_recipient(running: Running) -> None:
    async with running(Script(answers={"RCPT": b"550 5.1.1 nobody\r\n"})) as (server, target):
        counts = await behave(target, "unknown-recipient", number=2)
    assert counts["rejected_5xx"] == 2
    assert counts["first_refusal"] == "550 5.1.1 nobody"
    (rcpt,) = {line for line in server.commands if line.startswith(b"RCPT")}
    assert rcpt.startswith(b"RCPT TO:<nobody-")
    assert rcpt.endswith(b"@example.net>")
    assert server.contents == []
    assert server.commands[-1] == b"QUIT"


async def test_the_unknown_recipient_that_the_target_names_goes_first(running: Running) -> None:
    fixtures = Fixtures(recipient="a@example.net", unknown_recipient="b@example.net")
    async with running(fixtures=fixtures) as (server, target):
        assert (await behave(target, "unknown-recipient"))["accepted"] == 1
    assert b"RCPT TO:<b@example.net>" in server.commands
    assert len(server.contents) == 1


async def test_oversize_declared(running: Running) -> None:
    async with running(Script(ehlo=EHLO, answers={"MAIL": b"552 5.3.4 too big\r\n"})) as (server, target):
        counts = await behave(target, "oversize-declared")
    assert counts["rejected_5xx"] == 1
    assert b"MAIL FROM:<sender@example.org> SIZE=100001" in server.commands
    assert server.contents == []


async def test_oversize_in_octets(running: Running) -> None:
    async with running(Script(ehlo=EHLO, after_content=b"552 5.3.4 too big\r\n")) as (server, target):
        counts = await behave(target, "oversize")
    assert counts["rejected_5xx"] == 1
    assert len(server.contents[0]) > SIZE_LIMIT
    assert not any(b"SIZE=" in line for line in server.commands)


@pytest.mark.parametrize("kind", ["oversize", "oversize-declared"])
async def test_without_a_limit_there_is_nothing_to_exceed(running: Running, kind: str) -> None:
    async with running(Script(ehlo=b"250-test\r\n250 PIPELINING\r\n")) as (_, target):
        workload = Workload(users=1, messages=1, abnormal=[f"{kind}=1%"])
        with pytest.raises(NotOffered, match=f"abnormal {kind}: .* announces no SIZE limit"):
            await asyncio.to_thread(probe, target, workload)
        counts = await behave(target, kind)
    assert counts["unanswered"] == 1
    assert "announces no SIZE limit" in counts["first_refusal"]


async def test_abort_in_data(running: Running) -> None:
    async with running() as (server, target):
        counts = await behave(target, "abort-in-data")
        await asyncio.wait_for(server.left.wait(), LIMIT_S)
    assert counts["unanswered"] == 1
    assert server.contents == []
    assert b"From: <sender@example.org>" in b"".join(server.reads)  # some of it was sent
    assert server.commands[-1] == b"DATA"


async def test_drop_without_quit(running: Running) -> None:
    async with running() as (server, target):
        counts = await behave(target, "drop-without-quit")
    assert counts["accepted"] == len(server.contents) == 1
    assert server.commands[-1] == b"DATA"


async def test_slow_drip(running: Running) -> None:
    async with running() as (server, target):
        counts = await behave(target, "slow-drip", hold="1s")
    assert counts["accepted"] == 1
    assert len(server.contents[0]) == 1024
    assert len(server.reads) >= 6  # EHLO, MAIL, RCPT, DATA, and the content in pieces


async def test_slow_drip_hears_that_the_server_has_had_enough(running: Running) -> None:
    async with running(Script(answers={"DATA": b"354 go\r\n421 4.4.2 too slow\r\n"})) as (_, target):
        counts = await behave(target, "slow-drip", hold="1h")
    assert counts["rejected_4xx"] == 1


async def test_churn(running: Running) -> None:
    async with running() as (server, target):
        counts = await behave(target, "churn", number=3)
    assert counts["accepted"] == server.connections == 3
    assert server.commands.count(b"QUIT") == len(server.commands) / 2 == 3


async def test_idle_holder_says_quit_in_the_end(running: Running) -> None:
    async with running() as (server, target):
        counts = await behave(target, "idle-holder", hold="50ms")
    assert counts["accepted"] == 1
    assert server.commands[-1] == b"QUIT"


@pytest.mark.parametrize(
    ("ehlo", "outcome"),
    [(EHLO + b"421 4.4.2 idle\r\n", "rejected_4xx"), (lambda n: EHLO if n == 0 else HANG_UP, "dropped")],
)
async def test_idle_holder_is_thrown_out(
    running: Running, ehlo: bytes | Callable[[int], bytes], outcome: str
) -> None:
    async with running(Script(answers={"EHLO": ehlo})) as (_, target):
        assert (await behave(target, "idle-holder", hold="1h"))[outcome] == 1


@pytest.mark.parametrize(
    ("script", "outcome"),
    [
        (Script(greeting=b"554 no\r\n"), "rejected_5xx"),
        (Script(greeting=b"421 busy\r\n"), "rejected_4xx"),
        (Script(greeting=HANG_UP), "dropped"),
        (Script(answers={"MAIL": SILENCE}), "timeouts"),
        (Script(answers={"RCPT": HANG_UP}), "dropped"),
        (Script(answers={"RCPT": b"what?\r\n"}), "dropped"),
    ],
)
async def test_what_a_server_may_do_to_it(running: Running, script: Script, outcome: str) -> None:
    async with running(script, timeouts=Timeouts(connect=1, reply=0.3)) as (_, target):
        assert (await behave(target, "drop-without-quit"))[outcome] == 1


async def test_more_than_may_be_open_are_held_back(running: Running) -> None:
    async with running() as (_, target):
        (kind,) = make_abnormal(target, Workload(users=1, abnormal=["idle-holder=1%"]), Random(1))
        beside = Beside(2)

        async def five() -> None:
            for _ in range(5):
                beside.begin(kind)
            await beside.end()

        await asyncio.to_thread(in_an_engines_loop, five)
    counts = beside.take_counts()["idle-holder"]
    assert (counts["sent"], counts["held_back"], counts["unanswered"]) == (2, 3, 2)


async def test_abnormal_traffic_runs_beside_and_stays_out_of_the_figures(running: Running) -> None:
    async with running() as (server, target):
        result = await run(
            target, users=2, messages=300, seed=5,
            abnormal=["churn=20%", "abort-in-data=10%", {"kind": "idle-holder", "share": "5%", "hold": "1h"}],
        )  # fmt: skip
    assert result.totals.accepted == result.totals.offered == len(server.contents) == 300
    assert result.phases["transaction"].count == 300
    assert result.phases["connect"].count == result.totals.sessions
    assert result.replies["354"] == 300  # those of the aborted ones are not among them
    assert result.abnormal.keys() == {"churn", "abort-in-data", "idle-holder"}
    for counts in result.abnormal.values():
        assert counts.sent == sum(getattr(counts, name) for name in COUNTS[1:-1])
    sent = {name: counts.sent for name, counts in result.abnormal.items()}
    everything = sum(sent.values()) + result.totals.sessions
    assert sent["churn"] / everything == pytest.approx(0.20, abs=0.06)
    assert sent["abort-in-data"] / everything == pytest.approx(0.10, abs=0.05)
    assert result.abnormal["idle-holder"].unanswered == sent["idle-holder"]  # cut short by the end


async def test_the_end_of_a_run_does_not_wait_for_who_holds(running: Running) -> None:
    async with running() as (_, target):
        workload = Workload(rate=500.0, messages=50, abnormal=[{"kind": "idle-holder", "share": 0.5}])
        engine = make_engine(target, workload)
        engine.start_arrivals(iter([0.0] * 50))
        result = await finish(engine)
    assert result.totals.accepted == 50
    assert result.duration_s < 10  # they hold for 30 s


def test_shares_of_abnormal_kinds_are_of_all_sessions() -> None:
    workload = Workload(users=1, traffic=[{"share": 1}, {"share": 3}], abnormal=["churn=20%"])
    mix = make_mix(from_url("smtp://127.0.0.1:25"), workload, Random(3))
    drawn = [mix.draw() for _ in range(20_000)]
    names = [one.name for one in drawn]
    assert names.count("churn") / 20_000 == pytest.approx(0.2, abs=0.01)
    assert names.count("traffic 1") / 20_000 == pytest.approx(0.2, abs=0.01)
    assert names.count("traffic 2") / 20_000 == pytest.approx(0.6, abs=0.01)
    assert isinstance(drawn[names.index("traffic 1")], Kind)


@pytest.mark.parametrize(
    ("abnormal", "complaint"),
    [
        (["churn"], r"abnormal\[0\]: 'churn': expected KIND=SHARE"),
        (["chrun=5%"], r"abnormal\[0\].kind: 'chrun': expected 'unknown-recipient', "),
        (["churn=5"], r"abnormal\[0\].share: '5': expected less than 1"),
        (["churn=60%", "oversize=50%"], "abnormal: 110% of all sessions: expected less than 100% together"),
        (
            [{"kind": "churn", "share": 0.1, "hodl": 3}],
            r"abnormal\[0\].hodl: 3: unknown key, expected one of",
        ),
        ([{"kind": "churn", "share": 0.1, "hold": "long"}], r"abnormal\[0\].hold: 'long': "),
        ([{"kind": "churn"}], r"abnormal\[0\].share: "),
    ],
)
def test_what_makes_no_sense_is_named(abnormal: list[Any], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint) as caught:
        make_workload(users=1, abnormal=abnormal)
    assert len(str(caught.value).splitlines()) == 1


def test_an_endpoint_that_is_not_there_is_named() -> None:
    workload = Workload(users=1, abnormal=[{"kind": "churn", "share": 0.1, "endpoint": "lmtp"}])
    with pytest.raises(UsageError, match=r"abnormal\[0\].endpoint: 'lmtp': the target has no such endpoint"):
        make_abnormal(from_url("smtp://127.0.0.1:25"), workload, Random(1))
