"""Independent client libraries that submit a message to the server under test.

They speak as their authors understood SMTP, which is how the server's users will. What a library refuses
to do, does not understand, or breaks in is no fault of the server: `Untested`, with the library's words.
"""

from __future__ import annotations

import asyncio
import smtplib
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

import aiosmtplib

from smtpbench.conformance.answer import Answer, Ending
from smtpbench.conformance.deliveries import Delivery
from smtpbench.conformance.observation import Untested
from smtpbench.conformance.peer import Peer
from smtpbench.session import tls_context
from smtpbench.target import Endpoint
from smtpbench.wire.replies import ReplyParser, escape

PATIENCE = 20.0  # seconds for one errand: a dozen replies, of a server that need not hurry


@dataclass(frozen=True)
class Errand:
    """One message to submit. `starttls`: begin TLS first; `login`: mechanism, user name and password."""

    endpoint: Endpoint
    name: str  # for EHLO
    context: ssl.SSLContext
    timeout: float  # seconds for one reply
    sender: str
    recipient: str
    content: bytes
    starttls: bool = False
    login: tuple[str, str, str] | None = None
    mail_options: tuple[str, ...] = ()
    rcpt_options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Client:
    """A client library: `submit` runs the errand and gives the reply that ended it."""

    name: str
    submit: Callable[[Errand], Awaitable[Answer]]


def errand(
    peer: Peer,
    content: bytes,
    *,
    starttls: bool = False,
    mechanism: str | None = None,
    sender: str | None = None,
    mail_options: tuple[str, ...] = (),
    rcpt_options: tuple[str, ...] = (),
) -> Errand:
    """The errand for the endpoint that `peer` talks to; `mechanism` logs in with the target's credentials."""
    target, endpoint = peer.target, peer.endpoint
    context = tls_context(target.tls)
    if target.tls.server_name not in (None, endpoint.host):
        context.check_hostname = False  # the libraries know one name, that of the host they connect to
    user = peer.credentials if mechanism else None
    return Errand(
        endpoint=endpoint,
        name=target.client_name,
        context=context,
        timeout=target.timeouts.reply,
        sender=peer.sender if sender is None else sender,
        recipient=peer.recipient,
        content=content,
        starttls=starttls or endpoint.tls == "starttls",
        login=(mechanism, user.username, user.password()) if mechanism and user else None,
        mail_options=mail_options,
        rcpt_options=rcpt_options,
    )


async def submitted(peer: Peer, client: Client, work: Errand) -> Delivery:
    """What became of `work`: the last reply, and what was delivered where that can be seen.

    A connection that ended, or a silence, counts only if it happens again.
    """
    peer.note(f"{client.name} submits the message in a connection of its own")
    answer = peer.seen_again(await client.submit(work))
    peer.note(f"{client.name}: {answer}")
    return await peer.delivery_behind(answer)


async def _smtplib(errand: Errand) -> Answer:
    """The standard library's client, in a thread that a hung server cannot keep."""
    client = _smtplib_client(errand)
    work = asyncio.ensure_future(asyncio.to_thread(_smtplib_errand, client, errand))
    try:
        async with asyncio.timeout(PATIENCE):
            return await asyncio.shield(work)
    except TimeoutError:
        return Answer(b"", (), Ending.SILENT, PATIENCE)
    finally:
        if not work.done():
            if client.sock is not None:
                with suppress(OSError):
                    client.sock.shutdown(socket.SHUT_RDWR)  # the read in the thread ends with it
            work.cancel()


def _smtplib_client(errand: Errand) -> smtplib.SMTP:
    if errand.endpoint.tls == "implicit":
        return smtplib.SMTP_SSL(local_hostname=errand.name, timeout=errand.timeout, context=errand.context)
    return smtplib.SMTP(local_hostname=errand.name, timeout=errand.timeout)


