"""Servers in a private root. The tests marked `lab` need root, and apt or the server installed."""

from __future__ import annotations

import os
import shutil
import smtplib
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from smtpbench.delivery.observers import Delivered, open_observer
from smtpbench.errors import UsageError
from smtpbench.lab import open_target
from smtpbench.lab.dovecot import Dovecot, dovecot
from smtpbench.lab.exim import Exim
from smtpbench.lab.opensmtpd import OpenSmtpd
from smtpbench.lab.postfix import Postfix
from smtpbench.lab.postfix_dovecot import PostfixDovecot
from smtpbench.lab.private_root import SCRIPT, RootedServer
from smtpbench.target import Role, Target
from tests.lab.conftest import WITHIN, client

SERVERS: tuple[RootedServer, ...] = (Dovecot(), Exim(), OpenSmtpd(), Postfix())
MESSAGE = (
    b"X-Smtpbench: m\r\nDate: Tue, 24 Nov 2026 12:00:00 +0000\r\nFrom: <a@example.org>\r\n"
    b"Message-ID: <m@example.org>\r\nSubject: a\r\n\r\n.b\r\nc\r\n"
)
every_server = pytest.mark.parametrize("server", [*SERVERS, PostfixDovecot()], ids=lambda server: server.name)


@every_server
def test_without_root_it_says_so_in_one_line(server: RootedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with (
        pytest.raises(UsageError, match=rf"^lab:{server.name} needs root on Linux"),
        open_target(f"lab:{server.name}"),
    ):
        pass


@every_server
@pytest.mark.parametrize(
    ("absent", "words"),
    [("unshare", "needs unshare in PATH"), ("apt-get", "installed, or apt-get to install it")],
)
def test_a_missing_tool_is_named(
    server: RootedServer, absent: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = {absent, server.programs[-1]} if absent == "apt-get" else {absent}
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda name: None if name in missing else f"/usr/bin/{name}")
    with pytest.raises(UsageError, match=words), open_target(f"lab:{server.name}"):
        pass


@every_server
def test_the_scripts_are_shell(server: RootedServer) -> None:
    for script in (SCRIPT, server.script):
        subprocess.run(["sh", "-n", script], check=True, timeout=WITHIN)


@pytest.fixture(scope="module", params=[server.name for server in SERVERS])
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    with open_target(f"lab:{request.param}") as opened:
        yield opened


def role_of(target: Target) -> Role:
    return next(role for role in (Role.MX, Role.LMTP) if role in target.endpoints)


async def observed(target: Target, *recipients: str | None, number: int) -> list[Delivered]:
    """What arrives of a message to each of `recipients` on the main endpoint."""
    assert target.observe is not None
    opened = open_observer(target.observe, auth=target.auth, tls=target.tls, timeouts=target.timeouts)
    async with opened as observer:
        with client(target, role_of(target)) as connection:
            for recipient in recipients:
                connection.sendmail(target.fixtures.sender, [str(recipient)], MESSAGE)
        return await observer.fetch(MESSAGE[:14], number, target.timeouts.delivery)


@pytest.mark.lab
async def test_a_message_reaches_both_mailboxes(target: Target) -> None:
    fixtures = target.fixtures
    messages = await observed(target, fixtures.recipient, fixtures.second_recipient, number=2)
    assert len(messages) == 2
    for message in messages:
        assert message.content.endswith(MESSAGE.replace(b"\r\n", b"\n"))
        assert (message.line_ends, message.sender) == ("lf", fixtures.sender)
    assert {address for message in messages for address in message.recipients} == {
        fixtures.recipient,
        fixtures.second_recipient,
    }


@pytest.mark.lab
def test_loopback_is_not_trusted(target: Target) -> None:
    with client(target, role_of(target)) as connection:
        connection.docmd("MAIL FROM:<>")
        assert connection.docmd("RCPT TO:<postmaster>")[0] == 250
        assert connection.docmd("RCPT TO:<Postmaster@EXAMPLE.com>")[0] == 250
        assert connection.docmd(f"RCPT TO:<{target.fixtures.unknown_recipient}>")[0] // 100 == 5
        assert connection.docmd(f"RCPT TO:<{target.fixtures.foreign_recipient}>")[0] // 100 == 5


@pytest.mark.lab
def test_starttls_with_a_certificate_of_our_ca(target: Target) -> None:
    if target.name.startswith("OpenSMTPD"):
        pytest.skip("the recipe is without TLS, for the reason that it gives")
    with client(target, role_of(target)) as connection:
        assert connection.starttls(context=ssl.create_default_context(cafile=target.tls.ca))[0] == 220


@pytest.mark.lab
@pytest.mark.parametrize("role", [Role.SUBMISSION, Role.SUBMISSIONS])
def test_submission_takes_our_password_and_no_other(target: Target, role: Role) -> None:
    if role not in target.endpoints:
        assert target.name.startswith(("Dovecot", "OpenSMTPD"))
        pytest.skip("no such endpoint")
    assert target.auth is not None
    with client(target, role) as connection:
        assert connection.docmd("MAIL FROM:<alice@example.com>")[0] in (250, 530)
        assert connection.docmd("RCPT TO:<bob@example.com>")[0] in (503, 530, 554)
    with client(target, role) as connection, pytest.raises(smtplib.SMTPAuthenticationError):
        connection.login(target.auth.username, "wrong")
    with client(target, role) as connection:
        connection.login(target.auth.username, target.auth.password())
        connection.docmd("MAIL FROM:<alice@example.com>")
        assert connection.docmd("RCPT TO:<bob@example.com>")[0] == 250


@pytest.mark.lab
async def test_a_dovecot_mailbox_is_the_same_over_each_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    ports = {}
    configure = Dovecot.configure
    monkeypatch.setattr(
        Dovecot, "configure", lambda self, place, given: (ports.update(given), configure(self, place, given))
    )
    with dovecot() as running:
        target = running.target
        assert target.observe is not None
        for scheme in ("imap", "imaps", "pop3", "pop3s"):
            url = target.observe.url.replace("imap", scheme, 1).replace(
                str(ports["imap"]), str(ports[scheme])
            )
            other = target.model_copy(update={"observe": target.observe.model_copy(update={"url": url})})
            (message,) = await observed(other, target.fixtures.recipient, number=1)
            seen.append(message)
    assert {message.where.partition(":")[0] for message in seen} == {"imap", "imaps", "pop3", "pop3s"}
    assert {message.content[message.content.index(b"X-Smtpbench") :] for message in seen} == {
        MESSAGE.replace(b"\r\n", b"\n")
    }


def processes_in(folder: Path) -> set[int]:
    """Processes in the private root of a workspace: its folder is in no mount namespace but theirs."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                mounts = (entry / "mountinfo").read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue
            if folder.name in mounts:
                found.add(int(entry.name))
    return found


@pytest.mark.lab
@every_server
def test_nothing_is_left_behind(server: RootedServer) -> None:
    with open_target(f"lab:{server.name}") as target:
        assert target.tls.ca is not None
        folder = target.tls.ca.parent
        assert processes_in(folder)
    assert not processes_in(folder)
    assert not folder.exists()
    assert folder.name not in Path("/proc/mounts").read_text(encoding="utf-8")
