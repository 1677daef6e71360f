"""A user submits, Postfix hands over to Dovecot, a recipient reads: one path, measured on real servers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from smtpbench.campaign.queue import run_queue
from smtpbench.lab import open_target
from smtpbench.target import Target

MESSAGES = 60


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    with open_target("lab:postfix-dovecot") as opened:
        yield opened


@pytest.mark.lab
@pytest.mark.parametrize(("tls", "phase"), [(None, "starttls"), ("implicit", "tls")])
def test_what_is_submitted_is_delivered_and_read(
    target: Target, tls: str | None, phase: str, tmp_path: Path
) -> None:
    fields = {"users": 2, "messages": MESSAGES, **({"tls": tls} if tls else {})}
    result = run_queue(target, fields, tmp_path)
    assert (result.ledger.accepted, result.ledger.delivered) == (MESSAGES, MESSAGES)
    assert result.ledger.wrong == {}
    assert result.phases["auth"].count > 0
    assert result.phases[phase].count == result.phases["auth"].count
    assert result.exact_times
    assert {name: stats.count for name, stats in result.read.items()} == {"imap": MESSAGES, "pop3": MESSAGES}
    assert all(stats.p50_ms >= result.end_to_end.p50_ms for stats in result.read.values())
    assert all(0 < stats.resolution_ms < 30_000 for stats in result.read.values())
    assert result.read["imap"].internal_date.count == MESSAGES
