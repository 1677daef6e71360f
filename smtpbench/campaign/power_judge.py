"""Power-loss safe or not: the fates of traced messages set against RFC 5321 §6.1.

With the 250 a server takes responsibility, and it "MUST NOT lose the message for frivolous reasons, such as
because the host later crashes". Content that nobody has asked the disk to keep is lost then, so a 250 before
any sync is a breach. The entry of the directory is another matter: POSIX promises nothing of it, and file
systems that are in use write it with the file (ext4, XFS and Btrfs do when a new file is synced). A server
that relies on that, as Postfix does, breaks nothing: it is recorded, and no pass is made of it either.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Sequence

from smtpbench.campaign.fault_result import MessageTrace, PowerLoss, TracedCall
from smtpbench.conformance.grading import grade
from smtpbench.conformance.model import Level
from smtpbench.conformance.observation import Observation, Outcome
from smtpbench.conformance.result import Verdict
from smtpbench.delivery.durability import Fate, Kept

EXPECTED = "the file that holds the message, and its directory, are synced before the 250"
LEVEL = Level.MUST_NOT
_LEFT = "is left to the file system (ext4, XFS and Btrfs write it with the file)"
_WORST = (Verdict.FAIL, Verdict.UNTESTED, Verdict.INFO, Verdict.PASS)
_SHOWN = 300  # characters of a path


def judge_power(fates: Sequence[Fate], synchronous: Callable[[str], bool] = lambda _: False) -> PowerLoss:
    """The verdict on all messages: that on the worst. `synchronous`: all writes to a path are, or may be, by
    the settings of its file system or an attribute of its directory. It is asked of every name that a file
    has had, because the attribute comes from the directory in which the file was made.
    """
    found = [_message(fate, synchronous) for fate in fates]
    for verdict in _WORST:
        if those := [one for one in found if one.verdict is verdict]:
            words = those[0].reason or those[0].observed
            return PowerLoss(
                verdict=verdict, reason=f"{len(those)} of {len(found)} messages: {words}", evidence=found
            )
    return PowerLoss(reason="no message was accepted")


def _message(fate: Fate, synchronous: Callable[[str], bool]) -> MessageTrace:
    seen = _observe(fate, synchronous)
    kept = fate.kept
    return MessageTrace(
        verdict=grade(LEVEL, seen.outcome), observed=seen.observed, reason=seen.reason,
        files=[path[:_SHOWN] for path in fate.paths],
        file_synced=kept is not None and kept >= Kept.MOVED_AFTER,
        directory_synced=kept is Kept.WHOLE,
        synced_before_reply_ms=_ms(fate.synced_s),
        calls=[
            TracedCall(
                before_reply_ms=round(step.before_s * 1000, 3), pid=step.pid, call=step.call,
                path=step.path[:_SHOWN],
            )
            for step in fate.steps
        ],
    )  # fmt: skip


def _observe(fate: Fate, synchronous: Callable[[str], bool]) -> Observation:
    if not fate.replied:
        return _untested("the reply was not among the traced calls: another process may talk to clients")
    if fate.kept is None:
        return _without_a_file(fate)
    name, ago = _names(fate.paths), _ago(fate.synced_s)
    match fate.kept:
        case Kept.WHOLE:
            return Observation(
                EXPECTED, f"{name} synced {ago} before the 250, and its directory", Outcome.CONFORMS
            )
        case Kept.FILE:
            words = f"{name} synced {ago} before the 250; its directory was not: its entry {_LEFT}"
            return Observation(EXPECTED, words, Outcome.CHOICE)
        case Kept.MOVED_AFTER:
            words = (
                f"{name} synced {ago} before the 250, and got its name later; the directory was not synced"
            )
            return Observation(EXPECTED, words, Outcome.CHOICE)
        case Kept.WRITTEN_AGAIN:
            words = f"{name} synced {ago} before the 250, and written to again after that"
            return Observation(EXPECTED, words, Outcome.CHOICE)
    return _not_synced(fate, name, synchronous)


def _not_synced(fate: Fate, name: str, synchronous: Callable[[str], bool]) -> Observation:
    if all(any(map(synchronous, names)) for names in fate.names):
        return Observation(EXPECTED, f"{name}: its file system writes all at once, or may", Outcome.CHOICE)
    words = f"{name} written before the 250, and not synced before it"
    return _unless_blind(fate, words)


def _without_a_file(fate: Fate) -> Observation:
    if fate.late_s is None:
        return _untested("no call was seen that writes the message, as it was sent, to a file")
    return _unless_blind(fate, f"first written to a file {fate.late_s * 1000:.2f} ms after the 250")


def _unless_blind(fate: Fate, words: str) -> Observation:
    if fate.blind:
        return _untested(f"{words}, but the trace may not show all: {fate.blind[0][:_SHOWN]}")
    return Observation(EXPECTED, words, Outcome.VIOLATES)


def _untested(reason: str) -> Observation:
    return Observation(EXPECTED, "", Outcome.UNTESTED, reason)


def _names(paths: Sequence[str]) -> str:
    """The files, each by the last parts of its path."""
    shown = [posixpath.join("…", *path[:_SHOWN].split("/")[-2:]) for path in paths]
    return " and ".join(shown)


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)


def _ago(seconds: float | None) -> str:
    return "at once" if seconds is None else f"{seconds * 1000:.2f} ms"
