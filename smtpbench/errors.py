"""Every error smtpbench raises on purpose, and the exit code each one ends a command with.

    SmtpbenchError                      exit 4  our own error, if nothing more exact applies
    ├── UsageError                      exit 2  bad option, bad TOML, target not authorised
    └── Inconclusive                    exit 3  the question could not be answered
        └── SessionError                        one SMTP session went wrong
            ├── Unreachable   (ConnectionError)     no TCP connection
            ├── TlsFailed     (ConnectionError)     no TLS where TLS was expected
            ├── ConnectionLost (ConnectionError)    the peer closed or reset
            ├── DeadlineExceeded (TimeoutError)     nothing came within the stated wait
            ├── NotSmtp                             the peer speaks something else
            └── AuthFailed                          the peer refused our credentials

The text of an error is one line that names what was wrong and where, ready for a terminal.
"""

from __future__ import annotations

import errno
import os

EXIT_OK = 0
EXIT_FINDINGS = 1
EXIT_USAGE = 2
EXIT_INCONCLUSIVE = 3
EXIT_INTERNAL = 4


def os_words(error: OSError) -> str:
    """What the system says, without numbers, addresses and the like; also of a name it cannot resolve."""
    known = error.errno is not None and error.errno in errno.errorcode
    return os.strerror(error.errno or 0) if known else error.strerror or str(error) or type(error).__name__


class SmtpbenchError(Exception):
    """Base of every error raised on purpose."""

    exit_code = EXIT_INTERNAL


class UsageError(SmtpbenchError):
    """The command, an option or a file of the user is wrong."""

    exit_code = EXIT_USAGE


class Inconclusive(SmtpbenchError):
    """The question could not be answered: target unreachable, too much untested."""

    exit_code = EXIT_INCONCLUSIVE


class SessionError(Inconclusive):
    """One SMTP session went wrong in a way that is not a reply."""


class Unreachable(SessionError, ConnectionError):
    """No TCP connection could be made."""


class TlsFailed(SessionError, ConnectionError):
    """The TLS handshake failed, or the peer does not speak TLS."""


class ConnectionLost(SessionError, ConnectionError):
    """The peer closed or reset the connection while something was expected from it."""


class DeadlineExceeded(SessionError, TimeoutError):
    """Nothing (or not enough) came within the stated wait."""


class NotSmtp(SessionError):
    """The peer's bytes are not SMTP: no reply code, or a line without end."""


class AuthFailed(SessionError):
    """The peer refused the credentials of the target file."""
