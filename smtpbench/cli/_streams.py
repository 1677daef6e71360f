"""Standard output and error, so that whoever reads them, or not, changes nothing of a run.

What was measured is in files before it is shown, and what a run means is its exit code. A reader who leaves
(`| head`), a terminal that is closed, a full disk or an encoding without our characters must not end the
run, nor turn its exit code into another.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any, Literal

from smtpbench.errors import EXIT_USAGE

_GONE = frozenset({errno.EPIPE, errno.EIO})  # a reader who left, a terminal that was closed


class Outlet(io.FileIO):
    """A file descriptor for output; after a write that failed, all goes to the null device."""

    failure: OSError | None = None

    def write(self, octets: Any, /) -> int:
        """Write `octets`; never raises OSError, which is kept as `failure`."""
        try:
            return super().write(octets)
        except OSError as error:
            self.failure = error
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            return super().write(octets)

    @property
    def trouble(self) -> str | None:
        """Why what somebody may still want was not written; None if it was, or nobody wants it."""
        if self.failure is None or self.failure.errno in _GONE:
            return None
        return self.failure.strerror


def steady(name: Literal["stdout", "stderr"]) -> Outlet | None:
    """Let ``sys.stdout`` or ``sys.stderr`` go through an outlet; None if closed, or not Python's own."""
    stream = getattr(sys, name)
    if type(stream) is not io.TextIOWrapper:
        return None
    stream.flush()
    outlet = Outlet(stream.fileno(), "w", closefd=False)
    made = io.TextIOWrapper(
        io.BufferedWriter(outlet),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering,
    )
    setattr(sys, name, made)
    return outlet


def exit_code(outlet: Outlet | None, code: int) -> int:
    """The exit code of a command whose own is `code`, when it has said all it has to say.

    A summary that somebody wanted in a file and that is not there is a usage error, unless the run says more.
    """
    if outlet is None:
        return code
    sys.stdout.flush()
    if outlet.trouble is None:
        return code
    print(f"smtpbench: standard output: cannot be written: {outlet.trouble}", file=sys.stderr)  # noqa: T201
    return code or EXIT_USAGE
