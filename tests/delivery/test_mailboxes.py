"""Mailboxes on a server: what arrived is read to the octet, drops are survived, errors are one line."""

import asyncio
import ssl
import time

import pytest
import trustme

from smtpbench.delivery.observers import network, open_observer
from smtpbench.errors import (
    AuthFailed,
    ConnectionLost,
    DeadlineExceeded,
    Inconclusive,
    TlsFailed,
    Unreachable,
    UsageError,
)
from smtpbench.target import Credentials, Observe, Timeouts, Tls
from tests.delivery.mailbox_servers import DATE_S, PASSWORD, USER, Box, imap, pop3, serving

WAIT = 10.0
MESSAGE = (
    b"Return-Path: <sender@example.org>\r\nDelivered-To: alice@example.com\r\nX-Marker: m1\r\n\r\n"
    b".dot\r\n..\r\nbare\rcr\xff\x80\r\n\rcr first\r\n"
    + b"x" * 5000
    + b"\r\n"
    + b" )\r\nA1 OK\r\n.\r\r\nend\r\n"
)
AS_READ = MESSAGE.replace(b"\r\n", b"\n")
SPEAKS = {"imap": imap, "pop3": pop3}
BOTH = pytest.mark.parametrize("scheme", ["imap", "pop3"])
USUAL, CHECKED = Timeouts(), Tls()
FAST = Timeouts(connect=2.0, reply=0.2)


@pytest.fixture(autouse=True)
def password(monkeypatch):
    monkeypatch.setenv("SMTPBENCH_TEST_PASSWORD", PASSWORD)


def observer(scheme, box, *, user=USER, timeouts=USUAL, tls=CHECKED, folder=""):
    observe = Observe(
        url=f"{scheme}://{user}@127.0.0.1:{box.port}{folder}", password_env="SMTPBENCH_TEST_PASSWORD"
    )
    return open_observer(observe, tls=tls, timeouts=timeouts)


@BOTH
async def test_what_arrives_is_read_to_the_octet_and_what_was_there_is_not(scheme):
    box = Box()
    box.deliver(b"X-Marker: m1\r\n\r\nbefore\r\n")
    async with serving(SPEAKS[scheme], box), observer(scheme, box) as watch:
        assert await watch.fetch(b"m1", 1, 0.0) == []
        box.deliver(MESSAGE)
        box.deliver(b"another\r\n")
        (found,) = await watch.fetch(b"m1", 1, WAIT)
        assert found.content == AS_READ
        assert found.line_ends == "lf"  # a server hands out CRLF, whatever came in
        assert (found.sender, found.recipients) == ("sender@example.org", ("alice@example.com",))
        assert found.where.startswith(f"{scheme}://127.0.0.1:{box.port}")
        assert await watch.fetch(b"m1", 1, WAIT) == [found]
    asked = [line.split() for line in box.said if "FETCH" in line or "RETR" in line]
    numbers = [number for words in asked for number in words[-4 if scheme == "imap" else -1].split(",")]
    assert sorted(numbers) == ["2", "3"]  # each new message once
    assert not any("STORE" in line or "DELE" in line or "SELECT" in line for line in box.said)


@BOTH
async def test_a_message_that_arrives_during_the_wait_is_found(scheme):
    box = Box()
    async with serving(SPEAKS[scheme], box), observer(scheme, box) as watch:
        waiting = asyncio.create_task(watch.fetch(b"m1", 1, WAIT))
        await box.heard["NOOP" if scheme == "imap" else "QUIT"].wait()
        box.deliver(MESSAGE)
        assert len(await waiting) == 1


@BOTH
async def test_looks_grow_apart_and_end_with_the_time(scheme):
    box = Box()
    async with serving(SPEAKS[scheme], box), observer(scheme, box) as watch:
        begin = time.monotonic()
        assert await watch.fetch(b"m1", 1, 0.3) == []
        assert 0.3 <= time.monotonic() - begin < WAIT
    looks = sum("SEARCH" in line or "UIDL" in line for line in box.said)
    assert looks <= 10


