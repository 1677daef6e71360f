"""Dovecot in a private root: LMTP, and the mailbox over IMAP and POP3. What is set is in `_CONFIGURATION`."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from string import Template
from typing import Any

from smtpbench.lab.machine import Running
from smtpbench.lab.private_root import RootedServer, rooted
from smtpbench.lab.workspace import DOMAIN, HOST, MAILBOXES, MAILDIR, SERVER_NAME, USERNAME, Workspace
from smtpbench.target import Observe, Role, Target

_CONFIGURATION = Template("""\
# Written by smtpbench. What the laboratory needs; everything else is Dovecot's default.
protocols = lmtp imap pop3
listen = $host
hostname = $name
log_path = /var/smtpbench/dovecot.log
ssl = yes
ssl_cert = </etc/dovecot/server.pem
ssl_key = </etc/dovecot/server.pem

# One mailbox for all users, so that whoever reads it sees every delivery
mail_location = maildir:/var/smtpbench/mail/$maildir
passdb {
  driver = passwd-file
  args = username_format=%Lu /etc/dovecot/users
}
userdb {
  driver = passwd-file
  args = username_format=%Lu /etc/dovecot/users
  override_fields = uid=65534 gid=65534 home=/var/smtpbench/mail
}

service imap-login {
  inet_listener imap {
    port = $imap
  }
  inet_listener imaps {
    port = $imaps
  }
}
service pop3-login {
  inet_listener pop3 {
    port = $pop3
  }
  inet_listener pop3s {
    port = $pop3s
  }
}
""")
_LMTP = Template("""
service lmtp {
  inet_listener lmtp {
    address = $host
    port = $lmtp
  }
}
""")
MAILBOX_PORTS = ("imap", "imaps", "pop3", "pop3s")


class Dovecot(RootedServer):
    """Delivery over LMTP; it takes no mail over SMTP."""

    name = "dovecot"
    title = "Dovecot"
    programs = ("dovecot",)
    ports = (Role.LMTP, *MAILBOX_PORTS)
    greeting = f"220 {SERVER_NAME} ".encode()
    log = "dovecot.log"

    def configure(self, place: Workspace, ports: Mapping[str, int]) -> None:
        """Write dovecot.conf, and the users with our password."""
        write_configuration(place, ports, _LMTP.substitute(host=HOST, lmtp=ports[Role.LMTP]))

    def target(self, place: Workspace, ports: Mapping[str, int], ready: Mapping[str, Any]) -> Target:
        """Its deliveries are read back over IMAP."""
        offered = {Role.LMTP.value: ports[Role.LMTP]}
        target = place.target(f"Dovecot {ready['version']}", offered, at_once=True)
        return target.model_copy(update={"observe": mailbox(place, "imap", ports["imap"])})


def write_configuration(place: Workspace, ports: Mapping[str, int], listeners: str) -> None:
    """Write dovecot.conf with `listeners` at its end, and the users with our password.

    `ports` has those of `MAILBOX_PORTS`.
    """
    text = _CONFIGURATION.substitute({**ports, "host": HOST, "name": SERVER_NAME, "maildir": MAILDIR})
    (place.folder / "dovecot.conf").write_text(text + listeners, encoding="ascii")
    password = place.password_file.read_text(encoding="ascii").strip()
    users = place.folder / "users"
    users.touch(mode=0o600)
    names = [
        *(f"{name}@{DOMAIN}" for name in MAILBOXES),
        "postmaster",
    ]  # RFC 5321 §4.5.1: with no domain, too
    users.write_text("".join(f"{name}:{{PLAIN}}{password}::::::\n" for name in names), encoding="ascii")


def mailbox(place: Workspace, scheme: str, port: int) -> Observe:
    """The mailbox, read over one of the protocols that Dovecot speaks."""
    url = f"{scheme}://{USERNAME}@{DOMAIN}@{HOST}:{port}"
    return Observe(url=url, password_file=place.password_file)


def dovecot() -> AbstractContextManager[Running]:
    """Dovecot: lmtp, observed over IMAP."""
    return rooted(Dovecot())
