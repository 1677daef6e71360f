"""``smtpbench sink`` as a process: what it takes, records, counts and refuses."""

import contextlib
import json
import os
import re
import select
import signal
import smtplib
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from smtpbench.cli.sink import sink
from smtpbench.delivery.sink_record import read_record
from smtpbench.errors import UsageError

WAIT = 30
COMMAND = [sys.executable, "-m", "smtpbench", "sink", "--listen", "127.0.0.1:0"]
MAIL = "Message-ID: <0123abcd-000000001@x.example>\r\n\r\n0123abcd-000000001\r\n"


@pytest.fixture
def start():
    with contextlib.ExitStack() as stack:

        def starting(*options):
            process = subprocess.Popen(
                [*COMMAND, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            stack.callback(process.wait, WAIT)
            stack.callback(process.kill)
            stack.callback(process.stdout.close)
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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
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
        "scripted": {"rcpt 550": 1},
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
        ({"ca_out": Path("x")}, "need --starttls"),
    ],
)
def test_mistakes_are_told_before_it_listens(options, text):
    with pytest.raises(UsageError, match=re.escape(text)):
        sink(**{"listen": "127.0.0.1:0", **options})