def _smtplib_errand(client: smtplib.SMTP, errand: Errand) -> Answer:
    try:
        return _smtplib_dialogue(client, errand)
    except smtplib.SMTPRecipientsRefused as refusal:
        return _refusal("smtplib", *next(iter(refusal.recipients.values())))
    except smtplib.SMTPResponseException as refusal:
        return _refusal("smtplib", refusal.smtp_code, refusal.smtp_error)
    except smtplib.SMTPServerDisconnected as end:
        return _ended(errand, silent="timed out" in str(end))
    except (smtplib.SMTPException, OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise _broken("smtplib", error) from None
    finally:
        client.close()


def _smtplib_dialogue(client: smtplib.SMTP, errand: Errand) -> Answer:
    vars(client)["_host"] = errand.endpoint.host  # TLS wants it, and connect() keeps it to itself
    code, text = client.connect(errand.endpoint.host, errand.endpoint.port)
    if code != 220:
        return _refusal("smtplib", code, text)
    client.ehlo_or_helo_if_needed()
    if errand.starttls:
        client.starttls(context=errand.context)
        client.ehlo_or_helo_if_needed()
    if errand.login:
        mechanism, client.user, client.password = errand.login
        client.auth(mechanism, getattr(client, f"auth_{mechanism.lower().replace('-', '_')}"))
    client.sendmail(
        errand.sender, [errand.recipient], errand.content, errand.mail_options, errand.rcpt_options
    )
    with suppress(smtplib.SMTPException):
        client.quit()
    return _answer(250, b"(smtplib keeps no text)")


async def _aiosmtplib(errand: Errand) -> Answer:
    """The client library of the asyncio world."""
    client = aiosmtplib.SMTP(
        hostname=errand.endpoint.host,
        port=errand.endpoint.port,
        local_hostname=errand.name,
        timeout=errand.timeout,
        use_tls=errand.endpoint.tls == "implicit",
        start_tls=False,
        tls_context=errand.context,
    )
    try:
        async with asyncio.timeout(PATIENCE):
            return await _aiosmtplib_dialogue(client, errand)
    except aiosmtplib.SMTPRecipientsRefused as refusal:
        return _refusal("aiosmtplib", refusal.recipients[0].code, refusal.recipients[0].message)
    except aiosmtplib.SMTPResponseException as refusal:
        return _refusal("aiosmtplib", refusal.code, refusal.message)
    except aiosmtplib.SMTPServerDisconnected:
        return _ended(errand, silent=False)
    except TimeoutError:
        return _ended(errand, silent=True)
    except (aiosmtplib.SMTPException, OSError, ValueError) as error:
        raise _broken("aiosmtplib", error) from None
    finally:
        client.close()


async def _aiosmtplib_dialogue(client: aiosmtplib.SMTP, errand: Errand) -> Answer:
    await client.connect()
    if errand.starttls:
        await client.starttls(tls_context=errand.context)
    await client.ehlo()
    if errand.login:
        mechanism, user, password = errand.login
        await getattr(client, f"auth_{mechanism.lower().replace('-', '')}")(user, password)
    _, text = await client.sendmail(
        errand.sender,
        [errand.recipient],
        errand.content,
        mail_options=errand.mail_options,
        rcpt_options=errand.rcpt_options,
    )
    with suppress(aiosmtplib.SMTPException):
        await client.quit()
    return _answer(250, text)


def _refusal(library: str, code: int, text: bytes | str) -> Answer:
    """The reply that a library gave up at; Untested if it is a code of its own, or no refusal."""
    answer = _answer(code, text)
    if answer.severity not in (4, 5):
        raise Untested(f"{library} gave up at {answer}")
    return answer


def _answer(code: int, text: bytes | str) -> Answer:
    octets = text.encode("utf-8", "replace") if isinstance(text, str) else text
    line = b"%d %s\r\n" % (code, b" ".join(octets.split()))
    return Answer(b"", tuple(ReplyParser().feed(line)))


def _ended(errand: Errand, *, silent: bool) -> Answer:
    return Answer(b"", (), Ending.SILENT if silent else Ending.CLOSED, errand.timeout)


def _broken(library: str, error: Exception) -> Untested:
    return Untested(f"{library} gave up: {type(error).__name__}: {escape(str(error).encode())}")


SMTPLIB = Client("smtplib", _smtplib)
AIOSMTPLIB = Client("aiosmtplib", _aiosmtplib)
