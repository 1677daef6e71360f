from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any

import pytest

from smtpbench.errors import UsageError
from smtpbench.load.drawing import POOL, POOL_OCTETS, sizes
from smtpbench.load.quantities import SIZE
from smtpbench.load.setup import Share, make_plan, make_script
from smtpbench.load.workload import Workload, make_workload, overlay, parse_duration
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
        ({}, "users or rate or a trace"),
        ({"users": 1, "rate": 1.0}, "not both"),
        ({"users": 0}, "users: 0"),
        ({"rate": -1.0}, "rate"),
        ({"users": 1, "message_size": 10}, "message_size: 10: expected 512 to"),
        ({"users": 1, "message_size": "gauss:8k"}, "message_size: 'gauss:8k': unknown distribution"),
        ({"users": 1, "recipients": "uniform:0-3"}, "recipients: 'uniform:0-3': expected 1 to 1,000"),
        ({"rate": "ramp:10"}, "rate: 'ramp:10': expected ramp:FROM-TO,OVER"),
        ({"users": 1, "rate": "ramp:1-2,3s"}, "not both"),
        ({"arrivals": "/nowhere/trace.txt"}, "arrivals: /nowhere/trace.txt: No such file"),
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


def test_sizes_and_recipients_are_drawn_with_the_seed() -> None:
    target = from_url("smtp://127.0.0.1:25")
    workload = Workload(users=1, message_size="choice:1k@3,4k@1", recipients="uniform:1-40", seed=3)

    def messages(seed: int) -> list[tuple[int, int]]:
        script = make_script(target, workload, Random(seed))
        found = (script.next() for _ in range(2000))
        return [(len(message.rcpts), len(message.content(b"")) - len(".\r\n")) for message in found]

    drawn = messages(1)
    assert drawn == messages(1) != messages(2)
    assert {number for number, _ in drawn} == set(range(1, 41))
    assert Counter(size for _, size in drawn)[1024] == pytest.approx(1500, rel=0.05)
    assert {size for _, size in drawn} == {1024, 4096}


def test_the_sizes_kept_ready_stay_within_bounds() -> None:
    assert sizes(SIZE.read("8k")) == [8192]
    fair = sizes(SIZE.read("lognormal:8k,1"))
    assert len(fair) == POOL
    assert fmean(fair) == pytest.approx(SIZE.read("lognormal:8k,1").mean, rel=0.05)
    assert sum(sizes(SIZE.read("uniform:1m-64m"))) <= POOL_OCTETS
    assert sizes(SIZE.read("uniform:500m-600m")) == [550 << 20]  # one at least


def test_a_trace_travels_with_the_workload_and_stays_out_of_the_result(tmp_path: Path) -> None:
    path = tmp_path / "trace.txt"
    path.write_text("0\n1\n2.5\n")
    workload = make_workload(arrivals=str(path))
    path.unlink()
    there = Workload.model_validate(workload.model_dump(mode="json", exclude_unset=True))
    assert there == workload
    assert there.is_open
    assert list(make_plan(there, Share(1, 2))) == [1]
    assert "trace" not in there.shown()


def test_a_rate_that_changes_has_a_length_of_its_own() -> None:
    assert Workload(rate="ramp:0-100,4s").lasts == 4
    assert len(list(make_plan(Workload(rate="ramp:0-100,4s", arrivals="constant")))) == 200
    assert Workload(rate="ramp:0-100,4s", run_time=1).lasts == 1
    assert Workload(rate=5).lasts is None
    assert Workload(rate="ramp:0-100,4s").shown()["rate"] == "ramp:0-100,4s"


@pytest.mark.parametrize(
    ("own", "given", "merged"),
    [
        ({"users": 3, "messages": 5}, {"rate": 2.0}, {"messages": 5, "rate": 2.0}),
        ({"rate": 2.0}, {"users": 3}, {"users": 3}),
        ({"rate": 2.0, "arrivals": "constant"}, {"rate": 3.0}, {"rate": 3.0, "arrivals": "constant"}),
        ({"arrivals": "a.txt", "trace": (0.0,)}, {"rate": 3.0}, {"rate": 3.0}),
        ({"users": 3}, {"arrivals": "a.txt"}, {"arrivals": "a.txt"}),
        ({"users": 3, "think_time": 1}, {"rate": 2.0}, {"rate": 2.0}),
        ({"users": 3, "think_time": 1}, {"users": 2}, {"users": 2, "think_time": 1}),
        ({"users": 3}, {"arrivals": "constant"}, {"users": 3, "arrivals": "constant"}),
    ],
)
def test_what_is_given_goes_on_top_of_a_scenario(
    own: dict[str, Any], given: dict[str, Any], merged: dict[str, Any]
) -> None:
    assert overlay(own, given) == merged


def test_an_address_cannot_break_out_of_its_command() -> None:
    with pytest.raises(UsageError, match="printable ASCII"):
        make_script(from_url("smtp://127.0.0.1:25"), Workload(users=1, recipient="a@b>\r\nRSET"))
