"""What an installed smtpbench holds: the wheel is built here, without the network, and looked into."""

import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

import smtpbench
from smtpbench.load import chat
from smtpbench.load.chat import available

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.Path:
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    (file,) = folder.glob("*.whl")
    return zipfile.Path(file)


def names(wheel: zipfile.Path) -> set[str]:
    return set(wheel.root.namelist())


def below(folder: str, pattern: str) -> set[str]:
    return {path.relative_to(ROOT / folder).as_posix() for path in (ROOT / folder).rglob(pattern)}


def test_the_wheel_is_named_for_the_distribution(wheel: zipfile.Path) -> None:
    """For any machine, unless what is built of C is in it."""
    filename = Path(str(wheel.root.filename)).name
    built = f"smtpbench/load/_chat{sysconfig.get_config_var('EXT_SUFFIX')}" in names(wheel)
    python = f"cp{sys.version_info.major}{sys.version_info.minor}"
    tag = f"{python}-{python}-{sysconfig.get_platform().replace('-', '_')}" if built else "py3-none-any"
    assert filename == f"smtpbench_suite-{smtpbench.__version__}-{tag}.whl"


def test_the_wheel_claims_one_import_name(wheel: zipfile.Path) -> None:
    tops = {name.partition("/")[0] for name in names(wheel)}
    assert tops == {"smtpbench", f"smtpbench_suite-{smtpbench.__version__}.dist-info"}


@pytest.mark.parametrize(
    ("folder", "pattern", "place"),
    [
        ("smtpbench", "*.py", "smtpbench"),
        ("smtpbench/report/templates", "*.*", "smtpbench/report/templates"),
        ("conformance", "*.py", "smtpbench/cases"),
        ("conformance/catalogue", "*.toml", "smtpbench/cases/catalogue"),
        ("scenarios", "*.py", "smtpbench/scenarios"),
        ("scenarios", "*.toml", "smtpbench/scenarios"),
    ],
)
def test_every_file_is_in_its_place(wheel: zipfile.Path, folder: str, pattern: str, place: str) -> None:
    expected = {f"{place}/{name}" for name in below(folder, pattern)}
    assert expected
    assert expected <= names(wheel)


def test_the_wheel_is_typed_licensed_and_has_the_command(wheel: zipfile.Path) -> None:
    info = f"smtpbench_suite-{smtpbench.__version__}.dist-info"
    assert {"smtpbench/py.typed", f"{info}/licenses/LICENSE"} <= names(wheel)
    scripts = wheel.joinpath(info, "entry_points.txt").read_text(encoding="utf-8")
    assert "smtpbench = smtpbench.cli:main" in scripts


def test_nothing_else_slipped_in(wheel: zipfile.Path) -> None:
    assert not [
        name for name in names(wheel) if "__pycache__" in name or name.startswith(("tests", "results"))
    ]


def test_the_lock_file_pins_everything_and_names_no_index() -> None:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and line[0] not in " #"]
    assert pins
    assert all("==" in pin for pin in pins)
    assert not [line for line in lines if "://" in line or line.startswith("-")]


@pytest.mark.skipif(
    not (shutil.which("cc") and Path(sysconfig.get_path("include"), "Python.h").exists()),
    reason="no C compiler here, or no headers of Python",
)
def test_where_the_chats_can_be_built_they_are() -> None:
    """If not (python hatch_build.py), their tests would be left out without a reason."""
    assert available()
    from smtpbench.load import _chat  # only where it can be built

    assert (_chat.READ, _chat.AHEAD) == (chat.READ, chat.AHEAD)