@BOTH
async def test_many_may_wait_at_once(scheme):
    box = Box()
    async with serving(SPEAKS[scheme], box), observer(scheme, box) as watch:
        waits = [asyncio.create_task(watch.fetch(b"n%03d" % n, 1, WAIT)) for n in range(40)]
        for n in range(40):
            box.deliver(b"X-Marker: n%03d\r\n" % n)
        assert [len(found) for found in await asyncio.gather(*waits)] == [1] * 40


async def test_imap_without_uidnext_and_without_authenticate(monkeypatch):
    monkeypatch.setenv("SMTPBENCH_TEST_PASSWORD", 'se"cret')
    box = Box(uid_next=False, capabilities="IMAP4rev1")
    box.deliver(b"X-Marker: m1\r\n\r\nbefore\r\n")
    async with serving(imap, box), observer("imap", box, user="al%22ice", folder="/In%22box") as watch:
        box.deliver(MESSAGE)
        assert len(await watch.fetch(b"m1", 1, WAIT)) == 1
    assert any(line.endswith(r'LOGIN "al\"ice" "se\"cret"') for line in box.said)
    assert any(line.endswith(r'EXAMINE "In\"box"') for line in box.said)


async def test_a_password_that_login_cannot_carry():
    async with serving(imap, Box(capabilities="IMAP4rev1")) as box:
        with pytest.raises(AuthFailed, match="in ASCII"):
            await observer("imap", box).start()


async def test_imap_that_knows_us_already_is_not_sent_a_password():
    box = Box(greeting=b"* PREAUTH hello\r\n")
    async with serving(imap, box), observer("imap", box):
        pass
    assert not any("AUTHENTICATE" in line or "LOGIN" in line for line in box.said)


@pytest.mark.parametrize(
    ("scheme", "at"),
    [
        ("imap", "NOOP"),
        ("imap", "SEARCH"),
        ("imap", "FETCH"),
        ("pop3", "PASS"),
        ("pop3", "UIDL"),
        ("pop3", "RETR"),
    ],
)
async def test_one_drop_is_survived_and_two_are_an_error(scheme, at):
    box = Box()
    async with serving(SPEAKS[scheme], box), observer(scheme, box) as watch:
        box.deliver(MESSAGE)
        box.hang_up_before.append(at)
        assert len(await watch.fetch(b"m1", 1, WAIT)) == 1
        box.deliver(MESSAGE)
        box.hang_up_before += [at, at]
        with pytest.raises(ConnectionLost, match=f"^{scheme}://127.0.0.1:{box.port}.*: the server hung up"):
            await watch.fetch(b"m1", 2, WAIT)
        assert len(await watch.fetch(b"m1", 2, WAIT)) == 2


async def test_a_mailbox_that_was_made_anew_is_not_believed():
    box = Box()
    async with serving(imap, box), observer("imap", box) as watch:
        box.validity += 1
        box.hang_up_before.append("NOOP")
        with pytest.raises(Inconclusive, match="UIDVALIDITY"):
            await watch.fetch(b"m1", 1, WAIT)


@pytest.mark.parametrize("scheme", ["imap", "imaps", "pop3", "pop3s"])
async def test_nobody_there(scheme):
    async with serving(imap, Box()) as box:
        pass
    with pytest.raises(
        Unreachable, match=rf"^{scheme}://127\.0\.0\.1:{box.port}.*: cannot connect: "
    ) as caught:
        await observer(scheme, box).start()
    assert caught.value.exit_code == 3


@BOTH
async def test_a_wrong_password_is_said_without_it_and_without_control_characters(scheme, monkeypatch):
    monkeypatch.setenv("SMTPBENCH_TEST_PASSWORD", "hunter2")
    async with serving(SPEAKS[scheme], Box()) as box:
        with pytest.raises(AuthFailed, match=r"refused to log alice in: .*bad") as caught:
            await observer(scheme, box).start()
    assert caught.value.exit_code == 3
    assert "hunter2" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


async def test_a_mailbox_that_is_not_there_is_a_usage_error():
    box = Box(instead={"EXAMINE": b"TAG NO no such mailbox\r\n"})
    async with serving(imap, box):
        with pytest.raises(UsageError, match=r"/Nowhere: cannot be opened: no such mailbox"):
            await observer("imap", box, folder="/Nowhere").start()


