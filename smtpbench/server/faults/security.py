"""More faults of STARTTLS, AUTH, submission and LMTP."""

from __future__ import annotations

from dataclasses import replace

from smtpbench.server.faults.registry import fault
from smtpbench.server.faults.rewriting import Lenient
from smtpbench.server.receiver import Receiver, Refusal
from smtpbench.server.sasl import MECHANISMS
from smtpbench.wire.parse import Command
from smtpbench.wire.state import Verb

_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="


@fault("starttls-accepts-argument", "3207-3")
class StarttlsAcceptsArgument(Lenient):
    """STARTTLS with an argument is accepted."""

    def repair(self, line: bytes) -> bytes:
        return b"STARTTLS" if line[:9].upper() == b"STARTTLS " else line


@fault("auth-unknown-mechanism-535", "4954-4")
class AuthUnknownMechanism535(Receiver):
    """AUTH with an unknown mechanism is answered 535."""

    def do_auth(self, command: Command) -> None:
        name = command.argument.partition(b" ")[0].decode("ascii", "replace").upper()
        if name in MECHANISMS:
            super().do_auth(command)
        else:
            self.reply(535, "5.7.8", "Authentication failed")


@fault("auth-cancel-535", "4954-6")
class AuthCancel535(Receiver):
    """An exchange that the client cancels is answered 535."""

    def auth_response(self, line: bytes) -> None:
        if line == b"*":
            self._exchange = None
            self.reply(535, "5.7.8", "Authentication failed")
        else:
            super().auth_response(line)


@fault("auth-ignores-foreign-characters", "4954-7")
class AuthIgnoresForeignCharacters(Receiver):
    """Characters outside the base64 alphabet are skipped."""

    def auth_response(self, line: bytes) -> None:
        super().auth_response(line if line == b"*" else bytes(octet for octet in line if octet in _BASE64))


@fault("auth-challenge-with-text", "4954-9", "4954-8")
class AuthChallengeWithText(Receiver):
    """An empty challenge has words for the reader."""

    def challenge(self, challenge: bytes) -> None:
        if challenge:
            super().challenge(challenge)
        else:
            self.reply(334, "", "Go on")


@fault("auth-ignores-initial-response", "4954-10")
class AuthIgnoresInitialResponse(Receiver):
    """An initial response to a mechanism that takes none is ignored."""

    def do_auth(self, command: Command) -> None:
        name = command.argument.partition(b" ")[0]
        mechanism = MECHANISMS.get(name.decode("ascii", "replace").upper())
        ignored = mechanism is not None and not mechanism.initial
        super().do_auth(replace(command, argument=name) if ignored else command)


@fault("mail-refuses-auth-parameter", "4954-21")
class MailRefusesAuthParameter(Receiver):
    """MAIL does not know its AUTH parameter."""

    def known_parameters(self) -> frozenset[str]:
        return super().known_parameters() - {"AUTH"}


@fault("submission-offers-etrn", "6409-12")
class SubmissionOffersEtrn(Receiver):
    """EHLO on a submission port lists ETRN."""

    def keywords(self) -> list[str]:
        return [*super().keywords(), *(["ETRN"] if self.config.is_submission else [])]


@fault("lmtp-accepts-ehlo", "2033-1")
class LmtpAcceptsEhlo(Receiver):
    """EHLO and HELO are accepted in LMTP."""

    def missing(self, verb: Verb) -> Refusal | None:
        return None if self.lmtp and verb in (Verb.EHLO, Verb.HELO) else super().missing(verb)


@fault("lmtp-without-pipelining", "2033-9")
class LmtpWithoutPipelining(Receiver):
    """LHLO does not list PIPELINING."""

    def offers(self, keyword: str) -> bool:
        return not (self.lmtp and keyword == "PIPELINING") and super().offers(keyword)
