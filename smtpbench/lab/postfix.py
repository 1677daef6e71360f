"""Postfix in a private root: a mount and a process namespace over the host's files, gone with its process.

Where the host has no Postfix it is installed there, from packages that are kept in the user's cache folder
for the next time. Postfix is left at its defaults but for what the laboratory needs: see `_MAIN_CF`.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from string import Template

from smtpbench.errors import Inconclusive, UsageError
from smtpbench.lab.process import Child
from smtpbench.lab.workspace import DOMAIN, HOST, MAILBOXES, MAILDIR, SERVER_NAME, Workspace, workspace
from smtpbench.target import Role, Target

SCRIPT = Path(__file__).with_name("postfix_root.sh")
INSTALL_WAIT = 240.0  # seconds, downloads included
GREET_WAIT = 20.0
POLL = 0.05
LOG_SHOWN = 200  # characters of a log line that go into an error
TOOLS = ("unshare", "mount", "chroot")

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
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534

# Loopback is a stranger like any other: no relaying, no rewriting of headers
mynetworks =
local_header_rewrite_clients =
smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination
smtpd_sasl_local_domain = $domain
smtpd_tls_chain_files = /etc/postfix/server.pem
smtpd_tls_security_level = may

# Nothing asks the DNS, and nothing leaves the machine
smtp_dns_support_level = disabled
smtpd_peername_lookup = no
default_transport = error:5.4.4 this laboratory sends nothing on
relay_transport = error:5.4.4 this laboratory sends nothing on

# The load comes from one address: do not limit it by address
smtpd_client_connection_count_limit = 0
""")

_MASTER_CF = Template("""\
# service   type private unpriv chroot wakeup maxproc command
$mx         inet n - n - - smtpd
$submission inet n - n - - smtpd
  -o syslog_name=postfix/submission -o smtpd_tls_security_level=encrypt
  -o smtpd_sasl_auth_enable=yes -o smtpd_tls_auth_only=yes
  -o smtpd_relay_restrictions=permit_sasl_authenticated,reject
$submissions inet n - n - - smtpd
  -o syslog_name=postfix/submissions -o smtpd_tls_wrappermode=yes
  -o smtpd_sasl_auth_enable=yes
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

_ROLES = (Role.MX, Role.SUBMISSION, Role.SUBMISSIONS)


@contextmanager
def postfix() -> Iterator[Target]:
    """Postfix: mx; submission and submissions too, unless an installed Postfix is without saslpasswd2.

    Raises UsageError where it cannot run at all, Inconclusive if it does not start.
    """
    _check_host()
    with ExitStack() as stack:
        yield _started(stack)


def _check_host() -> None:
    if sys.platform != "linux" or os.geteuid() != 0:
        raise UsageError("lab:postfix needs root on Linux, to start Postfix in a private root")
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        raise UsageError(f"lab:postfix needs {', '.join(missing)} in PATH")
    if shutil.which("postfix") is None and shutil.which("apt-get") is None:
        raise UsageError("lab:postfix needs Postfix installed, or apt-get to install it in its private root")


def _started(stack: ExitStack) -> Target:
    """Start until it greets on all ports; what has to be undone is left on `stack`."""
    for last in (False, False, True):
        with ExitStack() as attempt:
            place = attempt.enter_context(workspace())
            ports: dict[str, int] = dict(zip(_ROLES, _free_ports(len(_ROLES)), strict=True))
            _configure(place, ports)
            argv = ["sh", str(SCRIPT), str(place.folder), str(cache_folder())]
            child = Child(argv, log=place.log, within=INSTALL_WAIT)
            attempt.callback(child.stop)
            try:
                _await_greeting(ports[Role.MX])
            except Inconclusive as error:
                if last:
                    raise Inconclusive(f"lab:postfix: {error}{_log_end(place)}") from None
                continue  # another process may have taken a port before Postfix had it
            stack.push(attempt.pop_all())
            offered = ports if child.ready["auth"] else {str(Role.MX): ports[Role.MX]}
            return place.target(f"Postfix {child.ready['version']}", offered)
    raise AssertionError("unreachable: the last attempt returns or raises")


def _configure(place: Workspace, ports: dict[str, int]) -> None:
    mailboxes = ", ".join(f"{{ {name}@{DOMAIN} = {MAILDIR}/ }}" for name in MAILBOXES)
    main = _MAIN_CF.substitute(name=SERVER_NAME, domain=DOMAIN, host=HOST, mailboxes=mailboxes)
    (place.folder / "main.cf").write_text(main, encoding="ascii")
    master = _MASTER_CF.substitute({str(role): f"{HOST}:{port}" for role, port in ports.items()})
    (place.folder / "master.cf").write_text(master, encoding="ascii")
    (place.folder / "smtpd.conf").write_text(_SMTPD_CONF, encoding="ascii")
    place.folder.chmod(0o711)  # the delivery agent, which is not root, has to come through to the Maildir


def cache_folder() -> Path:
    """Where downloaded packages are kept: ``$XDG_CACHE_HOME/smtpbench/postfix-debs``."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "smtpbench" / "postfix-debs"


def _free_ports(count: int) -> list[int]:
    """Ports that are free now. Postfix has to be told numbers; it cannot say which it got."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for item in sockets:
            item.bind((HOST, 0))
        return [item.getsockname()[1] for item in sockets]


def _await_greeting(port: int) -> None:
    """Wait until our Postfix greets. It tells nobody when it listens, so it has to be asked."""
    deadline = time.monotonic() + GREET_WAIT
    while time.monotonic() < deadline:
        try:
            with socket.create_connection((HOST, port), timeout=GREET_WAIT) as connection:
                if connection.recv(512).startswith(f"220 {SERVER_NAME} ".encode()):
                    connection.sendall(b"QUIT\r\n")
                    return
        except OSError:
            pass
        time.sleep(POLL)
    raise Inconclusive(f"no greeting on port {port} within {GREET_WAIT:g} s")


def _log_end(place: Workspace) -> str:
    """The last line that Postfix logged, to go after an error."""
    try:
        lines = (place.folder / "postfix.log").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return f": {lines[-1][:LOG_SHOWN]}" if lines else ""
