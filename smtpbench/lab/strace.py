"""The system calls of processes that run already, by strace: from when it says it is attached, to a file."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from smtpbench.errors import Inconclusive
from smtpbench.lab.private_root import cache_folder
from smtpbench.lab.state import started_at

ATTACH_S = 15.0
DETACH_S = 10.0
FETCH_S = 120.0
POLL_S = 0.01
ATTEMPTS = 3  # a process that was started while we attached is met the next time
STRING = 65_536  # octets shown of what a call writes
MAX_PROCESSES = 1000
INSTALL = "strace is not installed (apt install strace, dnf install strace, apk add strace)"
_ATTACHED = re.compile(r"Process (\d+) attached")
_REFUSED = re.compile(r"attach: ptrace\(\w+, (\d+)\): (.*)")
_PACKAGES = ("strace", "libunwind8", "liblzma5")


class NotTraced(Inconclusive):
    """The processes cannot be traced, for the reason in its text."""


@dataclass(frozen=True, slots=True)
class Strace:
    """The program, and where its libraries are if they are not the system's."""

    program: str
    libraries: str = ""

    @property
    def environment(self) -> dict[str, str]:
        """What it is started with."""
        return {
            **os.environ,
            **({"LD_LIBRARY_PATH": self.libraries} if self.libraries else {}),
            "LC_ALL": "C",
        }


def find_strace(*, fetch: bool = False) -> Strace:
    """That of the system, or else one that was fetched; `fetch`: from Debian's packages, into the user's
    cache, and nothing is installed. Raises NotTraced.
    """
    if found := shutil.which("strace"):
        return Strace(found)
    folder = cache_folder("strace")
    if not _fetched(folder) and fetch and shutil.which("apt-get"):
        with suppress(OSError, subprocess.SubprocessError):
            _fetch(folder)
    if program := _fetched(folder):
        libraries = sorted(str(path) for path in (folder / "root").glob("usr/lib/*") if path.is_dir())
        return Strace(str(program), ":".join(libraries))
    raise NotTraced(INSTALL)


def _fetched(folder: Path) -> Path | None:
    program = folder / "root" / "usr" / "bin" / "strace"
    return program if program.is_file() else None


def _fetch(folder: Path) -> None:
    """Lists of its own, so that those of the system are left as they are."""
    lists = folder / "lists"
    for needed in (lists / "partial", folder / "archives" / "partial"):
        needed.mkdir(parents=True, exist_ok=True)
    apt = ["apt-get", "-qq", "-o", f"Dir::State::Lists={lists}", "-o", "APT::Sandbox::User=root"]
    for words in (["update"], ["download", *_PACKAGES]):
        subprocess.run(
            [*apt, *words], cwd=folder / "archives", check=True, timeout=FETCH_S, capture_output=True
        )
    for package in sorted((folder / "archives").glob("*.deb")):
        subprocess.run(
            ["dpkg", "-x", package, folder / "root"], check=True, timeout=FETCH_S, capture_output=True
        )
    shutil.rmtree(lists)


@contextmanager
def traced(
    strace: Strace, pids: Callable[[], list[int]], calls: Sequence[str], output: Path
) -> Iterator[None]:
    """All threads of `pids()`, and the processes they start, are traced while this is entered: `calls` alone,
    into `output`, which is complete when it is left.

    Raises NotTraced if there are none, or not all of them can be traced.
    """
    process = _attached(strace, pids, calls, output)
    try:
        yield
    finally:
        _end(process)


def _attached(
    strace: Strace, pids: Callable[[], list[int]], calls: Sequence[str], output: Path
) -> subprocess.Popen[bytes]:
    left: set[int] = set()
    for _ in range(ATTEMPTS):
        wanted = pids()
        if not 0 < len(wanted) <= MAX_PROCESSES:
            raise NotTraced(f"{len(wanted)} processes of the target are known on this machine")
        process, seen = _attach(strace, wanted, calls, output)
        left = {pid for pid in pids() if started_at(pid) is not None} - seen()
        if not left:
            return process
        _end(process)
    raise NotTraced(f"processes come and go too fast: {len(left)} of them were not traced")


def _attach(
    strace: Strace, wanted: Sequence[int], calls: Sequence[str], output: Path
) -> tuple[subprocess.Popen[bytes], Callable[[], set[int]]]:
    said = output.with_suffix(".said")
    argv = [
        strace.program, "-f", "-ttt", "-T", "-yy", "-s", str(STRING), "-e", "signal=none",
        "-e", f"trace={','.join(f'?{name}' for name in calls)}", "-o", str(output),
        *(word for pid in wanted for word in ("-p", str(pid))),
    ]  # fmt: skip
    with said.open("wb") as errors:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, env=strace.environment,
            start_new_session=True,
        )  # fmt: skip

    def text() -> str:
        return said.read_text(encoding="utf-8", errors="replace")

    def seen() -> set[int]:
        return {int(number) for number in _ATTACHED.findall(text())}

    try:
        _await_attached(process, set(wanted), text, seen)
    except BaseException:
        _end(process)
        raise
    return process, seen


def _await_attached(
    process: subprocess.Popen[bytes], wanted: set[int], text: Callable[[], str], seen: Callable[[], set[int]]
) -> None:
    deadline = time.monotonic() + ATTACH_S
    while True:
        ended = process.poll() is not None
        refused = {int(pid): why for pid, why in _REFUSED.findall(text())}
        kept = [pid for pid in refused if started_at(pid) is not None]  # the others have ended meanwhile
        if kept:
            raise NotTraced(f"ptrace of process {kept[0]} is refused: {refused[kept[0]]}")
        if ended:
            lines = text().strip().splitlines() or ["no reason given"]
            raise NotTraced(f"strace ended: {lines[-1][:200]}")
        if all(pid in refused or started_at(pid) is None for pid in wanted - seen()):
            return
        if time.monotonic() > deadline:
            raise NotTraced(f"strace is not attached within {ATTACH_S:g} s")
        time.sleep(POLL_S)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let it detach: killed, it would leave a traced process as it is."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        process.wait(DETACH_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
