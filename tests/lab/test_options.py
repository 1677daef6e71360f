"""One-off options laid over a target."""

from __future__ import annotations

from pathlib import Path

import pytest

from smtpbench.errors import UsageError
from smtpbench.lab import TargetOptions, apply_options
from smtpbench.target import Credentials, Endpoint, Fixtures, Observe, Role, Target, from_url


def target() -> Target:
    return Target(
        endpoints={Role.MX: Endpoint(port=25)},
        fixtures=Fixtures(recipient="a@example.com", unknown_recipient="b@example.com"),
        auth=Credentials(username="alice", password_file=Path("password")),
    )


def test_no_option_changes_nothing() -> None:
    assert apply_options(target(), TargetOptions()) == target()


def test_each_option_replaces_its_key_and_no_other() -> None:
    changed = apply_options(
        target(),
        TargetOptions(
            recipient="c@example.com",
            second_recipient="d@example.com",
            sender="e@example.org",
            ca=Path("ca.pem"),
            observe="mbox:/var/mail/c",
        ),
    )
    assert changed.fixtures == Fixtures(
        recipient="c@example.com",
        second_recipient="d@example.com",
        unknown_recipient="b@example.com",
        sender="e@example.org",
    )
    assert changed.tls.ca == Path("ca.pem")
    assert changed.observe == Observe(url="mbox:/var/mail/c")
    assert changed.auth == target().auth


def test_a_password_variable_takes_the_place_of_a_password_file() -> None:
    changed = apply_options(target(), TargetOptions(username="bob", password_env="PASSWORD"))
    assert changed.auth == Credentials(username="bob", password_env="PASSWORD")


def test_ways_to_read_take_the_place_of_those_there_were_and_have_the_password_of_a_mailbox() -> None:
    urls = ("imap://bob@127.0.0.1", "pop3://127.0.0.1")
    before = target().model_copy(update={"read": (Observe(url="imap://eve@127.0.0.1"),)})
    changed = apply_options(before, TargetOptions(read=urls, observe_password_env="PASSWORD"))
    assert changed.read == tuple(Observe(url=url, password_env="PASSWORD") for url in urls)
    assert (changed.observe, changed.auth) == (None, target().auth)


def test_a_mailbox_has_a_password_of_its_own() -> None:
    data = TargetOptions(observe="imap://bob@127.0.0.1", observe_password_env="PASSWORD")
    changed = apply_options(target(), data)
    assert changed.observe == Observe(url="imap://bob@127.0.0.1", password_env="PASSWORD")
    assert changed.auth == target().auth


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (TargetOptions(username="bob"), "--username needs --password-env"),
        (TargetOptions(password_env="PASSWORD"), "--password-env needs --username"),
        (TargetOptions(recipient=""), r"fixtures\.recipient: ''"),
        (TargetOptions(observe_password_env="PASSWORD"), "--observe-password-env needs --observe"),
        (TargetOptions(observe="somewhere"), r"observe\.url: 'somewhere'"),
    ],
)
def test_an_option_that_makes_no_sense_is_a_usage_error(options: TargetOptions, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        apply_options(from_url("smtp://127.0.0.1"), options)
