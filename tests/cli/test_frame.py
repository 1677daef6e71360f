"""The frame of the command line: help, lazy commands, option groups, errors to exit codes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from smtpbench import __version__, cli
from smtpbench.cli import COMMANDS, app
from smtpbench.cli._common import Outputs, TargetArg, complain, guarded, prepare
from smtpbench.errors import Inconclusive, SmtpbenchError, Unreachable, UsageError
from smtpbench.lab import TargetOptions

Run = Callable[..., Result]
HEAVY = ("locust", "gevent", "matplotlib", "pytest", "pydantic", "cryptography")


@pytest.fixture
def seen() -> list[object]:
    return []


@pytest.fixture
def probe(seen: list[tuple[Any, ...]]) -> Run:
    """A command that takes both groups and keeps what it was given."""

    def command(
        target: TargetArg = "embedded", *, options: TargetOptions, outputs: Outputs, level: str = "MUST"
    ) -> int:
        """One line of help."""
        seen.append((target, options, outputs, level))
        return 1

    runner, probe_app = CliRunner(), typer.Typer()
    probe_app.command("probe")(prepare(command))
    return lambda *arguments: runner.invoke(probe_app, list(arguments))


def test_version() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"smtpbench {__version__}\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_of_its_own(name: str) -> None:
    result = CliRunner().invoke(app, [name, "--help"])
    assert result.exit_code == 0
    assert f" {name} " in result.stdout


def test_help_names_every_command_and_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom smtpbench.cli import main\n"
        "try: main()\n"
        f"finally: print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True, timeout=30
    )
    assert all(name in result.stdout for name in COMMANDS)
    assert result.stderr == "[]\n"


def test_the_module_can_be_run() -> None:
    argv = [sys.executable, "-m", "smtpbench", "--version"]
    result = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30)
    assert result.stdout == f"smtpbench {__version__}\n"


def test_groups_are_spread_into_options_with_their_defaults(probe: Run, seen: list[tuple[Any, ...]]) -> None:
    assert probe().exit_code == 1
    [(target, options, outputs, level)] = seen
    assert (target, level) == ("embedded", "MUST")
    assert (options, outputs) == (TargetOptions(authorized=options.authorized, read=options.read), Outputs())
    assert (list(options.authorized), list(options.read)) == ([], [])


def test_options_reach_their_groups(probe: Run, seen: list[tuple[Any, ...]]) -> None:
    probe(
        "smtp://[::1]", "--recipient", "a@example.com", "--ca", "ca.pem", "--authorized", "a",
        "--authorized", "b", "--json", "x.json", "--quiet", "--level", "MAY",
        "--read", "imap://a@[::1]/",
    )  # fmt: skip
    assert seen == [
        (
            "smtp://[::1]",
            TargetOptions(
                recipient="a@example.com", ca=Path("ca.pem"), authorized=["a", "b"], read=["imap://a@[::1]/"]
            ),
            Outputs(json=Path("x.json"), quiet=True),
            "MAY",
        )
    ]


def test_every_field_of_a_group_is_an_option(probe: Run) -> None:
    text = probe("--help").stdout
    for group in (TargetOptions, Outputs):
        for field in group.__dataclass_fields__:
            assert f"--{field.replace('_', '-')}" in text


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UsageError("bad file"), 2, "smtpbench: bad file\n"),
        (Inconclusive("nothing tested"), 3, "smtpbench: nothing tested\n"),
        (Unreachable("no connection"), 3, "smtpbench: no connection\n"),
        (SmtpbenchError("our own"), 4, "smtpbench: our own\n"),
        (UsageError("one\ntwo"), 2, "smtpbench: one\nsmtpbench: two\n"),
        (KeyboardInterrupt(), 130, "smtpbench: interrupted\n"),
        (
            ValueError("first\n  second"),
            4,
            "smtpbench: internal error: ValueError: first; second (SMTPBENCH_DEBUG=1 shows where)\n",
        ),
    ],
)
def test_an_error_is_a_line_and_an_exit_code(
    error: BaseException,
    code: int,
    line: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SMTPBENCH_DEBUG", raising=False)

    def work() -> int:
        raise error

    assert guarded(work) == code
    assert capsys.readouterr() == ("", line)


def test_debug_lets_the_traceback_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMTPBENCH_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        guarded(lambda: 1 // 0)


@pytest.mark.parametrize(
    "way_out", [typer.Exit(5), typer.Abort(), typer.BadParameter("x"), BrokenPipeError()]
)
def test_ways_out_that_are_typers_are_left_to_it(way_out: Exception) -> None:
    def work() -> int:
        raise way_out

    with pytest.raises(type(way_out)):
        guarded(work)


def test_an_empty_error_still_says_something(capsys: pytest.CaptureFixture[str]) -> None:
    complain("")
    assert capsys.readouterr().err == "smtpbench: failed\n"


def test_a_command_is_imported_when_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("stand-in")
    module.catalogue = lambda: 3  # type: ignore[attr-defined]
    asked: list[str] = []

    def import_module(name: str) -> ModuleType:
        asked.append(name)
        return module

    monkeypatch.setattr(cli, "import_module", import_module)
    assert CliRunner().invoke(app, ["--help"]).exit_code == 0
    assert asked == []
    assert CliRunner().invoke(app, ["catalogue"]).exit_code == 3
    assert asked == ["smtpbench.cli.catalogue"]
