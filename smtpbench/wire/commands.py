"""Commands as a client writes them: well-formed lines, without their CRLF.

RFC 5321 §4.1.1 gives the commands, §4.1.2 the arguments. A case that needs an ill-formed line writes
its octets itself; nothing here checks or mends an address.
"""

from __future__ import annotations

from collections.abc import Mapping

CRLF = b"\r\n"

Parameters = Mapping[str, str | None]


def mail(sender: str, parameters: Parameters | None = None) -> bytes:
    """``MAIL FROM:<sender>`` and parameters; an empty sender is the null reverse-path (§4.5.5)."""
    return _path_command("MAIL FROM", sender, parameters or {})


def rcpt(recipient: str, parameters: Parameters | None = None) -> bytes:
    """``RCPT TO:<recipient>`` and parameters (§4.1.1.3)."""
    return _path_command("RCPT TO", recipient, parameters or {})


def bdat(size: int, *, last: bool = False) -> bytes:
    """``BDAT size [LAST]`` (RFC 3030 §2); the chunk's octets follow the CRLF."""
    return b"BDAT %d LAST" % size if last else b"BDAT %d" % size


def xtext(value: str) -> str:
    """RFC 3461 §4 encoding: printable ASCII but "+" and "=" as it is, the rest as +HH of its UTF-8."""
    return "".join(
        chr(octet) if 33 <= octet <= 126 and octet not in b"+=" else f"+{octet:02X}"
        for octet in value.encode()
    )


def _path_command(verb: str, address: str, parameters: Parameters) -> bytes:
    words = [f"{verb}:<{address}>"]
    words += [name if value is None else f"{name}={value}" for name, value in parameters.items()]
    return " ".join(words).encode()
