"""AUTH (RFC 4954): which mechanisms are on offer, and an exchange line by line."""

from __future__ import annotations

import base64
import binascii

from smtpbench.server.dialogue import Dialogue
from smtpbench.server.sasl import MECHANISMS, AuthRefused, Exchange, Mechanism, Site, not_base64
from smtpbench.wire.parse import Command


class Authentication(Dialogue):
    """Who the client is: `authenticated` is its user name, None as long as it has shown none."""

    tls_active = False
    tls_unique: bytes | None = None  # of RFC 5929 §3, where the TLS layer has it
    authenticated: str | None = None
    _exchange: Exchange | None = None

    def offers(self, keyword: str) -> bool:
        """Whether an extension that is not switched off is on offer in this state."""
        raise NotImplementedError

    def mechanisms(self) -> dict[str, Mechanism]:
        """The SASL mechanisms on offer in this state, by name."""
        return {
            name: mechanism
            for name, mechanism in MECHANISMS.items()
            if (self.bindings() or not mechanism.binds) and (self.tls_active or not mechanism.protected)
        }

    def bindings(self) -> dict[str, bytes | str]:
        """The channel bindings of this connection, by type (RFC 5929)."""
        unique, certificate = self.tls_unique, self.config.certificate
        found: dict[str, bytes | str] = {"tls-unique": unique} if unique else {}
        if self.tls_active and certificate:
            found["tls-server-end-point"] = certificate
        return found

    def do_auth(self, command: Command) -> None:
        """RFC 4954 §4."""
        word, _, initial = command.argument.partition(b" ")
        name = self.mechanism_name(word)
        mechanism = self.mechanisms().get(name)
        if self.authenticated is not None:
            self.reply(503, "5.5.1", "Already authenticated")
        elif not self.offers("AUTH"):
            self.reply(538, "5.7.11", "Encryption required for authentication")
        elif mechanism is None:
            self.reply(504, "5.5.4", "Unrecognized authentication mechanism")
        elif initial and not mechanism.initial:
            self.reply(501, "5.7.0", "This mechanism takes no initial response")
        else:
            self._exchange = self.begin_exchange(name)
            challenge = next(self._exchange)
            if initial:
                self.initial_response(initial)
            else:
                self.challenge(challenge)

    def mechanism_name(self, word: bytes) -> str:
        """The mechanism that a client means: letters count in any case (RFC 4954 §8)."""
        return word.decode("ascii", "replace").upper()

    def begin_exchange(self, name: str) -> Exchange:
        """A new exchange of the mechanism `name`."""
        return MECHANISMS[name].exchange(self.site())

    def site(self) -> Site:
        """What a mechanism is told."""
        return Site(self.config.users, self.config.name, self.bindings())

    def initial_response(self, initial: bytes) -> None:
        """The response that came with AUTH; a single equals sign stands for one of no octets."""
        self.auth_response(b"" if initial == b"=" else initial)

    def challenge(self, challenge: bytes) -> None:
        """334: base64 and nothing else."""
        self.reply(334, "", base64.b64encode(challenge).decode("ascii"))

    def auth_response(self, line: bytes) -> None:
        """One response of the client, in base64; ``*`` cancels."""
        exchange, self._exchange = self._exchange, None
        assert exchange is not None
        try:
            if line == b"*":
                raise AuthRefused(501, "5.7.0", "Authentication cancelled")
            challenge = exchange.send(_decode(line))
        except AuthRefused as refused:
            self.auth_failed(refused)
        except StopIteration as done:
            self.auth_done(done.value)
        else:
            self._exchange = exchange
            self.challenge(challenge)

    def auth_failed(self, refused: AuthRefused) -> None:
        """The exchange is over without success; the client may try again (RFC 4954 §4)."""
        self.reply(*refused.reply)

    def auth_done(self, user: str) -> None:
        """The client is `user` from here on."""
        self.authenticated = user
        self.reply(235, "2.7.0", "Authentication successful")


def _decode(line: bytes) -> bytes:
    try:
        return base64.b64decode(line, validate=True)
    except binascii.Error:
        raise not_base64() from None
