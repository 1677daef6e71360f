"""Postfix in a private root, left at its defaults but for what the laboratory needs: see `_MAIN_CF`."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from string import Template
from typing import Any

from smtpbench.lab.machine import Running
from smtpbench.lab.private_root import RootedServer, rooted
from smtpbench.lab.workspace import (
    BOUNCER,
    DOMAIN,
    HOST,
    MAILBOXES,
    MAILDIR,
    RELAY,
    RELAY_DOMAIN,
    SERVER_NAME,
    UTF8_MAILBOX,
    Workspace,
)
from smtpbench.target import Queue, Role, Target

RETRY_S = 2  # seconds from one attempt to the next; the queue is looked through every second
# Of `ScaledPostfix`: all of Postfix's own schedule, so many times as fast. Its clock has whole seconds, and
# an interval may be two short of what is set: of 10 s that is little enough.
FACTOR = 30
SCALED_RETRY_S = 15.0  # there intervals grow from 10 s to 20 s within three attempts

_MAIN_CF = Template("""\
# Written by smtpbench. What the laboratory needs; everything else is Postfix's default.
compatibility_level = 3.6
myhostname = $name
mydomain = $domain
myorigin = $domain
inet_interfaces = $host
inet_protocols = ipv4
maillog_file = /var/smtpbench/postfix.log
import_environment = TZ=UTC

# Final delivery for one domain, to one Maildir that the observer reads
mydestination =
alias_maps =
alias_database =
local_recipient_maps =
virtual_mailbox_domains = $domain
virtual_mailbox_base = /var/smtpbench/mail
virtual_mailbox_maps = inline:{ $mailboxes }
# An address that is accepted and fails at delivery, as nothing leaves the machine
virtual_alias_maps = inline:{ { $bouncer = nobody@elsewhere.invalid } }
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534

# Loopback is a stranger like any other: no relaying, and no rewriting of headers but for those who submit
mynetworks =
local_header_rewrite_clients =
smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination
smtpd_sasl_local_domain = $domain
smtpd_tls_chain_files = /etc/postfix/server.pem
smtpd_tls_security_level = may

# Nothing asks the DNS, and nothing leaves the machine
smtp_dns_support_level = disabled
smtpd_peername_lookup = no
# … but mail for one domain and those below it, to a port where we listen; tried again within seconds,
# whatever happens there
relay_domains = $relay_domain
transport_maps = inline:{ { $relay_domain = smtp:[$host]:$relay }, { .$relay_domain = smtp:[$host]:$relay } }
$schedule
smtp_destination_concurrency_failed_cohort_limit = 0
smtp_tls_security_level = may
default_transport = error:5.4.4 this laboratory sends nothing on
relay_transport = error:5.4.4 this laboratory sends nothing on

