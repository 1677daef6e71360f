"""The asyncio server over loopback: TLS, deliveries to disk, timeouts, shutdown; an independent client."""

import asyncio
import base64
import os
import ssl
from pathlib import Path

import aiosmtplib
import pytest
import scramp
import trustme

from smtpbench.errors import UsageError
from smtpbench.server import MaildirStore, NullStore, Server, ServerConfig
from smtpbench.server.receiver import Receiver
from smtpbench.server.store import MemoryStore
from smtpbench.target import Role
from smtpbench.wire.state import State

WAIT = 10.0
HELLO = b"EHLO client.example.org\r\n"
ENVELOPE = b"MAIL FROM:<sender@example.org>\r\nRCPT TO:<alice@example.com>\r\n"


@pytest.fixture(scope="module")
def ca():
    return trustme.CA()


@pytest.fixture(scope="module")
def server_tls(ca):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    return context


@pytest.fixture(scope="module")
def client_tls(ca):
    context = ssl.create_default_context()
    ca.configure_trust(context)
    return context


class Client:
    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    @classmethod
    async def to(cls, server, **options):
        client = cls(*await asyncio.open_connection("127.0.0.1", server.port, **options))
        await client.reply()
        return client

    async def reply(self):
        lines = []
        while not lines or lines[-1][3:4] == b"-":
            async with asyncio.timeout(WAIT):
                lines.append(await self.reader.readline())
            if not lines[-1]:
                return None
        return b"".join(lines)

    async def codes(self, data, count):
        self.writer.write(data)
        return [int((await self.reply())[:3]) for _ in range(count)]

    async def end(self):
        async with asyncio.timeout(WAIT):
            return await self.reader.read()

    async def close(self):
        self.writer.close()
        async with asyncio.timeout(WAIT):
            await self.writer.wait_closed()


def stored(server):
    assert isinstance(server.store, MemoryStore)
    return server.store.messages


async def test_a_pipelined_session_in_memory():
    async with Server() as server:
        client = await Client.to(server)
        group = HELLO + ENVELOPE + b"DATA\r\nx\r\n.\r\n" + ENVELOPE + b"QUIT\r\n"
        assert await client.codes(group, 8) == [250, 250, 250, 354, 250, 250, 250, 221]
        assert await client.end() == b""
        await client.close()
    assert [copy.mailbox for copy in stored(server)] == ["alice"]


async def test_the_file_is_on_disk_before_the_250(tmp_path, monkeypatch):
    events = []
    fsync = os.fsync

    def noted(descriptor):
        events.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    monkeypatch.setattr("smtpbench.server.store.os.fsync", noted)
    async with Server(store=MaildirStore(tmp_path)) as server:
        client = await Client.to(server)
        group = HELLO + ENVELOPE + b"DATA\r\n..x\r\n\nlf\r\n.\r\n"
        assert await client.codes(group, 5) == [250, 250, 250, 354, 250]
        (file,) = (tmp_path / "alice" / "new").iterdir()
        assert file.read_bytes().endswith(b"+0000\r\n.x\r\n\nlf\r\n")
        assert events == [tmp_path / "alice" / "tmp" / file.name, tmp_path / "alice" / "new"]
        assert not list((tmp_path / "alice" / "tmp").iterdir())
        await client.close()


