"""Following: each source gives out each message once, and what it sees goes into the ledger."""

import asyncio
import os
import smtplib
import threading
import time
from pathlib import Path

import pytest

from smtpbench.delivery import looking, sources
from smtpbench.delivery.fingerprint import make_identifier
from smtpbench.delivery.follow import Follower
from smtpbench.delivery.journal import Outcome
from smtpbench.delivery.sources import MaildirSource, MboxSource, Seen, SinkSource, open_source
from smtpbench.errors import UsageError
from smtpbench.load.corpus.content import Content
from smtpbench.load.corpus.plain import plain
from smtpbench.load.identifiers import Identifiers
from smtpbench.load.journaled import Book
from smtpbench.load.script import END_OF_DATA
from smtpbench.server import Copy, MaildirStore
from smtpbench.target import Observe, from_url

ALICE, SENDER = "alice@example.com", "s@example.org"
WAIT = 20.0
FIRST = b"Return-Path: <s@example.org>\nDelivered-To: alice@example.com\nSubject: 1\n\nFirst\n"
SECOND = b"Subject: 2\n\n>From the second\n"


class Sending:
    """Stands for an engine: accepts messages without anybody there to accept them."""

    def __init__(self, folder):
        self.identifiers = Identifiers()
        self.content = Content(plain(600, SENDER, [ALICE]), self.identifiers)
        self.book = Book(folder, self.identifiers)

    def next(self, outcome=Outcome.ACCEPTED):
        content = self.content.next_content().removesuffix(END_OF_DATA)
        number = self.identifiers.number
        envelope = self.book.envelope((b"RCPT TO:<alice@example.com>\r\n",))
        self.book.note(outcome, number, time.perf_counter_ns(), 1000, 1, number, envelope, 0)
        return content


def put(root, content, name="alice"):
    assert MaildirStore(root).deliver([Copy(name, b"", (), content)]) == [True]


@pytest.fixture
def sending(tmp_path):
    made = Sending(tmp_path / "ledger")
    yield made
    made.book.close()


def report_on(identifier):
    return (
        b'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n--b\r\n\r\nno\r\n'
        b"--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; a\r\n\r\nFinal-Recipient: "
        b"rfc822; alice@example.com\r\nAction: failed\r\nStatus: 5.0.0\r\n\r\n--b\r\nContent-Type: "
        b"text/rfc822-headers\r\n\r\nMessage-ID: <" + identifier + b"@example.org>\r\n\r\n--b--\r\n"
    )


# sources


async def test_a_maildir_gives_each_message_once(tmp_path):
    put(tmp_path, b"before\r\n\r\n")
    source = MaildirSource(tmp_path)
    await source.start()
    assert await source.news() == []
    before = time.time_ns()
    put(tmp_path, FIRST)
    (seen,) = await source.news()
    assert (seen.content, seen.sender, seen.recipients) == (FIRST, SENDER, (ALICE,))
    slack = 1_000_000_000  # file systems have a clock of their own, a few ms behind
    assert before - slack <= seen.at_ns <= time.time_ns()
    for file in (tmp_path / "alice" / "new").iterdir():
        file.rename(tmp_path / "alice" / "cur" / f"{file.name}:2,S")
    assert await source.news() == []


async def test_a_message_that_a_reader_takes_to_cur_in_the_middle_of_a_look_is_not_missed(
    tmp_path, monkeypatch
):
    """Dovecot moves what is new when a POP3 session begins: between our listing and our reading."""
    source = MaildirSource(tmp_path)
    await source.start()
    read, took = sources._read_file, []

    def taken_first(path, since_ns):
        file = Path(path)
        if file.parent.name == "new":
            took.append(file.rename(file.parent.parent / "cur" / f"{file.name}:2,"))
        return read(path, since_ns)

    monkeypatch.setattr(sources, "_read_file", taken_first)
    put(tmp_path, FIRST)
    before = time.time_ns()
    found = [*await source.news(), *await source.news(), *await source.news()]
    assert [seen.content for seen in found] == [FIRST]
    assert len(took) == 1
    assert found[0].at_ns <= before  # when it was delivered, and not when it was moved


async def test_an_mbox_gives_whole_messages_only(tmp_path):
    path = tmp_path / "alice"
    path.write_bytes(b"From x y\nSubject: before\n\nbody\n\n")
    source = MboxSource(path)
    await source.start()
    with path.open("ab") as file:
        file.write(b"From x y\n" + FIRST + b"\nFrom x y\n" + SECOND[:10])
        file.flush()
        (seen,) = await source.news()
        assert (seen.content, seen.recipients) == (FIRST, (ALICE,))
        file.write(SECOND[10:] + b"\n")
        file.flush()
        assert await source.news() == []  # it has grown: who knows whether that is all
    (seen,) = await source.news()
    assert seen.content == SECOND
    assert await source.news() == []


async def test_the_sink_gives_the_envelope(tmp_path):
    source = SinkSource("127.0.0.1", 0)
    await source.start()

    def send():
        with smtplib.SMTP("127.0.0.1", source.port) as client:
            client.sendmail(SENDER, [ALICE, "bob@example.com"], FIRST.replace(b"\n", b"\r\n"))

    await asyncio.to_thread(send)
    (seen,) = await source.news()
    assert (seen.sender, seen.recipients) == (SENDER, (ALICE, "bob@example.com"))
    assert await source.news() == []
    await source.stop()


