"""Queue runs whose mail is read by its recipients, over IMAP and POP3, from servers that may die."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from smtpbench.campaign.queue import Patience, recover, run_queue
from smtpbench.campaign.reading import describe_reading
from smtpbench.campaign.result import QueueResult
from smtpbench.cli.queue import queue_exit_code
from smtpbench.delivery import looking
from smtpbench.delivery.arrival import Read
from smtpbench.errors import EXIT_INCONCLUSIVE, EXIT_OK, AuthFailed, SessionError, Unreachable
from smtpbench.report.delivery import conclude_delivery, latencies, sentences
from smtpbench.server import Copy, MaildirStore, Server, ServerConfig
from smtpbench.target import Endpoint, Fixtures, Observe, Queue, Role, Target
from tests.campaign.doubles import in_a_thread
from tests.delivery.mailbox_servers import PASSWORD, USER, Box, imap, pop3, serving

WAIT = 30.0
MESSAGES = 60
OLD = b"Subject: old\r\n\r\nIt was there before.\r\n"
MS = 1_000_000


class _Both(MaildirStore):
    """What is delivered can be seen in a Maildir, and read in a mailbox on a server."""

    blocking = False  # the servers of the mailbox run in the same loop

    def __init__(self, root: Path, box: Box) -> None:
        super().__init__(root, sync=False)
        self._box = box

    def deliver(self, copies: Sequence[Copy]) -> list[bool]:
        for copy in copies:
            self._box.deliver(copy.content)
        return super().deliver(copies)


@contextmanager
def reading(folder: Path, box: Box, *, observe: str = "") -> Iterator[Target]:
    """A target that delivers into `box`; `observe` is the protocol of the observer, "" for its Maildir."""
    server = Server(ServerConfig(), store=_Both(folder / "mail", box))
    ports: dict[str, int] = {}

    @asynccontextmanager
    async def serve() -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(server)
            for speak in (imap, pop3):
                await stack.enter_async_context(serving(speak, box))
                ports[speak.__name__] = box.port
            yield

    with in_a_thread(serve):
        password = folder / "password"
        password.write_text(PASSWORD, encoding="utf-8")
        places = {
            name: Observe(url=f"{name}://{USER}@127.0.0.1:{port}", password_file=password)
            for name, port in ports.items()
        }
        yield Target(
            endpoints={Role.MX: Endpoint(port=server.port)}, queue=Queue(retry_s=0.0),
            fixtures=Fixtures(recipient="alice@example.com"), read=tuple(places.values()),
            observe=places[observe] if observe else Observe(url=f"maildir:{folder / 'mail'}"),
        )  # fmt: skip


def run(target: Target, folder: Path, **more: Any) -> QueueResult:
    fields = {"users": 2, "messages": MESSAGES}
    return run_queue(target, fields, folder / "ledger", patience=Patience(1.0, WAIT, 0.0), **more)


def test_what_is_delivered_is_read_over_both_protocols(tmp_path: Path) -> None:
    box = Box()
    box.deliver(OLD)
    with reading(tmp_path, box) as target:
        result = run(target, tmp_path)
    assert (result.ledger.delivered, result.ledger.foreign, queue_exit_code(result)) == (MESSAGES, 0, EXIT_OK)
    assert {name: stats.count for name, stats in result.read.items()} == {"imap": MESSAGES, "pop3": MESSAGES}
    assert (result.exact_times, result.resolution_ms, result.observed_by) == (True, 0.0, "")
    for stats in result.read.values():
        assert stats.resolution_ms > 0
        assert stats.p50_ms >= result.end_to_end.p50_ms
        assert (stats.down_s, stats.trouble) == (0.0, "")
    assert (result.read["imap"].internal_date.count, result.read["pop3"].internal_date.count) == (MESSAGES, 0)
    said, rows = " ".join(sentences(result)), [name for name, _ in latencies(result)]
    assert f"Read over IMAP: {MESSAGES} of {MESSAGES} accepted, and left in the mailbox" in said
    assert rows == ["end to end", "in the queue", "until read over IMAP", "until read over POP3"]
    assert not any("STORE" in line or "DELE" in line for line in box.said)
    assert len(box.messages) == MESSAGES + 1
    again = recover(tmp_path / "ledger")
    assert {name: one.count for name, one in again.read.items()} == {"imap": MESSAGES, "pop3": MESSAGES}


@pytest.mark.parametrize("protocol", ["imap", "pop3"])
def test_a_mailbox_that_is_all_there_is_to_see_says_how_exact_its_times_are(
    tmp_path: Path, protocol: str
) -> None:
    with reading(tmp_path, Box(), observe=protocol) as target:
        result = run(target.model_copy(update={"read": ()}), tmp_path)
    assert result.ledger.delivered == MESSAGES
    assert (result.exact_times, result.observed_by) == (False, protocol)
    assert result.resolution_ms == result.read[protocol].resolution_ms > 0
    assert result.read[protocol].p99_ms == result.end_to_end.p99_ms
    assert "exact to" in " ".join(sentences(result))
    assert [name for name, _ in latencies(result)] == ["end to end", "in the queue"]


def test_a_mailbox_that_dies_costs_nothing_of_what_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking, "GONE_S", 1.0)
    with reading(tmp_path, Box(dies_after=2), observe="imap") as target:
        result = run(target.model_copy(update={"read": ()}), tmp_path)
    ledger = result.ledger
    assert (ledger.accepted, ledger.lost) == (MESSAGES, 0)
    assert ledger.delivered + ledger.pending == MESSAGES
    assert ledger.pending > 0
    assert result.read["imap"].count == ledger.delivered
    assert result.observer_down_s >= 1.0
    assert queue_exit_code(result) == EXIT_INCONCLUSIVE
    assert "the server hung up" in conclude_delivery(result).text


def test_a_reader_that_is_cut_off_for_good_is_told_and_what_was_delivered_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking, "GONE_S", 1.0)
    with reading(tmp_path, Box(dies_after=1)) as target:
        result = run(target, tmp_path)
    assert result.ledger.delivered == MESSAGES
    assert min(stats.count for stats in result.read.values()) < MESSAGES
    assert "could not be read to the end" in " ".join(result.invalid_reasons)
    assert queue_exit_code(result) == EXIT_INCONCLUSIVE


def test_a_mailbox_that_comes_back_is_read_to_the_end(tmp_path: Path) -> None:
    box = Box(hang_up_before=["SEARCH"] * 6)
    with reading(tmp_path, box, observe="imap") as target:
        result = run(target.model_copy(update={"read": ()}), tmp_path)
    assert result.ledger.delivered == MESSAGES
    assert result.observer_down_s > 0
    assert queue_exit_code(result) == EXIT_OK


@pytest.mark.parametrize(("port", "password", "kind"), [(1, PASSWORD, Unreachable), (0, "wrong", AuthFailed)])
def test_a_mailbox_that_does_not_open_is_one_line_before_the_load(
    tmp_path: Path, port: int, password: str, kind: type[SessionError]
) -> None:
    box = Box()
    with reading(tmp_path, box) as target:
        first, second = target.read
        (tmp_path / "password").write_text(password, encoding="utf-8")
        dead = first.model_copy(update={"url": f"imap://{USER}@127.0.0.1:{port}"}) if port else first
        with pytest.raises(kind, match=r"^imap://127\.0\.0\.1") as caught:
            run(target.model_copy(update={"read": (dead, second)}), tmp_path)
    assert caught.value.exit_code == EXIT_INCONCLUSIVE
    assert len(str(caught.value).splitlines()) == 1
    assert not box.messages


def test_the_resolution_is_the_time_between_looks() -> None:
    reads = [
        Read("imap", b"m%d" % n, at_ns=1000 * MS + n, since_ns=(1000 - 20) * MS + n, stated_ns=900 * MS)
        for n in range(100)
    ]
    twice = Read("imap", b"m1", at_ns=5000 * MS, since_ns=0)
    stranger = Read("imap", b"x", at_ns=5000 * MS, since_ns=0)
    result = QueueResult()
    describe_reading(result, [*reads, twice, stranger], {b"m%d" % n: 400 * MS for n in range(100)})
    stats = result.read["imap"]
    assert (stats.count, stats.resolution_ms) == (100, 20.0)
    assert stats.max_ms == pytest.approx(600, rel=0.01)
    assert stats.internal_date.p50_ms == pytest.approx(500, rel=0.01)
