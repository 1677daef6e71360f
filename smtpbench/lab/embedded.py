"""aiosmtpd in a process of its own: ``python -m smtpbench.lab.embedded FOLDER``.

aiosmtpd is a library. What it leaves to its user is here and no more: which recipients exist, who may log
in, and a final delivery that puts the trace header of RFC 5321 §4.4 on top of the octets that aiosmtpd
gives us and stores them. So what a verdict finds wrong is aiosmtpd's doing, not that of its user.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
import ssl
import warnings
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from smtpbench.lab.serving import announce, arguments, leave, told_to_stop
from smtpbench.lab.workspace import (
    DOMAIN,
    HOST,
    MAILBOXES,
    MAILDIR,
    SERVER_NAME,
    USERNAME,
    UTF8_MAILBOX,
    Workspace,
    server_context,
)
from smtpbench.server.store import Copy, MaildirStore
from smtpbench.server.submission import completed
from smtpbench.server.trace import Stamp, address_literal, protocol_token, return_path
from smtpbench.target import Role

BACKLOG = 1024  # connections a load run opens at once; asyncio's 100 would measure the kernel's queue


class Mailboxes:
    """The handler: decides on recipients and stores messages."""

    def __init__(self, store: MaildirStore, *, submission: bool) -> None:
        self._store = store
        self._submission = submission

    async def handle_MAIL(  # noqa: N802 - aiosmtpd finds its hooks by name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Take any sender; who submits needs a fully qualified domain (RFC 6409 §4.2)."""
        domain = address.rpartition("@")[2]
        if self._submission and "@" in address and "." not in domain and not domain.startswith("["):
            return "554 The domain is not fully qualified"
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(  # noqa: N802 - aiosmtpd finds its hooks by name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Take our mailboxes and a bare postmaster (RFC 5321 §4.5.1); relay for nobody."""
        local, _, domain = address.rpartition("@") if "@" in address else (address, "", DOMAIN)
        if domain.lower() != DOMAIN:
            return "550 Relaying denied"
        if local.lower() not in (*MAILBOXES, UTF8_MAILBOX):
            return "550 No such mailbox"
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Store one copy for each recipient; 250 only when all of them are on disk."""
        content = envelope.content
        assert isinstance(content, bytes)  # decode_data is off
        if self._submission:
            content = _completed(content)
        sender = _octets(envelope.mail_from or "")
        recipients = tuple(map(_octets, envelope.rcpt_tos))
        stamp = _stamp(session, utf8=envelope.smtp_utf8)
        paths = [path if b"@" in path else path + b"@" + DOMAIN.encode() for path in recipients]
        copies = [
            Copy(MAILDIR, sender, (path,), return_path(sender) + stamp.line(path) + content) for path in paths
        ]
        stored = await asyncio.to_thread(self._store.deliver, copies)
        return "250 OK" if all(stored) else "451 Cannot store the message"


def _completed(content: bytes) -> bytes:
    """What is submitted, with a Message-ID (RFC 6409 §8.3)."""
    ident = secrets.token_hex(8)
    return completed(content, what={"message-id"}, user=None, now=_now(), ident=ident, host=SERVER_NAME)


def _octets(address: str) -> bytes:
    """An address as it came over the wire; aiosmtpd writes the null reverse-path as "<>"."""
    return b"" if address == "<>" else address.encode("utf-8", "surrogateescape")


def _stamp(session: Session, *, utf8: bool) -> Stamp:
    protocol = protocol_token(
        lmtp=False,
        extended=session.extended_smtp,
        tls=session.ssl is not None,
        authenticated=bool(session.authenticated),
        utf8=utf8,
    )
    client = address_literal(str(session.peer[0] if session.peer else HOST))
    return Stamp(session.host_name or client, client, SERVER_NAME, protocol, secrets.token_hex(8), _now())


def _now() -> datetime:
    return datetime.now().astimezone()


class Login:
    """The authenticator: one user."""

    def __init__(self, password: str) -> None:
        self._password = password.encode()

    def __call__(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        """Whether `data` is our user's name and password."""
        known = isinstance(data, LoginPassword) and data.login == USERNAME.encode()
        success = known and hmac.compare_digest(data.password, self._password)
        return AuthResult(success=success, handled=False)


def _settings(context: ssl.SSLContext, login: Login) -> dict[Role, dict[str, Any]]:
    """What each endpoint is told apart from the handler."""
    common = {"hostname": SERVER_NAME, "enable_SMTPUTF8": True, "authenticator": login}
    return {
        Role.MX: {**common, "tls_context": context},
        Role.SUBMISSION: {**common, "tls_context": context, "require_starttls": True, "auth_required": True},
        # aiosmtpd does not see a TLS that was there from the start, so it must not ask for one
        Role.SUBMISSIONS: {**common, "auth_required": True, "auth_require_tls": False},
    }


async def serve(place: Workspace, ports: Mapping[str, int]) -> None:
    """Listen until told to stop, on `ports` by role or on free ones."""
    loop = asyncio.get_running_loop()
    context = server_context(place)
    login = Login(place.password_file.read_text(encoding="ascii").strip())
    store = MaildirStore(place.mail)
    servers = {}
    for role, settings in _settings(context, login).items():
        implicit = context if role is Role.SUBMISSIONS else None
        handler = Mailboxes(store, submission=role is not Role.MX)
        factory = partial(SMTP, handler, loop=loop, **settings)
        servers[role] = await loop.create_server(
            factory, HOST, ports.get(role.value, 0), ssl=implicit, backlog=BACKLOG
        )
    announce({role.value: server.sockets[0].getsockname()[1] for role, server in servers.items()})
    await told_to_stop()


def main() -> None:
    """Serve from the folder that the command line names."""
    told = arguments("folder")
    place = Workspace(Path(told.folder))
    # aiosmtpd warns of AUTH without STARTTLS at every connection to the endpoint that has TLS from the start
    warnings.simplefilter("ignore")
    logging.getLogger("mail.log").setLevel(logging.ERROR)
    try:
        asyncio.run(serve(place, told.ports))
    finally:
        leave(place.folder)


if __name__ == "__main__":
    main()
