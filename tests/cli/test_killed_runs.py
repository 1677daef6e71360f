"""A run of ours that is killed with all its processes, against a server with a book of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from killed_runs import Killed, killed_run

from smtpbench.report import read_run


@pytest.mark.parametrize(
    ("nth", "processes", "pipelining"),
    [(417, 1, False), (1031, 2, True)],
    ids=["one process", "two, pipelining"],
)
def test_nothing_is_missing_that_was_acknowledged(
    tmp_path: Path, nth: int, processes: int, pipelining: bool
) -> None:
    found = killed_run(tmp_path, nth, processes=processes, pipelining=pipelining)
    assert found.wrong == ""
    assert len(found.acknowledged) >= nth
    assert len(found.read) >= nth - found.sessions > 0
    assert "the run was killed: " in found.text
    assert len(list((tmp_path / "run" / "ledger").glob("*.journal"))) == processes
    queue = read_run(tmp_path / "run").queue
    assert queue is not None
    assert queue.interrupted
    assert queue.ledger.accepted == len(found.reported) == queue.ledger.delivered + queue.ledger.pending
    assert queue.ledger.unknown == found.unanswered
    assert queue.ledger.wrong == {}


@pytest.mark.parametrize(
    ("reported", "unanswered", "words"),
    [
        ({"a", "b"}, 1, ""),
        ({"a"}, 2, "1 missing"),
        ({"a", "b"}, 0, "1 in doubt, 0 by the report"),
        ({"a", "b", "c", "d"}, 2, "1 that nobody acknowledged"),
        ({"a", "b", "c"}, 3, "0 in doubt, 3 by the report, of 2 sessions"),
    ],
)
def test_what_is_wrong_is_said(reported: set[str], unanswered: int, words: str) -> None:
    found = Killed({"a", "b", "c"}, {"a", "b"}, reported, 2, unanswered, "")
    assert found.wrong.startswith(words)
    assert bool(found.wrong) is bool(words)
