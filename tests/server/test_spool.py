"""The reference server's queue on disk: what was accepted is there before the 250, and after a kill."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from smtpbench.server.outbound import Outbound
from smtpbench.server.spool import Spool

MESSAGE = Outbound(
    "relayed", b"sender@example.org", (b"a@relay.example", "δ@relay.example".encode()),
    b"Subject: x\r\n\r\n\xff\x00body\r\n", {"BODY": "8BITMIME", "SMTPUTF8": None}, ({}, {"NOTIFY": "NEVER"}),
    datetime(2026, 1, 2, tzinfo=UTC),
)  # fmt: skip


def test_what_was_kept_is_loaded_by_the_next_process(tmp_path: Path) -> None:
    name = Spool(tmp_path).keep(MESSAGE)
    after = Spool(tmp_path)
    assert after.load() == [(name, MESSAGE)]
    after.forget(name)
    assert after.load() == []


def test_what_was_not_finished_is_removed(tmp_path: Path) -> None:
    (tmp_path / "half.tmp").write_bytes(b"{")
    assert Spool(tmp_path).load() == []
    assert list(tmp_path.iterdir()) == []


def test_file_and_folder_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(str(Path(f"/proc/self/fd/{fd}").readlink())))
    name = Spool(tmp_path).keep(MESSAGE)
    assert synced == [f"{tmp_path}/{name}.tmp", str(tmp_path)]
    Spool(tmp_path, sync=False).keep(MESSAGE)
    assert len(synced) == 2


def test_a_folder_that_cannot_be_written_keeps_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    (tmp_path / "spool").rmdir()
    with pytest.raises(OSError, match="No such file"):
        spool.keep(MESSAGE)
