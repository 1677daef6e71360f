"""Bad input gives one clear line on standard error and the exit code of its kind: 2 usage, 3 inconclusive."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

Run = Callable[..., Result]
Serve = Callable[[Callable[[socket.socket], None]], int]
WriteTarget = Callable[..., Path]

GIGABYTE = 1 << 30
PIECE = b"x" * 65_536
HELD_AT_MOST = 64 << 20  # what the kernel's buffers and ours may take of the gigabyte


def assert_one_line(result: Result, code: int, *words: str) -> None:
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("smtpbench: ")
    for word in words:
        assert word in lines[0]
    assert result.exit_code == code
    assert result.stdout == ""


def silent(connection: socket.socket) -> None:
    """Say nothing until the client has gone."""
    while connection.recv(65_536):
        pass


@pytest.mark.parametrize("command", ["conform", "load", "certify"])
def test_a_dead_port(smtpbench: Run, command: str, tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, but it does not listen
        url = f"smtp://127.0.0.1:{unused.getsockname()[1]}"
        extra = ["--out", tmp_path / "run"] if command == "certify" else []
        assert_one_line(smtpbench(command, url, *extra), 3, url.removeprefix("smtp://"), "connection refused")


def test_tls_where_plain_smtp_was_expected(
    smtpbench: Run, serve_port: Serve, target_file: WriteTarget, server_tls: ssl.SSLContext
) -> None:
    def implicit_tls(connection: socket.socket) -> None:
        with server_tls.wrap_socket(connection, server_side=True) as encrypted:
            encrypted.sendall(b"220 mx.example.com ESMTP\r\n")
            silent(encrypted)

    path = target_file(serve_port(implicit_tls))
    assert_one_line(smtpbench("conform", path), 3, "speaks TLS where plain SMTP was expected")


def test_plain_smtp_where_tls_was_expected(
    smtpbench: Run, serve_port: Serve, target_file: WriteTarget
) -> None:
    def plain(connection: socket.socket) -> None:
        connection.sendall(b"220 mx.example.com ESMTP\r\n")
        silent(connection)

    path = target_file(serve_port(plain), tls="implicit")
    assert_one_line(smtpbench("conform", path), 3, "speaks plain SMTP where TLS was expected")


def test_a_certificate_of_an_unknown_authority(
    smtpbench: Run, serve_port: Serve, target_file: WriteTarget, server_tls: ssl.SSLContext
) -> None:
    def implicit_tls(connection: socket.socket) -> None:
        with server_tls.wrap_socket(connection, server_side=True) as encrypted:
            silent(encrypted)

    path = target_file(serve_port(implicit_tls), tls="implicit")
    assert_one_line(smtpbench("conform", path), 3, "certificate:", "--ca")


def test_no_starttls_where_the_target_says_so(
    smtpbench: Run, serve_port: Serve, target_file: WriteTarget
) -> None:
    def without_starttls(connection: socket.socket) -> None:
        connection.sendall(b"220 mx.example.com ESMTP\r\n")
        connection.recv(512)
        connection.sendall(b"250 mx.example.com\r\n")
        silent(connection)

    path = target_file(serve_port(without_starttls), tls="starttls")
    assert_one_line(smtpbench("conform", path), 3, "does not offer STARTTLS")


def test_http(smtpbench: Run, serve_port: Serve, target_file: WriteTarget) -> None:
    def http(connection: socket.socket) -> None:
        if connection.recv(65_536):
            connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")

    assert_one_line(smtpbench("conform", target_file(serve_port(http))), 3, "speaks HTTP, not SMTP")


def test_http_that_speaks_first(smtpbench: Run, serve_port: Serve, target_file: WriteTarget) -> None:
    def http(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.0 408 Request Timeout\r\n\r\n")

    assert_one_line(smtpbench("conform", target_file(serve_port(http))), 3, "not SMTP", "HTTP/1.0 408")


def test_a_server_that_never_answers(smtpbench: Run, serve_port: Serve, target_file: WriteTarget) -> None:
    begin = time.monotonic()
    result = smtpbench("conform", target_file(serve_port(silent)))
    assert_one_line(result, 3, "no reply within 0.3 s")
    assert time.monotonic() - begin < 15


def test_a_gigabyte_without_a_line_end(smtpbench: Run, serve_port: Serve, target_file: WriteTarget) -> None:
    sent = 0

    def endless(connection: socket.socket) -> None:
        nonlocal sent
        connection.sendall(b"220 ")
        while sent < GIGABYTE:
            connection.sendall(PIECE)
            sent += len(PIECE)

    path = target_file(serve_port(endless))
    result = smtpbench("conform", path)
    assert_one_line(result, 3, "not SMTP", "220 xxxx")
    assert sent < HELD_AT_MOST
    assert len(result.stderr) < 300


@pytest.mark.parametrize(("command", "code"), [("conform", 421), ("load", 554)])
def test_a_greeting_that_turns_us_away(
    smtpbench: Run, serve_port: Serve, target_file: WriteTarget, command: str, code: int
) -> None:
    def closed(connection: socket.socket) -> None:
        connection.sendall(b"%d no \x1b[31mservice here\r\n" % code)
        silent(connection)

    result = smtpbench(command, target_file(serve_port(closed)))
    assert_one_line(result, 3, "turns us away", rf"{code} no \x1b[31mservice")


def test_an_unknown_key_in_the_target_file(smtpbench: Run, tmp_path: Path) -> None:
    path = tmp_path / "target.toml"
    path.write_text("[endpoints.mx]\nport = 25\nprot = 26\n", encoding="utf-8")
    assert_one_line(smtpbench("conform", path), 2, str(path), "endpoints.mx.prot: unknown key (value 26)")


def test_each_mistake_in_a_target_file_has_its_line(smtpbench: Run, tmp_path: Path) -> None:
    path = tmp_path / "target.toml"
    path.write_text('[endpoints.mx]\nport = 70000\n[timeouts]\nreply = "soon"\n', encoding="utf-8")
    result = smtpbench("load", path)
    assert result.exit_code == 2
    first, second = result.stderr.splitlines()
    assert "endpoints.mx.port: 70000" in first
    assert "timeouts.reply: 'soon'" in second


@pytest.mark.parametrize("command", ["conform", "load", "certify"])
@pytest.mark.parametrize("host", ["192.0.2.1", "[2001:db8::1]"])
def test_a_public_address_is_refused_before_a_packet_leaves(smtpbench: Run, command: str, host: str) -> None:
    result = smtpbench(command, f"smtp://{host}:25")
    assert_one_line(result, 2, "not a loopback address", f"--authorized {host.strip('[]')}")


@pytest.mark.parametrize("command", ["conform", "queue", "crash"])
@pytest.mark.parametrize("option", ["--observe", "--read"])
def test_a_mailbox_elsewhere_is_refused_for_a_server_of_ours_too(
    smtpbench: Run, command: str, option: str
) -> None:
    result = smtpbench(
        command, "lab:reference", option, "imap://u@192.0.2.1/", "--observe-password-env", "HOME"
    )
    assert_one_line(result, 2, "192.0.2.1 is not a loopback address", "--authorized 192.0.2.1")


def test_another_host_authorized_is_not_this_one(smtpbench: Run) -> None:
    result = smtpbench("conform", "smtp://192.0.2.1:25", "--authorized", "192.0.2.2")
    assert_one_line(result, 2, "192.0.2.1 is not a loopback address")


def test_a_password_in_the_url_is_refused_and_not_shown(smtpbench: Run) -> None:
    result = smtpbench("conform", "smtp://alice:hunter2@127.0.0.1:25")
    assert_one_line(result, 2, "--password-env")
    assert "hunter2" not in result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["conform", "nonsense"], "no such target"),
        (["conform", "missing.toml"], "missing.toml: No such file or directory"),
        (["conform", "http://127.0.0.1:80"], "unknown scheme 'http'"),
        (["conform", "smtp://127.0.0.1:0"], "endpoints.mx.port: 0"),
        (
            ["conform", "lab:nothing"],
            "expected one of aiosmtpd, dovecot, exim, opensmtpd, postfix, postfix-dovecot, postfix-scaled, ",
        ),
        (["conform", "smtp://127.0.0.1:25", "--observe", "ftp://x"], "observe.url: 'ftp://x'"),
        (
            ["conform", "smtp://127.0.0.1:25", "--observe", "pop3s://a@192.0.2.1"],
            "192.0.2.1 is not a loopback",
        ),
        (
            ["conform", "smtp://127.0.0.1:25", "--observe", "pop3://a:b@127.0.0.1"],
            "a password in the URL is refused",
        ),
        (["conform", "smtp://127.0.0.1:25", "--username", "alice"], "--username needs --password-env"),
        (["load", "smtp://127.0.0.1:25", "--ca", __file__], ".py: no certificate in PEM is in it"),
        (["sink", "--listen", f"127.0.0.1:{'9' * 5000}"], ": expected HOST:PORT"),
        (
            ["conform", "smtp://127.0.0.1:25", "--ca", "/proc/nonexistent.pem"],
            "/proc/nonexistent.pem: no such file",
        ),
        (["load", "smtp://127.0.0.1:25", "--observe", "imap://192.0.2.1"], "192.0.2.1 is not a loopback"),
        (["load", "smtp://127.0.0.1:25", "--dkim-selector", "a"], "give --dkim KEYFILE"),
        (
            ["load", "smtp://127.0.0.1:25", "--dkim", "/proc/nonexistent.pem"],
            "/proc/nonexistent.pem: No such file",
        ),
        (["load", "smtp://127.0.0.1:25", "--content", "pdf"], "content: 'pdf': unknown kind 'pdf'"),
        (["load", "smtp://127.0.0.1:25", "--corpus", "/proc/nonexistent"], "/proc/nonexistent: No such file"),
        (["load", "smtp://127.0.0.1:25", "--corpus", "a", "--message-size", "2k"], "leave out message_size"),
        (["lab", "up", "nothing"], "lab:nothing: no such server"),
        (["load", "--run-time", "5x"], "--run-time '5x' is not a duration"),
        (["load", "--warm-up", "soon"], "--warm-up 'soon' is not a duration"),
        (["load", "--abort-hold", "5s"], "are about --abort-on-threshold, which is missing"),
        (["load", "--require-rate", "5"], "--require-rate is about --find-capacity, which is missing"),
        (["load", "--worker", "--master"], "--worker, --master"),
        (["load", "--metrics", "nine"], "--metrics nine: expected [HOST:]PORT"),
        (["load", "--find-capacity", "--metrics", "9100"], "--metrics belongs to one run"),
        (["load", "--find-capacity", "--budget", "x"], "--budget 'x' is not a duration"),
        (
            ["load", "--json", "/dev/null/load.json"],
            "/dev/null/load.json: cannot be written: Not a directory",
        ),
        (["conform", "--html", "/dev"], "/dev: cannot be written: Is a directory"),
        (["certify", "--out", "/dev/null"], "/dev/null: cannot be written: Not a directory"),
        (["load", "--json", "x", "--html", "./x"], "/x: two results cannot go into one file"),
        (["load", "--processes", "100000"], "--processes 100000: expected 1 to "),
        (["queue", "--processes", "0"], "--processes 0: expected 1 to "),
        (["load", "--master", "--processes", "0"], "--processes 0: expected 1 or more"),
        (["queue", "--settle", "x"], "--settle 'x' is not a duration"),
        (["queue", "--trial-time", "20s"], "--trial-time is about --find-sustainable, which is missing"),
        (["crash", "--before", "x"], "--before 'x' is not a duration"),
    ],
)
def test_other_mistakes(smtpbench: Run, arguments: list[str], words: str) -> None:
    assert_one_line(smtpbench(*arguments), 2, words)


def test_a_name_that_cannot_be_resolved(smtpbench: Run) -> None:
    name = "no-such-host.invalid"
    result = smtpbench("load", f"smtp://{name}:25", "--authorized", name)
    assert_one_line(result, 3, f"{name}:25: cannot connect: ")
    assert "Errno" not in result.stderr


def test_a_port_that_is_none(smtpbench: Run) -> None:
    result = smtpbench("load", "--master", "--master-port", "99999")
    assert result.exit_code == 2
    assert "--master-port" in result.stderr


def test_an_unknown_option_is_a_usage_error(smtpbench: Run) -> None:
    result = smtpbench("conform", "--no-such-option")
    assert result.exit_code == 2
    assert "--no-such-option" in result.stderr
