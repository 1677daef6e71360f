"""What every lab server is given: a private folder, a throw-away certificate, a password, a Maildir."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from smtpbench.lab.shortage import shortages
from smtpbench.target import Credentials, Endpoint, Fixtures, Observe, Queue, Relay, Role, Target, Tls

HOST = "127.0.0.1"
DOMAIN = "example.com"
RELAY = "relay"  # the name of the port where we are the next hop, among those of the roles
RETRY_S = 1.0  # seconds after which our reference server tries again to send mail on
RELAY_DOMAIN = "relay.example"  # mail for it is sent on to us
SERVER_NAME = "mx.example.com"
MAILBOXES = ("postmaster", "alice", "bob")
UTF8_MAILBOX = "δοκιμή"  # "test" in Greek, for servers with SMTPUTF8: no letter of it is ASCII
BOUNCER = "bouncer"  # is accepted and fails at delivery, for servers that can be told to do that
USERNAME = "alice"
MAILDIR = "Maildir"

FIXTURES = Fixtures(
    recipient=f"alice@{DOMAIN}",
    second_recipient=f"bob@{DOMAIN}",
    unknown_recipient=f"nobody-here@{DOMAIN}",
    local_domains=(DOMAIN,),
)

TLS_OF_ROLE: dict[Role, Literal["none", "starttls", "implicit"]] = {
    Role.MX: "none",
    Role.SUBMISSION: "starttls",
    Role.SUBMISSIONS: "implicit",
    Role.LMTP: "none",
}


@dataclass(frozen=True)
class Workspace:
    """A server's folder and the files in it."""

    folder: Path

    @property
    def ca(self) -> Path:
        """The certificate of the CA, for the client."""
        return self.folder / "ca.pem"

    @property
    def chain(self) -> Path:
        """The server's key and certificates, in one file."""
        return self.folder / "server.pem"

    @property
    def certificate(self) -> str:
        """The server's certificate in PEM."""
        text = self.chain.read_text(encoding="ascii")
        begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----\n"
        return begin + text.partition(begin)[2].partition(end)[0] + end

    @property
    def password_file(self) -> Path:
        """The password of `USERNAME`."""
        return self.folder / "password"

    @property
    def mail(self) -> Path:
        """The folder that holds the Maildir; servers may get it for their own user."""
        return self.folder / "mail"

    @property
    def maildir(self) -> Path:
        """The one Maildir that all mailboxes are delivered to."""
        return self.mail / MAILDIR

    @property
    def log(self) -> Path:
        """What the server says on standard error."""
        return self.folder / "log"

    def target(
        self,
        name: str,
        ports: dict[str, int],
        *,
        utf8: bool = False,
        bounces: bool = False,
        retry_s: float | None = None,
        at_once: bool = False,
    ) -> Target:
        """The target of a server that listens on `ports` (role → port) and has the usual fixtures.

        `utf8`: it has `UTF8_MAILBOX` too; `bounces`: mail for `BOUNCER` is accepted and fails. Where
        `ports` has one for `RELAY`, mail for `RELAY_DOMAIN` is sent on to it, again after `retry_s`.
        `at_once`: it has no queue, and what it has accepted is delivered.
        """
        more = {"utf8_recipient": f"{UTF8_MAILBOX}@{DOMAIN}"} if utf8 else {}
        more |= {"bouncing_recipient": f"{BOUNCER}@{DOMAIN}"} if bounces else {}
        endpoints: dict[Role, Endpoint] = {
            role: Endpoint(host=HOST, port=ports[role], tls=tls)
            for role, tls in TLS_OF_ROLE.items()
            if role in ports
        }
        submits = bool(ports.keys() & {Role.SUBMISSION, Role.SUBMISSIONS})
        return Target(
            name=name,
            endpoints=endpoints,
            fixtures=FIXTURES.model_copy(update=more),
            auth=Credentials(username=USERNAME, password_file=self.password_file) if submits else None,
            tls=Tls(ca=self.ca),
            observe=Observe(url=f"maildir:{self.maildir}"),
            relay=self._relay(ports[RELAY], retry_s) if RELAY in ports else None,
            queue=Queue(retry_s=0.0) if at_once else Queue(),
            shortage=shortages(next(iter(endpoints.values())).port, self.folder),
        )

    def _relay(self, port: int, retry_s: float | None) -> Relay:
        return Relay(listen=f"{HOST}:{port}", domain=RELAY_DOMAIN, retry_s=retry_s, certificate=self.chain)


def free_ports(count: int) -> list[int]:
    """Ports that are free now, for servers that have to be told numbers and cannot say which they got."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for item in sockets:
            item.bind((HOST, 0))
        return [item.getsockname()[1] for item in sockets]


@contextmanager
def workspace() -> Iterator[Workspace]:
    """A new folder, complete; removed at the end. A server whose parent was killed removes it itself."""
    owner = os.getpid()
    folder = Path(tempfile.mkdtemp(prefix="smtpbench-lab-"))
    try:
        place = Workspace(folder)
        _certificates(place)
        place.password_file.touch(mode=0o600)
        place.password_file.write_text(secrets.token_urlsafe(18) + "\n", encoding="ascii")
        for name in ("tmp", "new", "cur"):
            (place.maildir / name).mkdir(parents=True)
        yield place
    finally:
        if os.getpid() == owner:  # and not in a worker that was forked meanwhile
            shutil.rmtree(folder, ignore_errors=True)


def _certificates(place: Workspace) -> None:
    import trustme  # pulls in a cryptography library: only when a server is started

    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", HOST, SERVER_NAME)
    authority.cert_pem.write_to_path(str(place.ca))
    place.chain.touch(mode=0o600)
    certificate.private_key_and_cert_chain_pem.write_to_path(str(place.chain))


def server_context(place: Workspace) -> Any:
    """The TLS context of a server that runs in Python."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(place.chain)
    return context
