"""Conformance under load: what a server does wrong among many sessions is found, and nothing else is."""

from __future__ import annotations

import base64
import itertools
import ssl
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trustme

from smtpbench.lab import open_target
from smtpbench.load import watch as watching
from smtpbench.load.findings import Findings
from smtpbench.load.result import LoadResult
from smtpbench.server import Receiver, Server, ServerConfig
from smtpbench.target import Credentials, Endpoint, Fixtures, Role, Target, Timeouts, Tls
from tests.load.conftest import HANG_UP, Running, Script
from tests.load.engines import begun, ended

LIMIT_S = 60


def target_of(port: int, **fields: object) -> Target:
    return Target(
        endpoints={Role.MX: Endpoint(port=port)},
        fixtures=Fixtures(recipient="alice@example.com"),
        timeouts=Timeouts(connect=5, reply=1),
        **fields,
    )


async def loaded(target: Target, **fields: object) -> LoadResult:
    """A whole workload in one engine."""
    return await ended(begun(target, **fields), LIMIT_S)


def rules(result: LoadResult) -> set[str]:
    return {finding.id.removeprefix("passive.") for finding in result.invariants.findings}


FAULTS: Mapping[str, tuple[dict[str, object], str]] = {
    "reply-ends-with-lf": ({}, "replies-end-with-crlf"),
    "data-250": ({}, "reply-codes-fit-the-command"),
    "two-replies-after-data": ({}, "no-command-has-a-second-reply"),
    "enhanced-code-unregistered": ({}, "enhanced-codes-are-registered"),
    "replies-before-the-end-of-data": ({"pipelining": True}, "no-command-has-a-second-reply"),
    "pipelined-replies-out-of-order": ({"pipelining": True}, "reply-codes-fit-the-command"),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_of_the_server_is_found_under_load(fault: str) -> None:
    fields, rule = FAULTS[fault]
    async with Server(ServerConfig(), faults=(fault,)) as server:
        result = await loaded(
            target_of(server.port),
            **{"users": 8, "messages": 16, "pipelining": False, "watch_share": 1.0, **fields},
        )
    assert rule in rules(result)
    found = next(one for one in result.invariants.findings if one.id.endswith(rule))
    assert found.count >= 1
    assert found.transcript
    assert found.transcript[-1].sender == "server"


class CrossTalk(Receiver):
    """Every reply goes to whichever session speaks next."""

    held = b""

    def take_output(self) -> bytes:
        mine = super().take_output()
        if self.transaction is None or not mine:
            return mine
        CrossTalk.held, other = mine, CrossTalk.held
        return other or mine


async def test_replies_that_go_to_another_session_are_found() -> None:
    CrossTalk.held = b""
    async with Server(ServerConfig(), receiver=CrossTalk) as server:
        result = await loaded(target_of(server.port), users=10, messages=60, watch_share=1.0)
    assert result.broken_rules or "reply-codes-fit-the-command" in rules(result)


@pytest.mark.alone
@pytest.mark.parametrize("fields", [
    {"users": 50, "pipelining": True}, {"users": 50, "pipelining": False},
    {"users": 10, "messages_per_session": 3}, {"users": 10, "chunking": True, "recipients": 3},
    {"rate": 500.0},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("share", [None, 1.0])
async def test_the_reference_server_breaks_no_rule(share: float | None, fields: dict[str, object]) -> None:
    async with Server(ServerConfig()) as server:
        result = await loaded(target_of(server.port), messages=400, watch_share=share, **fields)
    assert result.totals.accepted == 400
    assert result.invariants.findings == []
    assert result.invariants.messages > 0
    if share == 1.0:
        assert result.invariants.messages == 400
        assert result.invariants.share == 1.0
        assert result.invariants.sessions == result.totals.sessions


@pytest.mark.parametrize("share", [None, 1.0])
async def test_aiosmtpd_breaks_no_rule_with_50_sessions_and_pipelining(share: float | None) -> None:
    with open_target("embedded") as target:
        result = await loaded(target, users=50, messages=600, pipelining=True, watch_share=share)
    assert result.totals.accepted == 600
    assert result.invariants.findings == []
    assert result.invariants.sessions >= 1


async def test_lmtp_breaks_no_rule() -> None:
    async with Server(ServerConfig(role=Role.LMTP)) as server:
        target = target_of(server.port).model_copy(
            update={"endpoints": {Role.LMTP: Endpoint(port=server.port)}}
        )
        result = await loaded(target, users=5, messages=200, recipients=2, watch_share=1.0)
    assert result.totals.accepted == 200
    assert result.invariants.findings == []


async def test_sessions_are_joined_in_the_middle_when_the_budget_is_spent(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a purse that one read empties, eyes come and go; what they see is right all the same."""
    monkeypatch.setattr(watching, "BURST_NS", 50_000)
    async with Server(ServerConfig()) as server:
        result = await loaded(target_of(server.port), users=10, messages=8000)
    seen = result.invariants
    assert seen.findings == []
    assert seen.sessions > result.totals.sessions == 10  # some were joined
    assert 0 < seen.messages < 8000


def test_to_look_for_a_session_to_join_is_paid_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """… whether one is found or not. Here each look at the clock takes a µs, and each flow one look."""
    clock = itertools.count(step=1000).__next__
    monkeypatch.setattr(watching, "clock", clock)
    monkeypatch.setattr(watching, "joined", lambda flow: clock() and None)
    eyes = watching.Watch()
    flows: list[Any] = [SimpleNamespace(onlooker=None) for _ in range(3)]
    eyes.look_around(flows, [])
    assert eyes.take()["cost_ns"] == (len(flows) + 1) * 1000


async def test_a_fault_that_begins_late_is_found_by_joining(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "BURST_NS", 50_000)

    class Late(Receiver):
        served = 0

        def take_output(self) -> bytes:
            Late.served += 1
            output = super().take_output()
            return output.replace(b"\r\n", b"\n") if Late.served > 500 else output

    async with Server(ServerConfig(), receiver=Late) as server:
        result = await loaded(target_of(server.port), users=4, messages=4000)
    assert "replies-end-with-crlf" in rules(result)
    assert "joined" in result.invariants.findings[0].transcript[0].bytes


async def test_no_session_is_watched_if_none_shall_be() -> None:
    async with Server(ServerConfig(), faults=("reply-ends-with-lf",)) as server:
        result = await loaded(target_of(server.port), users=2, messages=10, watch_share=0.0)
    assert result.invariants.sessions == 0
    assert result.invariants.findings == []


async def test_a_share_is_of_sessions_and_the_first_is_in_it() -> None:
    async with Server(ServerConfig()) as server:
        result = await loaded(
            target_of(server.port), users=1, messages=8, messages_per_session=1, watch_share=0.25
        )
    assert result.totals.sessions == 8
    assert result.invariants.sessions == result.invariants.messages == 2


class Cheerful(Receiver):
    """Rings a bell in every reply."""

    def take_output(self) -> bytes:
        return super().take_output().replace(b"\r\n", b"\a\r\n")


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
async def test_credentials_and_content_are_in_no_transcript(
    running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tls: str
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    monkeypatch.setenv("TEST_PASSWORD", "secret")
    config = ServerConfig(
        role=Role.SUBMISSIONS if tls == "implicit" else Role.SUBMISSION, tls=context,
        users={"user": "secret"},
    )  # fmt: skip
    async with Server(config, receiver=Cheerful) as server:
        target = Target(
            endpoints={config.role: Endpoint(port=server.port, tls=tls)},
            fixtures=Fixtures(recipient="alice@example.com"),
            tls=Tls(ca=tmp_path / "ca.pem"),
            auth=Credentials(username="user", password_env="TEST_PASSWORD"),
        )
        result = await loaded(target, users=2, messages=20, watch_share=1.0)
    assert rules(result) >= {"reply-text-is-printable-ascii"}
    said = " ".join(line.bytes for one in result.invariants.findings for line in one.transcript)
    for secret in (b"\0user\0secret", b"user", b"secret"):
        assert base64.b64encode(secret).decode() not in said
    assert "quick brown fox" not in said


async def test_content_is_left_out_of_a_transcript(running: Running) -> None:
    script = Script(after_content=lambda n: b"250 ok\n" if n == 3 else b"250 ok\r\n")
    async with running(script) as (_, target):
        result = await loaded(target, users=1, messages=5, watch_share=1.0)
    (finding,) = result.invariants.findings
    log = [line.bytes for line in finding.transcript]
    assert not any("quick brown fox" in line for line in log)
    assert any("octets of content]" in line and "MAIL FROM" in line for line in log)
    assert finding.verdict == "fail"


async def test_one_close_may_be_the_networks_and_two_are_told_but_accuse_nobody(running: Running) -> None:
    def hang_up(times: set[int]) -> Script:
        answer = {"MAIL": lambda n: HANG_UP if n in times else b"250 ok\r\n"}
        return Script(ehlo=b"250 test\r\n", answers=answer)

    for times, expected in (({3}, set()), ({3, 5}, {"connection-closes-only-with-221-or-421"})):
        async with running(hang_up(times)) as (_, target):
            result = await loaded(target, users=1, messages=8, watch_share=1.0)
        assert rules(result) == expected
        assert {finding.verdict for finding in result.invariants.findings} <= {"info"}


def test_findings_of_several_processes_are_added_up_and_the_first_evidence_is_kept() -> None:
    findings = Findings()
    for number in (1, 2, 3):
        found = {"count": number, "what": f"first of {number}", "log": [[0.5, "server", f"250 {number}"]]}
        seen: dict[str, Any] = {
            "sessions": 1, "messages": 10, "replies": 40, "cost_ns": 1_000_000,
            "findings": {"replies end with CRLF": found},
        }  # fmt: skip
        findings.add(seen)
    result = findings.result(messages=100)
    (finding,) = result.findings
    assert (finding.count, finding.observed) == (6, "first of 1")
    assert (finding.id, finding.verdict) == ("passive.replies-end-with-crlf", "fail")
    assert finding.transcript[0].bytes == "250 1"
    assert (result.share, result.sessions, result.cpu_us_per_message) == (0.3, 3, 30.0)
