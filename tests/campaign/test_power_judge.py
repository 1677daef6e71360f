"""What the fate of traced messages makes of a server."""

from __future__ import annotations

import pytest

from smtpbench.campaign.power_judge import judge_power
from smtpbench.conformance.result import Verdict
from smtpbench.delivery.durability import Fate, Kept, Step

PATH = "/var/spool/q/1"
HIDDEN = ("io_uring",)


def kept(how: Kept | None, **more: object) -> Fate:
    return Fate(replied=True, kept=how, names=((PATH,),), synced_s=0.00031, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fate", "verdict", "words"),
    [
        (kept(Kept.WHOLE), Verdict.PASS, "…/q/1 synced 0.31 ms before the 250, and its directory"),
        (kept(Kept.FILE), Verdict.INFO, "left to the file system"),
        (kept(Kept.MOVED_AFTER), Verdict.INFO, "got its name later"),
        (kept(Kept.WRITTEN_AGAIN), Verdict.INFO, "written to again"),
        (kept(Kept.NOT_SYNCED), Verdict.FAIL, "not synced before it"),
        (kept(Kept.NOT_SYNCED, blind=HIDDEN), Verdict.UNTESTED, "io_uring"),
        (kept(None, late_s=0.5), Verdict.FAIL, "first written to a file 500.00 ms after the 250"),
        (kept(None, late_s=0.5, blind=HIDDEN), Verdict.UNTESTED, "io_uring"),
        (kept(None), Verdict.UNTESTED, "no call was seen that writes the message"),
        (Fate(), Verdict.UNTESTED, "the reply was not among the traced calls"),
    ],
)
def test_one_message(fate: Fate, verdict: Verdict, words: str) -> None:
    found = judge_power([fate])
    assert found.verdict is verdict
    assert words in found.reason
    assert found.reason.startswith("1 of 1 messages: ")
    assert found.evidence[0].verdict is verdict


def test_the_worst_message_decides() -> None:
    fates = [kept(Kept.WHOLE), kept(Kept.FILE), kept(Kept.WHOLE)]
    assert judge_power(fates).verdict is Verdict.INFO
    assert judge_power([*fates, kept(None)]).verdict is Verdict.UNTESTED
    worst = judge_power([*fates, kept(None), kept(Kept.NOT_SYNCED)])
    assert worst.verdict is Verdict.FAIL
    assert worst.reason.startswith("1 of 5 messages: ")


def test_a_file_system_that_writes_at_once_is_no_breach() -> None:
    asked: list[str] = []
    found = judge_power([kept(Kept.NOT_SYNCED)], lambda path: not asked.append(path))
    assert found.verdict is Verdict.INFO
    assert asked == [PATH]


def test_a_file_has_the_attribute_of_the_folder_in_which_it_was_made() -> None:
    moved = Fate(replied=True, kept=Kept.NOT_SYNCED, names=(("/sync/1", PATH),))
    assert judge_power([moved], lambda path: path == "/sync/1").verdict is Verdict.INFO
    assert judge_power([moved], lambda path: path == PATH).verdict is Verdict.INFO
    assert judge_power([moved], lambda _: False).verdict is Verdict.FAIL
    moved.names += (("/other/1",),)
    assert judge_power([moved], lambda path: path == "/sync/1").verdict is Verdict.FAIL


def test_without_a_message_nothing_is_judged() -> None:
    found = judge_power([])
    assert (found.verdict, found.evidence) == (Verdict.UNTESTED, [])
    assert "no message was accepted" in found.reason


def test_file_and_directory_are_two_facts_and_the_calls_are_shown() -> None:
    one = judge_power([kept(Kept.FILE, steps=[Step(0.00031, 7, "fsync", "/q/" + "x" * 500)])]).evidence[0]
    assert (one.file_synced, one.directory_synced, one.synced_before_reply_ms) == (True, False, 0.31)
    assert (one.calls[0].before_reply_ms, one.calls[0].pid, one.calls[0].call) == (0.31, 7, "fsync")
    assert len(one.calls[0].path) == 300
    assert not judge_power([kept(Kept.NOT_SYNCED)]).evidence[0].file_synced
