"""A case in words: everything is read from the case, and nothing is made up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from smtpbench.cli.explain import explain as command
from smtpbench.conformance import passive
from smtpbench.conformance.discovery import load_cases
from smtpbench.conformance.explain import Subject, explain, find
from smtpbench.conformance.model import find_cases, load_catalogue
from smtpbench.errors import UsageError

CASES = '''
from smtpbench.conformance import *

async def helped(peer):
    """Asks for help."""
    return expect(await peer.command(b"HELP"), codes(214), choice=codes(502))

@case("T-1", "T-3", needs=[RECIPIENT, TLS], broken_by="noop-not-recognised", after="group.early")
async def noop(peer):
    """NOOP is answered 250.

    Clients send it to keep a session open.
    """
    wanted = codes(250)
    answer = await peer.command(b"NOOP")
    seen = expect(answer, codes(250) | near(codes(251)), near=severity(2), stricter=closed)
    return all_of(seen, expect(await peer.command(b"NOOP"), wanted), await helped(peer))

@case("T-3")
async def by_hand(peer):
    """Makes its observation itself."""
    return Observation("", "", Outcome.CONFORMS)
'''


@pytest.fixture
def root(case_folder: Callable[[str], Path]) -> Path:
    return case_folder(CASES)


def test_a_case(root: Path) -> None:
    by_hand, noop = sorted(load_cases(root), key=lambda case: case.id)
    said = explain(noop, load_catalogue(root))
    assert said.title == "NOOP is answered 250."
    assert said.why == "Clients send it to keep a session open."
    assert (said.level, [row.id for row in said.requirements]) == ("MUST", ["T-1", "T-3"])
    assert said.needs == ("recipient", "tls")
    assert said.after == ("group.early",)
    assert said.judged == (
        "pass: 250 / wanted / 214",  # `wanted` is a variable of the case: its source is shown
        "non-strict: 251 / 2yz",
        "hardened: the connection closed",
        "info: 502",
        "fail: anything else",
    )
    assert said.faults == (("noop-not-recognised", "NOOP is answered 500"),)
    assert said.command == "smtpbench conform TARGET --select group.noop"
    assert explain(by_hand, load_catalogue(root)).judged == (
        "info: what the title says",
        "info: anything else",
    )


def test_a_passive_rule() -> None:
    rule = passive.RULES[0]
    said = explain(rule, load_catalogue(find_cases()))
    assert said.judged == (f"pass: {rule.expected}", "fail: anything else")
    assert [name for name, _ in said.faults] == list(rule.broken_by)


def test_every_case_of_ours_can_be_explained() -> None:
    root = find_cases()
    catalogue = load_catalogue(root)
    subjects: list[Subject] = [*load_cases(root), *passive.RULES]
    for subject in subjects:
        said = explain(subject, catalogue)
        assert said.judged
        assert all(what for _, what in said.faults), said.id


def test_finding(root: Path) -> None:
    subjects: list[Subject] = [*load_cases(root), *passive.RULES]

    def ids(*names: str) -> list[str]:
        return [item.id for item in find(subjects, names)]

    assert ids("group.noop") == ["group.noop"]
    assert ids("group.n*", "group.noop") == ["group.noop"]
    assert ids("group.") == ["group.noop", "group.by-hand"]
    assert len(ids("passive.")) == len(passive.RULES)
    with pytest.raises(UsageError, match=r"no case is called group.nop: did you mean group\.noop,"):
        ids("group.nop")
    with pytest.raises(UsageError, match=r"no case is called hand: did you mean group\.by-hand\?"):
        ids("hand")
    with pytest.raises(UsageError, match="zzzz: `smtpbench conform --list` shows"):
        ids("group.noop", "zzzz")


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["rfc5321.noop.noop-is-answered-250", "passive.replies-end-with-crlf"]) == 0
    said = capsys.readouterr().out
    assert "requirement 5321-B-21: MUST, RFC 5321 §" in said
    assert "noop-not-recognised: NOOP is answered 500" in said
    assert "run it: smtpbench conform TARGET --select passive.replies-end-with-crlf" in said