@pytest.mark.parametrize(
    ("scheme", "silent_at"),
    [("imap", "AUTHENTICATE"), ("imap", "EXAMINE"), ("pop3", "PASS"), ("pop3", "UIDL")],
)
async def test_a_silent_server_is_waited_for_as_long_as_a_reply(scheme, silent_at):
    async with serving(SPEAKS[scheme], Box(silent_at=silent_at)) as box:
        begin = time.monotonic()
        with pytest.raises(DeadlineExceeded, match=r"no answer within 0\.2 s"):
            await observer(scheme, box, timeouts=FAST).start()
        assert time.monotonic() - begin < WAIT


async def test_stop_does_not_wait_for_a_server_that_has_hung_up():
    box = Box()
    async with serving(imap, box):
        watch = observer("imap", box, timeouts=FAST)
        await watch.start()
        box.hang_up_before.append("LOGOUT")
        await watch.stop()


@BOTH
async def test_a_server_that_trickles_is_given_up(scheme, monkeypatch):
    async def trickle(box, reader, writer):
        while True:
            writer.write(b"* " if scheme == "imap" else b"+")
            await asyncio.sleep(0.02)

    monkeypatch.setattr(network, "LOOK_WAIT", 0.2)
    async with serving(trickle, Box()) as box:
        with pytest.raises(DeadlineExceeded, match=r"not read within 0\.2 s"):
            await observer(scheme, box).start()


@BOTH
async def test_a_fetch_that_is_cancelled_leaves_the_observer_usable(scheme):
    box = Box()
    async with serving(SPEAKS[scheme], box), observer(scheme, box) as watch:
        box.deliver(MESSAGE)
        box.silent_at = "FETCH" if scheme == "imap" else "RETR"
        waiting = asyncio.create_task(watch.fetch(b"m1", 1, WAIT))
        await box.heard[box.silent_at].wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        box.silent_at = ""
        assert len(await watch.fetch(b"m1", 1, WAIT)) == 1


@pytest.mark.parametrize(
    ("scheme", "instead", "words"),
    [
        ("imap", {"SEARCH": b"TAG NO not today\r\n"}, "not today"),
        ("imap", {"SEARCH": b"* SEARCH one\r\nTAG OK x\r\n"}, "not understood"),
        ("imap", {"SEARCH": b"\x1b]0;\r\n"}, "hung up: .*unexpected response"),
        ("imap", {"FETCH": b"TAG BAD what\r\n"}, "what"),
        ("imap", {"FETCH": b"* 1 FETCH (BODY[] {999999999999}\r\n"}, "a message of 999999999999 octets"),
        ("pop3", {"UIDL": b"-ERR what\r\n"}, "UIDL is needed: -ERR what"),
        ("pop3", {"RETR": b"-ERR gone\r\n"}, "-ERR gone"),
    ],
)
async def test_nonsense_is_one_printable_line(scheme, instead, words):
    box = Box()
    async with serving(SPEAKS[scheme], box), observer(scheme, box) as watch:
        box.deliver(MESSAGE)
        box.instead = instead
        with pytest.raises(Inconclusive, match=words) as caught:
            await watch.fetch(b"m1", 1, WAIT)
        assert str(caught.value).isprintable()


async def test_pop3_messages_are_bounded(monkeypatch):
    monkeypatch.setattr("smtpbench.delivery.observers.pop3.MAX_MESSAGE", 1000)
    box = Box()
    async with serving(pop3, box), observer("pop3", box) as watch:
        box.deliver(MESSAGE)
        with pytest.raises(ConnectionLost, match=r"a message of .* octets"):
            await watch.fetch(b"m1", 1, WAIT)


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def tls(authority, tmp_path):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return context, Tls(ca=tmp_path / "ca.pem")


@BOTH
async def test_tls_from_the_start_is_checked_against_the_ca(scheme, tls):
    context, trusted = tls
    async with serving(SPEAKS[scheme], Box(), context) as box:
        async with observer(f"{scheme}s", box, tls=trusted) as watch:
            box.deliver(MESSAGE)
            assert len(await watch.fetch(b"m1", 1, WAIT)) == 1
        async with observer(f"{scheme}s", box, tls=Tls(verify=False)):
            pass
        with pytest.raises(TlsFailed, match=r"certificate: .*unable to get local issuer"):
            await observer(f"{scheme}s", box).start()


