"""The servers a lab can start. A recipe is a context manager: the server is up while it is entered."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.metadata import version

from smtpbench.errors import UsageError
from smtpbench.lab.dovecot import dovecot
from smtpbench.lab.exim import exim
from smtpbench.lab.opensmtpd import opensmtpd
from smtpbench.lab.postfix import FACTOR, postfix, postfix_scaled
from smtpbench.lab.process import Child
from smtpbench.lab.workspace import RELAY, RETRY_S, free_ports, workspace
from smtpbench.target import Target

START_WAIT = 30.0  # seconds for a Python server to listen; it takes less than one on an idle machine


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a server is started, and one line that says what it is."""

    summary: str
    start: Callable[[], AbstractContextManager[Target]]


@contextmanager
def _python_server(module: str, name: str, *, retry_s: float | None = None, **more: bool) -> Iterator[Target]:
    """`retry_s`: it sends mail on, to the port that it is told as its second argument."""
    with workspace() as place:
        relay = {} if retry_s is None else {RELAY: free_ports(1)[0]}
        argv = [sys.executable, "-m", module, str(place.folder), *map(str, relay.values())]
        child = Child(argv, log=place.log, within=START_WAIT)
        try:
            yield place.target(name, child.ready["ports"] | relay, retry_s=retry_s, **more)
        finally:
            child.stop()


def aiosmtpd() -> AbstractContextManager[Target]:
    """aiosmtpd: mx, submission, submissions."""
    return _python_server("smtpbench.lab.embedded", f"aiosmtpd {version('aiosmtpd')}", utf8=True)


def reference() -> AbstractContextManager[Target]:
    """Our strict reference server: mx, submission, submissions, lmtp."""
    name = f"smtpbench reference {version('smtpbench-suite')}"
    return _python_server("smtpbench.lab.reference", name, utf8=True, bounces=True, retry_s=RETRY_S)


_ROOTED = "in a private root; needs root, and apt unless it is installed"
RECIPES = {
    "aiosmtpd": Recipe("aiosmtpd, as the embedded target has it", aiosmtpd),
    "dovecot": Recipe(f"Dovecot (LMTP, read over IMAP) {_ROOTED}", dovecot),
    "exim": Recipe(f"Exim {_ROOTED}", exim),
    "opensmtpd": Recipe(f"OpenSMTPD {_ROOTED}", opensmtpd),
    "postfix": Recipe(f"Postfix {_ROOTED}", postfix),
    "postfix-scaled": Recipe(f"Postfix, its own schedule of retries {FACTOR} times as fast", postfix_scaled),
    "reference": Recipe("our strict reference server, all four endpoints", reference),
}


def recipe(name: str) -> Recipe:
    """The recipe called `name`. Raises UsageError."""
    try:
        return RECIPES[name]
    except KeyError:
        raise UsageError(
            f"lab:{name}: no such server, expected one of {', '.join(sorted(RECIPES))}"
        ) from None
