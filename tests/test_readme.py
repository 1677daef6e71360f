"""What the README says of commands and files has to stay true."""

import re
from pathlib import Path

import pytest

from smtpbench.cli import COMMANDS
from smtpbench.conformance.result import Verdict
from smtpbench.load.scenario import workload_of
from smtpbench.load.thresholds import parse_threshold
from smtpbench.target import Endpoint, Role, Target, load_toml

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def example(tmp_path: Path) -> Target:
    block = next(block for block in blocks("toml") if "[endpoints" in block)
    file = tmp_path / "target.toml"
    file.write_text(block)
    return load_toml(file)


def test_the_target_file_is_valid_and_names_every_part(example: Target) -> None:
    assert example.model_fields_set == set(Target.model_fields)
    assert example.endpoints[Role.MX] == Endpoint(port=2525, tls="starttls")


@pytest.mark.parametrize("part", ["fixtures", "relay", "shortage", "timeouts", "tls"])
def test_the_target_file_names_every_key(example: Target, part: str) -> None:
    model = getattr(example, part)
    assert model.model_fields_set == set(type(model).model_fields)


def test_the_load_scenario_is_valid(tmp_path: Path) -> None:
    file = tmp_path / "mixed.toml"
    file.write_text(next(block for block in blocks("toml") if "[[traffic]]" in block))
    workload = workload_of(file)
    assert [one.endpoint for one in workload.traffic] == [Role.MX, Role.SUBMISSION]


def test_the_command_table_is_complete() -> None:
    assert re.findall(r"^\| `smtpbench (\w+)", README, re.MULTILINE) == [*COMMANDS]


def test_the_verdict_table_is_complete() -> None:
    named = re.findall(r"^\| `([a-z-]+)` \|", README, re.MULTILINE)
    assert named == [verdict.value for verdict in Verdict]


def test_thresholds_in_the_readme_parse() -> None:
    found = re.findall(r'--threshold "([^"]+)"', README)
    assert found
    assert all(parse_threshold(text) for text in found)


def test_relative_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    assert [link for link in links if not (Path(__file__).parents[1] / link).exists()] == []
