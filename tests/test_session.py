"""The client session against scripted peers on loopback: what is read, what raises, what is shown."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import trustme

from smtpbench._incoming import Incoming
from smtpbench.errors import ConnectionLost, DeadlineExceeded, NotSmtp, TlsFailed, Unreachable
from smtpbench.session import Session
from smtpbench.target import Endpoint, Timeouts, Tls
from smtpbench.transcript import Transcript

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
QUICK = Timeouts(connect=5, reply=5, quiet=0.05)
SHORT = Timeouts(connect=5, reply=0.05, quiet=0.05)


@contextlib.asynccontextmanager
async def peer(script: Script, context: ssl.SSLContext | None = None) -> AsyncIterator[Endpoint]:
    """A server that runs `script` once per connection, then closes."""
    ended: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        ended.append(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await script(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield Endpoint(port=server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for task in ended:
            task.cancel()
        await asyncio.gather(*ended, return_exceptions=True)


def replies(*lines: bytes) -> Script:
    """Greets with the first line and answers each line that comes with the next one."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for line in lines:
            writer.write(line)
            await reader.readline()

    return script


def says(data: bytes, *, then_wait: bool = False) -> Script:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        if then_wait:
            await reader.read()

    return script


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path) -> Tls:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return Tls(ca=tmp_path / "ca.pem")


@pytest.fixture
def server_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


async def test_a_dialogue_its_phases_and_its_transcript() -> None:
    script = replies(
        b"220 mx.example.com\r\n", b"250-mx\r\n250 SIZE 9\r\n", b"250 2.0.0 Ok\r\n", b"221 bye\r\n"
    )
    log = Transcript()
    async with peer(script) as endpoint:
        session = await Session.open(endpoint, timeouts=QUICK, transcript=log)
        assert (await session.greeting()).code == 220
        assert (await session.ehlo("client.example.org")).code == 250
        assert session.extensions.size_limit == 9
        assert str(await session.command(b"NOOP")) == "250 2.0.0 Ok"
        reply = await session.quit()
    assert reply is not None
    assert reply.code == 221
    assert {"connect", "banner", "ehlo"} <= session.phases.keys()
    assert all(0 <= ns < 5_000_000_000 for ns in session.phases.values())
    said = [entry.data for entry in log.entries if entry.sender == "client"]
    assert said == [b"EHLO client.example.org\r\n", b"NOOP\r\n", b"QUIT\r\n"]


async def test_a_pipelined_group_is_one_write_and_its_replies_keep_their_order() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 x\r\n")
        group = await reader.readexactly(len(b"A\r\nB\r\nC\r\n"))
        assert group == b"A\r\nB\r\nC\r\n"
        writer.write(b"250 a\r\n550-b\r\n550 b\r\n354 c\r\n")
        await reader.read()

    async with peer(script) as endpoint:
        session = await Session.open(endpoint, timeouts=QUICK)
        await session.greeting()
        assert [reply.code for reply in await session.pipeline([b"A", "B", b"C"])] == [250, 550, 354]
        await session.close()


async def test_silence_and_unprompted_octets_are_told_apart() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 x\r\n")
        await reader.readline()
        writer.write(b"250 ok\r\n250 agai")
        await reader.read()

    async with peer(script) as endpoint:
        session = await Session.open(endpoint, timeouts=QUICK)
        await session.greeting()
        assert await session.quiet(0.05) == b""
        await session.command(b"NOOP")
        assert await session.quiet(5) == b"250 agai"
        await session.close()


async def test_no_reply_in_time_says_how_long_we_waited() -> None:
    async with peer(says(b"220-half", then_wait=True)) as endpoint:
        session = await Session.open(endpoint, timeouts=SHORT)
        with pytest.raises(
            DeadlineExceeded, match=r"no reply within 0\.05 s after an unfinished reply: 220-half"
        ):
            await session.greeting()
        await session.close()


async def test_a_close_is_not_a_timeout_and_later_writes_say_so() -> None:
    async with peer(replies(b"220 x\r\n")) as endpoint:
        session = await Session.open(endpoint, timeouts=QUICK)
        await session.greeting()
        with pytest.raises(ConnectionLost, match="closed"):
            await session.command(b"NOOP")
        assert session.eof
        assert await session.until_eof() == []
        with pytest.raises(ConnectionLost):
            await session.command(b"NOOP")
        assert await session.quit() is None


