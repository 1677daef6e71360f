"""FUTURERELEASE over a connection: a held message is stored when its time has come, and not before."""

import asyncio

import pytest

from smtpbench.server import MaildirStore, MemoryStore, Server, ServerConfig
from smtpbench.target import Role
from tests.server.test_server import HELLO, WAIT, Client

CONTENT = b"DATA\r\nSubject: x\r\n\r\nx\r\n.\r\n"
LOGIN = b"AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n"


class Telling(MemoryStore):
    """Says when something is stored."""

    def __init__(self):
        super().__init__()
        self.stored = asyncio.Event()

    def deliver(self, copies):
        self.stored.set()
        return super().deliver(copies)


@pytest.fixture
def config():
    return ServerConfig(role=Role.SUBMISSION, users={"alice": "secret"}, auth_in_clear=True, max_hold=600)


async def submit(server, seconds):
    """One message, to the reply after its end."""
    client = await Client.to(server)
    mail = b"MAIL FROM:<a@example.org> HOLDFOR=%d\r\nRCPT TO:<alice@example.com>\r\n" % seconds + CONTENT
    assert await client.codes(HELLO + LOGIN + mail, 6) == [250, 235, 250, 250, 354, 250]
    await client.close()


async def test_it_comes_after_its_time(config):
    store = Telling()
    async with Server(config, store=store) as server:
        began = asyncio.get_running_loop().time()
        await submit(server, 1)
        async with asyncio.timeout(WAIT):
            await store.stored.wait()
        assert asyncio.get_running_loop().time() - began >= 1
    assert [copy.mailbox for copy in store.messages] == ["alice"]


async def test_one_after_the_other_is_stored_and_the_held_one_is_not(config):
    store = Telling()
    async with Server(config, store=store) as server:
        await submit(server, 600)
        client = await Client.to(server)
        rest = (
            b"MAIL FROM:<b@example.org>\r\nRCPT TO:<bob@example.com>\r\nDATA\r\nSubject: x\r\n\r\nx\r\n.\r\n"
        )
        assert await client.codes(HELLO + LOGIN + rest, 6) == [250, 235, 250, 250, 354, 250]
        await client.close()
    assert [copy.mailbox for copy in store.messages] == ["bob"]


async def test_a_maildir_holds_too(config, tmp_path):
    async with Server(config, store=MaildirStore(tmp_path)) as server:
        await submit(server, 600)
    assert list(tmp_path.rglob("new/*")) == []
