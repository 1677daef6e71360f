"""Ids come from files and functions; order and selection from the cases themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from smtpbench.conformance import Case, Observation, Peer, case
from smtpbench.conformance.cases import case_id, cases_root
from smtpbench.conformance.discovery import load_cases, ordered, selected
from smtpbench.errors import SmtpbenchError, UsageError

CASE_FILE = '''
from smtpbench.conformance import case, codes, expect

@case("5321-B-21", broken_by="noop-not-answered")
async def noop_is_answered(peer):
    """NOOP is answered.

    More words.
    """
    return expect(await peer.command(b"NOOP"), codes(250))

@case("5321-B-24", "5321-B-25", after=noop_is_answered)
async def rset(peer):
    """RSET is answered."""
    return expect(await peer.command(b"RSET"), codes(250))

helper = 1
'''


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "catalogue").mkdir()
    (tmp_path / "rfc5321").mkdir()
    (tmp_path / "rfc5321" / "some_commands.py").write_text(CASE_FILE)
    return tmp_path


def make(name: str, *after: str) -> Case:
    async def function(peer: Peer) -> Observation:
        """Never run."""
        raise AssertionError

    function.__name__ = name
    return case("5321-B-1", after=after)(function)


def test_the_id_is_the_path_below_the_root_and_the_name(root: Path) -> None:
    path = root / "rfc5321" / "some_commands.py"
    assert cases_root(path) == root
    assert case_id(path, "lf_dot_crlf") == "rfc5321.some-commands.lf-dot-crlf"
    assert case_id(Path("/nowhere/else.py"), "x_y") == "else.x-y"


def test_cases_of_a_folder(root: Path) -> None:
    first, second = load_cases(root)
    assert first.id == "rfc5321.some-commands.noop-is-answered"
    assert first.title == "NOOP is answered."
    assert first.broken_by == ("noop-not-answered",)
    assert second.requirements == ("5321-B-24", "5321-B-25")
    assert second.after == (first.id,)


def test_ids_do_not_depend_on_where_the_root_is(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("elsewhere") / "cases"
    other.parent.mkdir(exist_ok=True)
    ids = [item.id for item in load_cases(root)]
    root.rename(other)
    assert [item.id for item in load_cases(other)] == ids


def test_a_file_that_does_not_import_is_named(root: Path) -> None:
    (root / "broken.py").write_text("import nothing_of_this_name\n")
    with pytest.raises(SmtpbenchError, match=r"broken\.py: ModuleNotFoundError"):
        load_cases(root)


def test_a_case_needs_a_requirement_and_a_title() -> None:
    async def untitled(peer: Peer) -> Observation:
        raise AssertionError

    with pytest.raises(TypeError, match="no docstring"):
        case("5321-B-1")(untitled)
    with pytest.raises(TypeError, match="at least one requirement"):
        case()


def test_cases_come_after_those_they_name() -> None:
    a, b, c = make("a", "test-cases.c"), make("b"), make("c", "test-cases.b", "not.among-them")
    assert [item.id for item in ordered([a, b, c])] == ["test-cases.b", "test-cases.c", "test-cases.a"]


def test_circles_and_doubles_are_refused() -> None:
    with pytest.raises(UsageError, match="wait for each other"):
        ordered([make("a", "test-cases.b"), make("b", "test-cases.a")])
    with pytest.raises(UsageError, match="two cases have the id"):
        ordered([make("a"), make("a")])


@pytest.mark.parametrize(
    ("select", "exclude", "expected"),
    [
        ((), (), True),
        (("test-cases.*",), (), True),
        (("5321-B-*",), (), True),
        (("rfc*",), (), False),
        ((), ("*.a",), False),
        (("*",), ("5321-B-1",), False),
    ],
)
def test_selection(select: tuple[str, ...], exclude: tuple[str, ...], expected: bool) -> None:
    assert selected(make("a"), select, exclude) is expected
