"""``smtpbench queue``: its exit codes and its run folder."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from smtpbench.campaign.result import LedgerCounts, QueueResult
from smtpbench.cli.queue import queue_exit_code, retries_exit_code
from smtpbench.load.result import ThresholdResult, Totals

BROKEN = ThresholdResult(expression="body.p99 < 1ms", value=2.0, met=False)
ACCEPTED = Totals(accepted=9)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, 0),
        ({"ledger": LedgerCounts(accepted=9, delivered=8, bounced=1)}, 0),
        ({"ledger": LedgerCounts(accepted=9, delivered=9, reordered=3, transformed=2)}, 0),
        ({"ledger": LedgerCounts(accepted=9, delivered=8, lost=1)}, 1),
        ({"ledger": LedgerCounts(accepted=9, delivered=9, duplicated=1), "valid": False}, 1),
        ({"ledger": LedgerCounts(accepted=9, delivered=9, corrupted=1)}, 1),
        ({"ledger": LedgerCounts(accepted=9, delivered=8, pending=1), "closed": False}, 3),
        ({"valid": False}, 3),
        ({"closed": False, "interrupted": True}, 3),
        ({"thresholds": [BROKEN]}, 1),
        ({"totals": Totals(dropped=3), "ledger": LedgerCounts()}, 3),
    ],
)
def test_exit_codes(fields: dict[str, object], code: int) -> None:
    good = {"closed": True, "totals": ACCEPTED, "ledger": LedgerCounts(accepted=9, delivered=9)}
    assert queue_exit_code(QueueResult(**{**good, **fields})) == code


def test_a_run_on_the_embedded_target(smtpbench: Callable[..., Result], tmp_path: Path) -> None:
    done = smtpbench("queue", "--messages", "40", "--users", "2", "--out", str(tmp_path / "run"))
    assert done.exit_code == 0, done.output
    assert "40 accepted, each delivered once and whole" in done.output
    written = json.loads((tmp_path / "run" / "queue.json").read_text())
    assert written["schema"] == "smtpbench.queue/1"
    words = ("accepted", "delivered", "lost", "duplicated", "corrupted", "bounced", "pending")
    assert [written["ledger"][word] for word in words] == [40, 40, 0, 0, 0, 0, 0]
    assert written["end_to_end"]["count"] == 40
    assert written["queue_depth"][-1]["depth"] == 0
    assert {"drain_s", "sustainable_per_s"} <= written.keys()
    again = smtpbench("report", str(tmp_path / "run"))
    assert "40 accepted, each delivered once and whole" in again.output
    assert (tmp_path / "run" / "ledger" / "ledger.sqlite").exists()


def test_a_search_for_what_is_sustainable(smtpbench: Callable[..., Result], tmp_path: Path) -> None:
    done = smtpbench(
        "queue", "--messages", "20", "--users", "2", "--find-sustainable", "--trial-time", "5s",
        "--max-rate", "2", "--budget", "14s", "--out", tmp_path,
    )  # fmt: skip
    written = json.loads((tmp_path / "queue.json").read_text())
    assert len(written["search"]["trials"]) == 1, done.output
    assert "the budget of 14 s was used up" in written["sustainable_reason"]
    assert (tmp_path / "ledger" / "trials" / "001" / "ledger.sqlite").exists()
    assert "trial  1  grow" in done.output


def test_a_folder_of_another_run_is_refused(smtpbench: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "ledger").mkdir()
    (tmp_path / "ledger" / "ledger.sqlite").touch()
    done = smtpbench("queue", "--messages", "1", "--out", str(tmp_path))
    assert done.exit_code == 2
    assert "the ledger of another run is in there" in done.output


def test_a_target_that_says_nothing_of_its_mailboxes(
    smtpbench: Callable[..., Result], tmp_path: Path
) -> None:
    done = smtpbench("queue", "smtp://127.0.0.1:1", "--messages", "1")
    assert done.exit_code in (2, 3)  # not observed, or not there
    assert len(done.output.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--slow-domain", "a.example"], "expected one of several --domain"),
        (
            ["--domain", "a.example", "--domain", "b.example", "--slow-domain", "a.example"],
            "needs --run-time",
        ),
        (["--hop-rule", "on = 7"], "rule 1"),
        (["--hop-rule", 'on = "rcpt", reply = "451"'], "only a hop that we are"),
        (["--follow", "relay"], "no [relay]"),
        (["--settle", "soon"], "is not a duration"),
        (["--find-sustainable", "--trial-time", "1s"], "--trial-time 1s: expected 5s or more"),
        (["--find-sustainable", "--budget", "9s"], "one trial takes 20 s"),
        (["--find-sustainable", "--max-rate", "0"], "expected more than 0"),
    ],
)
def test_mistakes_are_one_line(smtpbench: Callable[..., Result], arguments: list[str], words: str) -> None:
    done = smtpbench("queue", "--messages", "1", *arguments)
    assert done.exit_code == 2
    assert words in done.output
    assert len(done.output.strip().splitlines()) == 1


def test_a_queue_with_a_fault_as_a_user_would_try_it(
    smtpbench: Callable[..., Result], tmp_path: Path
) -> None:
    """``serve`` relays to the port where ``queue`` listens, and flips a bit in the 100th message."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        hop = taken.getsockname()[1]
    target = tmp_path / "target.toml"
    command = [sys.executable, "-m", "smtpbench", "serve", "--listen", "127.0.0.1:0"]
    options = ["--relay", f"relay.example=127.0.0.1:{hop}", "--fault", "queue-flips-a-bit"]
    with subprocess.Popen([*command, *options, "--target-file", target], stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout.readline().startswith(b"listening on")
            done = smtpbench(
                "queue", target, "--messages", "120", "--users", "2", "--json", tmp_path / "q.json"
            )
        finally:
            server.terminate()
    assert done.exit_code == 1, done.output
    assert "1 corrupted of 120 accepted" in done.output
    assert json.loads((tmp_path / "q.json").read_text())["ledger"]["corrupted"] == 1


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        (["pass", "non-strict"], 0),
        (["pass", "fail"], 1),
        (["pass", "untested"], 3),
        (["pass", "pass", "untested"], 0),
    ],
)
def test_exit_codes_of_retries(verdicts: list[str], code: int) -> None:
    sentence = {"level": "MUST", "section": "6.1", "requirement": "…"}
    messages = [
        {"kind": "a", "does": "b", "expected": "c", "end": "d", "verdict": word, **sentence}
        for word in verdicts
    ]
    result = QueueResult.model_validate({"retries": {"wait_s": 1, "messages": messages}})
    assert retries_exit_code(result) == code


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--retries"], "no [relay]"),
        (["--retries", "--messages", "5"], "of its own"),
        (["--retries", "--hop-rule", 'on = "rcpt", reply = "451"'], "of its own"),
        (["--retries", "--retry-factor", "0.5"], "expected 1"),
        (["--retry-factor", "5"], "--retries"),
        (["--wait", "5s"], "--retries"),
    ],
)
def test_mistakes_about_retries_are_one_line(
    smtpbench: Callable[..., Result], arguments: list[str], words: str
) -> None:
    done = smtpbench("queue", *arguments)
    assert done.exit_code == 2
    assert words in done.output
    assert len(done.output.strip().splitlines()) == 1
