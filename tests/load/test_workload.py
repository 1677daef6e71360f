from __future__ import annotations

import pytest

from smtpbench.errors import UsageError
from smtpbench.load.setup import Share, make_script
from smtpbench.load.workload import Workload, make_workload, parse_duration
from smtpbench.target import Fixtures, from_url


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("20s", 20), ("5m", 300), ("1h30m", 5400), ("1m30s", 90), ("0.5s", 0.5)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0s", "s", "5 minutes", "-3s", "1s2m", "nan"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(UsageError, match="duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({}, "users or rate"),
        ({"users": 1, "rate": 1.0}, "not both"),
        ({"users": 0}, "users: 0"),
        ({"rate": -1.0}, "rate"),
        ({"users": 1, "message_size": 10}, "message_size: 10"),
        ({"users": 1, "spead": 1}, "spead"),
        ({"users": 1, "run_time": 5, "warm_up": 5}, "warm_up: 5 s leave nothing of a run_time of 5 s"),
    ],
)
def test_a_workload_that_makes_no_sense_is_named(fields: dict[str, float], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint) as caught:
        make_workload(**fields)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(("total", "parts"), [(0, 3), (10, 3), (2, 5), (100, 1)])
def test_shares_add_up(total: int, parts: int) -> None:
    shares = [Share(part, parts).of(total) for part in range(parts)]
    assert sum(shares) == total
    assert max(shares) - min(shares) <= 1


def test_recipients_take_turns_among_the_mailboxes() -> None:
    fixtures = Fixtures(recipient="a@example.net", second_recipient="b@example.net")
    target = from_url("smtp://127.0.0.1:25").model_copy(update={"fixtures": fixtures})
    script = make_script(target, Workload(users=1, recipients=3))
    assert script.next().rcpts == tuple(f"RCPT TO:<{name}@example.net>\r\n".encode() for name in "aba")


def test_an_address_cannot_break_out_of_its_command() -> None:
    with pytest.raises(UsageError, match="printable ASCII"):
        make_script(from_url("smtp://127.0.0.1:25"), Workload(users=1, recipient="a@b>\r\nRSET"))
