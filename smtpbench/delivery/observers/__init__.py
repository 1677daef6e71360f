"""Observers: read back what a target delivered, from where it delivers to.

    maildir:PATH                    a Maildir, or a folder with Maildirs below it
    mbox:PATH                       an mbox file, or a folder of them (one for each user)
    sink:HOST:PORT                  we listen there, and the target has been told to relay to it
    imap://USER@HOST:PORT/MAILBOX   a mailbox on an IMAP server; imaps:// with TLS from the start
    pop3://USER@HOST:PORT           a mailbox on a POP3 server; pop3s:// likewise

    async with open_observer(Observe(url=…)) as observer:
        found = await observer.fetch(marker, at_least=1, within=5.0)

What was there before the observer was opened is not ours and is never read again.
"""

from __future__ import annotations

from pathlib import Path

from smtpbench.delivery.observers.files import MaildirObserver, MboxObserver
from smtpbench.delivery.observers.imap import ImapObserver
from smtpbench.delivery.observers.model import Delivered, Observer
from smtpbench.delivery.observers.network import Account
from smtpbench.delivery.observers.pop3 import Pop3Observer
from smtpbench.delivery.observers.sink import SinkObserver
from smtpbench.errors import UsageError
from smtpbench.target import Credentials, Observe, Timeouts, Tls

__all__ = [
    "Delivered",
    "ImapObserver",
    "MaildirObserver",
    "MboxObserver",
    "Observer",
    "Pop3Observer",
    "SinkObserver",
    "open_observer",
]

_DEFAULT_TLS, _DEFAULT_TIMEOUTS = Tls(), Timeouts()


def open_observer(
    observe: Observe,
    *,
    auth: Credentials | None = None,
    tls: Tls = _DEFAULT_TLS,
    timeouts: Timeouts = _DEFAULT_TIMEOUTS,
) -> Observer:
    """The observer that `observe` names, not started yet.

    The rest is of the target, and for mailboxes on a server: who logs in where `observe` does not say,
    how the certificate is checked, and how long connecting and an answer may take. Raises UsageError.
    """
    scheme, _, rest = observe.url.partition(":")
    if observe.mailbox is not None:
        login = observe.login(auth)
        account = Account(observe.mailbox, login.username, login.password(), tls, timeouts)
        return ImapObserver(account) if scheme.startswith("imap") else Pop3Observer(account)
    if scheme == "sink":
        return _sink(rest)
    if not rest:
        raise UsageError(f"{observe.url}: expected {scheme}:PATH")
    return MaildirObserver(Path(rest)) if scheme == "maildir" else MboxObserver(Path(rest))


def _sink(rest: str) -> Observer:
    host, colon, port = rest.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65_535:
        raise UsageError(f"sink:{rest}: expected sink:HOST:PORT")
    return SinkObserver(host.strip("[]"), int(port))
