"""Whether a message was on disk before its 250: recorded traces of real servers, and made ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from smtpbench.delivery.durability import Fate, Kept, Sent, follow
from smtpbench.delivery.syscalls import parse_calls

TRACES = Path(__file__).parent / "traces"
MARKS = (b"X-Id: one\r\n", b"the end\r\n")
PORT = 4000
REPLY = 'write(9<TCP:[127.0.0.1:25->127.0.0.1:4000]>, "250 ok\\r\\n", 8) = 8'
HEADER, BODY = r'"X-Id: one\r\n\r\n", 13) = 13', r'"text\r\nthe end\r\n", 15) = 15'
CREATE = 'openat(AT_FDCWD</q>, "tmp/a", O_WRONLY|O_CREAT|O_EXCL, 0600) = 3</q/tmp/a>'
SYNC, MOVE = "fsync(3</q/tmp/a>) = 0", 'rename("tmp/a", "new/a") = 0'
WRITE = (f"write(3</q/tmp/a>, {HEADER}", f"write(3</q/tmp/a>, {BODY}")
MOVED = tuple(one.replace("tmp", "new") for one in WRITE)


def fate(*calls: str, marks: tuple[bytes, ...] = MARKS) -> Fate:
    """Of calls that each took 0.1 ms, 1 ms apart."""
    lines = [f"7 {100 + place / 1000:.6f} {call} <0.000100>" for place, call in enumerate(calls)]
    replied = 100 + calls.index(REPLY) / 1000 + 0.0005 if REPLY in calls else 101
    return follow(parse_calls(lines), [Sent(marks, PORT, replied, b"250 ok\r\n")])[0]


@pytest.mark.parametrize(
    ("server", "port", "replied_at", "kept", "path", "folder"),
    [
        ("reference", 52686, 1796004545.7152693, Kept.WHOLE, "spool/mx/5c68aceff4a04f0652e1a018", "spool/mx"),
        ("postfix", 39630, 1796004566.9013908, Kept.FILE, "var/spool/postfix/incoming/D8A42352", None),
        ("exim", 48482, 1796004583.8447976, Kept.WHOLE, "exim4/input/r/1xXqpr-00009H-2g-H", "input/r"),
        ("opensmtpd", 51778, 1796004597.0403392, Kept.NOT_SYNCED, "smtpd/queue/f4/f464b6b3/message", None),
    ],
)  # fmt: skip
def test_what_real_servers_do(
    server: str, port: int, replied_at: float, kept: Kept, path: str, folder: str | None
) -> None:
    lines = (TRACES / f"{server}.strace").read_text(encoding="ascii").splitlines()
    identifier = b"a1b2c3d4-000000005"
    before = {"postfix": b"N\x12", "reference": b"\r\n"}.get(server, b"\n")  # how it keeps a line
    marks = (b"Message-ID: <" + identifier, before + identifier)
    found = follow(parse_calls(lines), [Sent(marks, port, replied_at, b"")])[0]
    assert (found.replied, found.kept, found.blind) == (True, kept, ())
    assert found.paths[0].endswith(path)
    assert any(one.endswith(folder) for one in found.folders) if folder else not found.folders
    assert (found.synced_s is None) is (kept is Kept.NOT_SYNCED)
    assert found.steps[-1].path == f"port {port}"
    assert found.steps[-1].before_s == 0
    assert [step.before_s for step in found.steps] == sorted(
        (one.before_s for one in found.steps), reverse=True
    )


def test_exim_keeps_the_header_in_another_file() -> None:
    lines = (TRACES / "exim.strace").read_text(encoding="ascii").splitlines()
    marks = (b"Message-ID: <a1b2c3d4-000000005", b"x\na1b2c3d4-000000005")
    found = follow(parse_calls(lines), [Sent(marks, 48482, 1796004583.8447976, b"")])[0]
    assert [path.rpartition("-")[2] for path in found.paths] == ["H", "D"]
    calls = [step.call for step in found.steps]
    assert calls == ["openat", "write", "fsync", "openat", "write", "fsync", "rename", "fsync", "write"]


@pytest.mark.parametrize(
    ("calls", "kept"),
    [
        ((CREATE, *WRITE, SYNC, MOVE, "fsync(4</q/new>) = 0", REPLY), Kept.WHOLE),
        ((CREATE, *WRITE, SYNC, "fsync(4</q/tmp>) = 0", REPLY), Kept.WHOLE),
        ((CREATE, *WRITE, "fdatasync(3</q/tmp/a>) = 0", "fsync(4</q/tmp>) = 0", REPLY), Kept.WHOLE),
        ((CREATE, *WRITE, MOVE, "sync() = 0", REPLY), Kept.WHOLE),
        ((CREATE, *WRITE, MOVE, "syncfs(4</q>) = 0", REPLY), Kept.WHOLE),
        ((CREATE, *WRITE, SYNC, REPLY), Kept.FILE),
        ((CREATE, MOVE, *MOVED, "fsync(3</q/new/a>) = 0", REPLY), Kept.FILE),
        ((CREATE, *WRITE, SYNC, MOVE, REPLY), Kept.MOVED_AFTER),
        ((CREATE, *WRITE, SYNC, MOVE, "fsync(4</q/tmp>) = 0", REPLY), Kept.MOVED_AFTER),  # the old directory
        ((CREATE, *WRITE, "fsync(4</q/tmp>) = 0", SYNC, MOVE, REPLY), Kept.MOVED_AFTER),
        ((CREATE, *WRITE, SYNC, "fsync(4</q/new>) = 0", MOVE, REPLY), Kept.MOVED_AFTER),  # too early
        ((CREATE, *WRITE, SYNC, 'write(3</q/tmp/a>, "status", 6) = 6', REPLY), Kept.WRITTEN_AGAIN),
        ((CREATE, *WRITE, MOVE, REPLY), Kept.NOT_SYNCED),
        ((CREATE, *WRITE, REPLY, SYNC), Kept.NOT_SYNCED),  # after the 250
        ((CREATE, WRITE[0], SYNC, WRITE[1], REPLY), Kept.NOT_SYNCED),  # before the last write
        ((CREATE, *WRITE, "fsync(3</q/tmp/a>) = -1 EIO (Input/output error)", REPLY), Kept.NOT_SYNCED),
        ((CREATE, *WRITE, "fsync(3</q/tmp/b>) = 0", REPLY), Kept.NOT_SYNCED),
        ((CREATE, *WRITE, "sync_file_range(3</q/tmp/a>, 0, 0, 7) = 0", REPLY), Kept.NOT_SYNCED),
        ((CREATE, *WRITE, SYNC, MOVE, 'unlink("new/a") = 0', CREATE, *WRITE, REPLY), Kept.NOT_SYNCED),
    ],
)  # fmt: skip
def test_the_order_of_calls_decides(calls: tuple[str, ...], kept: Kept) -> None:
    assert fate(*calls).kept is kept


def test_a_sync_that_began_before_the_write_ended_does_not_cover_it() -> None:
    lines = [
        f"7 100.000 {CREATE}", f"7 100.001 {WRITE[0]}",
        r'7 100.002 write(3</q/tmp/a>, "text\r\nthe end\r\n", 15 <unfinished ...>',
        "8 100.003 fsync(4</q/tmp/a> <unfinished ...>", "7 100.004 <... write resumed>) = 15",
        "8 100.005 <... fsync resumed>) = 0", f"7 100.006 {REPLY}",
    ]  # fmt: skip
    sent = [Sent(MARKS, PORT, 101, b"")]
    assert follow(parse_calls(lines), sent)[0].kept is Kept.NOT_SYNCED
    lines[3:5] = [lines[4], lines[3]]
    assert follow(parse_calls(lines), sent)[0].kept is Kept.FILE


def test_a_file_whose_name_went_to_another_is_gone() -> None:
    other = (CREATE.replace("tmp/a", "tmp/b"), *(one.replace("tmp/a", "tmp/b") for one in WRITE))
    over = 'rename("tmp/b", "tmp/a") = 0'
    assert fate(CREATE, *WRITE, SYNC, *other, REPLY).kept is Kept.FILE
    assert fate(CREATE, *WRITE, SYNC, *other, over, REPLY).kept is Kept.NOT_SYNCED


@pytest.mark.parametrize("flag", ["O_SYNC", "O_DSYNC"])
def test_a_file_can_be_synchronous(flag: str) -> None:
    create = CREATE.replace("O_EXCL", f"O_EXCL|{flag}")
    assert fate(create, *WRITE, "fsync(4</q/tmp>) = 0", REPLY).kept is Kept.WHOLE
    assert fate(create, *WRITE, REPLY).kept is Kept.FILE
    again = CREATE.replace("O_CREAT|O_EXCL", "O_APPEND")
    assert fate(create, again, *WRITE, REPLY).kept is Kept.NOT_SYNCED


def test_a_write_can_be_synchronous() -> None:
    vector = f"[{{iov_base={HEADER.partition(',')[0]}, iov_len=13}}]"
    write = f"pwritev2(3</q/tmp/a>, {vector}, 1, 0, RWF_DSYNC) = 13"
    assert fate(CREATE, write, REPLY, marks=MARKS[:1]).kept is Kept.FILE


def test_a_mark_may_lie_across_two_writes() -> None:
    halves = (
        r'write(3</q/tmp/a>, "X-Id: one\r\n\r\nthe e", 18) = 18',
        r'write(3</q/tmp/a>, "nd\r\n", 4) = 4',
    )
    assert fate(CREATE, *halves, SYNC, REPLY).kept is Kept.FILE
    assert fate(CREATE, halves[0], SYNC, halves[1], REPLY).kept is Kept.NOT_SYNCED


def test_the_best_copy_counts_and_a_copy_that_is_gone_does_not() -> None:
    log = tuple(one.replace("3</q/tmp/a>", "5</log/trace>") for one in WRITE)
    assert fate(CREATE, *log, *WRITE, SYNC, *log, REPLY).kept is Kept.FILE
    assert fate(*log, CREATE, *WRITE, SYNC, 'unlink("tmp/a") = 0', REPLY).kept is Kept.NOT_SYNCED


def test_names_in_a_chroot_and_directories_that_are_renamed() -> None:
    calls = (
        'openat(AT_FDCWD</jail/q>, "/temporary/1", O_RDWR|O_CREAT|O_EXCL, 0600) = 3</jail/q/temporary/1>',
        f"write(3</jail/q/temporary/1>, {HEADER}", f"write(3</jail/q/temporary/1>, {BODY}",
        "fsync(3</jail/q/temporary/1>) = 0",
        'rename("/temporary/1", "/incoming/1/message") = 0',
        'rename("/incoming/1", "/queue/5/1") = 0',
    )  # fmt: skip
    found = fate(*calls, REPLY)
    assert (found.kept, found.paths) == (Kept.MOVED_AFTER, ("/jail/q/queue/5/1/message",))
    assert found.names == (
        ("/jail/q/temporary/1", "/jail/q/incoming/1/message", "/jail/q/queue/5/1/message"),
    )
    both = ("fsync(4</jail/q/queue/5/1>) = 0", "fsync(4</jail/q/queue/5>) = 0")
    assert fate(*calls, both[0], REPLY).kept is Kept.MOVED_AFTER
    found = fate(*calls, *both, REPLY)
    assert (found.kept, set(found.folders)) == (Kept.WHOLE, {"/jail/q/queue/5/1", "/jail/q/queue/5"})


@pytest.mark.parametrize(
    "link",
    [
        'linkat(3</q/tmp/a>, "", AT_FDCWD</q>, "new/a", AT_EMPTY_PATH) = 0',
        'linkat(AT_FDCWD</q>, "/proc/self/fd/3", AT_FDCWD</q>, "new/a", AT_SYMLINK_FOLLOW) = 0',
        'link("tmp/a", "new/a") = 0',
        'renameat(5</q/tmp>, "a", 6</q/new>, "a") = 0',
    ],
)
def test_ways_to_give_a_name(link: str) -> None:
    found = fate(CREATE, *WRITE, SYNC, link, "fsync(4</q/new>) = 0", 'unlink("tmp/a") = 0', REPLY)
    assert (found.kept, found.paths) == (Kept.WHOLE, ("/q/new/a",))


def test_what_the_kernel_copies_is_the_same_content() -> None:
    copied = ("sendfile(5</q/new/b>, 3</q/tmp/a>, NULL, 28) = 28", "fsync(5</q/new/b>) = 0")
    found = fate(CREATE, *WRITE, *copied, REPLY)
    assert found.paths == ("/q/new/b",)
    assert found.kept is Kept.WHOLE  # it was there before the trace began, so its name is no question


def test_what_came_after_the_250_is_late() -> None:
    found = fate(CREATE, WRITE[0], REPLY, WRITE[1], SYNC)
    assert found.kept is None
    assert found.late_s == pytest.approx(0.001)
    assert found.steps[-1].before_s < 0
    never = fate(CREATE, WRITE[0], SYNC, REPLY)
    assert (never.kept, never.late_s) == (None, None)


def test_without_the_reply_nothing_is_told() -> None:
    assert not fate(CREATE, *WRITE, SYNC).replied


def test_a_reply_is_known_by_its_octets_where_its_socket_is_not() -> None:
    unnamed = REPLY.replace("TCP:[127.0.0.1:25->127.0.0.1:4000]", "socket:[77]")
    assert fate(CREATE, *WRITE, SYNC, unnamed).kept is Kept.FILE
    assert not fate(CREATE, *WRITE, SYNC, unnamed.replace("250 ok", "250 no")).replied


@pytest.mark.parametrize(
    "call",
    [
        "io_uring_enter(8<anon_inode:[io_uring]>, 1, 1, 0, NULL, 8) = 1",
        "mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_SHARED, 8</q/data.mdb>, 0) = 0x7f0000000000",
        "ioctl(8</q/tmp>, FS_IOC_SETFLAGS, [FS_SYNC_FL|FS_EXTENT_FL]) = 0",
        r'write(8<UNIX-STREAM:[1->2]>, "X-Id: one\r\n\r\nthe end\r\n", 22) = 22',
        r'writev(8<pipe:[1]>, [{iov_base="X-Id: one\r\n\r\n"}, {iov_base="the end\r\n"}], 2) = 22',
        'write(8</q/other>, "abc"..., 70000) = 70000',
    ],
)
def test_what_cannot_be_seen_is_told(call: str) -> None:
    assert fate(CREATE, *WRITE, call, REPLY).blind
    assert not fate(CREATE, *WRITE, REPLY, call).blind
    quiet = "mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, 8</lib/x.so>, 0) = 0x7f0000000000"
    looked = "ioctl(8</q>, FS_IOC_GETFLAGS, [FS_SYNC_FL]) = 0"
    assert not fate(CREATE, *WRITE, quiet, looked, REPLY).blind


@pytest.mark.parametrize(
    ("call", "lasts"),
    [
        ("io_uring_enter(8<anon_inode:[io_uring]>, 1, 1, 0, NULL, 8) = 1", False),
        ('write(8</q/other>, "abc"..., 70000) = 70000', False),
        ("mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_SHARED, 8</q/data.mdb>, 0) = 0x7f0000000000", True),
        ("ioctl(8</q>, FS_IOC_FSSETXATTR, {fsx_xflags=FS_XFLAG_SYNC}) = 0", True),
    ],
)
def test_what_was_hidden_before_the_content_was_asked_for_was_not_about_it(call: str, lasts: bool) -> None:
    asked = REPLY.replace("250 ok", "354 go")
    assert bool(fate(call, asked, CREATE, *WRITE, REPLY).blind) is lasts
    assert fate(asked, call, CREATE, *WRITE, REPLY).blind


def test_a_socket_between_traced_processes_hides_nothing() -> None:
    told = r'write(8<UNIX-STREAM:[1->2]>, "X-Id: one\r\n\r\nthe end\r\n", 22) = 22'
    answered = 'write(5<UNIX-STREAM:[2->1,"public/cleanup"]>, "0", 1) = 1'
    assert not fate(told, CREATE, *WRITE, answered, REPLY).blind
    assert not fate(f"write(8<UNIX-STREAM:[1->2]>, {HEADER}", CREATE, *WRITE, REPLY).blind  # a part: a log


def test_what_is_known_to_be_hidden_is_told_with_every_message() -> None:
    lines = [f"7 100.000 {CREATE}", f"7 100.001 {WRITE[0]}", f"7 100.002 {WRITE[1]}", f"7 100.003 {REPLY}"]
    found = follow(parse_calls(lines), [Sent(MARKS, PORT, 101, b"")], ["a mapped file"])
    assert found[0].blind == ("a mapped file",)
