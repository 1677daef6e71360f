"""What processes can write or sync without a system call of their own: a trace does not show it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

NO_DISK = ("/dev/", "/proc/", "/sys/", "/memfd:", "/SYSV")  # paths that are on no disk
_SHARED = re.compile(r"^\S+ .w.s \S+ \S+ \S+\s+(/.*)$", re.MULTILINE)
_POLLED = re.compile(r"^SqThread:\s+(?!-1$)\d+$", re.MULTILINE)
_RING = "anon_inode:[io_uring]"


def hidden_io(pids: Iterable[int]) -> list[str]:
    """Each way once: files that are mapped into memory to be written, and rings that the kernel polls."""
    return list(dict.fromkeys(way for pid in pids for way in [*_mapped(pid), *_polled(pid)]))


def _mapped(pid: int) -> list[str]:
    with suppress(OSError):
        maps = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8", errors="backslashreplace")
        return [
            f"{path}, which is mapped into memory"
            for path in dict.fromkeys(_SHARED.findall(maps))
            if not path.startswith(NO_DISK) and not path.endswith(" (deleted)")
        ]
    return []


def _polled(pid: int) -> list[str]:
    """A ring with a thread of the kernel: what is put into it is done without a call."""
    with suppress(OSError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                if str(entry.readlink()) == _RING and _POLLED.search(
                    Path(f"/proc/{pid}/fdinfo/{entry.name}").read_text(encoding="ascii", errors="replace")
                ):
                    return ["io_uring, polled by the kernel"]
    return []
