"""``smtpbench sink`` as a process: what it takes, records, counts and refuses."""

import contextlib
import json
import os
import pty
import re
import resource
import select
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from smtpbench.cli._sink_live import line
from smtpbench.cli.sink import sink
from smtpbench.delivery.sink_record import read_record
from smtpbench.errors import UsageError

WAIT = 30
COMMAND = [sys.executable, "-m", "smtpbench", "sink", "--listen", "127.0.0.1:0"]
MAIL = "Message-ID: <0123abcd-000000001@x.example>\r\n\r\n0123abcd-000000001\r\n"


@pytest.fixture
def start():
    with contextlib.ExitStack() as stack:

        def starting(*options, stderr=subprocess.PIPE):
            process = subprocess.Popen([*COMMAND, *options], stdout=subprocess.PIPE, stderr=stderr, text=True)
            stack.callback(process.wait, WAIT)
            stack.callback(process.kill)
            stack.callback(process.stdout.close)
            if process.stderr is not None:
                stack.callback(process.stderr.close)
            readable, _, _ = select.select([process.stdout], [], [], WAIT)
            assert readable, "nothing printed"
            match = re.fullmatch(r"listening on 127\.0\.0\.1:(\d+)\n", process.stdout.readline())
            assert match
            return process, int(match[1])

        yield starting


def send(port, recipients=("b@y.example",)):
    with smtplib.SMTP("127.0.0.1", port, timeout=WAIT) as client:
        return client.sendmail("a@x.example", recipients, MAIL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_records_and_counts_until_told_to_stop(start, tmp_path, number):
    process, port = start(
        *("--record", tmp_path / "record", "--keep", tmp_path / "mail", "--json", tmp_path / "counts.json"),
        *("--rule", 'on = "rcpt", recipient = "c@*", reply = "550 5.1.1 Nobody"'),
    )
    assert list(send(port, ("b@y.example", "c@y.example"))) == ["c@y.example"]
    (arrival,) = read_record(tmp_path / "record")  # before it is stopped
    assert (arrival.identifier, arrival.recipients) == (b"0123abcd-000000001", ("b@y.example",))
    process.send_signal(number)
    out, err = process.communicate(timeout=WAIT)
    assert (process.returncode, err) == (0, "")
    assert out == f"1 sessions, 1 messages to 1 recipients, {len(MAIL)} octets\n1 × rcpt 550\n"
    assert json.loads((tmp_path / "counts.json").read_text()) == {
        "schema": "smtpbench.sink/1", "sessions": 1, "messages": 1, "recipients": 1, "octets": len(MAIL),
        "scripted": {"rcpt 550": 1}, "scarce": 0,
    }  # fmt: skip
    (file,) = (tmp_path / "mail" / "new").iterdir()
    assert file.read_bytes().endswith(MAIL.encode())


def test_what_was_acknowledged_is_in_the_record_of_a_sink_that_is_killed(start, tmp_path):
    process, port = start("--record", tmp_path / "record")
    with smtplib.SMTP("127.0.0.1", port, timeout=WAIT) as client:
        for _ in range(20):
            client.sendmail("a@x.example", ["b@y.example"], MAIL)
        process.kill()
        process.wait(WAIT)
        client.close()
    assert len(list(read_record(tmp_path / "record"))) == 20


def test_a_disk_that_is_full_ends_it_and_nothing_is_acknowledged(start):
    process, port = start("--record", "/dev/full", "--quiet")
    with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionError)):
        send(port)
    _, err = process.communicate(timeout=WAIT)
    assert process.returncode == 4
    assert "stopped taking mail: [Errno 28] No space left on device" in err


