"""Postfix and Dovecot in one private root: submitted, delivered over LMTP, read over IMAP or POP3.

Users log in to both with the password that Dovecot knows. When a message is in its mailbox is seen in the
Maildir; the target names the two ways to read it besides.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from smtpbench.lab.dovecot import MAILBOX_PORTS, mailbox, write_configuration
from smtpbench.lab.machine import Running
from smtpbench.lab.postfix import RETRY_S, Postfix
from smtpbench.lab.private_root import rooted
from smtpbench.lab.workspace import MAILBOXES, RELAY, Workspace
from smtpbench.target import Role, Target

_DELIVERY = """
# Dovecot has the mailboxes and the passwords
virtual_transport = lmtp:unix:private/dovecot-lmtp
smtpd_sasl_type = dovecot
smtpd_sasl_path = private/auth
"""

_SOCKETS = """
auth_default_realm = example.com
service lmtp {
  unix_listener /var/spool/postfix/private/dovecot-lmtp {
    mode = 0600
    user = postfix
  }
}
service auth {
  unix_listener /var/spool/postfix/private/auth {
    mode = 0600
    user = postfix
  }
}
"""


class PostfixDovecot(Postfix):
    """Submission with AUTH, delivery by LMTP, mail read over IMAP and POP3.

    Its mx endpoint is not offered, so that whoever sends mail submits it.
    """

    name = "postfix-dovecot"
    title = "Postfix and Dovecot"
    programs = ("postfix", "dovecot")
    ports = (Role.SUBMISSION, Role.SUBMISSIONS, Role.MX, RELAY, *MAILBOX_PORTS)
    mailboxes = MAILBOXES  # Dovecot's LMTP is without SMTPUTF8
    delivery = _DELIVERY

    def configure(self, place: Workspace, ports: Mapping[str, int]) -> None:
        """Write what either of them reads."""
        super().configure(place, ports)
        write_configuration(place, ports, _SOCKETS)

    def target(self, place: Workspace, ports: Mapping[str, int], ready: Mapping[str, Any]) -> Target:
        """Its deliveries are seen in the Maildir, and read over IMAP and POP3."""
        offered = {name: ports[name] for name in (Role.SUBMISSION, Role.SUBMISSIONS, RELAY)}
        name = f"Postfix {ready['version']} with Dovecot {ready['dovecot']}"
        target = place.target(name, offered, bounces=True, retry_s=RETRY_S + 1)
        read = tuple(mailbox(place, scheme, ports[scheme]) for scheme in ("imap", "pop3"))
        return target.model_copy(update={"read": read})


def postfix_dovecot() -> AbstractContextManager[Running]:
    """Postfix (submission, submissions) and Dovecot behind it (LMTP; IMAP, POP3)."""
    return rooted(PostfixDovecot())
