"""Observers: what arrived is found, what was there before is not, and every wait is bounded."""

import asyncio
import mailbox
import time

import pytest

from smtpbench.delivery.observers import Delivered, MaildirObserver, SinkObserver
from smtpbench.delivery.observers import open_observer as open_observed
from smtpbench.errors import UsageError
from smtpbench.server import Copy, MaildirStore
from smtpbench.target import Observe

WAIT = 10.0
MESSAGE = (
    b"Return-Path: <sender@example.org>\r\nReceived: from a by b\r\n\tfor <alice@example.com>; x\r\n"
    b"X-Marker: m1\r\n\r\nbare\nlf\r\n"
)


def open_observer(url):
    return open_observed(Observe(url=url))


def deliver(root, mailbox_name, content=MESSAGE):
    assert MaildirStore(root).deliver([Copy(mailbox_name, b"", (), content)]) == [True]


async def test_a_folder_of_maildirs(tmp_path):
    deliver(tmp_path, "alice", b"X-Marker: m1\r\n\r\nbefore\r\n")
    async with open_observer(f"maildir:{tmp_path}") as observer:
        assert await observer.fetch(b"m1", 1, 0.0) == []
        deliver(tmp_path, "alice")
        deliver(tmp_path / "example.com", "bob")
        deliver(tmp_path, "alice", b"another\r\n")
        found = await observer.fetch(b"m1", 2, WAIT)
        assert len(found) == 2
        assert {message.where.split("/")[-2] for message in found} == {"alice", "bob"}
        assert found[0] == Delivered(
            MESSAGE, "crlf", "sender@example.org", ("alice@example.com",), found[0].where
        )


async def test_one_maildir_that_is_made_later(tmp_path):
    async with open_observer(f"maildir:{tmp_path}/alice") as observer:
        assert await observer.fetch(b"m1", 1, 0.0) == []
        deliver(tmp_path, "alice", MESSAGE.replace(b"\r\n", b"\n"))
        (message,) = await observer.fetch(b"m1", 1, WAIT)
        assert message.line_ends == "lf"


async def test_a_message_that_is_read_by_its_owner_counts_once(tmp_path):
    async with open_observer(f"maildir:{tmp_path}") as observer:
        deliver(tmp_path, "alice")
        assert len(await observer.fetch(b"m1", 1, WAIT)) == 1
        (file,) = (tmp_path / "alice" / "new").iterdir()
        file.rename(tmp_path / "alice" / "cur" / f"{file.name}:2,S")
        assert len(await observer.fetch(b"m1", 2, 0.05)) == 1
        (tmp_path / "alice" / "cur" / f"{file.name}:2,S").unlink()
        assert len(await observer.fetch(b"m1", 1, WAIT)) == 1


async def test_many_may_wait_at_once(tmp_path):
    async with open_observer(f"maildir:{tmp_path}") as observer:
        waits = [asyncio.create_task(observer.fetch(b"n%03d" % n, 1, WAIT)) for n in range(40)]
        for n in range(40):
            await asyncio.to_thread(deliver, tmp_path, "alice", b"X-Marker: n%03d\r\n" % n)
        assert [len(found) for found in await asyncio.gather(*waits)] == [1] * 40


async def test_fetch_returns_when_the_message_arrives_during_the_wait(tmp_path):
    async with open_observer(f"maildir:{tmp_path}") as observer:
        waiting = asyncio.create_task(observer.fetch(b"m1", 1, WAIT))
        await asyncio.to_thread(deliver, tmp_path, "alice")
        assert len(await waiting) == 1


async def test_fetch_gives_up_when_the_time_is_out(tmp_path):
    async with open_observer(f"maildir:{tmp_path}") as observer:
        begin = time.monotonic()
        assert await observer.fetch(b"m1", 1, 0.05) == []
        assert 0.05 <= time.monotonic() - begin < WAIT


