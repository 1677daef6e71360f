"""The outbound half of the server over loopback, with the scripted hop as its peer."""

import asyncio

import pytest

from smtpbench.delivery.hop import Hop
from smtpbench.delivery.hop_script import DEFER, DROP, REFUSE, HopReply, HopScript
from smtpbench.server import Server, ServerConfig
from smtpbench.server.store import MemoryStore
from smtpbench.session import Session
from smtpbench.target import Endpoint

WAIT = 10.0
ONE, TWO = "one@relay.example", "two@relay.example"
CONTENT = b"X-Marker: m1\r\n\r\n.dot\r\n"


def pytest_asyncio_loop_factories(config, item):
    """One loop is enough: what differs between loops is tested with the server."""
    return {"asyncio": asyncio.new_event_loop}


@pytest.fixture
async def hop():
    async with Hop() as running:
        yield running


@pytest.fixture
async def server(hop):
    config = ServerConfig(
        relays={"relay.example": ("127.0.0.1", hop.port)},
        relay_retry=0.02,
        relay_attempts=5,
        relay_timeout=WAIT,
    )
    async with Server(config) as running:
        yield running


async def submit(server, *recipients, content=CONTENT, sender="alice@example.com", mail="", rcpt=""):
    """The code of the last reply, which is that to the content if nothing is refused before."""
    session = await Session.open(Endpoint(host="127.0.0.1", port=server.port))
    try:
        await session.greeting()
        await session.ehlo("client.example.org")
        lines = [f"MAIL FROM:<{sender}>{mail}", *(f"RCPT TO:<{to}>{rcpt}" for to in recipients), "DATA"]
        for line in lines:
            reply = await session.command(line.encode())
            if reply.code >= 400:
                return reply.code
        await session.send(content.replace(b"\r\n.", b"\r\n..") + b".\r\n")
        return (await session.read_reply()).code
    finally:
        await session.close()


async def reports(server):
    """What the server told the sender; the relay is idle then."""
    async with asyncio.timeout(WAIT):
        while server.relay.tasks:
            await asyncio.wait(server.relay.tasks)
    return [copy for copy in server.store.messages if b"multipart/report" in copy.content]


async def taken(hop, *recipients, number=1):
    wanted = [address.encode() for address in recipients]
    assert await hop.until(
        lambda: sum(bool(t.accepted) for t in hop.transactions_for(*wanted)) >= number, WAIT
    )
    return [item for item in hop.transactions_for(*wanted) if item.accepted]


async def test_a_message_goes_on_with_a_received_line(server, hop):
    assert await submit(server, ONE) == 250
    (found,) = await taken(hop, ONE)
    head, _, rest = found.content.partition(b"X-Marker")
    assert b"X-Marker" + rest == CONTENT
    assert head.startswith(b"Received: from client.example.org")
    assert b"for <one@relay.example>;" in head
    assert b"Return-Path" not in head
    assert await reports(server) == []
    assert found.session.ended == "quit"


async def test_recipients_of_one_domain_share_a_copy_that_names_none(server, hop):
    assert await submit(server, ONE, "alice@example.com", TWO) == 250
    (found,) = await taken(hop, ONE)
    assert found.accepted == (ONE.encode(), TWO.encode())
    assert b" for " not in found.content.partition(b"X-Marker")[0].replace(b"\t", b" ")
    assert [copy.mailbox for copy in server.store.messages] == ["alice"]


async def test_a_deferred_recipient_is_tried_again_and_no_other(server, hop):
    hop.answer(ONE, rcpt=(DEFER, DEFER, HopReply()))
    assert await submit(server, ONE, TWO) == 250
    first, second = await taken(hop, ONE, TWO, number=2)
    assert (first.accepted, second.accepted) == ((TWO.encode(),), (ONE.encode(),))
    assert await reports(server) == []