def test_it_stops_when_its_time_is_over_and_speaks_tls_and_lmtp(start, tmp_path):
    process, port = start("--run-time", "2s", "--lmtp", "--starttls", "--ca-out", tmp_path / "ca.pem")
    with smtplib.LMTP("localhost", port) as client:
        client.starttls(context=ssl.create_default_context(cafile=tmp_path / "ca.pem"))
        client.sendmail("a@x.example", ["b@y.example"], MAIL)
    out, _ = process.communicate(timeout=WAIT)
    assert (process.returncode, out[:10]) == (0, "1 sessions")


def test_a_port_that_is_taken():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(UsageError) as caught:
            sink(listen=where)
    assert str(caught.value) == f"cannot listen on {where}: Address already in use"


def test_a_file_of_counts_is_left_alone_until_the_end(start, tmp_path):
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    old.write_text("kept", encoding="ascii")
    for path in (old, new):
        start("--json", path)
    assert old.read_text(encoding="ascii") == "kept"
    assert not new.exists()


def test_it_says_that_clients_had_to_wait_for_a_file_descriptor(start):
    process, port = start()
    limit = 3  # what is open stays open
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (limit, limit))
    with socket.create_connection(("127.0.0.1", port), WAIT):
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=WAIT)
    assert re.search(
        rf"^\d+ × no file descriptor or memory for the next client \(its limit is {limit} descriptors\)$",
        out, re.MULTILINE,
    ), out  # fmt: skip


@pytest.mark.parametrize("options", [(), ("--quiet",)])
def test_a_line_on_a_terminal_says_how_it_gets_on(start, options):
    terminal, theirs = pty.openpty()
    with os.fdopen(terminal, "rb", buffering=0) as shown:
        with os.fdopen(theirs, "wb", buffering=0) as stderr:
            process, port = start(*options, stderr=stderr)
        send(port)
        said = b""
        while not options and b"1 messages" not in said:
            readable, _, _ = select.select([shown], [], [], WAIT)
            assert readable, said
            said += shown.read(4_096)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=WAIT)
        with contextlib.suppress(OSError):  # EIO: nobody has the other end
            while piece := shown.read(4_096):
                said += piece
    assert process.returncode == 0
    assert (b"0 sessions" in said) == (not options)
    assert bool(said) == (not options)


def test_the_line_of_a_sink():
    usual = line(61.2, 1_000, 1_234_567, 7_000.4, 0)
    assert usual == "    61 s  1,000 sessions    1,234,567 messages     7,000/s"
    assert line(1, 1, 1, 1, 3).endswith("/s  3 × no file descriptor or memory for the next client")


def test_what_a_script_can_hold():
    done = subprocess.run(
        [*COMMAND, "--script-help"], capture_output=True, text=True, timeout=WAIT, check=True, env=os.environ
    )
    assert "\ngreylist_s = 300" in done.stdout.replace("    ", "").replace("  ", "")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"listen": "nowhere"}, "expected HOST:PORT"),
        ({"script": Path("/no/such.toml")}, "/no/such.toml: No such file"),
        ({"rule": ["rcpt"]}, "--rule rcpt: expected for instance"),
        ({"rule": ['on = "rcpt"']}, "options: rule 1: nothing happens"),
        ({"without": ["nonsense"]}, "options: without: ['NONSENSE']: not offered anyhow: NONSENSE"),
        ({"run_time": "long"}, "long"),
        ({"record": Path("/no/such/file")}, "/no/such/file: No such file"),
        ({"keep": Path("/dev/null/x")}, "/dev/null/x: Not a directory"),
        ({"json": Path("/dev/null/x")}, "/dev/null/x: cannot be written: Not a directory"),
        ({"ca_out": Path("x")}, "need --starttls"),
        ({"listen": "192.0.2.1:0"}, "cannot listen on 192.0.2.1:0: Cannot assign requested address"),
        ({"listen": "a..b:25"}, "cannot listen on a..b:25: not a host name"),
    ],
)
def test_mistakes_are_told_before_it_listens(options, text):
    with pytest.raises(UsageError, match=re.escape(text)):
        sink(**{"listen": "127.0.0.1:0", **options})
