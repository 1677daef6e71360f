"""Postfix in its private root. The tests marked `lab` need root, and apt or an installed Postfix."""

from __future__ import annotations

import os
import select
import shutil
import smtplib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from smtpbench.errors import UsageError
from smtpbench.lab import open_target
from smtpbench.lab.postfix import Postfix
from smtpbench.lab.private_root import SCRIPT
from smtpbench.target import Role, Target
from tests.lab.conftest import WITHIN, client, delivered, maildir


def test_without_root_it_says_so_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(UsageError, match=r"^lab:postfix needs root on Linux"), open_target("lab:postfix"):
        pass


@pytest.mark.parametrize(
    ("present", "words"),
    [
        ({"mount", "chroot", "postfix"}, "needs unshare in PATH"),
        ({"unshare", "mount", "chroot"}, "needs Postfix installed, or apt-get"),
    ],
)
def test_a_missing_tool_is_named(monkeypatch: pytest.MonkeyPatch, present: set[str], words: str) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}" if name in present else None)
    with pytest.raises(UsageError, match=words), open_target("lab:postfix"):
        pass


def test_the_script_is_shell() -> None:
    for script in (SCRIPT, Postfix().script):
        subprocess.run(["sh", "-n", script], check=True, timeout=WITHIN)


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    with open_target("lab:postfix") as opened:
        yield opened


def wait_for_messages(target: Target, count: int) -> list[bytes]:
    """Postfix replies before it delivers, so this looks until `count` messages are there."""
    deadline = time.monotonic() + target.timeouts.delivery
    while len(found := delivered(target)) < count:
        assert time.monotonic() < deadline, f"{len(found)} of {count} messages were delivered"
        select.select([], [], [], 0.02)
    return found


@pytest.mark.lab
def test_a_message_reaches_both_mailboxes(target: Target) -> None:
    fixtures = target.fixtures
    with client(target, Role.MX) as connection:
        connection.sendmail(
            fixtures.sender, [fixtures.recipient, fixtures.second_recipient], b"Subject: a\r\n\r\n.b\r\n"
        )
    messages = wait_for_messages(target, 2)
    assert all(message.endswith(b"Subject: a\n\n.b\n") for message in messages)
    assert {b"Delivered-To: alice@example.com", b"Delivered-To: bob@example.com"} <= set(
        b"\n".join(messages).split(b"\n")
    )


@pytest.mark.lab
def test_loopback_is_not_trusted(target: Target) -> None:
    with client(target, Role.MX) as connection:
        connection.docmd("MAIL FROM:<>")
        assert connection.docmd("RCPT TO:<postmaster>")[0] == 250
        assert connection.docmd(f"RCPT TO:<{target.fixtures.unknown_recipient}>")[0] == 550
        assert connection.docmd(f"RCPT TO:<{target.fixtures.foreign_recipient}>")[0] == 554


@pytest.mark.lab
@pytest.mark.parametrize("role", [Role.SUBMISSION, Role.SUBMISSIONS])
def test_submission_takes_our_password_and_no_other(target: Target, role: Role) -> None:
    assert target.auth is not None
    with client(target, role) as connection:
        with pytest.raises(smtplib.SMTPAuthenticationError):
            connection.login(target.auth.username, "wrong")
        connection.login(target.auth.username, target.auth.password())
        connection.docmd("MAIL FROM:<alice@example.com>")
        assert connection.docmd("RCPT TO:<bob@example.com>")[0] == 250


def lab_processes() -> set[int]:
    """Processes of a private root: those whose root folder is not ours."""
    ours = Path("/proc/self/root").stat()
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                theirs = (entry / "root").stat()
            except OSError:
                continue
            if (theirs.st_dev, theirs.st_ino) != (ours.st_dev, ours.st_ino):
                found.add(int(entry.name))
    return found


@pytest.mark.lab
def test_nothing_is_left_behind() -> None:
    processes, mounts = lab_processes(), Path("/proc/mounts").read_text(encoding="utf-8")
    with open_target("lab:postfix") as target:
        folder = maildir(target).parent.parent
        assert lab_processes() - processes
    assert lab_processes() <= processes
    assert not folder.exists()
    assert Path("/proc/mounts").read_text(encoding="utf-8") == mounts
