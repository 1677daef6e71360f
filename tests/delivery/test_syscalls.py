"""What strace writes, read."""

from __future__ import annotations

import pytest

from smtpbench.delivery.syscalls import Call, descriptor, parse_calls, split_arguments, unquote


def only(*lines: str) -> Call:
    calls = list(parse_calls(lines))
    assert len(calls) == 1
    return calls[0]


def test_a_call_in_one_line() -> None:
    call = only(r'7 100.250000 write(3</q/a>, "x\0\1\"\\\377y, (\n", 11) = 11 <0.000500>')
    assert (call.pid, call.name, call.result, call.succeeded) == (7, "write", 11, True)
    assert call.octets == b'x\0\1"\\\xffy, (\n'
    assert call.descriptor() == descriptor("3</q/a>")
    assert (call.at, round(call.ended, 6)) == (100.25, 100.2505)


def test_a_call_that_was_interrupted_is_joined() -> None:
    calls = list(parse_calls([
        '7 1.0 openat(AT_FDCWD</q>, "in", O_RDONLY <unfinished ...>',
        '8 1.1 fsync(4</q/b> <unfinished ...>',
        '7 1.2 <... openat resumed>) = 5</q/in> <0.200000>',
        '8 1.3 <... fsync resumed>) = 0 <0.200000>',
    ]))  # fmt: skip
    assert [(call.name, call.began, call.done) for call in calls] == [("openat", 0, 2), ("fsync", 1, 3)]
    assert calls[0].returned == "5</q/in>"
    assert calls[0].text(1) == "in"
    assert calls[1].descriptor() == descriptor("4</q/b>")


def test_what_never_returned_has_no_result() -> None:
    call = only('7 1.0 write(3<TCP:[127.0.0.1:25->127.0.0.1:4000]>, "250 ok\\r\\n", 8 <unfinished ...>')
    assert call.result is None
    assert not call.succeeded
    assert call.octets == b"250 ok\r\n"
    assert call.done > call.began


@pytest.mark.parametrize(
    "line",
    [
        "", "7", "7 1.0 +++ exited with 0 +++", "7 1.0 --- SIGCHLD {si_signo=SIGCHLD} ---",
        "strace: Process 7 attached", "7 1.0 <... read resumed>) = 1", "7 1.0 write(3, ", "\x00\xff",
    ],
)  # fmt: skip
def test_what_is_no_call_is_left_out(line: str) -> None:
    assert list(parse_calls([line])) == []


def test_octets_that_were_not_taken_were_not_written() -> None:
    assert only('7 1.0 write(3</q/a>, "abcdef", 6) = 4').octets == b"abcd"


def test_the_buffers_of_one_call_are_joined() -> None:
    line = '7 1.0 writev(3</q/a>, [{iov_base="ab", iov_len=2}, {iov_base="\\61c", iov_len=2}], 2) = 4'
    assert only(line).octets == b"ab1c"


def test_octets_that_were_left_out_are_told() -> None:
    assert only('7 1.0 write(3</q/a>, "abc"..., 60) = 60').truncated
    assert not only('7 1.0 write(3</q/a>, "abc...", 6) = 6').truncated


@pytest.mark.parametrize(
    ("text", "name", "ends"),
    [
        ("3</q/a>", "/q/a", None),
        ("3</q/a>(deleted)", "/q/a", None),
        (r"3</q/a\76b\74c>", "/q/a>b<c", None),
        ("3<TCP:[1.2.3.4:25->5.6.7.8:99]>", "TCP:[1.2.3.4:25->5.6.7.8:99]", ("1.2.3.4:25", "5.6.7.8:99")),
        ("3<TCPv6:[[::1]:25->[::1]:99]>", "TCPv6:[[::1]:25->[::1]:99]", ("[::1]:25", "[::1]:99")),
        ('3<UNIX-STREAM:[72->91,"public/cleanup"]>', 'UNIX-STREAM:[72->91,"public/cleanup"]', ("72", "91")),
        ("3<pipe:[9]>", "pipe:[9]", None),
        ("3<socket:[9]>", "socket:[9]", None),
    ],
)
def test_what_a_descriptor_is_open_on(text: str, name: str, ends: tuple[str, str] | None) -> None:
    found = descriptor(text)
    assert found is not None
    assert (found.name, found.ends) == (name, ends)
    assert split_arguments(f"{text}, 5") == [text, "5"]


def test_arguments_are_cut_at_their_own_commas_only() -> None:
    text = r'AT_FDCWD</a, b>, "c, \"d", {x=[1, 2], y=f(3, 4)}, O_CREAT|O_EXCL'
    assert split_arguments(text) == [
        "AT_FDCWD</a, b>",
        r'"c, \"d"',
        "{x=[1, 2], y=f(3, 4)}",
        "O_CREAT|O_EXCL",
    ]


@pytest.mark.parametrize(
    ("text", "octets"), [(r"\x41\102\n\t\0019", b"AB\n\t\x019"), (r"\\n", b"\\n"), ("é", "é".encode())]
)
def test_escapes_are_those_of_c(text: str, octets: bytes) -> None:
    assert unquote(text) == octets
