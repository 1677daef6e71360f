"""Exim in a private root. What is set is in `_CONFIGURATION`."""

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
    USERNAME,
    Workspace,
)
from smtpbench.target import Role, Target

BUSY = 100  # load average from which on messages wait for a queue runner
RETRY_S = 2  # seconds from one run through the queue to the next, and from one attempt to the next

# `$$` is Exim's own `$`. Conditions in ACLs are Exim's default configuration's, less what asks the DNS.
_CONFIGURATION = Template("""\
# Written by smtpbench. What the laboratory needs; everything else is Exim's default.
ACTS_AS_ITSELF = inlist{$$auth1}{:$username}
PASSWORD = $${readfile{/etc/exim4/password}{}}
primary_hostname = $name
qualify_domain = $domain
domainlist local_domains = $domain
domainlist relay_domains = $relay_domain : *.$relay_domain
local_interfaces = $host
daemon_smtp_ports = $mx : $submission : $submissions
tls_on_connect_ports = $submissions
tls_advertise_hosts = *
tls_certificate = /etc/exim4/server.pem
log_file_path = /var/smtpbench/exim/%slog
host_lookup =
keep_environment =
never_users = root

# As where much mail goes through: a spool that is split, and a process for each message at once only as long
# as the machine bears it; else the queue runners have it
split_spool_directory
queue_only_load = $busy
queue_only_load_latch = false

# The load comes from one address, and many messages over one connection
smtp_accept_max = 0
smtp_accept_queue_per_connection = 0
smtp_accept_max_per_connection = 0

acl_smtp_mail = check_mail
acl_smtp_rcpt = check_rcpt

begin acl

check_mail:
  deny
    condition      = $${if !eq{$$received_port}{$mx}}
    !authenticated = *
    message        = 530 5.7.0 Authentication required
  accept

check_rcpt:
  accept
    authenticated = *
  require
    message = relay not permitted
    domains = +local_domains : +relay_domains
  require
    verify = recipient
  accept

begin routers

mailboxes:
  driver      = accept
  domains     = +local_domains
  local_parts = $mailboxes
  transport   = maildir

# Mail for one domain and those below it goes to a port where we listen
next_hop:
  driver      = manualroute
  domains     = +relay_domains
  route_list  = * $host
  self        = send
  transport   = next_hop

begin transports

next_hop:
  driver          = smtp
  port            = $relay
  allow_localhost

maildir:
  driver          = appendfile
  directory       = /var/smtpbench/mail/$maildir
  maildir_format
  delivery_date_add
  envelope_to_add
  return_path_add
  user            = nobody
  group           = nogroup

begin retry

*  *  F,2h,${retry}s

begin authenticators

plain:
  driver                     = plaintext
  public_name                = PLAIN
  server_prompts             = :
  server_condition           = $${if and{{ACTS_AS_ITSELF}{eq{$$auth2}{$username}}{eq{$$auth3}{PASSWORD}}}}
  server_set_id              = $$auth2
  server_advertise_condition = $offer_auth

login:
  driver                     = plaintext
  public_name                = LOGIN
  server_prompts             = <| Username: | Password:
  server_condition           = $${if and{{eq{$$auth1}{$username}}{eq{$$auth2}{PASSWORD}}}}
  server_set_id              = $$auth1
  server_advertise_condition = $offer_auth
""")
_OFFER_AUTH = "${if and{{def:tls_in_cipher}{!eq{$received_port}{%d}}}}"


class Exim(RootedServer):
    """Final delivery for one domain to one Maildir, and submission for one user."""

    name = "exim"
    title = "Exim"
    programs = ("exim4",)
    ports = (Role.MX, Role.SUBMISSION, Role.SUBMISSIONS, RELAY)
    greeting = f"220 {SERVER_NAME} ".encode()
    log = "exim/mainlog"

    def configure(self, place: Workspace, ports: Mapping[str, int]) -> None:
        """Write exim4.conf."""
        text = _CONFIGURATION.substitute(
            ports,
            name=SERVER_NAME,
            domain=DOMAIN,
            relay_domain=RELAY_DOMAIN,
            retry=RETRY_S,
            busy=BUSY,
            host=HOST,
            mailboxes=" : ".join(MAILBOXES),
            maildir=MAILDIR,
            username=USERNAME,
            offer_auth=_OFFER_AUTH % ports[Role.MX],
        )
        (place.folder / "exim4.conf").write_text(text, encoding="ascii")

    def target(self, place: Workspace, ports: Mapping[str, int], ready: Mapping[str, Any]) -> Target:
        """All endpoints that it has."""
        return place.target(f"Exim {ready['version']}", dict(ports), retry_s=2 * RETRY_S)


def exim() -> AbstractContextManager[Running]:
    """Exim: mx, submission, submissions."""
    return rooted(Exim())
