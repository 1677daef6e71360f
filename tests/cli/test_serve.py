"""``smtpbench serve`` as a process: what it prints, writes and refuses, and how it ends."""

import os
import re
import select
import signal
import smtplib
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from smtpbench.cli.serve import serve
from smtpbench.errors import UsageError
from smtpbench.server.faults import FAULTS
from smtpbench.target import Role, load_toml

WAIT = 30
COMMAND = [sys.executable, "-m", "smtpbench", "serve"]


def first_line(process):
    """What the process prints first; fails if it prints nothing in time."""
    readable, _, _ = select.select([process.stdout], [], [], WAIT)
    assert readable, "nothing printed"
    return process.stdout.readline()


@pytest.fixture
def start():
    processes = []

    def starting(*options):
        process = subprocess.Popen(
            [*COMMAND, "--listen", "127.0.0.1:0", *options],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "SERVE_PASSWORD": "secret"},
        )
        processes.append(process)
        line = first_line(process)
        match = re.fullmatch(r"listening on 127\.0\.0\.1:(\d+)\n", line)
        assert match, line
        return process, int(match[1])

    yield starting
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait(WAIT)
        process.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_serves_until_told_to_stop(start, tmp_path, number):
    target_file = tmp_path / "target.toml"
    process, port = start(
        *("--maildir", tmp_path / "mail", "--target-file", target_file, "--role", "submission"),
        *("--username", "alice", "--password-env", "SERVE_PASSWORD"),
    )
    target = load_toml(target_file)
    assert target.main.port == port
    assert target.observe.url == f"maildir:{tmp_path}/mail"
    context = ssl.create_default_context(cafile=target.tls.ca)
    with smtplib.SMTP("localhost", port, timeout=WAIT) as client:
        client.starttls(context=context)
        client.login(target.auth.username, "secret")
        client.sendmail("alice@example.com", [target.fixtures.recipient], "Subject: x\r\n\r\nhello\r\n")
    (file,) = (tmp_path / "mail" / "alice" / "new").iterdir()
    assert file.read_bytes().endswith(b"Subject: x\r\n\r\nhello\r\n")
    process.send_signal(number)
    assert process.wait(WAIT) == 0


def test_a_fault_and_a_certificate_of_ones_own(start, tmp_path):
    ca = tmp_path / "ca.pem"
    _, port = start("--fault", "two-replies-to-noop", "--fault", "quit-250", "--ca-out", ca)
    assert "BEGIN CERTIFICATE" in ca.read_text()
    with smtplib.SMTP("localhost", port, timeout=WAIT) as client:
        assert client.noop()[0] == 250
        assert client.getreply()[0] == 250
        assert client.docmd("QUIT")[0] == 250
        client.close()


def test_the_faults_are_listed():
    done = subprocess.run(
        [*COMMAND, "--list-faults"],
        capture_output=True,
        text=True,
        timeout=WAIT,
        check=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert all(name in done.stdout for name in FAULTS)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"listen": "nowhere"}, "expected HOST:PORT"),
        ({"listen": "127.0.0.1:99999"}, "expected HOST:PORT"),
        ({"fault": ["no-such"]}, "unknown fault no-such"),
        ({"username": "alice"}, "go together"),
        ({"username": "alice", "password_env": "NO_SUCH_VARIABLE"}, "NO_SUCH_VARIABLE is not set"),
        ({"tls_cert": "/no/such.pem"}, "/no/such.pem: No such file"),
        ({"tls_key": "/no/such.pem"}, "--tls-key needs --tls-cert"),
        ({"maildir": "/dev/null/x"}, "/dev/null/x: Not a directory"),
        ({"ca_out": "/no/such/ca.pem"}, "/no/such/ca.pem: No such file"),
    ],
)
def test_mistakes_are_told_before_it_listens(options, text):
    paths = {"tls_cert", "tls_key", "maildir", "ca_out"}
    given: dict[str, Any] = {key: Path(value) if key in paths else value for key, value in options.items()}
    with pytest.raises(UsageError, match=re.escape(text)):
        serve(**{"listen": "127.0.0.1:0", "role": Role.MX, **given})


def test_a_relay_off_this_machine_has_to_be_authorized():
    with pytest.raises(
        UsageError, match=r"192\.0\.2\.1 is not a loopback address: add --authorized 192\.0\.2\.1"
    ):
        serve(relay="relay.example=192.0.2.1:25", authorized=["192.0.2.2"])


@pytest.mark.parametrize(
    "relay", ["relay.example", "=127.0.0.1:25", "a.example=25", "a.example=host:x", "a.example=localhost:0"]
)
def test_a_relay_that_makes_no_sense(relay):
    with pytest.raises(UsageError, match="expected DOMAIN=HOST:PORT"):
        serve(relay=relay)
