"""The parameters of MAIL and RCPT in a workload: SMTPUTF8 (RFC 6531 §3.4) and DSN (RFC 3461 §4)."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from itertools import count

from smtpbench.load.manner import Manner
from smtpbench.load.script import Transaction
from smtpbench.wire import commands


def mail_parameters(manner: Manner, needs: frozenset[str]) -> dict[str, str | None]:
    """Those of MAIL for a content with these `needs`, but for the ENVID, which no two messages share."""
    found: dict[str, str | None] = {}
    if manner.smtputf8 or needs:
        found["BODY"] = "8BITMIME"  # RFC 6152 §2
    if manner.smtputf8 or "SMTPUTF8" in needs:
        found["SMTPUTF8"] = None  # the headers are UTF-8 (RFC 6532)
    if manner.dsn is not None and manner.dsn.ret is not None:
        found["RET"] = manner.dsn.ret.upper()
    return found


def rcpt_parameters(manner: Manner, recipient: str) -> dict[str, str | None]:
    """Those of RCPT."""
    if manner.dsn is None:
        return {}
    found: dict[str, str | None] = {"NOTIFY": ",".join(manner.dsn.notify)}
    if manner.dsn.orcpt:
        kind = "rfc822" if recipient.isascii() else "utf-8"  # the second is RFC 6533 §3
        found["ORCPT"] = f"{kind};{commands.xtext(recipient) if recipient.isascii() else recipient}"
    return found


class Identified:
    """Gives each transaction an envelope identifier of its own (RFC 3461 §4.4)."""

    def __init__(self, following: Callable[[], Transaction]) -> None:
        self._following = following
        self._run = secrets.token_hex(4).encode()
        self._numbers = count(1)

    def next(self) -> Transaction:
        """The next transaction; a script's `next`."""
        found = self._following()
        mail = b"%s ENVID=%s-%09x\r\n" % (found.mail[:-2], self._run, next(self._numbers))
        return Transaction(mail, found.rcpts, found.content, found.bdat_content)
