"""The generator's own ceiling, and the null sink that it is measured with."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from smtpbench.errors import Inconclusive
from smtpbench.load import calibration
from smtpbench.load.calibration import calibrate, worth_it
from smtpbench.load.workload import Workload
from smtpbench.target import Endpoint, Fixtures, Role, Target
from tests.load.conftest import Running

LIMIT_S = 60
COMMAND = (sys.executable, "-c", "from smtpbench.cli import main; main()", "load")


@pytest.fixture(autouse=True)
def _anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "_known", {})


def target(role: Role = Role.MX, tls: str = "none") -> Target:
    return Target(endpoints={role: Endpoint(port=1, tls=tls)}, fixtures=Fixtures(recipient="a@example.net"))


@pytest.mark.parametrize(
    "workload",
    [
        Workload(users=3), Workload(users=3, pipelining=False), Workload(rate=10.0, run_time=60),
        Workload(users=2, chunking=True, recipients=2), Workload(users=2, messages_per_session=1),
        Workload(users=2, think_time=60, messages=1),
    ],
    ids=lambda workload: ",".join(sorted(workload.model_fields_set)),
)  # fmt: skip
def test_a_workload_has_a_ceiling_and_a_floor(workload: Workload) -> None:
    found = calibrate(target(), workload)
    assert found.per_s == pytest.approx(1_000_000 / found.cpu_us_per_message, rel=0.01)
    assert found.per_s > 100
    assert 0 < found.phases["transaction"].p50_ms <= found.phases["transaction"].p99_ms
    assert ("data" in found.phases) is not workload.chunking


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_tls_is_part_of_what_a_session_costs(tls: str) -> None:
    found = calibrate(target(Role.SUBMISSION, tls), Workload(users=2))
    assert found.phases["tls"].p50_ms > 0


def test_lmtp_has_a_reply_for_each_recipient() -> None:
    assert calibrate(target(Role.LMTP), Workload(users=2, recipients=3)).per_s > 100


def test_the_same_question_is_asked_once() -> None:
    first = calibrate(target(), Workload(rate=100.0, run_time=60))
    again = calibrate(target(), Workload(rate=500.0, run_time=60))
    assert again == first
    again.used = 0.5
    assert calibrate(target(), Workload(rate=500.0)).used == 0.0


def test_a_sink_that_takes_nothing_calibrates_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "_stand_in", lambda given, *_: given)
    with pytest.raises(Inconclusive):
        calibrate(target(), Workload(users=1))


@pytest.mark.parametrize(
    ("fields", "worth"),
    [
        ({"users": 1}, True), ({"users": 1, "run_time": 9}, False), ({"users": 1, "run_time": 10}, True),
        ({"users": 1, "run_time": 12, "warm_up": 5}, False), ({"users": 1, "messages": 10}, False),
        ({"rate": "ramp:1-10,60s"}, True),
    ],
)  # fmt: skip
def test_a_short_run_is_not_calibrated_unasked(fields: dict[str, object], worth: bool) -> None:
    assert worth_it(Workload(**fields)) is worth


@pytest.mark.alone
async def test_a_run_says_how_near_it_was_to_its_ceiling(running: Running, tmp_path: Path) -> None:
    out = tmp_path / "result.json"
    async with running() as (_, target):
        command = await asyncio.create_subprocess_exec(
            *COMMAND, f"smtp://{target.main.address}", "--rate", "20", "--messages", "20", "--calibrate",
            "--json", out, stderr=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        said, _ = await asyncio.wait_for(command.communicate(), LIMIT_S)
    found = json.loads(out.read_text())["generator"]["calibration"]
    assert command.returncode == 0
    assert 0 <= found["used"] < 0.5 < found["per_s"]
    assert b"its own ceiling" in said


@pytest.mark.alone
async def test_a_saturated_generator_is_exit_code_3(tmp_path: Path) -> None:
    """A new connection for each message, to a sink that does nothing: that costs us more than the sink."""
    out = tmp_path / "result.json"
    with calibration._null_sink(tls=False) as ports:
        command = await asyncio.create_subprocess_exec(
            *COMMAND, f"smtp://127.0.0.1:{ports[0]}", "--users", "50", "--messages-per-session", "1",
            "--run-time", "4s", "--calibrate", "--no-preflight", "--json", out,
            stderr=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        said, _ = await asyncio.wait_for(command.communicate(), LIMIT_S)
    result = json.loads(out.read_text())
    (use,) = result["generator"]["processes"]
    if use["loop_cpu_s"] < 0.3 * use["span_s"]:
        pytest.skip(f"others left the generator no third of a core: {use}")
    assert result["generator"]["calibration"]["per_s"] > 0
    assert "the generator was the bottleneck" in " ".join(result["invalid_reasons"])
    assert not result["valid"]
    assert command.returncode == 3
    assert b"not valid" in said
