"""The scripted next hop: it writes down all that it is told, octet for octet, and answers by its script."""

import asyncio
import ssl

import pytest

from smtpbench.delivery.hop import Hop
from smtpbench.delivery.hop_script import AHEAD, DEFER, DROP, ORDINARY_EXTENSIONS, REFUSE, HopReply, HopScript
from smtpbench.errors import ConnectionLost
from smtpbench.session import Session
from smtpbench.target import Endpoint, Timeouts, Tls
from smtpbench.wire.state import Verb

WAIT = 10.0
TO = "someone@relay.example"


@pytest.fixture
async def hop():
    async with Hop() as running:
        yield running


@pytest.fixture
async def connect(hop):
    sessions = []

    async def open_session(hello="client.example.org"):
        session = await Session.open(
            Endpoint(host="127.0.0.1", port=hop.port), tls=Tls(verify=False), timeouts=Timeouts(reply=WAIT)
        )
        sessions.append(session)
        assert (await session.greeting()).code == 220
        if hello:
            await session.ehlo(hello)
        return session

    yield open_session
    for session in sessions:
        await session.close()


async def say(session, *lines):
    return [(await session.command(line)).code for line in lines]


async def send(session, content=b"x\r\n.\r\n", to=TO, sender="a@example.org"):
    lines = [b"MAIL FROM:<%s>" % sender.encode(), b"RCPT TO:<%s>" % to.encode(), b"DATA"]
    codes = await say(session, *lines)
    if codes[-1] != 354:
        return codes
    await session.send(content)
    return [*codes, (await session.read_reply()).code]


async def test_a_session_is_written_down_octet_for_octet(hop, connect):
    session = await connect()
    assert await send(session, b"..one\r\nbare\n.\nlf\r\n.\r\n") == [250, 250, 354, 250]
    await say(session, b"QUIT")
    (record,) = hop.sessions
    assert await hop.until(lambda: record.ended is not None, WAIT)
    (transaction,) = record.transactions
    assert transaction.raw == b"..one\r\nbare\n.\nlf\r\n.\r\n"
    assert transaction.content == b".one\r\nbare\n.\nlf\r\n"
    assert (transaction.mail, transaction.code) == (b"MAIL FROM:<a@example.org>", 250)
    assert [item.line for item in transaction.recipients] == [b"RCPT TO:<%s>" % TO.encode()]
    assert transaction.accepted == (TO.encode(),)
    assert transaction.offered == ORDINARY_EXTENSIONS
    assert record.verbs() == [b"EHLO", b"MAIL", b"RCPT", b"DATA", b"QUIT"]
    assert record.ended == "quit"
    assert all(line.ahead == b"" for line in record.commands)


async def test_what_is_sent_ahead_is_seen(hop, connect):
    session = await connect()
    await session.send(b"NOOP\r\nRSET\r\n")
    assert [(await session.read_reply()).code for _ in range(2)] == [250, 250]
    assert [line.ahead for line in hop.sessions[0].commands[1:]] == [b"RSET\r\n", b""]


async def test_chunks_are_written_down(hop, connect):
    session = await connect()
    assert await say(session, b"MAIL FROM:<> BODY=BINARYMIME", b"RCPT TO:<a@b.example>") == [250, 250]
    await session.send(b"BDAT 3\r\na\n.BDAT 4 LAST\r\nb\r\nc")
    assert [(await session.read_reply()).code for _ in range(2)] == [250, 250]
    (transaction,) = hop.sessions[0].transactions
    assert (transaction.content, transaction.raw, transaction.chunked) == (b"a\n.b\r\nc", b"a\n.b\r\nc", True)


async def test_anything_is_accepted_offered_or_not(hop, connect):
    async with hop.conduct(HopScript(extensions=frozenset())):
        session = await connect()
        assert session.extensions.keywords == {}
        assert await say(
            session,
            b"MAIL FROM:<a@b.example> BODY=8BITMIME RET=HDRS SIZE=99",
            "RCPT TO:<ü@b.example> NOTIFY=NEVER".encode(),
        ) == [250, 250]
        assert hop.sessions[0].transactions[0].offered == frozenset()


async def test_replies_to_a_recipient_by_attempt(hop, connect):
    hop.answer(TO, rcpt=(DEFER, HopReply()))
    session = await connect()
    assert await say(session, b"MAIL FROM:<>", b"RCPT TO:<SOMEONE@relay.example>") == [250, 451]
    assert await say(session, b"RCPT TO:<other@relay.example>") == [250]
    assert await say(session, b"RSET") == [250]
    assert await send(session) == [250, 250, 354, 250]
    assert [item.accepted for item in hop.transactions_for(TO.encode())] == [(), (TO.encode(),)]


async def test_replies_to_the_end_of_data_by_attempt(hop, connect):
    hop.answer(TO, content=(REFUSE, DEFER, HopReply()))
    session = await connect()
    assert [(await send(session))[-1] for _ in range(4)] == [550, 451, 250, 250]
    assert [item.code for item in hop.sessions[0].transactions] == [550, 451, 250, 250]


