"""Servers in a private root: a mount and a process namespace over the host's files, gone with its process.

Where the host has no such server it is installed there, from packages that are kept in the user's cache
folder for the next time. `private_root.sh` is the mechanism and says what a server's own shell file defines.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from smtpbench.errors import Inconclusive, UsageError
from smtpbench.lab.machine import Running, await_end, in_same_namespace, tail
from smtpbench.lab.process import Child
from smtpbench.lab.workspace import HOST, Workspace, free_ports, workspace
from smtpbench.target import Target

SCRIPT = Path(__file__).with_name("private_root.sh")
INSTALL_WAIT = 240.0  # seconds, downloads included
GREET_WAIT = 20.0
ORDER_WAIT = 30.0  # to kill or start what is inside
POLL = 0.05
LOG_SHOWN = 200  # characters of a log line that go into an error
TOOLS = ("unshare", "mount", "chroot")


class RootedServer(ABC):
    """What the mechanism has to know of one server.

    `name` is that of the recipe and of the shell file beside this module, `title` the server's own,
    `programs` what is in PATH where it is installed, `ports` names the ports it listens on (a role, or a
    word of its own). It has to greet with `greeting` on the first of them.
    """

    name: str
    title: str
    programs: tuple[str, ...]
    ports: tuple[str, ...]
    greeting: bytes
    log: str  # the file in the workspace's folder that it logs to

    @abstractmethod
    def configure(self, place: Workspace, ports: Mapping[str, int]) -> None:
        """Write its configuration into the folder."""

    @abstractmethod
    def target(self, place: Workspace, ports: Mapping[str, int], ready: Mapping[str, Any]) -> Target:
        """The target, once it listens; `ready` is what its shell file said of it."""

    @property
    def script(self) -> Path:
        """The shell file about this server."""
        return SCRIPT.with_name(f"{self.name}.sh")


class RootedMachine:
    """The processes in a private root, all but the first, which holds the root and its queue together."""

    guessed = ""  # see `Machine`

    def __init__(self, child: Child, log: Path) -> None:
        self._child, self._log = child, log

    def kill(self) -> None:
        """One system call of the first process kills all others. Raises Inconclusive."""
        self._child.order("kill", ORDER_WAIT)
        await_end(self.pids(), ORDER_WAIT)  # at most those that are not dead yet: nobody is left who forks

    def start(self) -> None:
        """As the first time. Raises Inconclusive."""
        self._child.order("start", ORDER_WAIT)

    def pids(self) -> list[int]:
        """All but the first."""
        first = self._first()
        return in_same_namespace(first) if first else []

    def _first(self) -> int | None:
        """The process that `unshare` has started: a grandchild of ours."""
        children = _children(self._child.pid)
        grandchildren = _children(children[0]) if children else []
        return grandchildren[0] if grandchildren else None

    def log_tail(self) -> str:
        """The end of the server's log."""
        return tail(self._log)


def _children(pid: int) -> list[int]:
    try:
        words = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except OSError:
        return []
    return [int(word) for word in words]


@contextmanager
def rooted(server: RootedServer) -> Iterator[Running]:
    """`server`, up in a private root. Raises UsageError where it cannot run at all, Inconclusive if it does
    not start.
    """
    _check_host(server)
    with ExitStack() as stack:
        yield _started(server, stack)


def _check_host(server: RootedServer) -> None:
    name, title = f"lab:{server.name}", server.title
    if sys.platform != "linux" or os.geteuid() != 0:
        raise UsageError(f"{name} needs root on Linux, to start {title} in a private root")
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        raise UsageError(f"{name} needs {', '.join(missing)} in PATH")
    installed = all(shutil.which(program) for program in server.programs)
    if not installed and shutil.which("apt-get") is None:
        raise UsageError(f"{name} needs {title} installed, or apt-get to install it in its private root")


def _started(server: RootedServer, stack: ExitStack) -> Running:
    """Start until it greets; what has to be undone is left on `stack`."""
    for last in (False, False, True):
        with ExitStack() as attempt:
            place = attempt.enter_context(workspace())
            place.folder.chmod(0o711)  # servers that are not root have to come through to the mail
            ports = dict(zip(server.ports, free_ports(len(server.ports)), strict=True))
            server.configure(place, ports)
            argv = ["sh", str(SCRIPT), str(place.folder), str(cache_folder(server.name)), str(server.script)]
            child = Child(argv, log=place.log, within=INSTALL_WAIT)
            attempt.callback(child.stop)
            try:
                _await_greeting(ports[server.ports[0]], server.greeting)
            except Inconclusive as error:
                if last:
                    raise Inconclusive(f"lab:{server.name}: {error}{_log_end(server, place)}") from None
                continue  # another process may have taken a port before the server had it
            stack.push(attempt.pop_all())
            machine = RootedMachine(child, place.folder / server.log)
            return Running(server.target(place, ports, child.ready), machine)
    raise AssertionError("unreachable: the last attempt returns or raises")


def cache_folder(name: str) -> Path:
    """Where downloaded packages are kept: ``$XDG_CACHE_HOME/smtpbench/NAME-debs``."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "smtpbench" / f"{name}-debs"


def _await_greeting(port: int, greeting: bytes) -> None:
    """Wait until our server greets. It tells nobody when it listens, so it has to be asked."""
    deadline = time.monotonic() + GREET_WAIT
    while time.monotonic() < deadline:
        try:
            with socket.create_connection((HOST, port), timeout=GREET_WAIT) as connection:
                if connection.recv(512).startswith(greeting):
                    connection.sendall(b"QUIT\r\n")
                    return
        except OSError:
            pass
        time.sleep(POLL)
    raise Inconclusive(f"no greeting on port {port} within {GREET_WAIT:g} s")


def _log_end(server: RootedServer, place: Workspace) -> str:
    """The last line that the server logged, to go after an error."""
    try:
        lines = (place.folder / server.log).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return f": {lines[-1][:LOG_SHOWN]}" if lines else ""
