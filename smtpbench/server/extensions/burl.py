"""BURL: content that the server fetches (RFC 4468). What can be fetched is in the settings."""

from __future__ import annotations

import re

from smtpbench.server.commands import Refusal
from smtpbench.server.extensions.hooks import Hooks
from smtpbench.wire.parse import Command
from smtpbench.wire.state import Verb

_FOR_USER = re.compile(rb";urlauth=submit\+([^:;/]+)", re.IGNORECASE)


class Burl(Hooks):
    """The URL is resolved before the answer; if that fails, so does the transaction."""

    def keyword_value(self, keyword: str) -> str:
        """§3.1(3): which URLs there are is said after AUTH."""
        if keyword != "BURL":
            return super().keyword_value(keyword)
        return " imap" if self.authenticated is not None else ""

    def do_burl(self, command: Command) -> None:
        """§3.2: the octets behind the URL are the next part of the content, or the last."""
        found = self.fetch(command.argument)
        if isinstance(found, bytes):
            self._content = None  # what is fetched has no dots to remove and no end of data
            self.on_content(found)
        assert self.transaction is not None
        if self.transaction.size > self.config.max_size:
            found = 554, "5.3.4", "Message too big for system"
        if not isinstance(found, bytes):
            self.forget_transaction()
            self.reply(*found)
            return
        self.advance(Verb.BURL)
        if command.last:
            self.on_content_end()
        else:
            self.reply(250, "2.0.0", f"{len(found)} octets fetched")

    def fetch(self, url: bytes) -> bytes | Refusal:
        """What `url` refers to; §3.3: one for a user is for that user."""
        user = _FOR_USER.search(url)
        if user is not None and user[1].decode("ascii") != self.authenticated:
            return 554, "5.7.0", "IMAP URL authorization failed"
        found = self.config.burl.get(url.decode("ascii"))
        return (554, "5.6.6", "Message content not available") if found is None else found
