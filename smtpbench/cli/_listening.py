"""What the commands that listen share: where, and with which certificate."""

from __future__ import annotations

import re
import ssl
from pathlib import Path
from typing import Annotated

import trustme
import typer

from smtpbench.errors import UsageError

ListenOpt = Annotated[
    str, typer.Option(metavar="HOST:PORT", help="Where to listen; port 0 takes a free one.")
]
TlsCertOpt = Annotated[
    Path | None, typer.Option(help="Certificate chain, PEM; without it one is made for localhost.")
]
TlsKeyOpt = Annotated[Path | None, typer.Option(help="Its private key, PEM.")]
CaOutOpt = Annotated[
    Path | None, typer.Option(help="Write the CA of the certificate that is made to this file.")
]


def listen_address(listen: str, option: str = "--listen", host: str | None = None) -> tuple[str, int]:
    """Host and port of ``HOST:PORT``, or of ``PORT`` if there is a `host` for that. Raises UsageError."""
    said, _, port = listen.rpartition(":")
    found = said.strip("[]") or (host if ":" not in listen else None)
    if not found or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65_535:
        raise UsageError(f"{option} {listen}: expected {'HOST:PORT' if host is None else '[HOST:]PORT'}")
    return found, int(port)


def server_tls(cert: Path | None, key: Path | None, ca_out: Path | None) -> tuple[ssl.SSLContext, str]:
    """The context, and the server's certificate in PEM (with what else stands in its file).

    Without `cert` one is made for localhost, and the CA that signed it is written to `ca_out`. Raises
    UsageError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if cert is None:
        if key is not None:
            raise UsageError("--tls-key needs --tls-cert")
        ca = trustme.CA()
        made = ca.issue_cert("localhost", "127.0.0.1", "::1", "mx.example.com")
        made.configure_cert(context)
        if ca_out is not None:
            write_file(ca_out, ca.cert_pem.bytes())
        return context, made.cert_chain_pems[0].bytes().decode("ascii")
    if ca_out is not None:
        raise UsageError("--ca-out writes the CA of a certificate that is made, and --tls-cert names one")
    try:
        context.load_cert_chain(cert, key)
        return context, cert.read_text(encoding="ascii", errors="ignore")
    except OSError as error:  # ssl.SSLError is one
        raise UsageError(f"--tls-cert {cert}: {error.strerror or error}") from None


def write_file(path: Path, content: bytes) -> None:
    """Write `content` to `path`. Raises UsageError."""
    try:
        path.write_bytes(content)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
