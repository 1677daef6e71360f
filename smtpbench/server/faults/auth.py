"""Faults of AUTH: the command, its exchange, and what it changes in the session (RFC 4954)."""

from __future__ import annotations

import re
from dataclasses import replace

from smtpbench.server.config import ServerConfig
from smtpbench.server.faults.registry import fault
from smtpbench.server.faults.rewriting import Lenient, Picky
from smtpbench.server.receiver import Receiver, Refusal
from smtpbench.server.sasl import AuthRefused
from smtpbench.wire.parse import Command
from smtpbench.wire.state import State, Verb

SHORT_LINE = 512


@fault("auth-mechanisms-with-commas", "4954-1")
class AuthMechanismsWithCommas(Receiver):
    """EHLO lists the mechanisms with commas between them."""

    def keyword_value(self, keyword: str) -> str:
        value = super().keyword_value(keyword)
        return " " + ",".join(value.split()) if keyword == "AUTH" else value


@fault("auth-needs-no-mechanism", "4954-5")
class AuthNeedsNoMechanism(Lenient):
    """AUTH alone begins an exchange."""

    def repair(self, line: bytes) -> bytes:
        return b"AUTH PLAIN" if line.upper() == b"AUTH" else line


@fault("auth-equals-sign-is-no-base64", "4954-11")
class AuthEqualsSignIsNoBase64(Receiver):
    """An initial response that is an equals sign is decoded like any other, and is malformed then."""

    def initial_response(self, initial: bytes) -> None:
        self.auth_response(initial)


@fault("auth-equals-sign-ignored", "4954-11")
class AuthEqualsSignIgnored(Receiver):
    """An initial response that is an equals sign is taken for none."""

    def initial_response(self, initial: bytes) -> None:
        if initial == b"=":
            self.challenge(b"")
        else:
            super().initial_response(initial)


@fault("auth-lines-limited", "4954-12", "4954-28")
class AuthLinesLimited(Receiver):
    """A response may be no longer than a command."""

    def line_limit(self) -> int:
        return super().line_limit() if self._exchange is None else SHORT_LINE


@fault("auth-overlong-line-two-replies", "4954-13")
class AuthOverlongLineTwoReplies(Receiver):
    """A response that is too long gets two replies."""

    def on_overlong_line(self) -> None:
        inside = self._exchange is not None
        super().on_overlong_line()
        if inside:
            super().on_overlong_line()


@fault("auth-overlong-line-closes", "4954-13")
class AuthOverlongLineCloses(Receiver):
    """The connection is closed without a reply at a response that is too long."""

    def on_overlong_line(self) -> None:
        if self._exchange is None:
            super().on_overlong_line()
        else:
            self.close()


@fault("auth-success-250", "4954-15")
class AuthSuccess250(Receiver):
    """A completed exchange is answered 250."""

    def auth_done(self, user: str) -> None:
        self.authenticated = user
        self.reply(250, "2.7.0", "Authentication successful")


@fault("auth-failure-closes", "4954-16", "4954-27")
class AuthFailureCloses(Receiver):
    """The connection is closed after the first failed attempt."""

    def auth_failed(self, refused: AuthRefused) -> None:
        super().auth_failed(refused)
        self.close()


@fault("auth-failure-is-final", "4954-16")
class AuthFailureIsFinal(Receiver):
    """After a failed attempt every further one is refused."""

    def do_auth(self, command: Command) -> None:
        if getattr(self, "failed", False):
            self.reply(503, "5.5.1", "You had your chance")
        else:
            super().do_auth(command)

    def auth_failed(self, refused: AuthRefused) -> None:
        self.failed = True
        super().auth_failed(refused)


@fault("auth-plain-listed-only", "4954-18")
class AuthPlainListedOnly(Receiver):
    """PLAIN is listed and not implemented."""

    def mechanism_name(self, word: bytes) -> str:
        name = super().mechanism_name(word)
        return "" if name == "PLAIN" else name


@fault("auth-mechanism-case-sensitive", "4954-19")
class AuthMechanismCaseSensitive(Receiver):
    """Mechanisms are recognised in capitals only."""

    def mechanism_name(self, word: bytes) -> str:
        return word.decode("ascii", "replace")


@fault("auth-needs-no-ehlo", "4954-20")
class AuthNeedsNoEhlo(Receiver):
    """AUTH is accepted before EHLO."""

    def out_of_order(self, verb: Verb) -> Refusal | None:
        early = verb is Verb.AUTH and self.state is State.START
        return None if early else super().out_of_order(verb)


@fault("mail-refuses-auth-mailbox", "4954-22")
class MailRefusesAuthMailbox(Picky):
    """MAIL takes no AUTH parameter but AUTH=<>."""

    def objection(self, command: Command) -> str | None:
        return None if command.parameters.get("AUTH") in (None, "<>") else "AUTH= is not for you"


@fault("mail-takes-any-auth-parameter", "4954-22")
class MailTakesAnyAuthParameter(Lenient):
    """The value of the AUTH parameter of MAIL is not looked at."""

    def repair(self, line: bytes) -> bytes:
        return re.sub(rb"(?i) AUTH=\S+", b"", line)


@fault("auth-required-answered-550", "4954-23", "6409-1")
class AuthRequiredAnswered550(Receiver):
    """A command that needs authentication is answered 550."""

    def needs_auth(self, verb: Verb) -> Refusal | None:
        return (550, "5.7.1", "Not permitted") if super().needs_auth(verb) else None


@fault("auth-required-for-noop", "4954-23")
class AuthRequiredForNoop(Receiver):
    """NOOP and RSET need authentication on a submission port."""

    def needs_auth(self, verb: Verb) -> Refusal | None:
        return super().needs_auth(Verb.MAIL if verb in (Verb.NOOP, Verb.RSET) else verb)


@fault("mx-needs-authentication", "MISC-15")
class MxNeedsAuthentication(Receiver):
    """RCPT needs authentication on a port for mail of other sites, too."""

    def needs_auth(self, verb: Verb) -> Refusal | None:
        if verb is Verb.RCPT and not self.lmtp and self.authenticated is None:
            return 530, "5.7.0", "Authentication required"
        return super().needs_auth(verb)


@fault("rset-forgets-authentication", "4954-26", "5321-B-28")
class RsetForgetsAuthentication(Receiver):
    """RSET ends the client's authentication."""

    def do_rset(self, command: Command) -> None:
        self.authenticated = None
        super().do_rset(command)


@fault("auth-plain-in-clear", "3207-23")
class AuthPlainInClear(Receiver):
    """All mechanisms are offered before TLS."""

    def configure(self, config: ServerConfig) -> ServerConfig:
        return replace(super().configure(config), auth_in_clear=True)
