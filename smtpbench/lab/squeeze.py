"""Brings a shortage upon a server on this machine, and ends it: the ``[shortage]`` commands of lab servers.

    python -m smtpbench.lab.squeeze disk-full|descriptors strike|recover PORT FILE

The server is whoever listens at PORT, and all its children. What has to be put back is kept in FILE.

`descriptors`: no process of the server may open more than `SPARE` files beyond those it has (RLIMIT_NOFILE).
`disk-full`: the tmpfs that a private root is on shrinks to what is in it: nothing has to be filled, and the
machine loses no memory. A server without a root of its own can make no file grow instead (RLIMIT_FSIZE is 0).
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from smtpbench.errors import EXIT_USAGE, UsageError
from smtpbench.lab.state import started_at

SPARE = 1  # descriptors that each process may still open
ROOM = 65_536  # octets that are left in the file system: a small message, no more
COMMAND_WAIT = 15.0
_LISTENS = "0A"  # the state in /proc/net/tcp
_ROOT_SPACE = "space"  # private_root.sh mounts its tmpfs there, in the workspace's folder


# who it is


def listeners(port: int) -> list[int]:
    """The processes that listen at TCP `port`, of those that we may look into."""
    inodes = set(_inodes(port))
    return [pid for pid in _pids() if inodes & set(_sockets(pid))]


def family(port: int) -> list[int]:
    """The topmost process that listens at `port`, then all its descendants. Raises UsageError for none."""
    found = set(listeners(port))
    parents = {pid: parent for pid in _pids() if (parent := _parent(pid)) is not None}
    top = sorted(pid for pid in found if parents.get(pid) not in found)
    if not top:
        raise UsageError(f"port {port}: nobody on this machine, that we may look into, listens there")
    children: dict[int, list[int]] = defaultdict(list)
    for pid, parent in parents.items():
        children[parent].append(pid)
    members = list(top)
    for pid in members:  # grows
        members += [one for one in children[pid] if one not in members]
    return members


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def _inodes(port: int) -> Iterator[str]:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(FileNotFoundError):
            for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENS and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9]


def _sockets(pid: int) -> Iterator[str]:
    with contextlib.suppress(OSError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                link = str(entry.readlink())
                if link.startswith("socket:["):
                    yield link[8:-1]


def _parent(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[1])


# limits of processes


def _limit(name: str, new_soft: Callable[[int], int], port: int, file: Path) -> None:
    """Lower the soft limit `name` of each process. The hard one stays: not even every root may raise that.

    Raises UsageError if it is refused for the first, the one that listens.
    """
    before: dict[str, Any] = {"default": None, "processes": {}}
    for pid in family(port):
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            try:
                old = _soft(pid, name)
                before["processes"][str(pid)] = [started_at(pid), old]
                before["default"] = before["default"] or old
                _write(file, before)  # before the change: whoever is killed here can be put right
                _set_soft(pid, name, str(new_soft(pid)))
            except PermissionError as error:  # a child that is just changing its user
                if before["default"] is None:
                    raise UsageError(str(error)) from None


def _unlimit(name: str, port: int, file: Path) -> None:
    """Put the limits back; who came meanwhile gets that of the first."""
    before = json.loads(file.read_text(encoding="ascii"))
    known = {int(pid): values for pid, values in before["processes"].items()}
    with contextlib.suppress(UsageError):  # nobody listens any more: those that were there may live
        known |= {pid: [started_at(pid), before["default"]] for pid in family(port) if pid not in known}
    for pid, (started, soft) in known.items():
        if started is not None and started_at(pid) == started:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                _set_soft(pid, name, soft)


def _soft(pid: int, name: str) -> str:
    return _prlimit(pid, f"--{name}", "--output=SOFT", "--noheadings", "--raw").strip()


def _set_soft(pid: int, name: str, value: str) -> None:
    _prlimit(pid, f"--{name}={value}:")


def _prlimit(pid: int, *options: str) -> str:
    """prlimit(1), as the owner of `pid`: the kernel asks for the same user, or a capability root may lack."""
    owner = Path(f"/proc/{pid}").stat()
    own = owner.st_uid == os.geteuid()
    user: dict[str, Any] = {} if own else {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
    done: subprocess.CompletedProcess[str] = subprocess.run(
        ["prlimit", "--pid", str(pid), *options],
        capture_output=True, text=True, check=False, timeout=COMMAND_WAIT, **user,
    )  # fmt: skip
    if done.returncode and _parent(pid) is None:
        raise ProcessLookupError(pid)
    if done.returncode:
        raise PermissionError(f"process {pid}: {done.stderr.strip()}")
    return done.stdout


def _few_more(pid: int) -> int:
    """The limit on descriptors that leaves `pid` `SPARE` more: numbers are given out from the lowest."""
    taken = {int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir()}
    free = (number for number in range(len(taken) + SPARE + 1) if number not in taken)
    return [next(free) for _ in range(SPARE)][-1] + 1


# a file system


def _fill(port: int, file: Path) -> None:
    pid = family(port)[0]
    keeper = _outermost(pid)
    if keeper is None:
        _limit("fsize", lambda _: 0, port, file)
        return
    known = os.statvfs(f"/proc/{pid}/root")  # the overlay says what the tmpfs below it has
    used = (known.f_blocks - known.f_bfree) * known.f_frsize
    _write(file, {"pid": keeper, "size": known.f_blocks * known.f_frsize})
    _resize(keeper, used + ROOM, file)


def _make_room(port: int, file: Path) -> None:
    before = json.loads(file.read_text(encoding="ascii"))
    if "size" in before:
        _resize(before["pid"], before["size"], file)
    else:
        _unlimit("fsize", port, file)


def _outermost(pid: int) -> int | None:
    """The first process of the mount namespace of `pid`; None if that is our own."""

    def namespace(one: int | str) -> str:
        return str(Path(f"/proc/{one}/ns/mnt").readlink())

    inside = namespace(pid)
    if inside == namespace("self"):
        return None
    while (parent := _parent(pid)) and namespace(parent) == inside:
        pid = parent
    return pid


def _resize(pid: int, size: int, file: Path) -> None:
    space = file.parent / _ROOT_SPACE
    done = subprocess.run(
        ["nsenter", f"--mount=/proc/{pid}/ns/mnt", "mount", "-o", f"remount,size={size}", str(space)],
        capture_output=True, check=False, timeout=COMMAND_WAIT,
    )  # fmt: skip
    if done.returncode:
        raise UsageError(f"{space}: {done.stderr.decode('utf-8', 'replace').strip()}")


def _write(file: Path, known: dict[str, Any]) -> None:
    file.write_text(json.dumps(known), encoding="ascii")


# the command


STRIKE: dict[str, Callable[[int, Path], None]] = {
    "descriptors": lambda port, file: _limit("nofile", _few_more, port, file),
    "disk-full": _fill,
}
RECOVER: dict[str, Callable[[int, Path], None]] = {
    "descriptors": lambda port, file: _unlimit("nofile", port, file),
    "disk-full": _make_room,
}


def main() -> None:
    """Do what the command line says; an error is a line on standard error."""
    try:
        kind, what, port, file = sys.argv[1:]
        {"strike": STRIKE, "recover": RECOVER}[what][kind](int(port), Path(file))
    except (OSError, ValueError, KeyError, UsageError, subprocess.TimeoutExpired) as error:
        print(f"{' '.join(sys.argv[1:])}: {error}", file=sys.stderr)  # noqa: T201 - a program of its own
        sys.exit(EXIT_USAGE)


if __name__ == "__main__":
    main()
