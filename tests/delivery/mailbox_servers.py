"""Small IMAP and POP3 servers that can be told to misbehave, on ports that the system chooses."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

USER, PASSWORD = "alice", "sécret"
DATE = b'INTERNALDATE " 2-Jan-2026 03:04:05 +0100"'
DATE_S = 1_767_319_445


@dataclass
class Box:
    """One user's mailbox, and how the server behaves. `said` holds every line of every client."""

    messages: dict[int, bytes] = field(default_factory=dict)
    capabilities: str = "IMAP4rev1 AUTH=PLAIN"
    uid_next: bool = True
    validity: int = 7
    greeting: bytes | None = None
    hang_up_before: list[str] = field(
        default_factory=list
    )  # commands at which the connection is dropped, once each
    silent_at: str = ""  # the command that is never answered
    instead: dict[str, bytes] = field(default_factory=dict)  # command → what is said instead of an answer
    dies_after: int | None = None  # commands that ask for messages, after which nobody is let in any more
    said: list[str] = field(default_factory=list)
    heard: dict[str, asyncio.Event] = field(default_factory=lambda: defaultdict(asyncio.Event))
    pipelining: bool = True  # POP3's; without it there is no CAPA either
    sessions: int = 0
    octets: int = 0  # that answers to commands about messages had
    port: int = 0

    def deliver(self, content: bytes) -> None:
        self.messages[max(self.messages, default=0) + 1] = content


class Gone(Exception):
    """The server drops the connection."""


Speaks = Callable[[Box, asyncio.StreamReader, asyncio.StreamWriter], "object"]


@asynccontextmanager
async def serving(speak, box: Box, tls: ssl.SSLContext | None = None) -> AsyncIterator[Box]:
    """`speak` to each client about `box`; everybody is gone at the end."""
    clients: set[asyncio.Task[None]] = set()

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        clients.add(task)
        box.sessions += 1
        try:
            if box.dies_after == 0:
                raise Gone
            await speak(box, reader, writer)
        except (Gone, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            clients.discard(task)
            writer.transport.abort()

    server = await asyncio.start_server(client, "127.0.0.1", 0, ssl=tls)
    box.port = server.sockets[0].getsockname()[1]
    try:
        yield box
    finally:
        server.close()
        for task in tuple(clients):
            task.cancel()
        if clients:
            await asyncio.wait(clients)


async def _command(box: Box, reader: asyncio.StreamReader, place: int) -> list[str]:
    line = (await reader.readline()).decode()
    if not line:
        raise Gone
    box.said.append(line.rstrip())
    words = line.split()
    verb = words[place].upper()
    if verb == "UID":
        verb = words[place + 1].upper()
    box.heard[verb].set()
    if verb in ("FETCH", "RETR") and box.dies_after is not None:
        box.dies_after = max(box.dies_after - 1, 0)
    if box.dies_after == 0:
        raise Gone
    if verb in box.hang_up_before:
        box.hang_up_before.remove(verb)
        raise Gone
    if verb == box.silent_at:
        await asyncio.Event().wait()
    return words


async def imap(box: Box, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Enough of RFC 3501 for a client that looks and fetches."""
    writer.write(box.greeting or b"* OK ready\r\n")
    while True:
        tag, *words = await _command(box, reader, 1)
        verb = words[1].upper() if words[0].upper() == "UID" else words[0].upper()
        if verb in box.instead:
            writer.write(box.instead[verb].replace(b"TAG", tag.encode()))
            continue
        if verb == "AUTHENTICATE":
            writer.write(b"+ \r\n")
            given = base64.b64decode(await reader.readline())
            good = given == f"\0{USER}\0{PASSWORD}".encode()
            writer.write(
                f"{tag} OK in\r\n".encode() if good else f"{tag} NO bad \x1b[31m password\r\n".encode()
            )
            continue
        for line in _imap_answer(box, verb, words):
            box.octets += len(line)
            writer.write(line)
        writer.write(f"{tag} OK done\r\n".encode())
        if verb == "LOGOUT":
            await writer.drain()
            return


def _imap_answer(box: Box, verb: str, words: list[str]) -> list[bytes]:
    match verb:
        case "CAPABILITY":
            return [f"* CAPABILITY {box.capabilities}\r\n".encode()]
        case "EXAMINE":
            codes = [f"* {len(box.messages)} EXISTS\r\n* OK [UIDVALIDITY {box.validity}] x\r\n".encode()]
            if box.uid_next:
                codes.append(f"* OK [UIDNEXT {max(box.messages, default=0) + 1}] x\r\n".encode())
            return codes
        case "SEARCH":
            first = int(words[3].partition(":")[0])
            last = max(box.messages, default=0)
            found = [uid for uid in box.messages if uid >= min(first, last)]  # n:* holds the last one too
            return [f"* SEARCH {' '.join(map(str, found))}".rstrip().encode() + b"\r\n"]
        case "FETCH":
            return [
                b"* 9 FETCH (FLAGS ())\r\n",
                *(
                    _fetched(uid, box.messages[uid])
                    for uid in map(int, words[2].split(","))
                    if uid in box.messages
                ),
            ]
        case "LOGOUT":
            return [b"* BYE\r\n"]
        case _:
            return []


def _fetched(uid: int, content: bytes) -> bytes:
    """Items may come in any order: the UID and the date now before the content, now behind it."""
    before, behind = (b"UID %d ", b" " + DATE) if uid % 2 else (DATE + b" ", b" UID %d")
    response = b"* 1 FETCH (" + before + b"BODY[] {%d}\r\n%b" + behind + b")\r\n"
    return response % ((uid, len(content), content) if uid % 2 else (len(content), content, uid))


async def pop3(box: Box, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """RFC 1939 with UIDL."""
    writer.write(box.greeting or b"+OK ready\r\n")
    there = list(box.messages.items())  # as it is when the session begins
    while True:
        words = await _command(box, reader, 0)
        verb = words[0].upper()
        if verb in box.instead:
            writer.write(box.instead[verb])
            continue
        match verb:
            case "PASS":
                writer.write(b"+OK\r\n" if words[1] == PASSWORD else b"-ERR bad \x1b[31m password\r\n")
            case "CAPA" if box.pipelining:
                writer.write(b"+OK\r\nUIDL\r\nPIPELINING\r\n.\r\n")
            case "CAPA":
                writer.write(b"-ERR\r\n")
            case "STAT":
                writer.write(b"+OK %d %d\r\n" % (len(there), sum(len(content) for _, content in there)))
            case "UIDL":
                writer.write(_unique_ids(box, [uid for uid, _ in there], words[1:]))
            case "RETR":
                content = there[int(words[1]) - 1][1]
                box.octets += len(content)
                writer.write(b"+OK\r\n" + (b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n")
            case _:
                writer.write(b"+OK\r\n")
        if verb == "QUIT":
            await writer.drain()
            return


def _unique_ids(box: Box, uids: list[int], of: list[str]) -> bytes:
    """The answer to UIDL, of one message or of all."""
    if of:
        return b"+OK %s u%d\r\n" % (of[0].encode(), uids[int(of[0]) - 1])
    lines = b"".join(b"%d u%d\r\n" % (number, uid) for number, uid in enumerate(uids, 1))
    box.octets += len(lines)
    return b"+OK\r\n" + lines + b".\r\n"