@pytest.mark.parametrize(("url", "kind"), [("maildir:/x/y", MaildirSource), ("mbox:/x", MboxSource),
                                           ("sink:127.0.0.1:2525", SinkSource)])  # fmt: skip
def test_open_source(url, kind):
    target = from_url("smtp://127.0.0.1")
    assert isinstance(open_source(target, url), kind)
    named = target.model_copy(update={"observe": Observe(url=url)})
    assert isinstance(open_source(named), kind)
    assert open_source(named).where == url


@pytest.mark.parametrize("url", [None, "maildir:", "sink:nowhere"])
def test_a_source_that_makes_no_sense(url):
    with pytest.raises(UsageError):
        open_source(from_url("smtp://127.0.0.1"), url)


# following


def test_arrivals_and_reports_go_into_the_ledger(tmp_path, sending):
    with Follower(MaildirSource(tmp_path / "mail"), tmp_path / "ledger") as follower:
        for number in range(1, 6):
            content = sending.next()
            if number == 4:
                put(tmp_path / "mail", report_on(make_identifier(sending.identifiers.run, 4)))
            else:
                put(tmp_path / "mail", content)
        drain = follower.drain(settle_s=WAIT, within_s=WAIT, linger_s=0.01)
    assert (drain.closed, drain.interrupted, follower.accepted, follower.arrived) == (True, False, 5, 5)
    counts = follower.ledger.balance(closed=True).counts
    assert (counts.accepted, counts.delivered, counts.bounced, counts.corrupted) == (5, 4, 1, 0)


def test_what_does_not_come_is_lost_once_nothing_comes_for_a_while(tmp_path, sending):
    put(tmp_path / "mail", b"Subject: of somebody else\n\n")
    with Follower(MaildirSource(tmp_path / "mail"), tmp_path / "ledger") as follower:
        sending.next()
        drain = follower.drain(settle_s=0.5, within_s=WAIT)
    assert drain.closed
    assert drain.waited_s >= 0.5
    assert follower.ledger.balance(closed=drain.closed).counts.lost == 1


@pytest.mark.parametrize("kind", [MaildirSource, MboxSource])
def test_nothing_is_lost_in_a_place_that_never_was(tmp_path, sending, kind):
    with Follower(kind(tmp_path / "mistyped"), tmp_path / "ledger") as follower:
        sending.next()
        drain = follower.drain(settle_s=0.3, within_s=WAIT)
    assert (drain.closed, drain.gone) == (False, True)
    assert f"at {tmp_path / 'mistyped'}" in follower.looker.blind
    assert follower.ledger.balance(closed=drain.closed).counts.pending == 1


def test_what_may_still_come_when_the_wait_is_over_is_not_lost(tmp_path, sending):
    with Follower(MaildirSource(tmp_path / "mail"), tmp_path / "ledger") as follower:
        sending.next()
        drain = follower.drain(settle_s=WAIT, within_s=0.3)
    assert not drain.closed
    assert follower.ledger.balance(closed=drain.closed).counts.pending == 1


def test_a_source_that_cannot_begin_is_an_error_at_once(tmp_path):
    with (
        pytest.raises(UsageError, match="no such file or folder"),
        Follower(MaildirSource(tmp_path / "no" / "where"), tmp_path / "ledger"),
    ):
        pass
    assert "smtpbench-follower" not in {thread.name for thread in threading.enumerate()}


def test_a_source_that_fails_later_is_an_error_too(tmp_path, sending, monkeypatch):
    def fail(*_):
        raise OSError("the disk is gone")

    with Follower(MaildirSource(tmp_path / "mail"), tmp_path / "ledger") as follower:
        monkeypatch.setattr(os, "listdir", fail)
        (tmp_path / "mail" / "new").mkdir(parents=True)
        (tmp_path / "mail" / "cur").mkdir()
        with pytest.raises(Exception, match="the disk is gone"):
            follower.drain(settle_s=WAIT, within_s=WAIT)


class Slow:
    """A source whose looks take their time; the message comes with the last of a few."""

    where, exact, protocol, poll_s, absent = "slow", True, "", 0.1, ""

    def __init__(self, looks, took):
        self.looks, self.took, self.content = looks, took, b""

    async def start(self):
        pass

    async def stop(self):
        pass

    async def news(self):
        if not self.content:
            return []
        self.looks -= 1
        time.sleep(self.took)  # noqa: ASYNC251 - the loop is kept busy, that is the point
        return [] if self.looks else [Seen(self.content, time.time_ns(), SENDER, (ALICE,))]


def test_time_in_which_nobody_looked_is_no_silence(tmp_path, sending, monkeypatch):
    """A machine that is overloaded, or we ourselves, may be the reason that nothing was seen for long."""
    monkeypatch.setattr(looking, "LOOK_WORTH_S", 0.05)
    source = Slow(4, 0.15)  # and four times as long between two looks: longer than `settle_s`
    with Follower(source, tmp_path / "ledger") as follower:
        source.content = sending.next()
        done = follower.drain(settle_s=0.5, within_s=WAIT, linger_s=0)
    assert done.closed
    assert follower.ledger.balance(closed=True).counts.delivered == 1
    follower.ledger.close()
