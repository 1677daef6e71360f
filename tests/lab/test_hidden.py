"""What a process can write without a system call."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from smtpbench.lab.hidden import hidden_io


def test_a_file_that_is_mapped_to_be_written(tmp_path: Path) -> None:
    path = tmp_path / "data.mdb"
    path.write_bytes(b"x" * 4096)
    told = f"{path}, which is mapped into memory"
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        assert told in hidden_io([os.getpid()])
        mapped.flush()
    assert told not in hidden_io([os.getpid()])
    with path.open("rb") as read, mmap.mmap(read.fileno(), 0, access=mmap.ACCESS_READ):
        assert told not in hidden_io([os.getpid()])


def test_memory_that_is_no_file_hides_nothing() -> None:
    before = hidden_io([os.getpid()])
    with mmap.mmap(-1, 4096):
        assert hidden_io([os.getpid()]) == before


def test_a_process_that_is_gone_hides_nothing() -> None:
    assert hidden_io([2**22 + 1]) == []
