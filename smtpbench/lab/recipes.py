"""The servers a lab can start. A recipe is a context manager: the server is up while it is entered."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from smtpbench.errors import UsageError
from smtpbench.lab.dovecot import dovecot
from smtpbench.lab.exim import exim
from smtpbench.lab.machine import Running, in_session, tail
from smtpbench.lab.opensmtpd import opensmtpd
from smtpbench.lab.postfix import FACTOR, postfix, postfix_scaled
from smtpbench.lab.postfix_dovecot import postfix_dovecot
from smtpbench.lab.process import Child
from smtpbench.lab.workspace import RELAY, RETRY_S, free_ports, workspace
from smtpbench.target import Target

START_WAIT = 30.0  # seconds for a Python server to listen; it takes less than one on an idle machine


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a server is started, and one line that says what it is. `run` gives its processes too."""

    summary: str
    run: Callable[[], AbstractContextManager[Running]]

    @contextmanager
    def start(self) -> Iterator[Target]:
        """The target alone."""
        with self.run() as running:
            yield running.target


class PythonMachine:
    """A server in one Python process, which is started again on the ports it had."""

    guessed = ""  # see `Machine`

    def __init__(self, argv: Sequence[str], log: Path) -> None:
        self._argv, self._log = argv, log
        self.child = Child(argv, log=log, within=START_WAIT)

    @property
    def ports(self) -> dict[str, int]:
        """Where it listens, by role."""
        return dict(self.child.ready["ports"])

    def kill(self) -> None:
        """SIGKILL its process group."""
        self.child.kill()

    def start(self) -> None:
        """Once more. Raises Inconclusive if it does not listen in time."""
        self.child.stop()  # lets go of what is left of the last one
        ports = json.dumps(self.ports)
        self.child = Child([*self._argv, "--ports", ports], log=self._log, within=START_WAIT)

    def pids(self) -> list[int]:
        """The processes of its session."""
        return in_session(self.child.pid)

    def log_tail(self) -> str:
        """What it said last."""
        return tail(self._log)


@contextmanager
def _python_server(
    module: str, name: str, *, retry_s: float | None = None, more_arguments: Sequence[str] = (), **more: bool
) -> Iterator[Running]:
    """`retry_s`: it sends mail on, to the port that it is told as its second argument."""
    with workspace() as place:
        relay = {} if retry_s is None else {RELAY: free_ports(1)[0]}
        argv = [sys.executable, "-m", module, str(place.folder), *map(str, relay.values()), *more_arguments]
        machine = PythonMachine(argv, place.log)
        try:
            yield Running(place.target(name, machine.ports | relay, retry_s=retry_s, **more), machine)
        finally:
            machine.child.stop()


def aiosmtpd() -> AbstractContextManager[Running]:
    """aiosmtpd: mx, submission, submissions."""
    return _python_server(
        "smtpbench.lab.embedded", f"aiosmtpd {version('aiosmtpd')}", utf8=True, at_once=True
    )


def reference(*faults: str) -> AbstractContextManager[Running]:
    """Our strict reference server: mx, submission, submissions, lmtp; with faults, if some are named."""
    name = f"smtpbench reference {version('smtpbench-suite')}"
    named = [word for fault in faults for word in ("--fault", fault)]
    return _python_server(
        "smtpbench.lab.reference", name, utf8=True, bounces=True, retry_s=RETRY_S, more_arguments=named
    )


_ROOTED = "in a private root; needs root, and apt unless it is installed"
RECIPES = {
    "aiosmtpd": Recipe("aiosmtpd, as the embedded target has it", aiosmtpd),
    "dovecot": Recipe(f"Dovecot (LMTP, read over IMAP) {_ROOTED}", dovecot),
    "exim": Recipe(f"Exim {_ROOTED}", exim),
    "opensmtpd": Recipe(f"OpenSMTPD {_ROOTED}", opensmtpd),
    "postfix": Recipe(f"Postfix {_ROOTED}", postfix),
    "postfix-dovecot": Recipe(
        "Postfix (submission), Dovecot behind it by LMTP, read over IMAP and POP3", postfix_dovecot
    ),
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
