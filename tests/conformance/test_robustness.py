"""The cases against servers that misbehave as a whole: the run ends, says why, and accuses nobody falsely."""

from __future__ import annotations

import time
from collections import Counter

import pytest

import smtpbench.conformance.bench as bench_module
from smtpbench.conformance import conversation
from smtpbench.conformance.bench import Bench
from smtpbench.conformance.discovery import load_cases
from smtpbench.conformance.model import find_cases, load_catalogue
from smtpbench.conformance.schedule import Schedule
from smtpbench.conformance.survey import survey
from smtpbench.lab.workspace import FIXTURES
from smtpbench.server import Receiver, Server, ServerConfig
from smtpbench.target import Credentials, Endpoint, Role, Target, Timeouts
from tests.conformance.misbehaving import (
    ClosesAfterEachCommand,
    ClosesInsteadOfAnswering,
    DiesInMidRun,
    DropsEveryThird,
    FourAtATime,
    Misbehaving,
    NoAnswerToAuth,
    Tarpit,
)

QUICK = Timeouts(connect=1.0, reply=1.0, delivery=0.3, quiet=0.02)
USERS = {"alice": "secret"}
OPEN_AUTH = ServerConfig(role=Role.SUBMISSION, users=USERS, auth_in_clear=True)
SEVERAL = (  # quick ones of every kind
    *("rfc2034", "rfc2920", "rfc3030", "rfc5321.data", "rfc5321.ehlo", "rfc5321.greeting", "rfc5321.lines"),
    *("rfc5321.noop", "rfc5321.order", "rfc5321.quit", "rfc5321.replies", "rfc5321.rset", "rfc5321.mail."),
)
BOUND = 60.0  # seconds for a run that takes a few: the machine may be busy


@pytest.fixture(autouse=True)
def _quick_and_with_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_module, "REST", 0.01)
    monkeypatch.setattr(conversation, "REST", 0.01)
    monkeypatch.setenv("ROBUSTNESS_PASSWORD", USERS["alice"])


async def run(port: int, *, role: Role = Role.MX) -> Bench:
    """SEVERAL cases against `port`, within the bound."""
    target = Target(
        endpoints={role: Endpoint(port=port)},
        fixtures=FIXTURES,
        auth=Credentials(username="alice", password_env="ROBUSTNESS_PASSWORD"),
        timeouts=QUICK,
    )
    root = find_cases()
    begin = time.monotonic()
    bench = Bench(load_catalogue(root), await survey(target, observable=False))
    cases = [case for case in load_cases(root) if case.id.startswith(SEVERAL)]
    await Schedule(bench, cases, deadline=BOUND).run()
    assert time.monotonic() - begin < BOUND
    return bench


def accused(bench: Bench) -> dict[str, str]:
    return {
        key: f"{result.verdict}: {result.observed} ({result.reason})"
        for key, result in bench.results.items()
        if result.verdict in ("fail", "error")
    }


def verdicts(bench: Bench) -> Counter[str]:
    return Counter(result.verdict.value for result in bench.results.values())


def reasons(bench: Bench, words: str) -> int:
    return sum(words in (result.reason or "") for result in bench.results.values())


async def test_the_server_behind_all_of_these_is_green() -> None:
    async with Server() as server:
        bench = await run(server.port)
    assert accused(bench) == {}
    assert verdicts(bench)["pass"] > 70
    assert not bench.interrupted
    assert not bench.notes


async def test_auth_that_is_never_answered() -> None:
    async with Misbehaving(NoAnswerToAuth, OPEN_AUTH) as server:
        bench = await run(server.port, role=Role.SUBMISSION)
    assert accused(bench) == {}
    assert reasons(bench, "AUTH is not answered: ") > 20
    assert verdicts(bench)["pass"] > 20


async def test_every_third_connection_is_dropped() -> None:
    async with Misbehaving(DropsEveryThird) as server:
        bench = await run(server.port)
    assert accused(bench) == {}
    assert reasons(bench, "connected again: ") > 5
    assert verdicts(bench)["pass"] > 70


async def test_every_reply_is_late() -> None:
    delay = 0.04  # twice the silence that QUICK asks for
    async with Tarpit(Server(), delay) as tarpit:
        bench = await run(tarpit.port)
    assert accused(bench) == {}
    assert verdicts(bench)["pass"] > 50
    assert bench.pace.latency >= delay


async def test_a_server_that_dies_in_mid_run() -> None:
    async with Misbehaving(DiesInMidRun) as server:
        bench = await run(server.port)
    assert accused(bench) == {}
    assert len(bench.interrupted) > 50
    assert reasons(bench, "the target stopped answering: ") > 5


async def test_a_server_that_closes_after_each_command() -> None:
    async with Misbehaving(ClosesAfterEachCommand) as server:
        bench = await run(server.port)
    assert list(accused(bench)) == ["rfc5321.replies.connection-stays-open-between-commands"]
    assert reasons(bench, "a plain session does not last: ") > 10


async def test_a_server_that_closes_instead_of_answering() -> None:
    async with Misbehaving(ClosesInsteadOfAnswering) as server:
        bench = await run(server.port)
    assert list(accused(bench)) == ["rfc5321.replies.connection-stays-open-between-commands"]


async def test_a_limit_on_connections_makes_no_verdict() -> None:
    async with Misbehaving(FourAtATime) as server:
        bench = await run(server.port)
        async with Server() as unlimited:
            free = await run(unlimited.port)
    assert accused(bench) == {}
    assert bench.notes[0].startswith("turned away (greeted with 421 ")
    assert bench.notes[-1].endswith(" at a time")
    different = {
        key: (free.results[key].verdict.value, result.verdict.value, result.reason)
        for key, result in bench.results.items()
        if result.verdict is not free.results[key].verdict
    }
    # Those that need five connections at a time cannot have them.
    assert all(reason and reason.startswith("turned away twice: ") for _, _, reason in different.values())
    assert len(different) < 20, different


async def test_a_target_that_hangs_at_the_greeting() -> None:
    class Hangs(Receiver):
        server: Misbehaving

        def greeting(self) -> bytes:
            return b"" if self.server.greeted > 5 else super().greeting()

        def on_line(self, line: bytes) -> None:
            if self.server.greeted <= 5:
                super().on_line(line)

    async with Misbehaving(Hangs) as server:
        bench = await run(server.port)
    assert {key: why for key, why in accused(bench).items() if "server-speaks-first" not in key} == {}
    assert reasons(bench, "the target stopped answering: ") > 70
