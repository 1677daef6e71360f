"""Whole queue runs: through our reference server, which relays to the sink, faithfully or not."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from smtpbench.campaign import queue
from smtpbench.campaign.queue import KILLED, Follow, Patience, Slow, recover, run_queue
from smtpbench.campaign.result import QueueResult
from smtpbench.cli.queue import queue_exit_code
from smtpbench.errors import EXIT_INCONCLUSIVE, UsageError
from smtpbench.report.delivery import sentences
from smtpbench.server import MaildirStore, Server, ServerConfig
from smtpbench.server.sink_script import SinkScript
from smtpbench.target import Endpoint, Fixtures, Observe, Relay, Role, Target
from tests.campaign.doubles import in_a_thread

DOMAIN = "relay.example"
MESSAGES = 150  # what happens to one message of a thousand happens to the 100th first
WAIT = 60.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@contextmanager
def serving(*faults: str, maildir: Path | None = None) -> Iterator[Target]:
    """A target that relays to a port where nobody listens yet, and is served from a thread."""
    hop = free_port()
    config = ServerConfig(relays={DOMAIN: ("127.0.0.1", hop)}, relay_retry=0.1)
    server = Server(config, faults=faults, store=MaildirStore(maildir) if maildir else None)
    with in_a_thread(lambda: server):
        yield Target(
            name="reference", endpoints={Role.MX: Endpoint(port=server.port)},
            fixtures=Fixtures(recipient="alice@example.com"),
            observe=Observe(url=f"maildir:{maildir}") if maildir else None,
            relay=Relay(listen=f"127.0.0.1:{hop}", domain=DOMAIN, retry_s=0.1),
        )  # fmt: skip


@pytest.fixture
def queued(tmp_path: Path) -> Iterator[Callable[..., QueueResult]]:
    """A function that runs `MESSAGES` through a server with those faults."""
    with ExitStack() as stack:

        def run(
            *faults: str, messages: int = MESSAGES, settle_s: float = 1.5, script: SinkScript | None = None
        ) -> QueueResult:
            target = stack.enter_context(serving(*faults))
            return run_queue(
                target, {"users": 4, "messages": messages}, tmp_path / "ledger", script=script,
                patience=Patience(settle_s, WAIT),
            )  # fmt: skip

        yield run


def found(result: QueueResult) -> dict[str, int]:
    counts = result.ledger.model_dump()
    return {word: count for word, count in counts.items() if count and word not in ("accepted", "delivered")}


def test_a_faithful_queue_gives_zeros(queued: Callable[..., QueueResult]) -> None:
    result = queued()
    assert result.totals.accepted == result.ledger.accepted == result.ledger.delivered == MESSAGES
    assert {word: count for word, count in found(result).items() if word != "reordered"} == {}
    assert (result.closed, result.interrupted) == (True, False)
    assert result.end_to_end.count == result.in_queue.count == MESSAGES
    assert result.queue_depth[-1].depth == 0
    assert result.drain_s is not None
    assert [domain.domain for domain in result.domains] == [DOMAIN]
    assert result.observer.startswith("sink:127.0.0.1:")


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        ("queue-loses-every-1000th", "lost"),
        ("queue-delivers-every-1000th-twice", "duplicated"),
        ("queue-flips-a-bit", "corrupted"),
    ],
)
def test_one_message_of_a_thousand_is_found(
    queued: Callable[..., QueueResult], fault: str, word: str
) -> None:
    result = queued(fault)
    assert result.ledger.wrong == {word: 1}
    assert len(result.examples[word]) == 1
    assert result.ledger.accepted == MESSAGES


def test_what_is_missing_of_a_server_whose_schedule_nobody_states_is_pending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same server that loses one, but it may be that it only waits longer than we do."""
    with serving("queue-loses-every-1000th") as target:
        relay = target.relay.model_copy(update={"retry_s": None})
        unstated = target.model_copy(update={"relay": relay})
        fields = {"users": 4, "messages": MESSAGES}
        monkeypatch.setattr(queue, "SETTLE_S", 3.0)
        result = run_queue(unstated, fields, tmp_path / "ledger")
    assert result.closed
    assert (result.ledger.lost, result.ledger.pending) == (0, 1)
    assert "relay.retry_s" in result.unsure
    assert queue_exit_code(result) == EXIT_INCONCLUSIVE


@pytest.mark.parametrize(
    ("stated", "settle_s", "settled"),
    [({}, None, False), ({}, 5.0, True), ({"queue": {"retry_s": 0}}, None, True),
     ({"queue": {"retry_s": 60}}, None, True),
     ({"relay": {"listen": "127.0.0.1:1", "domain": DOMAIN}}, None, False),
     ({"relay": {"listen": "127.0.0.1:1", "domain": DOMAIN, "retry_s": 60}}, None, True)],
)  # fmt: skip
def test_silence_proves_a_loss_where_the_schedule_is_known(
    stated: dict[str, Any], settle_s: float | None, settled: bool
) -> None:
    target = Target.model_validate({"endpoints": {"mx": {"port": 1}}, **stated})
    patience = Patience(settle_s)
    assert (patience.unsure(target) == "") is settled
    assert patience.settle(target) == (settle_s or 4 * max(target.retry_s or 0, 2.5))