async def test_a_refused_recipient_is_reported_once(server, hop):
    hop.answer(ONE, rcpt=(REFUSE,))
    assert await submit(server, ONE, TWO) == 250
    await taken(hop, TWO)
    (copy,) = await reports(server)
    assert (copy.mailbox, copy.sender, copy.recipients) == ("alice", b"", (b"alice@example.com",))
    assert b"Final-Recipient: rfc822;one@relay.example" in copy.content
    assert b"two@relay.example" not in copy.content
    assert b"Diagnostic-Code: smtp; 550 5.1.1 No such mailbox" in copy.content


async def test_nobody_is_told_where_nobody_sent_it(server, hop):
    hop.answer(ONE, content=(REFUSE,))
    assert await submit(server, ONE, sender="") == 250
    assert await hop.until(lambda: hop.transactions_for(ONE.encode()), WAIT)
    assert await reports(server) == []


async def test_a_message_that_nobody_takes_is_given_up(server, hop):
    hop.answer(ONE, content=(DROP,))
    assert await submit(server, ONE) == 250
    assert await hop.until(lambda: len(hop.transactions_for(ONE.encode())) == 5, WAIT)
    (copy,) = await reports(server)
    assert b"Status: 4.4.7" in copy.content


async def test_a_hop_that_is_not_there_is_tried_again(hop):
    config = ServerConfig(relays={"relay.example": ("127.0.0.1", 1)}, relay_retry=0.0, relay_attempts=2)
    async with Server(config) as server:
        assert await submit(server, ONE) == 250
        (copy,) = await reports(server)
        assert b"Status: 4.4.7" in copy.content


@pytest.mark.parametrize(("offered", "number"), [(True, 0), (False, 1)])
async def test_success_is_reported_by_the_last_host_that_knows_how(server, hop, offered, number):
    async with hop.conduct(HopScript() if offered else HopScript().without("DSN")):
        assert await submit(server, ONE, rcpt=" NOTIFY=SUCCESS") == 250
        (found,) = await taken(hop, ONE)
    assert (b"NOTIFY=SUCCESS" in found.recipients[0].line) == offered
    found = await reports(server)
    assert len(found) == number
    assert all(b"Action: relayed" in copy.content for copy in found)


async def test_bare_line_ends_are_not_taken_where_they_cannot_go_on(server, hop):
    assert await submit(server, ONE, content=b"a\nb\r\n") == 554
    assert await submit(server, "alice@example.com", content=b"a\nb\r\n") == 250
    assert not hop.sessions


async def test_a_report_for_a_relayed_sender_goes_on_and_is_never_answered(server, hop):
    hop.answer(ONE, rcpt=(REFUSE,))
    hop.answer(TWO, rcpt=(REFUSE,))
    assert await submit(server, ONE, sender=TWO) == 250
    assert await hop.until(lambda: hop.transactions_for(TWO.encode()), WAIT)
    (bounce,) = hop.transactions_for(TWO.encode())
    assert bounce.mail.startswith(b"MAIL FROM:<> ")
    assert await reports(server) == []
    assert len(hop.transactions_for(TWO.encode())) == 1


async def test_tls_is_used_unchecked_unless_it_is_required(server, hop):
    async with hop.conduct(HopScript(extensions=frozenset({"STARTTLS"}))):
        assert await submit(server, ONE) == 250
        (found,) = await taken(hop, ONE)
    assert found.tls


async def test_the_store_of_a_stopped_server_is_left_alone(hop):
    config = ServerConfig(relays={"relay.example": ("127.0.0.1", hop.port)}, relay_retry=WAIT)
    hop.answer(ONE, rcpt=(DEFER,))
    async with Server(config) as server:
        assert await submit(server, ONE) == 250
        assert await hop.until(lambda: hop.transactions_for(ONE.encode()), WAIT)
        relay = server.relay
    assert not relay.tasks
    assert isinstance(server.store, MemoryStore)
    assert server.store.messages == []