async def test_until_eof_gives_all_replies_there_were() -> None:
    async with peer(says(b"220 a\r\n250 b\r\n221 c\r\n250 unfin")) as endpoint:
        session = await Session.open(endpoint, timeouts=QUICK)
        assert [reply.code for reply in await session.until_eof()] == [220, 250, 221]
        assert session.eof


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP"),
        (b"\x15\x03\x01\x00\x02\x02\x46\n", "TLS"),
        (b"SSH-2.0-OpenSSH\r\n", "SSH-2"),
        (b"x" * 200_000, "xxxx"),
    ],
)
async def test_a_peer_that_is_not_smtp(octets: bytes, text: str) -> None:
    async with peer(says(octets, then_wait=True)) as endpoint:
        session = await Session.open(endpoint, timeouts=QUICK)
        with pytest.raises(NotSmtp, match=text):
            await session.greeting()
        await session.close()


async def test_a_gigabyte_without_a_line_end_is_not_read(tmp_path: Path) -> None:
    written = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        for _ in range(1024):
            writer.write(b"2" * (1 << 20))
            await writer.drain()
            written += 1

    async with peer(script) as endpoint:
        session = await Session.open(endpoint, timeouts=QUICK)
        with pytest.raises(NotSmtp):
            await session.greeting()
        with pytest.raises(NotSmtp, match="without end"):
            await session.read_reply()
        session.abort()
    assert written < 64  # MiB: what the two socket buffers hold, and little more


async def test_nobody_there() -> None:
    server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    with pytest.raises(Unreachable, match=f"127.0.0.1:{port}: cannot connect: connection refused"):
        await Session.open(Endpoint(port=port), timeouts=QUICK)


async def test_implicit_tls(trusted: Tls, server_context: ssl.SSLContext) -> None:
    async with peer(replies(b"220 x\r\n", b"250 y\r\n"), server_context) as endpoint:
        inside = endpoint.model_copy(update={"tls": "implicit"})
        session = await Session.open(inside, tls=trusted, timeouts=QUICK)
        assert session.tls_active
        assert "tls" in session.phases
        assert (await session.greeting()).code == 220
        assert (await session.command(b"NOOP")).code == 250
        await session.close()


async def test_a_certificate_we_do_not_trust(server_context: ssl.SSLContext) -> None:
    async with peer(replies(b"220 x\r\n"), server_context) as endpoint:
        inside = endpoint.model_copy(update={"tls": "implicit"})
        with pytest.raises(TlsFailed, match="certificate"):
            await Session.open(inside, timeouts=QUICK)
        session = await Session.open(inside, tls=Tls(verify=False), timeouts=QUICK)
        assert (await session.greeting()).code == 220
        await session.close()


async def test_tls_where_there_is_none(trusted: Tls) -> None:
    async with peer(replies(b"220 plain\r\n")) as endpoint:
        inside = endpoint.model_copy(update={"tls": "implicit"})
        with pytest.raises(TlsFailed, match="not TLS"):
            await Session.open(inside, tls=trusted, timeouts=QUICK)


async def test_starttls_forgets_what_ehlo_said(trusted: Tls, server_context: ssl.SSLContext) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for line in (b"220 x\r\n", b"250-x\r\n250 STARTTLS\r\n", b"220 go\r\n"):
            writer.write(line)
            if not line.endswith(b"go\r\n"):
                await reader.readline()
        await writer.drain()
        await writer.start_tls(server_context)
        await replies(b"", b"250-x\r\n250 HELP\r\n")(reader, writer)

    async with peer(script) as endpoint:
        session = await Session.open(endpoint, tls=trusted, timeouts=QUICK)
        await session.greeting()
        await session.ehlo("c.example.org")
        assert (await session.starttls()).code == 220
        assert session.tls_active
        assert dict(session.extensions) == {}
        assert (await session.ehlo("c.example.org")).code == 250
        assert "HELP" in session.extensions
        await session.close()


