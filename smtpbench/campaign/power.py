"""Some messages, one after another, while the target's processes are traced: is it power-loss safe?

Each message has identifiers of its own in its header, at the beginning of its body and at the end of it, by
which the calls that write it are known. It goes the way of the load's messages, before the load.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import posixpath
import secrets
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from email.utils import formatdate
from pathlib import Path
from typing import Any

from smtpbench.campaign.fault_result import PowerLoss
from smtpbench.campaign.power_judge import judge_power
from smtpbench.campaign.queue import Follow, choose
from smtpbench.delivery.durability import Fate, Sent, follow
from smtpbench.delivery.fingerprint import FIELD, make_identifier
from smtpbench.delivery.replay import TRACED
from smtpbench.delivery.sources import Source
from smtpbench.delivery.syscalls import parse_calls
from smtpbench.errors import SmtpbenchError
from smtpbench.lab.hidden import hidden_io
from smtpbench.lab.machine import Machine
from smtpbench.lab.strace import find_strace, traced
from smtpbench.load.visitor import Visitor
from smtpbench.load.workload import make_workload
from smtpbench.target import Target, Timeouts
from smtpbench.wire.content import dot_stuff

MESSAGES = 5
LEFT_OUT = "left out: --no-trace"
PATIENCE = Timeouts(connect=10.0, reply=30.0)  # a traced server is slow
ARRIVE_S = 5.0  # for the messages to come out, so that none of them is in the way of the load
LINGER_S = 1.0  # after the last 250: a message that is written late is known by that
LOOK_S = 0.1
STAT_S = 10.0  # for the name of a file system
MAX_TRACE = 512 << 20  # octets
_FILLER = b"0123456789 abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ\r\n" * 12
# Whether these write at once shows in how they are mounted; others (ZFS, FUSE, …) have settings of their own.
_AS_MOUNTED = {"ext2/ext3", "xfs", "btrfs", "f2fs", "tmpfs", "overlayfs"}
_GET_FLAGS, _SYNC_FLAG = 0x80086601, 0x8  # FS_IOC_GETFLAGS and FS_SYNC_FL of linux/fs.h


def trace_power(
    target: Target,
    machine: Machine,
    fields: Mapping[str, Any],
    *,
    messages: int = MESSAGES,
    follow_to: Follow | None = None,
    fetch: bool = False,
) -> PowerLoss:
    """Send `messages` messages of the kind that `fields` ask for, traced; `untested` with the reason if that
    cannot be done. `fetch`: get strace from Debian's packages if there is none.
    """
    try:
        strace = find_strace(fetch=fetch)
        source, own = choose(target, follow_to)
        visitor = Visitor(target, make_workload(**{"users": 1, **own, **fields}), PATIENCE)
        with tempfile.TemporaryDirectory(prefix="smtpbench-trace-") as folder:
            output = Path(folder) / "calls"
            with traced(strace, machine.pids, TRACED, output):
                known = machine.pids()
                hidden = [*filter(None, [machine.guessed]), *hidden_io(known)]
                sent = asyncio.run(_send(visitor, source, target.fixtures.sender, messages))
                hidden += hidden_io({*machine.pids()} - {*known})
            fates = _read(output, sent, hidden)
    except SmtpbenchError as error:
        return PowerLoss(reason=str(error))
    return judge_power(fates, lambda path: _may_be_synchronous(path, known))


async def _send(visitor: Visitor, source: Source, sender: str, messages: int) -> list[Sent]:
    """Those that were accepted. Returns when all have arrived, or for a while none has."""
    run = secrets.token_hex(4).encode()
    await source.start()
    try:
        sent = []
        for number in range(messages):
            if (one := await _send_one(visitor, run, 3 * number, sender)) is not None:
                sent.append(one)
        await _arrived(source, {one.marks[0] for one in sent})
    finally:
        await source.stop()
    return sent


async def _send_one(visitor: Visitor, run: bytes, number: int, sender: str) -> Sent | None:
    header, first, last = marks = tuple(make_identifier(run, number + place) for place in (1, 2, 3))
    content = b"".join([
        b"From: <%s>\r\n" % sender.encode(), b"To: undisclosed-recipients:;\r\n",
        b"Subject: traced\r\n", b"Date: %s\r\n" % formatdate().encode(),
        b"Message-ID: <%s.trace@example.org>\r\n" % secrets.token_hex(8).encode(),
        FIELD, b": ", header, b"\r\n\r\n", first, b"\r\n", _FILLER, last, b"\r\n",
    ])  # fmt: skip
    session = await visitor.open()
    try:
        reply = await visitor.deliver(session, dot_stuff(content))
        replied_at = time.time()
        port = session.local_port
        await session.quit()
    finally:
        session.abort()
    return None if reply is None else Sent(marks, port, replied_at, reply.raw)


async def _arrived(source: Source, missing: set[bytes]) -> None:
    begun = time.monotonic()
    while (waited := time.monotonic() - begun) < ARRIVE_S and (missing or waited < LINGER_S):
        for one in await source.news():
            missing -= {mark for mark in missing if mark in one.content}
        await asyncio.sleep(LOOK_S)


def _read(output: Path, sent: Sequence[Sent], hidden: Sequence[str]) -> list[Fate]:
    with output.open(encoding="ascii", errors="backslashreplace") as lines:
        if os.fstat(lines.fileno()).st_size > MAX_TRACE:
            return [Fate() for _ in sent]
        return follow(parse_calls(lines), sent, hidden)


def _may_be_synchronous(path: str, pids: Sequence[int]) -> bool:
    """Whether writes to the folder of `path`, as one of `pids` sees it or as we do, may be synchronous.

    A folder that is gone was on the mount of the one above it, and had its attributes from there: a server
    that sets them itself is seen to do so (`Replay.lasting`). Where none of `pids` runs any more, what we see
    above it may be on another mount, and says nothing.
    """
    folder = posixpath.dirname(path)
    for above in _upwards(folder):
        for seen in _seen_by(above, pids):
            with suppress(OSError):
                return _writes_at_once(seen)
    with suppress(OSError):
        return _writes_at_once(folder)
    return True  # nobody could look


def _upwards(folder: str) -> Iterator[str]:
    yield folder
    while folder != (folder := posixpath.dirname(folder)):
        yield folder


def _writes_at_once(folder: str) -> bool:
    """Whether it does, or may. Raises OSError if there is no such folder."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if os.fstatvfs(descriptor).f_flag & os.ST_SYNCHRONOUS or _type(folder) not in _AS_MOUNTED:
            return True
        answer = fcntl.ioctl(descriptor, _GET_FLAGS, struct.pack("l", 0))
        return bool(struct.unpack("l", answer)[0] & _SYNC_FLAG)
    finally:
        os.close(descriptor)


def _type(folder: str) -> str:
    """Of its file system, as stat(1) names it; "" if it does not."""
    command = ["stat", "--file-system", "--format=%T", folder]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=STAT_S)
    except subprocess.TimeoutExpired:  # a network file system whose server is gone
        return ""
    return done.stdout.decode("ascii", "replace").strip()


def _seen_by(folder: str, pids: Sequence[int]) -> list[str]:
    """Their views of it: it may be in a mount namespace or a root that is not ours."""
    found = []
    for pid in pids:
        with suppress(OSError):
            root = str(Path(f"/proc/{pid}/root").readlink()).rstrip("/")
            if f"{folder}/".startswith(f"{root}/"):
                found.append(f"/proc/{pid}/root{folder.removeprefix(root)}")
    return found
