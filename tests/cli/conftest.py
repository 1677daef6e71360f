"""Servers that are not what a user takes them for, each on a free loopback port for one test."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
import trustme
from typer.testing import CliRunner, Result

from smtpbench.cli import app

WAIT = 10.0


@contextmanager
def listening(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """A port where each connection is given to `talk` in a thread; all threads have ended afterwards."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        threads: list[threading.Thread] = []

        def serve(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                connection.settimeout(WAIT)
                talk(connection)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    thread = threading.Thread(target=serve, args=(connection,))
                    threads.append(thread)
                    thread.start()

        acceptor = threading.Thread(target=accept)
        acceptor.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
            acceptor.join(WAIT)
            for thread in threads:
                thread.join(WAIT)
                assert not thread.is_alive()


@pytest.fixture
def serve_port() -> Iterator[Callable[[Callable[[socket.socket], None]], int]]:
    """A function that begins to serve `talk` and returns the port."""
    with ExitStack() as stack:
        yield lambda talk: stack.enter_context(listening(talk))


@pytest.fixture
def smtpbench() -> Callable[..., Result]:
    """Runs the command line in this process."""
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def target_file(tmp_path: Path) -> Callable[[int, str], Path]:
    """Writes a target file with short waits for a port."""

    def write(port: int, tls: str = "none") -> Path:
        path = tmp_path / "target.toml"
        path.write_text(
            f'[endpoints.mx]\nport = {port}\ntls = "{tls}"\n[timeouts]\nconnect = 2\nreply = 0.3\n',
            encoding="utf-8",
        )
        return path

    return write


@pytest.fixture(scope="session")
def server_tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    return context
