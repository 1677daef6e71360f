"""The sink on a socket: hand-over before the reply, idle and slow clients, TLS, the end."""

import asyncio
import socket
import ssl
import struct

import pytest
import trustme

from smtpbench.server.sink import Sink, sink_config

WAIT = 60
ENVELOPE = b"EHLO x.example\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\n"
SESSION = ENVELOPE + b"DATA\r\nhello\r\n.\r\nQUIT\r\n"


async def talk(sink, octets):
    """All that a sink says to `octets`, up to the end of the connection."""
    async with asyncio.timeout(WAIT):
        reader, writer = await asyncio.open_connection("127.0.0.1", sink.port)
        writer.write(octets)
        try:
            return await reader.read()
        finally:
            writer.close()


def last_codes(said, count):
    return [int(line[:3]) for line in said.split(b"\r\n")[:-1] if line[3:4] == b" "][-count:]


async def test_it_counts_and_forgets():
    async with Sink() as sink:
        said = await asyncio.gather(*(talk(sink, SESSION) for _ in range(5)))
        assert [last_codes(one, 3) for one in said] == [[354, 250, 221]] * 5
    assert sink.counts.to_plain() == {
        "sessions": 5,
        "messages": 5,
        "recipients": 5,
        "octets": 35,
        "scripted": {},
        "scarce": 0,
    }


async def test_a_consumer_gets_each_message_with_its_envelope_and_times():
    taken = []
    async with Sink(consumer=taken.extend) as sink:
        await talk(sink, SESSION.replace(b"QUIT", b"MAIL FROM:<>\r\nRCPT TO:<c@d.e>\r\nDATA\r\n.\r\nQUIT"))
        await talk(sink, SESSION)
    assert [tuple(one)[:5] for one in taken] == [
        (1, 1, b"a@x.example", (b"b@y.example",), b"hello\r\n"),
        (1, 2, b"", (b"c@d.e",), b""),
        (2, 1, b"a@x.example", (b"b@y.example",), b"hello\r\n"),
    ]
    assert taken[0].at_ns <= taken[1].at_ns <= taken[2].at_ns
    assert taken[0].monotonic_ns < taken[2].monotonic_ns


async def test_what_is_acknowledged_was_handed_over():
    """The reply must not be under way while the consumer is still at work."""
    replies = []

    def look(batch):
        assert batch
        with pytest.raises(BlockingIOError):  # nothing there to be read
            client.recv(1_000)
        replies.append(len(batch))

    loop = asyncio.get_running_loop()
    async with Sink(consumer=look) as sink, asyncio.timeout(WAIT):
        client = socket.socket()
        client.setblocking(False)
        await loop.sock_connect(client, ("127.0.0.1", sink.port))
        await loop.sock_recv(client, 1_000)
        for line in [*ENVELOPE.splitlines(keepends=True), b"DATA\r\n"]:
            await loop.sock_sendall(client, line)
            await loop.sock_recv(client, 1_000)
        await loop.sock_sendall(client, b"hello\r\n.\r\nNOOP\r\nQUIT\r\n")
        said = b""
        while octets := await loop.sock_recv(client, 1_000):
            said += octets
        client.close()
    assert last_codes(said, 3) == [250, 250, 221]
    assert replies == [1]


async def test_a_consumer_that_fails_ends_the_sink_and_nothing_is_acknowledged():
    def fail(_):
        raise OSError(28, "No space left on device")

    async with Sink(consumer=fail) as sink:
        port = sink.port
        reader, writer = await asyncio.open_connection("127.0.0.1", sink.port)
        writer.write(SESSION)
        async with asyncio.timeout(WAIT):
            try:
                said = await reader.read()
            except ConnectionResetError:
                said = b""
            await sink.failed.wait()
        assert b"accepted" not in said
        assert "No space left" in str(sink.failure)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        writer.close()


async def test_who_says_nothing_is_parted_from():
    async with Sink(sink_config(idle_timeout=0.1)) as sink:
        said = await talk(sink, b"EHLO x.example\r\n")
        assert last_codes(said, 1) == [421]
        assert not sink.connections


async def test_who_does_not_read_is_not_read_from():
    async with Sink() as sink, asyncio.timeout(WAIT):
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(client, ("127.0.0.1", sink.port))
            assert (await loop.sock_recv(client, 1_000)).startswith(b"220")
            (connection,) = sink.connections
            little = (socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)  # that the kernel takes of its replies
            connection._transport.get_extra_info("socket").setsockopt(*little)
            sent = 0
            while not connection._write_paused:
                try:
                    sent += client.send(b"EHLO x.example\r\n" * 1_000)
                except BlockingIOError:
                    await asyncio.sleep(0)
            assert not connection._transport.is_reading()
            assert connection._transport.get_write_buffer_size() < 2_000_000


async def test_a_connection_that_is_reset_takes_nothing_along():
    taken = []
    async with Sink(consumer=taken.extend) as sink:
        _, writer = await asyncio.open_connection("127.0.0.1", sink.port)
        writer.write(ENVELOPE + b"DATA\r\nhel")
        await writer.drain()
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.close()
        await talk(sink, SESSION)
    assert len(taken) == 1


async def test_starttls():
    ca = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(context)
    trusting = ssl.create_default_context()
    ca.configure_trust(trusting)
    taken = []
    async with Sink(sink_config(tls=context), consumer=taken.extend) as sink, asyncio.timeout(WAIT):
        reader, writer = await asyncio.open_connection("127.0.0.1", sink.port)
        writer.write(b"EHLO x.example\r\nSTARTTLS\r\n")
        assert b"STARTTLS" in await reader.readuntil(b"220 2.0.0 Ready to start TLS\r\n")
        await writer.start_tls(trusting, server_hostname="localhost")
        writer.write(SESSION)
        said = await reader.read()
        writer.close()
    assert b"STARTTLS" not in said
    assert last_codes(said, 2) == [250, 221]
    assert len(taken) == 1


async def test_stopping_tells_those_who_are_connected():
    async with Sink() as sink:
        reader, writer = await asyncio.open_connection("127.0.0.1", sink.port)
        await reader.readline()
        writer.write(b"EHLO x.example\r\n")
        async with asyncio.timeout(WAIT):
            await reader.readuntil(b"250 DSN\r\n")
            await sink.stop()
            assert last_codes(await reader.read(), 1) == [421]
        writer.close()