def test_a_queue_that_reorders_is_told_from_one_that_does_not(queued: Callable[..., QueueResult]) -> None:
    result = queued("queue-reorders", messages=200)
    assert result.ledger.reordered >= 15  # of 20 that were held; the last ones have nothing behind them
    assert result.ledger.wrong == {}


HOP = SinkScript.model_validate(
    {"rule": [{"on": "rcpt", "share": 0.2, "reply": "451 4.3.0 Later"},
              {"on": "body", "share": 0.02, "drop": "before"}]}
)  # fmt: skip


def test_a_hop_that_defers_and_drops_loses_nothing(queued: Callable[..., QueueResult]) -> None:
    result = queued(script=HOP)
    assert result.ledger.delivered == MESSAGES
    assert result.ledger.wrong == {}
    assert result.excused == []
    assert sum(result.hop.values()) > MESSAGES / 10


def test_a_queue_that_never_retries_is_found(queued: Callable[..., QueueResult]) -> None:
    result = queued("relay-forgets-deferred", script=HOP)
    assert result.ledger.wrong.keys() == {"lost"}
    assert 0.1 * MESSAGES < result.ledger.lost < 0.4 * MESSAGES


def test_a_hop_that_takes_and_drops_is_itself_the_cause_of_duplicates(
    queued: Callable[..., QueueResult],
) -> None:
    script = {"rule": [{"on": "body", "share": 0.1, "drop": "before", "taken": True}]}
    result = queued(script=SinkScript.model_validate(script))
    assert result.ledger.duplicated > 0
    assert result.ledger.wrong.keys() == {"duplicated"}
    assert (result.excused, result.wrong) == (["duplicated"], {})


@pytest.mark.alone
def test_a_slow_domain_and_the_others(tmp_path: Path) -> None:
    """The reference server carries each message by itself: a slow domain holds up nobody."""
    domains = ["slow.relay.example", "fast.relay.example"]
    with serving() as target:
        result = run_queue(
            target, {"rate": 40, "run_time": 4.0}, tmp_path / "ledger", domains=domains,
            slow=Slow(domains[0], 1.0, 1.5),
        )  # fmt: skip
    assert result.ledger.wrong == {}
    fast, slow = result.domains
    assert (fast.domain, slow.domain) == (domains[1], domains[0])
    assert abs(fast.copies - slow.copies) <= 5  # a few long sessions, and yet as much for either
    assert slow.in_queue.max_ms >= 1000
    assert result.head_of_line is not None
    assert result.head_of_line.before.count > 0
    assert result.head_of_line.since.count > 0
    assert result.head_of_line.since.p50_ms < 1000


@pytest.mark.alone
def test_one_line_for_all_is_held_up_by_a_slow_domain(tmp_path: Path) -> None:
    """The negative control: a queue that carries one message after the other."""
    domains = ["slow.relay.example", "fast.relay.example"]
    with serving("queue-is-one-line") as target:
        result = run_queue(
            target, {"rate": 10, "run_time": 5.0}, tmp_path / "ledger",
            domains=domains, slow=Slow(domains[0], 0.5, 1.5), patience=Patience(10.0, WAIT),
        )  # fmt: skip
    assert result.ledger.wrong == {}
    assert result.head_of_line is not None
    assert result.head_of_line.since.count > 0
    assert result.head_of_line.held_up, result.head_of_line
    assert "held up other domains" in " ".join(sentences(result))


def test_mail_into_a_mailbox(tmp_path: Path) -> None:
    with serving(maildir=tmp_path / "mail") as target:
        result = run_queue(target, {"users": 2, "messages": 50}, tmp_path / "ledger", follow=Follow.MAILBOX)
    assert (result.ledger.accepted, result.ledger.delivered) == (50, 50)
    assert result.ledger.wrong == {}
    assert result.observer == f"maildir:{tmp_path / 'mail'}"


def test_a_run_is_recovered_from_its_ledger(queued: Callable[..., QueueResult], tmp_path: Path) -> None:
    """As after a kill: there is the ledger, and nothing else."""
    result = queued(messages=50)
    again = recover(tmp_path / "ledger")
    assert again.ledger == result.ledger
    assert again.in_queue == result.in_queue
    assert (again.invalid_reasons, again.interrupted) == ([KILLED], True)
    assert again.target["name"] == "reference"


def test_a_folder_that_has_a_ledger_is_refused(queued: Callable[..., QueueResult]) -> None:
    queued(messages=5)
    with pytest.raises(UsageError, match="the ledger of another run"):
        queued(messages=5)


def test_there_must_be_a_place_to_follow_to(tmp_path: Path) -> None:
    target = Target(endpoints={Role.MX: Endpoint(port=1)})
    with pytest.raises(UsageError, match="where does its mail arrive"):
        run_queue(target, {}, tmp_path)
    with pytest.raises(UsageError, match=r"no \[relay\]"):
        run_queue(target, {}, tmp_path, follow=Follow.RELAY)
    with pytest.raises(UsageError, match="no ledger is in this folder"):
        recover(tmp_path)
