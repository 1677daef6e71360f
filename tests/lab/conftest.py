"""What the tests of real servers share."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from smtpbench.target import Role, Target

WITHIN = 20.0


@contextmanager
def client(target: Target, role: Role) -> Iterator[smtplib.SMTP]:
    """The standard library's client, greeted, over TLS that is checked unless the endpoint has none."""
    endpoint = target.endpoints[role]
    context = ssl.create_default_context(cafile=target.tls.ca)
    if endpoint.tls == "implicit":
        connection: smtplib.SMTP = smtplib.SMTP_SSL(
            endpoint.host, endpoint.port, timeout=WITHIN, context=context
        )
    else:
        kind = smtplib.LMTP if role is Role.LMTP else smtplib.SMTP
        connection = kind(endpoint.host, endpoint.port, timeout=WITHIN)
    with connection:
        connection.ehlo("client.example.org")
        if endpoint.tls == "starttls":
            connection.starttls(context=context)
            connection.ehlo("client.example.org")
        yield connection


def maildir(target: Target) -> Path:
    assert target.observe is not None
    return Path(target.observe.url.removeprefix("maildir:"))


def delivered(target: Target) -> list[bytes]:
    """What is in the target's Maildir now."""
    return [path.read_bytes() for path in (maildir(target) / "new").iterdir()]