async def test_a_refused_starttls_leaves_the_session_in_clear() -> None:
    async with peer(replies(b"220 x\r\n", b"454 later\r\n", b"250 y\r\n")) as endpoint:
        session = await Session.open(endpoint, timeouts=QUICK)
        await session.greeting()
        assert (await session.starttls()).code == 454
        assert not session.tls_active
        assert (await session.command(b"NOOP")).code == 250
        await session.close()


async def auth(script: list[bytes], mechanism: str, **options: bool) -> tuple[int, list[bytes], Transcript]:
    """The final code of an AUTH exchange, what the server got, and the transcript."""
    got: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 x\r\n")
        for line in script:
            got.append((await reader.readline()).rstrip())
            writer.write(line)
        await reader.read()

    log = Transcript()
    async with peer(serve) as endpoint:
        session = await Session.open(endpoint, timeouts=QUICK, transcript=log)
        await session.greeting()
        reply = await session.auth(mechanism, "user", "secret-word", **options)
        await session.close()
    return reply.code, got, log


async def test_auth_with_initial_response() -> None:
    code, got, log = await auth([b"235 ok\r\n"], "PLAIN")
    assert code == 235
    assert got == [b"AUTH PLAIN " + base64.b64encode(b"\0user\0secret-word")]
    assert [e.data for e in log.entries if e.sender == "client"] == [b"AUTH PLAIN <redacted>\r\n"]


async def test_auth_in_steps_shows_no_secret() -> None:
    challenges = [b"334 " + base64.b64encode(word) + b"\r\n" for word in (b"Username:", b"Password:")]
    code, got, log = await auth([*challenges, b"535 no\r\n"], "LOGIN")
    assert code == 535
    assert got == [b"AUTH LOGIN", base64.b64encode(b"user"), base64.b64encode(b"secret-word")]
    shown = b"".join(e.data for e in log.entries if e.sender == "client")
    assert base64.b64encode(b"secret-word") not in shown
    assert shown == b"AUTH LOGIN\r\n<redacted>\r\n<redacted>\r\n"


async def test_auth_waits_for_the_empty_challenge_if_told_to() -> None:
    code, got, _ = await auth([b"334 \r\n", b"235 ok\r\n"], "PLAIN", initial=False)
    assert (code, got) == (235, [b"AUTH PLAIN", base64.b64encode(b"\0user\0secret-word")])


async def test_auth_cancels_on_a_challenge_that_is_not_base64() -> None:
    code, got, _ = await auth([b"334 !!!\r\n", b"501 cancelled\r\n"], "CRAM-MD5")
    assert (code, got) == (501, [b"AUTH CRAM-MD5", b"*"])


async def test_an_endless_auth_ends() -> None:
    code, got, _ = await auth([b"334 \r\n"] * 20, "PLAIN")
    assert code == 334
    assert len(got) == 11


async def test_a_peer_that_stops_reading_does_not_hold_us() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()  # until it is cancelled

    async with peer(script) as endpoint:
        session = await Session.open(endpoint, timeouts=SHORT)
        with pytest.raises(DeadlineExceeded, match="stopped reading"):
            await session.send(b"x" * (1 << 26))
        session.abort()


def test_a_transcript_is_bounded_and_says_where_it_was_cut() -> None:
    log = Transcript(limit=10, max_entries=5)
    log.add("client", b"12345")
    log.add("server", b"1234567890")
    log.add("client", b"more")
    assert [entry.data for entry in log.entries[:2]] == [b"12345", b"12345"]
    assert log.entries[2].sender == "note"
    assert b"5 octets" in log.entries[2].data
    assert len(log.entries) == 3


async def test_time_in_which_our_own_loop_was_late_is_not_held_against_the_server() -> None:
    incoming = Incoming(None, None)
    loop = asyncio.get_running_loop()
    loop.call_later(0.01, time.sleep, 0.3)  # this machine is busy: nothing is read meanwhile
    loop.call_later(0.35, incoming.data_received, b"250 OK\r\n")
    await incoming.until(lambda: bool(incoming.replies), 0.2)
    assert incoming.replies


async def test_a_wait_ends() -> None:
    begin = time.monotonic()
    await Incoming(None, None).until(lambda: False, 0.15)
    assert 0.15 <= time.monotonic() - begin < 5.0