async def test_fetches_side_by_side_take_turns(tmp_path):
    class Watched(MaildirObserver):
        """Notes when a thread reads the folder while another does."""

        reading = overlaps = 0

        def _update(self):
            self.overlaps += self.reading
            self.reading += 1
            super()._update()
            self.reading -= 1

    async with Watched(tmp_path) as observer:
        for _ in range(50):
            deliver(tmp_path, "alice")
        found = await asyncio.gather(*(observer.fetch(b"m1", 50, WAIT) for _ in range(20)))
        assert [len(messages) for messages in found] == [50] * 20
        assert observer.overlaps == 0


def append(path, content):
    box = mailbox.mbox(path)
    box.add(content)
    box.close()


@pytest.mark.parametrize("url", ["mbox:{}/alice", "mbox:{}"])
async def test_mbox(tmp_path, url):
    path = tmp_path / "alice"
    append(path, b"X-Marker: m1\n\nbefore\n")
    async with open_observer(url.format(tmp_path)) as observer:
        append(path, b"Return-Path: <>\nDelivered-To: alice@example.com\nX-Marker: m1\n\n.one\n")
        append(path, b"X-Marker: m1\n\ntwo\n")
        found = await observer.fetch(b"m1", 2, WAIT)
        assert [message.content.rpartition(b"\n\n")[2] for message in found] == [b".one\n", b"two\n"]
        assert (found[0].sender, found[0].recipients) == ("", ("alice@example.com",))
        assert (found[1].sender, found[1].recipients) == (None, ())
        append(path, b"X-Marker: m1\n\nthree\n")
        assert len(await observer.fetch(b"m1", 3, WAIT)) == 3


async def test_mbox_that_is_made_later(tmp_path):
    async with open_observer(f"mbox:{tmp_path}/alice") as observer:
        append(tmp_path / "alice", b"X-Marker: m1\n\none\n")
        assert len(await observer.fetch(b"m1", 1, WAIT)) == 1


async def test_sink():
    async with open_observer("sink:127.0.0.1:0") as observer:
        assert isinstance(observer, SinkObserver)
        reader, writer = await asyncio.open_connection("127.0.0.1", observer.port)
        writer.write(
            b"EHLO relay.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n"
            b"RCPT TO:<e@f.example>\r\nDATA\r\nX-Marker: m1\r\n\r\n..x\r\n.\r\nQUIT\r\n"
        )
        async with asyncio.timeout(WAIT):
            await reader.read()
        (message,) = await observer.fetch(b"m1", 1, WAIT)
        assert message == Delivered(
            b"X-Marker: m1\r\n\r\n.x\r\n",
            "crlf",
            "a@b.example",
            ("c@d.example", "e@f.example"),
            f"sink:127.0.0.1:{observer.port}",
        )
        writer.close()
        await writer.wait_closed()


async def test_a_sink_on_a_port_that_is_taken():
    async with open_observer("sink:127.0.0.1:0") as observer:
        with pytest.raises(UsageError, match="cannot listen on"):
            await open_observer(f"sink:127.0.0.1:{observer.port}").start()


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("maildir:", "expected maildir:PATH"),
        ("mbox:", "expected mbox:PATH"),
        ("sink:nowhere", "expected sink:HOST:PORT"),
        ("sink::25", "expected sink:HOST:PORT"),
        ("sink:host:99999", "expected sink:HOST:PORT"),
    ],
)
def test_urls_that_name_no_observer(url, text):
    with pytest.raises(UsageError, match=text):
        open_observer(url)


async def test_a_path_in_no_folder(tmp_path):
    with pytest.raises(UsageError, match="no such file or folder"):
        await open_observer(f"maildir:{tmp_path}/no/such").start()


async def test_fetches_side_by_side_do_not_disturb_each_other(tmp_path):
    async with open_observer(f"maildir:{tmp_path}") as observer:
        waiting = [asyncio.create_task(observer.fetch(b"m%d." % n, 1, WAIT)) for n in range(8)]
        for n in range(200):
            deliver(tmp_path, "alice", b"X-Marker: m%d.\r\n\r\n" % n)
            await asyncio.sleep(0)  # threads that look run in between
        found = await asyncio.gather(*waiting)
    assert [len(messages) for messages in found] == [1] * 8
