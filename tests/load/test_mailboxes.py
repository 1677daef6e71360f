"""Mail spread over many mailboxes of one domain, or of several."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from smtpbench.load.manner import Manner
from smtpbench.load.script import Transaction
from smtpbench.load.setup import make_script
from smtpbench.target import from_url

TARGET = from_url("smtp://127.0.0.1:25")
ADDRESS = re.compile(rb"RCPT TO:<([^>]*)>")


def named(transaction: Transaction) -> list[str]:
    return [found[1].decode() for line in transaction.rcpts if (found := ADDRESS.match(line))]


def script(**fields: object) -> list[list[str]]:
    """Whom the first 300 messages of such sessions name."""
    made = make_script(TARGET, Manner.model_validate({"recipient": "queue@relay.example", **fields}))
    return [named(made.next()) for _ in range(300)]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"message_size": "uniform:1k-2k"},
        {"recipients": 3},
        {"recipients": "uniform:1-4"},
        {"content": "mime", "message_size": 4096},
    ],
)
def test_mail_goes_to_every_mailbox_and_to_none_twice(fields: dict[str, object]) -> None:
    sent = script(mailboxes=10, **fields)
    assert all(len(set(names)) == len(names) for names in sent)
    counts = Counter(name for names in sent for name in names)
    assert counts.keys() == {f"queue{number}@relay.example" for number in range(1, 11)}
    assert min(counts.values()) > 10


def test_more_recipients_than_mailboxes_take_turns() -> None:
    assert script(mailboxes=2, recipients=3)[0] == [
        "queue1@relay.example", "queue2@relay.example", "queue1@relay.example",
    ]  # fmt: skip


def test_one_mailbox_is_the_recipient() -> None:
    assert script()[0] == ["queue@relay.example"]


@pytest.mark.parametrize("fields", [{}, {"mailboxes": 50}, {"mailboxes": 7, "message_size": "uniform:1k-2k"}])
def test_domains_take_turns_whatever_the_session(fields: dict[str, object]) -> None:
    domains = ("a.example", "b.example", "c.example")
    sent = script(domains=domains, **fields)
    counts = Counter(name.partition("@")[2] for names in sent for name in names)
    assert counts.keys() == set(domains)
    assert max(counts.values()) - min(counts.values()) <= (0 if "message_size" not in fields else 90)
    names = {name for names in sent for name in names}
    mailboxes = fields.get("mailboxes", 1)
    assert len(names) == 3 * int(str(mailboxes))