async def test_a_connection_is_broken_off_before_the_reply_to_the_end_of_data(hop, connect):
    hop.answer(TO, content=(DROP,))
    session = await connect()
    with pytest.raises(ConnectionLost):
        await send(session)
    (transaction,) = hop.transactions_for(TO.encode())
    assert (transaction.code, transaction.accepted, transaction.content) == (0, (), b"x\r\n")
    assert transaction.session.ended == "closed by us"


async def test_a_connection_is_broken_off_after_the_reply(hop, connect):
    hop.answer(TO, content=(HopReply(close=True),))
    session = await connect()
    assert (await send(session))[-1] == 250
    await session.until_eof(WAIT)
    assert session.eof
    assert hop.transactions_for(TO.encode())[0].accepted == (TO.encode(),)


async def test_ehlo_is_refused_and_helo_is_not(hop, connect):
    async with hop.conduct(HopScript(replies={Verb.EHLO: HopReply(code=502, text="No")})):
        session = await connect(hello=None)
        assert await say(session, b"EHLO client.example.org", b"HELO client.example.org") == [502, 250]
        assert await send(session) == [250, 250, 354, 250]
        assert hop.sessions[0].transactions[0].offered == frozenset()


async def test_a_late_reply_shows_who_does_not_wait(hop, connect):
    async with hop.conduct(HopScript(replies={Verb.MAIL: HopReply(delay_s=0.05)})):
        session = await connect()
        await session.send(b"MAIL FROM:<>\r\n")
        assert await hop.until(lambda: hop.sessions[0].verbs()[-1] == b"MAIL", WAIT)
        await session.send(b"RCPT TO:<a@b.example>\r\n")
        assert [(await session.read_reply()).code for _ in range(2)] == [250, 250]
    notes = [line.octets for line in hop.sessions[0].lines if line.sender == "note"]
    assert AHEAD + b"RCPT TO:<a@b.example>\r\n" in notes


async def test_starttls_and_what_was_said_inside(hop, connect):
    script = HopScript(extensions=ORDINARY_EXTENSIONS | {"STARTTLS"}, keywords=("REQUIRETLS",))
    async with hop.conduct(script):
        session = await connect()
        assert {"STARTTLS", "REQUIRETLS"} <= session.extensions.keys()
        assert (await session.starttls()).code == 220
        await session.ehlo("client.example.org")
        assert "STARTTLS" not in session.extensions
        await send(session)
    record = hop.sessions[0]
    assert [line.tls for line in record.commands] == [False, False, True, True, True, True]
    assert record.transactions[0].tls


async def test_a_given_certificate_is_used(tmp_path, tls_files):
    authority, chain = tls_files
    async with Hop(certificate=chain) as hop, hop.conduct(HopScript(extensions=frozenset({"STARTTLS"}))):
        endpoint = Endpoint(host="127.0.0.1", port=hop.port)
        session = await Session.open(endpoint, tls=Tls(ca=authority, server_name="localhost"))
        try:
            await session.greeting()
            await session.ehlo("client.example.org")
            assert (await session.starttls()).code == 220
        finally:
            await session.close()


async def test_a_script_ends_connections_of_the_one_before(hop, connect):
    old = await connect()
    async with hop.conduct(HopScript().without("DSN")):
        assert [reply.code for reply in await old.until_eof(WAIT)] == [421]
        new = await connect()
        assert "DSN" not in new.extensions
    assert [reply.code for reply in await new.until_eof(WAIT)] == [421]
    assert hop.sessions[0].ended == "closed by us"


async def test_a_script_waits_for_those_before_it(hop):
    order = []

    async def ordinary(go_on):
        async with hop.conduct():
            order.append("begins")
            await go_on.wait()
            order.append("ends")

    async def alone():
        async with hop.conduct(HopScript().without("DSN")):
            order.append("alone")

    go_on = asyncio.Event()
    async with asyncio.timeout(WAIT), asyncio.TaskGroup() as tasks:
        tasks.create_task(ordinary(go_on))
        tasks.create_task(ordinary(go_on))
        await hop.until(lambda: len(order) == 2, 0)
        waiting = tasks.create_task(alone())
        await asyncio.sleep(0)
        assert order == ["begins", "begins"]
        assert not waiting.done()
        go_on.set()
    assert order == ["begins", "begins", "ends", "ends", "alone"]


async def test_a_hop_is_an_observer(hop, connect):
    session = await connect()
    await send(session, b"X-Marker: m1\r\n\r\n.\r\n")
    (found,) = await hop.fetch(b"m1", 1, WAIT)
    assert (found.content, found.sender, found.recipients) == (
        b"X-Marker: m1\r\n\r\n",
        "a@example.org",
        (TO,),
    )
    assert await hop.fetch(b"m2", 1, 0.0) == []


def test_the_own_certificate_is_a_server_certificate():
    from smtpbench.delivery.hop import _load_own_certificate

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _load_own_certificate(context, "127.0.0.1")
