"""Client libraries run errands: what a server does to them becomes an Answer, their own trouble does not."""

import asyncio
import ssl
from contextlib import asynccontextmanager

import pytest

from smtpbench.conformance import interop
from smtpbench.conformance.answer import Ending
from smtpbench.conformance.interop import AIOSMTPLIB, SMTPLIB, Errand
from smtpbench.conformance.observation import Untested
from smtpbench.session import tls_context
from smtpbench.target import Endpoint, Role

WAIT = 10.0
CONTENT = b"Subject: x\r\n\r\nbody\r\n.dot\r\n"
CLIENTS = pytest.mark.parametrize("client", [SMTPLIB, AIOSMTPLIB], ids=lambda client: client.name)


@asynccontextmanager
async def listening(serve):
    """`serve` for each connection; over when the context is."""
    tasks = set()

    async def one(reader, writer):
        tasks.add(asyncio.current_task())
        try:
            await serve(reader, writer)
        except OSError:
            pass  # the client is gone
        finally:
            writer.close()

    server = await asyncio.start_server(one, "127.0.0.1", 0)
    try:
        yield Endpoint(port=server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.wait([*tasks, asyncio.ensure_future(server.wait_closed())], timeout=WAIT)


def scripted(*replies):
    """A server that says `replies`, one for the greeting and each line, then nothing; None closes."""

    async def serve(reader, writer):
        for reply in replies:
            if reply is None:
                return
            writer.write(reply)
            if not await reader.readline():
                return
        await reader.read()

    return listening(serve)


def work(endpoint, **options):
    given = {
        "name": "client.example.org",
        "context": ssl.create_default_context(),
        "timeout": 0.2,
        "sender": "a@example.org",
        "recipient": "alice@example.com",
        "content": CONTENT,
    }
    return Errand(endpoint=endpoint, **{**given, **options})


async def run(client, errand):
    async with asyncio.timeout(WAIT):
        return await client.submit(errand)


@CLIENTS
@pytest.mark.parametrize("role", [Role.MX, Role.SUBMISSION, Role.SUBMISSIONS])
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
async def test_a_message_goes_through(client, role, mechanism, reference_server):
    target, observer = reference_server
    user = target.auth
    endpoint = target.endpoints[role]
    errand = work(
        endpoint,
        context=tls_context(target.tls),
        timeout=WAIT,
        starttls=endpoint.tls == "starttls",
        login=None if role is Role.MX else (mechanism, user.username, user.password()),
        mail_options=("RET=HDRS",),
        rcpt_options=("NOTIFY=NEVER",),
    )
    assert (await run(client, errand)).code == 250
    (found,) = await observer.fetch(b"body\r\n.dot", 1, 0)
    assert found.content.endswith(CONTENT)


@CLIENTS
async def test_the_server_does_not_like_the_password(client, reference_server):
    target, _ = reference_server
    endpoint = target.endpoints[Role.SUBMISSION]
    errand = work(
        endpoint,
        context=tls_context(target.tls),
        timeout=WAIT,
        starttls=True,
        login=("PLAIN", "alice", "wrong"),
    )
    assert (await run(client, errand)).code == 535


READY = (b"220 hello\r\n", b"250 hello\r\n")


@CLIENTS
@pytest.mark.parametrize(
    ("replies", "code"),
    [
        ([b"554 go away\r\n", b"221 bye\r\n"], 554),
        ([*READY, b"550-no\r\n550 never\r\n"], 550),
        ([*READY, b"250 ok\r\n", b"451 later\r\n"], 451),
        ([*READY, b"250 ok\r\n", b"250 ok\r\n", b"503 no\r\n"], 503),
    ],
)
async def test_a_refusal_is_the_servers(client, replies, code):
    async with scripted(*replies, b"250 ok\r\n", b"221 bye\r\n") as endpoint:
        answer = await run(client, work(endpoint, timeout=WAIT))
    assert (answer.code, answer.ending) == (code, Ending.OPEN)


@CLIENTS
async def test_a_close_and_a_silence_are_told_apart(client):
    async with scripted(*READY, None) as endpoint:
        assert (await run(client, work(endpoint, timeout=WAIT))).ending is Ending.CLOSED
    async with scripted(*READY) as endpoint:
        assert (await run(client, work(endpoint))).ending is Ending.SILENT


@CLIENTS
@pytest.mark.parametrize(
    "replies",
    [
        [*READY, b"what a fine day\r\n"],  # no reply at all
        [*READY, b"250 ok\r\n", b"250 ok\r\n", b"220 what?\r\n"],  # no refusal, and not what was waited for
    ],
)
async def test_what_a_library_does_not_understand_accuses_nobody(client, replies):
    async with scripted(*replies, b"250 ok\r\n", b"221 bye\r\n") as endpoint:
        with pytest.raises(Untested, match=client.name):
            await run(client, work(endpoint, timeout=WAIT))


@CLIENTS
async def test_a_certificate_that_is_not_trusted_accuses_nobody(client, reference_server):
    target, _ = reference_server
    with pytest.raises(Untested, match=f"{client.name} gave up"):
        await run(client, work(target.endpoints[Role.SUBMISSIONS], timeout=WAIT))


@CLIENTS
async def test_a_server_that_never_ends_a_line_keeps_nobody(client, monkeypatch):
    """Each octet comes in time, the reply never: the library would wait as long as it goes on."""
    monkeypatch.setattr(interop, "PATIENCE", 0.3)

    async def drip(reader, writer):
        while True:
            writer.write(b"2")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with listening(drip) as endpoint:
        answer = await run(client, work(endpoint, timeout=WAIT))
    assert answer.ending is Ending.SILENT
