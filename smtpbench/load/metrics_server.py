"""Serves the OpenMetrics of a run over HTTP, in a greenlet of the control side."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from gevent.pywsgi import WSGIServer

from smtpbench.errors import UsageError, os_words
from smtpbench.load.control import Control
from smtpbench.load.openmetrics import CONTENT_TYPE, exposition

PATH = "/metrics"


class MetricsServer:
    """Serves them at ``http://HOST:PORT/metrics``. Raises UsageError if it cannot listen there."""

    def __init__(self, control: Control, host: str, port: int) -> None:
        self._control = control
        self._server = WSGIServer((host, port), self._answer, log=None, error_log=None)
        try:
            self._server.start()
        except OSError as error:
            words = os_words(error).removesuffix(f": {(host, port)!r}")  # which gevent adds
            raise UsageError(f"--metrics {host}:{port}: {words}") from None

    @property
    def url(self) -> str:
        """Where they are."""
        return f"http://{self._server.server_host}:{self._server.server_port}{PATH}"

    def close(self) -> None:
        """Listen no more."""
        self._server.stop(timeout=1)

    def _answer(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] != PATH or environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            start("404 Not Found", [("Content-Type", "text/plain")])
            return [f"see {PATH}\n".encode()]
        start("200 OK", [("Content-Type", CONTENT_TYPE)])
        return [exposition(self._control)]