@BOTH
async def test_plain_where_tls_was_expected(scheme):
    async with serving(SPEAKS[scheme], Box()) as box:
        with pytest.raises(TlsFailed, match=f"^{scheme}s://.*: no TLS: "):
            await observer(f"{scheme}s", box).start()


@BOTH
async def test_no_password_goes_over_a_network_in_the_clear(scheme, monkeypatch):
    monkeypatch.setattr(network, "is_loopback", lambda host: False)
    async with serving(SPEAKS[scheme], Box(instead={"CAPA": b"+OK\r\nUIDL\r\n.\r\n"})) as box:
        with pytest.raises(TlsFailed, match="no password is sent in the clear"):
            await observer(scheme, box).start()
    assert not any("AUTHENTICATE" in line or "USER" in line for line in box.said)


def test_the_login_is_that_of_auth_where_observe_says_no_other(tmp_path):
    (tmp_path / "password").write_text("x\n", encoding="ascii")
    auth = Credentials(username=USER, password_file=tmp_path / "password")
    assert Observe(url="imap://127.0.0.1").login(auth) == auth
    assert Observe(url="imap://alice@127.0.0.1").login(auth) == auth
    own = Observe(url="imap://bob%40example.com@127.0.0.1", password_env="X").login(auth)
    assert own == Credentials(username="bob@example.com", password_env="X")
    with pytest.raises(UsageError, match=r"observe\.password_env or observe\.password_file"):
        Observe(url="imap://bob@127.0.0.1").login(auth)
    with pytest.raises(UsageError, match="whose mailbox"):
        Observe(url="imap://127.0.0.1").login(None)
    with pytest.raises(UsageError, match="SMTPBENCH_NOT_SET is not set"):
        open_observer(Observe(url="imap://bob@127.0.0.1", password_env="SMTPBENCH_NOT_SET"))


@BOTH
async def test_a_full_mailbox_costs_no_more_than_an_empty_one(scheme):
    """5,000 messages that are old, then a look that finds nothing, then one that finds one message."""
    box = Box(messages=dict.fromkeys(range(1, 5001), b"old\r\n"))
    async with serving(SPEAKS[scheme], box), observer(scheme, box) as watch:
        assert await watch.news() == []
        box.deliver(MESSAGE)
        begin, octets = len(box.said), box.octets
        (found,) = await watch.news()
        assert await watch.news() == []
        assert found.content == AS_READ
        assert len(box.said) - begin <= 15
        assert box.octets - octets < len(MESSAGE) + 1000


@pytest.mark.parametrize("pipelining", [True, False])
async def test_pop3_reads_many_messages_at_once_where_the_server_takes_that(pipelining):
    box = Box(pipelining=pipelining)
    async with serving(pop3, box), observer("pop3", box) as watch:
        for number in range(120):
            box.deliver(MESSAGE + b"%d\r\n" % number)
        found = await watch.news()
    assert [one.content for one in found] == [AS_READ + b"%d\n" % number for number in range(120)]


async def test_pop3_finds_a_message_that_is_not_the_last_one(monkeypatch):
    monkeypatch.setattr("smtpbench.delivery.observers.pop3.ALL_EVERY", 2)
    box = Box(messages={10: b"old\r\n", 20: b"old\r\n"})
    async with serving(pop3, box), observer("pop3", box) as watch:
        assert await watch.news() == []
        box.messages = {10: b"old\r\n", 20: b"old\r\n", 15: b"new\r\n"}
        found = [await watch.news(), await watch.news()]
        assert [one.content for news in found for one in news] == [b"new\n"]
        box.messages = {30: b"newer\r\n", 20: b"old\r\n"}  # others take theirs away, too
        found = [await watch.news(), await watch.news()]
        assert [one.content for news in found for one in news] == [b"newer\n"]


async def test_imap_tells_when_the_server_says_that_it_delivered():
    box = Box()
    async with serving(imap, box), observer("imap", box) as watch:
        box.deliver(MESSAGE)
        box.deliver(MESSAGE)
        before = time.time_ns()
        found = await watch.news()
        assert [one.stated_ns for one in found] == [DATE_S * 10**9] * 2
        assert all(before <= one.read_ns <= time.time_ns() for one in found)
