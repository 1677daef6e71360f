"""What a server gets, through the engine: contents whole, with the MAIL parameters that they need."""

from __future__ import annotations

import asyncio
from collections import Counter
from email import message_from_bytes, policy
from random import Random

import pytest

from smtpbench.errors import UsageError
from smtpbench.load.engine import Engine
from smtpbench.load.kinds import NotOffered
from smtpbench.load.probe import probe
from smtpbench.load.setup import make_engine, make_kinds
from smtpbench.load.workload import Workload, make_workload
from smtpbench.server import Server as ReferenceServer
from smtpbench.server import ServerConfig
from smtpbench.server.store import MemoryStore
from smtpbench.target import Endpoint, Role, Target, Timeouts, from_url
from tests.load.conftest import Running, Script

LIMIT_S = 20
SEVEN_BIT = b"250-test\r\n250 PIPELINING\r\n"
EIGHT_BIT = b"250-test\r\n250-8BITMIME\r\n250 PIPELINING\r\n"


async def send(target: Target, **fields: object) -> Engine:
    engine = make_engine(target, Workload(users=1, **fields))
    engine.add_user()
    try:
        await asyncio.wait_for(asyncio.to_thread(engine.run), LIMIT_S)
    finally:
        engine.stop()
    return engine


def accepted(engine: Engine) -> int:
    return sum(batch.counters["accepted"] for batch in engine.batches)


@pytest.mark.parametrize("chunking", [False, True])
async def test_generated_mime_is_delivered_as_it_was_made(chunking: bool) -> None:
    """By a strict server that takes DATA or BDAT, undoes the dots and refuses what is malformed."""
    store = MemoryStore()
    async with ReferenceServer(ServerConfig(sink=True), store=store) as server:
        target = Target(
            endpoints={Role.MX: Endpoint(port=server.port)}, timeouts=Timeouts(connect=2, reply=2)
        )
        engine = await send(target, messages=60, chunking=chunking, content="mime@4,8bit", message_size=3000)
    assert accepted(engine) == len(store.messages) == 60
    types = Counter()
    for copy in store.messages:
        assert len(copy.content) == 3000
        message = message_from_bytes(copy.content, policy=policy.SMTP)
        types[message.get_content_type()] += 1
        assert not any(part.defects for part in message.walk())
    assert set(types) == {"multipart/alternative", "multipart/mixed", "text/plain"}


async def test_8_bit_contents_say_so_and_no_others(running: Running) -> None:
    async with running(Script(ehlo=EIGHT_BIT)) as (server, target):
        await send(target, messages=40, content="8bit,html", message_size=2000, pipelining=False)
    mails = [line for line in server.commands if line.startswith(b"MAIL")]
    said = [line.endswith(b" BODY=8BITMIME") for line in mails]
    assert said == [not content.isascii() for content in server.contents]
    assert set(said) == {True, False}


async def test_8_bit_contents_need_8bitmime(running: Running) -> None:
    async with running(Script(ehlo=SEVEN_BIT)) as (_, target):
        workload = Workload(users=1, messages=1, content="mime,8bit")
        with pytest.raises(NotOffered, match="does not offer 8BITMIME"):
            await asyncio.to_thread(probe, target, workload)
        await asyncio.to_thread(probe, target, Workload(users=1, messages=1, content="mime"))


async def test_with_smtputf8_headers_are_utf_8(running: Running) -> None:
    async with running(Script(ehlo=b"250-test\r\n250 SMTPUTF8\r\n")) as (server, target):
        await send(target, messages=5, content="headers", smtputf8=True)
    assert all("Grüße, заметка".encode() in content for content in server.contents)


def test_kinds_of_sessions_that_send_the_same_share_their_contents() -> None:
    workload = Workload(
        users=1, traffic=[{"pipelining": False}, {"auth": False}, {"content": "html"}], content="dots"
    )
    target = from_url("smtp://127.0.0.1:25")
    kinds = make_kinds(target, workload, Random(1))
    drawn = [[kind.script.next().content for _ in range(2000)] for kind in kinds]  # bound methods of contents
    pools = [{id(getattr(content, "__self__", None)) for content in contents} for contents in drawn]
    assert pools[0] == pools[1]
    assert not pools[0] & pools[2]


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"content": "pdf"}, "workload: content: 'pdf': unknown kind 'pdf', expected some of mime, plain"),
        (
            {"traffic": [{"content": "html@-1"}]},
            r"traffic\[0\].content: 'html@-1': weight '-1': expected more",
        ),
    ],
)
def test_mistakes_are_a_line(fields: dict[str, object], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        make_workload(users=1, **fields)
