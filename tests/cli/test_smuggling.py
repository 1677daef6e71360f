"""The smuggling command: table, JSON, exit codes, bad input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from smtpbench.cli.smuggling import smuggling
from smtpbench.errors import EXIT_FINDINGS, EXIT_OK, UsageError
from smtpbench.lab.options import TargetOptions
from smtpbench.lab.recipes import recipe

OPTIONS = TargetOptions(recipient="alice@example.com")


def test_the_embedded_server_is_tried_with_every_variant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = tmp_path / "matrix.json"
    code = smuggling("embedded", json=written, options=TargetOptions())
    result = json.loads(written.read_text())
    assert result["schema"] == "smtpbench.smuggling/1"
    assert result["next"] is None
    assert {row["target"]["result"] for row in result["variants"]} <= {"whole", "split", "refused", "closed"}
    assert code == (EXIT_FINDINGS if any(row["smuggled"] for row in result["variants"]) else EXIT_OK)
    shown = capsys.readouterr().out
    assert "LF . LF" in shown
    assert "no [relay]" in shown


def test_next_needs_to_know_what_is_sent_on() -> None:
    with recipe("aiosmtpd").start() as target, pytest.raises(UsageError, match=r"has no \[relay\]"):
        smuggling(f"smtp://{target.main.address}", "embedded", options=OPTIONS)


def test_a_mailbox_is_needed() -> None:
    with recipe("aiosmtpd").start() as target, pytest.raises(UsageError, match="--recipient"):
        smuggling(f"smtp://{target.main.address}", options=TargetOptions())
