"""Our scenarios, each for a moment against the embedded server; and shapes that move users up and down."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from smtpbench.errors import Inconclusive, UsageError
from smtpbench.lab import open_target
from smtpbench.lab.options import TargetOptions
from smtpbench.load.abnormal import DOES
from smtpbench.load.probe import probe
from smtpbench.load.result import LoadResult
from smtpbench.load.run import run_load
from smtpbench.load.scenario import find_scenario, is_toml, read_scenario
from smtpbench.load.workload import make_workload, overlay
from smtpbench.target import Target
from tests.load.conftest import Running, Script
from tests.load.test_engine import run

SCENARIOS = Path(__file__).parents[2] / "scenarios"
FILES = sorted(path for path in SCENARIOS.iterdir() if path.suffix in (".py", ".toml"))
A_MOMENT_S = 1.5


@pytest.fixture(scope="module")
def embedded() -> Iterator[Target]:
    with open_target("embedded", TargetOptions()) as target:
        yield target


async def briefly(target: Target, scenario: Path) -> LoadResult:
    """A TOML scenario in one engine, with more sessions than its seconds would give a slow one."""
    given = overlay(read_scenario(scenario), {"run_time": A_MOMENT_S, "warm_up": 0})
    workload = make_workload(**given)
    await asyncio.to_thread(probe, target, workload)
    if not workload.is_open:
        given = {**given, "messages": 20}
    return await run(target, **given)


def test_all_that_was_promised_is_there() -> None:
    assert {path.stem for path in FILES} == {
        "abnormal", "diurnal", "mixed", "newsletter", "ramp", "soak", "spike", "steady",
    }  # fmt: skip


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_each_says_how_it_is_run(file: Path) -> None:
    assert f"smtpbench load TARGET --scenario {file.stem}" in file.read_text(encoding="utf-8")
    assert find_scenario(Path(file.stem)) == find_scenario(file) == file


@pytest.mark.parametrize("file", [file for file in FILES if is_toml(file)], ids=lambda path: path.stem)
async def test_each_toml_scenario_loads_the_embedded_server(embedded: Target, file: Path) -> None:
    result = await briefly(embedded, file)
    assert result.totals.accepted > 0
    assert result.totals.rejected_5xx == result.totals.dropped == 0
    if file.stem == "mixed":
        assert len(result.traffic) >= 3


async def test_the_mixed_one_uses_all_its_doors(embedded: Target) -> None:
    fields = overlay(read_scenario(SCENARIOS / "mixed.toml"), {"users": 4, "messages": 150, "run_time": None})
    result = await run(embedded, **{name: value for name, value in fields.items() if value is not None})
    assert result.traffic.keys() == {one["name"] for one in result_traffic()}
    assert result.totals.accepted == 150
    assert all(result.phases[name].count for name in ("starttls", "tls", "auth"))


def result_traffic() -> list[dict[str, str]]:
    traffic: list[dict[str, str]] = read_scenario(SCENARIOS / "mixed.toml")["traffic"]
    return traffic


def test_the_abnormal_one_has_all_kinds() -> None:
    fields = read_scenario(SCENARIOS / "abnormal.toml")
    assert {one["kind"] for one in fields["abnormal"]} == DOES.keys()


@pytest.mark.parametrize("name", ["steady", "ramp"])
async def test_each_locust_scenario_loads_the_embedded_server(embedded: Target, name: str) -> None:
    result = await asyncio.to_thread(run_load, embedded, {"run_time": 3}, scenario=Path(name))
    assert result.totals.accepted > 0
    assert "SIZE" in result.target["extensions"]
    assert result.workload.get("shape") == {"ramp": "Ramp"}.get(name)


SHAPE = """
from locust import LoadTestShape
from smtpbench.load.locust_user import SmtpUser
from smtpbench.load.workload import Workload

class Person(SmtpUser):
    workload = Workload(users=1, think_time="20ms")

class UpAndDown(LoadTestShape):
    def tick(self):
        at = self.get_run_time()
        for end, users in ((2, 1), (5, 4), (8, 2)):
            if at < end:
                return users, 10
        return None
"""


@pytest.mark.parametrize("processes", [1, 2])
async def test_a_shape_moves_users_up_and_down(running: Running, tmp_path: Path, processes: int) -> None:
    file = tmp_path / "shape.py"
    file.write_text(SHAPE)
    async with running() as (server, target):
        result = await asyncio.to_thread(run_load, target, {}, scenario=file, processes=processes)
    sessions = [point.sessions for point in result.timeline]
    assert sessions[0] <= 1
    assert max(sessions) == 4
    assert sessions[-1] <= 2
    assert result.totals.sessions == server.connections - 1 == 4  # one was the probe; nobody came twice
    assert server.commands.count(b"QUIT") == server.connections
    assert result.totals.accepted == result.totals.offered == len(server.contents)
    assert result.workload["shape"] == "UpAndDown"


async def test_a_number_of_users_goes_before_a_shape(running: Running, tmp_path: Path) -> None:
    file = tmp_path / "shape.py"
    file.write_text(SHAPE)
    async with running() as (_, target):
        result = await asyncio.to_thread(run_load, target, {"users": 3, "messages": 9}, scenario=file)
    assert (result.totals.accepted, result.workload["users"]) == (9, 3)
    assert "shape" not in result.workload


async def test_a_shape_without_users_to_steer_is_a_usage_error(running: Running, tmp_path: Path) -> None:
    file = tmp_path / "shape.py"
    file.write_text(SHAPE.replace('users=1, think_time="20ms"', "rate=5"))
    async with running() as (_, target):
        with pytest.raises(UsageError, match="UpAndDown steers users, and its workload has none"):
            await asyncio.to_thread(run_load, target, {}, scenario=file)


async def test_the_kinds_of_a_locust_scenario_are_asked_for_before_the_load(
    running: Running, tmp_path: Path
) -> None:
    file = tmp_path / "needy.py"
    file.write_text(SHAPE.replace('think_time="20ms"', "traffic=[{'smtputf8': True}]"))
    async with running(Script()) as (server, target):
        with pytest.raises(Inconclusive, match=r"traffic: .* does not offer SMTPUTF8"):
            await asyncio.to_thread(run_load, target, {}, scenario=file)
    assert server.connections == 1
    assert server.commands[-1] == b"QUIT"


def test_a_scenario_that_is_nowhere_is_told_with_those_that_are() -> None:
    with pytest.raises(UsageError, match="--scenario stedy: no such file, and none of ours: abnormal, "):
        find_scenario(Path("stedy"))
    assert find_scenario(Path("sub/stedy.toml")) == Path("sub/stedy.toml")
