"""OpenSMTPD in a private root. What is set is in `_CONFIGURATION`.

It is without TLS, and so without submission: the 6.8 that Debian 12 has cannot use its key with OpenSSL 3,
and every handshake fails (OpenSMTPD issue 1171).

How soon it tries again is not stated (`relay.retry_s`): 400 s after a message came, then 1,600 s, 3,600 s and
so on with the square of the attempt (scheduler_ramqueue.c), which no setting changes. Four times that is no
wait for a lab, so what is missing there is pending, and never lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from string import Template
from typing import Any

from smtpbench.lab.machine import Running
from smtpbench.lab.private_root import RootedServer, rooted
from smtpbench.lab.workspace import (
    DOMAIN,
    HOST,
    MAILBOXES,
    MAILDIR,
    RELAY,
    RELAY_DOMAIN,
    SERVER_NAME,
    Workspace,
)
from smtpbench.target import Role, Target

_CONFIGURATION = Template("""\
# Written by smtpbench. What the laboratory needs; everything else is OpenSMTPD's default.
table mailboxes { $mailboxes }
table owner { "vmail" = "65534:65534:/var/smtpbench/mail" }

listen on $host port $mx hostname $name

# Final delivery for one domain, and for our own name, which it adds to a bare postmaster. Nothing asks the
# DNS, and nothing leaves the machine.
action "deliver" maildir "/var/smtpbench/mail/$maildir" userbase <owner> virtual <mailboxes>
match from any for domain { "$domain", "$name" } action "deliver"
# Mail for one domain goes to a port where we listen
action "next hop" relay host smtp://$host:$relay
match from any for domain { "$relay_domain", "*.$relay_domain" } action "next hop"
""")


class OpenSmtpd(RootedServer):
    """Final delivery for one domain to one Maildir."""

    name = "opensmtpd"
    title = "OpenSMTPD"
    programs = ("smtpctl",)
    ports = (Role.MX, RELAY)
    greeting = f"220 {SERVER_NAME} ".encode()
    log = "log"  # standard error

    def configure(self, place: Workspace, ports: Mapping[str, int]) -> None:
        """Write smtpd.conf."""
        addresses = [*(f"{name}@{DOMAIN}" for name in MAILBOXES), f"postmaster@{SERVER_NAME}"]
        mailboxes = ", ".join(f'"{address}" = "vmail"' for address in addresses)
        text = _CONFIGURATION.substitute(
            ports,
            name=SERVER_NAME,
            domain=DOMAIN,
            relay_domain=RELAY_DOMAIN,
            host=HOST,
            mailboxes=mailboxes,
            maildir=MAILDIR,
        )
        (place.folder / "smtpd.conf").write_text(text, encoding="ascii")

    def target(self, place: Workspace, ports: Mapping[str, int], ready: Mapping[str, Any]) -> Target:
        """The one endpoint."""
        return place.target(f"OpenSMTPD {ready['version']}", dict(ports))


def opensmtpd() -> AbstractContextManager[Running]:
    """OpenSMTPD: mx."""
    return rooted(OpenSmtpd())