# The load comes from one address: do not limit it by address
smtpd_client_connection_count_limit = 0
$delivery""")

_SOON = f"""\
queue_run_delay = 1s
minimal_backoff_time = {RETRY_S}s
maximal_backoff_time = {RETRY_S}s"""

# Postfix's defaults: 300 s, 300 s, 4000 s, 5 d, 5 d
_SCALED = f"""\
queue_run_delay = {300 // FACTOR}s
minimal_backoff_time = {300 // FACTOR}s
maximal_backoff_time = {4_000 // FACTOR}s
maximal_queue_lifetime = {5 * 86_400 // FACTOR}s
bounce_queue_lifetime = {5 * 86_400 // FACTOR}s"""

_MASTER_CF = Template("""\
# service   type private unpriv chroot wakeup maxproc command
$mx         inet n - n - - smtpd
$submission inet n - n - - smtpd
  -o syslog_name=postfix/submission -o smtpd_tls_security_level=encrypt
  -o smtpd_sasl_auth_enable=yes -o smtpd_tls_auth_only=yes
  -o local_header_rewrite_clients=permit_inet_interfaces
  -o smtpd_relay_restrictions=permit_sasl_authenticated,reject
$submissions inet n - n - - smtpd
  -o syslog_name=postfix/submissions -o smtpd_tls_wrappermode=yes
  -o smtpd_sasl_auth_enable=yes -o local_header_rewrite_clients=permit_inet_interfaces
  -o smtpd_relay_restrictions=permit_sasl_authenticated,reject
pickup      unix n - n 60 1 pickup
cleanup     unix n - n - 0 cleanup
qmgr        unix n - n 300 1 qmgr
tlsmgr      unix - - n 1000? 1 tlsmgr
rewrite     unix - - n - - trivial-rewrite
bounce      unix - - n - 0 bounce
defer       unix - - n - 0 bounce
trace       unix - - n - 0 bounce
verify      unix - - n - 1 verify
flush       unix n - n 1000? 0 flush
proxymap    unix - - n - - proxymap
proxywrite  unix - - n - 1 proxymap
smtp        unix - - n - - smtp
relay       unix - - n - - smtp
showq       unix n - n - - showq
error       unix - - n - - error
retry       unix - - n - - error
discard     unix - - n - - discard
local       unix - n n - - local
virtual     unix - n n - - virtual
lmtp        unix - - n - - lmtp
anvil       unix - - n - 1 anvil
scache      unix - - n - 1 scache
postlog     unix-dgram n - n - 1 postlogd
""")

_SMTPD_CONF = """\
pwcheck_method: auxprop
auxprop_plugin: sasldb
mech_list: PLAIN LOGIN CRAM-MD5 SCRAM-SHA-256
"""


class Postfix(RootedServer):
    """Final delivery for one domain to one Maildir, and submission for one user."""

    name = "postfix"
    title = "Postfix"
    programs: tuple[str, ...] = ("postfix",)
    ports: tuple[str, ...] = (Role.MX, Role.SUBMISSION, Role.SUBMISSIONS, RELAY)
    greeting = f"220 {SERVER_NAME} ".encode()
    log = "postfix.log"
    schedule = _SOON
    mailboxes: tuple[str, ...] = (*MAILBOXES, UTF8_MAILBOX)
    delivery = ""  # lines of main.cf, where it is not Postfix itself that delivers

    def configure(self, place: Workspace, ports: Mapping[str, int]) -> None:
        """Write main.cf, master.cf and smtpd.conf."""
        mailboxes = ", ".join(f"{{ {name}@{DOMAIN} = {MAILDIR}/ }}" for name in self.mailboxes)
        main = _MAIN_CF.substitute(
            name=SERVER_NAME,
            domain=DOMAIN,
            host=HOST,
            mailboxes=mailboxes,
            bouncer=f"{BOUNCER}@{DOMAIN}",
            relay_domain=RELAY_DOMAIN,
            relay=ports[RELAY],
            schedule=self.schedule,
            delivery=self.delivery,
        )
        (place.folder / "main.cf").write_text(main, encoding="utf-8")
        master = _MASTER_CF.substitute({name: f"{HOST}:{port}" for name, port in ports.items()})
        (place.folder / "master.cf").write_text(master, encoding="ascii")
        (place.folder / "smtpd.conf").write_text(_SMTPD_CONF, encoding="ascii")

    def target(self, place: Workspace, ports: Mapping[str, int], ready: Mapping[str, Any]) -> Target:
        """Without saslpasswd2, which an installed Postfix may lack, there is no submission."""
        names = ports if ready["auth"] else (Role.MX.value, RELAY)
        offered = {name: ports[name] for name in names}
        name = f"Postfix {ready['version']}"
        return place.target(name, offered, utf8=True, bounces=True, retry_s=RETRY_S + 1)


class ScaledPostfix(Postfix):
    """The same, its retries on Postfix's own schedule, `FACTOR` times as fast: for `queue --retries`."""

    schedule = _SCALED

    def target(self, place: Workspace, ports: Mapping[str, int], ready: Mapping[str, Any]) -> Target:
        """It says how its schedule stands to the one in production."""
        target = super().target(place, ports, ready)
        assert target.relay is not None
        relay = target.relay.model_copy(update={"retry_s": SCALED_RETRY_S})
        return target.model_copy(update={"relay": relay, "queue": Queue(retry_factor=FACTOR)})


def postfix() -> AbstractContextManager[Running]:
    """Postfix: mx; submission and submissions too, unless an installed Postfix is without saslpasswd2."""
    return rooted(Postfix())


def postfix_scaled() -> AbstractContextManager[Running]:
    """Postfix with its own schedule of retries, `FACTOR` times as fast."""
    return rooted(ScaledPostfix())