async def test_a_full_disk_is_a_451_and_leaves_nothing(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("smtpbench.server.store.os.fsync", full)
    async with Server(store=MaildirStore(tmp_path)) as server:
        client = await Client.to(server)
        assert await client.codes(HELLO + ENVELOPE + b"DATA\r\nx\r\n.\r\n", 5) == [250, 250, 250, 354, 451]
        assert not [path for path in tmp_path.rglob("*") if path.is_file()]
        await client.close()


async def test_sessions_do_not_wait_for_each_others_deliveries(tmp_path):
    async with Server(store=MaildirStore(tmp_path)) as server:
        clients = [await Client.to(server) for _ in range(20)]
        group = HELLO + (ENVELOPE + b"DATA\r\nx\r\n.\r\n") * 5
        answers = await asyncio.gather(*(client.codes(group, 21) for client in clients))
        assert answers == [[250] + [250, 250, 354, 250] * 5] * 20
        assert len(list((tmp_path / "alice" / "new").iterdir())) == 100
        await asyncio.gather(*(client.close() for client in clients))


async def test_starttls_throws_away_what_came_behind_it(server_tls, client_tls):
    async with Server(ServerConfig(tls=server_tls)) as server:
        client = await Client.to(server)
        injected = (
            HELLO + ENVELOPE + b"STARTTLS\r\nEHLO injected.example\r\nMAIL FROM:<injected@example.org>\r\n"
        )
        assert await client.codes(injected, 4) == [250, 250, 250, 220]
        await client.writer.start_tls(client_tls, server_hostname="localhost")
        assert await client.codes(b"MAIL FROM:<>\r\n", 1) == [503]
        client.writer.write(HELLO)
        assert b"STARTTLS" not in await client.reply()
        assert await client.codes(b"STARTTLS\r\nRCPT TO:<alice@example.com>\r\nDATA\r\n", 3) == [
            503,
            503,
            503,
        ]
        assert await client.codes(ENVELOPE + b"DATA\r\nx\r\n.\r\n", 4) == [250, 250, 354, 250]
        await client.close()
    (copy,) = stored(server)
    assert b" with ESMTPS id " in copy.content


@pytest.mark.parametrize(("version", "offered"), [("TLSv1_2", True), ("TLSv1_3", False)])
async def test_the_channel_binding_tls_unique(server_tls, ca, version, offered):
    """A client bound to the very channel is let in; TLS 1.3 has no such binding."""
    context = ssl.create_default_context()
    ca.configure_trust(context)
    context.maximum_version = context.minimum_version = ssl.TLSVersion[version]
    async with Server(ServerConfig(tls=server_tls, users={"alice": "secret"})) as server:
        client = await Client.to(server)
        assert await client.codes(HELLO + b"STARTTLS\r\n", 2) == [250, 220]
        await client.writer.start_tls(context, server_hostname="localhost")
        client.writer.write(HELLO)
        assert (b"SCRAM-SHA-256-PLUS" in await client.reply()) is offered
        if offered:
            channel = ("tls-unique", client.writer.get_extra_info("ssl_object"))
            scram = scramp.ScramClient(["SCRAM-SHA-256-PLUS"], "alice", "secret", channel_binding=channel)
            first = base64.b64encode(scram.get_client_first().encode())
            client.writer.write(b"AUTH SCRAM-SHA-256-PLUS " + first + b"\r\n")
            scram.set_server_first(base64.b64decode((await client.reply())[4:]).decode())
            final = base64.b64encode(scram.get_client_final().encode())
            assert await client.codes(final + b"\r\n", 1) == [334]
            assert await client.codes(b"\r\n", 1) == [235]
        await client.close()


async def test_no_tls_after_starttls_closes(server_tls):
    async with Server(ServerConfig(tls=server_tls)) as server:
        client = await Client.to(server)
        assert await client.codes(HELLO + b"STARTTLS\r\n", 2) == [250, 220]
        client.writer.write(b"NOOP\r\n" * 100)
        assert b"250" not in await client.end()
        await client.close()
        again = await Client.to(server)
        assert await again.codes(b"NOOP\r\n", 1) == [250]
        await again.close()


async def test_an_independent_client_over_implicit_tls(server_tls, client_tls):
    config = ServerConfig(tls=server_tls, role=Role.SUBMISSIONS, users={"alice": "secret"})
    async with Server(config) as server:
        async with aiosmtplib.SMTP(
            hostname="localhost", port=server.port, use_tls=True, tls_context=client_tls, timeout=WAIT
        ) as client:
            with pytest.raises(aiosmtplib.SMTPSenderRefused):
                await client.sendmail("alice@example.com", ["bob@example.com"], "x\r\n")
            await client.login("alice", "secret")
            await client.sendmail("alice@example.com", ["bob@example.com"], "Subject: x\r\n\r\nhello\r\n")
        with pytest.raises(aiosmtplib.SMTPAuthenticationError):
            await aiosmtplib.send(
                b"x\r\n",
                sender="alice@example.com",
                recipients=["bob@example.com"],
                hostname="localhost",
                port=server.port,
                username="alice",
                password="wrong",
                use_tls=True,
                tls_context=client_tls,
                timeout=WAIT,
            )
    (copy,) = stored(server)
    assert b" with ESMTPSA id " in copy.content
    assert copy.content.endswith(b"\r\n\r\nhello\r\n")


async def test_a_submission_port_wants_tls_first(server_tls):
    config = ServerConfig(tls=server_tls, role=Role.SUBMISSION, users={"alice": "secret"})
    async with Server(config) as server:
        client = await Client.to(server)
        group = b"HELO a\r\n" + HELLO + b"MAIL FROM:<>\r\nRSET\r\nNOOP\r\nAUTH PLAIN\r\nQUIT\r\n"
        assert await client.codes(group, 7) == [530, 250, 530, 530, 250, 530, 221]
        await client.close()


async def test_a_silent_client_is_told_421():
    async with Server(ServerConfig(idle_timeout=0.05)) as server:
        client = await Client.to(server)
        assert (await client.end()).startswith(b"421 4.4.2 ")
        await client.close()


async def test_shutdown_says_421(server_tls, client_tls):
    server = Server(ServerConfig(tls=server_tls))
    await server.start()
    client = await Client.to(server)
    encrypted = await Client.to(server)
    assert await encrypted.codes(HELLO + b"STARTTLS\r\n", 2) == [250, 220]
    await encrypted.writer.start_tls(client_tls, server_hostname="localhost")
    assert await encrypted.codes(b"NOOP\r\n", 1) == [250]
    ends = asyncio.gather(client.end(), encrypted.end())
    await server.stop()
    assert [end[:10] for end in await ends] == [b"421 4.3.2 "] * 2
    assert not server.connections
    await client.close()
    await encrypted.close()


async def test_a_client_that_does_not_read_holds_no_memory():
    async with Server() as server:
        client = await Client.to(server)
        client.writer.write(HELLO * 1_500_000)
        with pytest.raises(TimeoutError):  # 42 MB of commands, 500 MB of replies: the server stops reading
            async with asyncio.timeout(0.5):
                await client.writer.drain()
        (connection,) = server.connections
        assert connection._transport.get_write_buffer_size() < 20_000_000
        client.writer.transport.abort()


async def test_a_large_message_in_a_bounded_time():
    async with Server(store=NullStore()) as server:
        client = await Client.to(server)
        content = (b"." * 2 + b"x" * 74 + b"\r\n") * 250_000
        assert await client.codes(HELLO + ENVELOPE + b"DATA\r\n", 4) == [250, 250, 250, 354]
        assert await client.codes(content + b".\r\n", 1) == [250]
        await client.close()


async def test_bad_settings_are_usage_errors():
    with pytest.raises(UsageError, match="submissions needs a TLS certificate"):
        Server(ServerConfig(role=Role.SUBMISSIONS))
    async with Server() as server:
        with pytest.raises(UsageError, match=r"cannot listen on 127\.0\.0\.1:"):
            await Server(ServerConfig(port=server.port)).start()


async def test_faults_over_the_wire():
    async with Server(faults=("greeting-554-then-close",)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        async with asyncio.timeout(WAIT):
            assert (await reader.read()).startswith(b"554 ")
        writer.close()
        await writer.wait_closed()


async def test_the_limit_of_silence_is_that_of_the_moment() -> None:
    class Hasty(Receiver):
        """Patient until the first command, and not after it."""

        def idle_limit(self) -> float:
            return 0.01 if self.state is State.READY else 60.0

    async with Server(ServerConfig(), receiver=Hasty) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        await reader.readline()
        writer.write(b"HELO client.example.org\r\n")
        said = await asyncio.wait_for(reader.read(), 5.0)
        assert said.startswith(b"250 ")
        assert b"\r\n421 4.4.2 " in said
        writer.close()
        await writer.wait_closed()
